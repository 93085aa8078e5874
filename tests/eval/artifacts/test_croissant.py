"""Croissant metadata, read by MLCommons' own library."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from pathlib import Path

import mlcroissant
import numpy as np
import pytest
import toy
from PIL import Image

import mvdiffusion_eval
from mvdiffusion.records import InputError, write_json
from mvdiffusion_eval.artifacts.croissant import About
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.settings import ScoreSettings

FEW = ("controls", "paper-consistency-pano")
ABOUT = About(
    license="https://spdx.org/licenses/CC-BY-4.0.html",
    creators=("A. Author", "A group"),
    cite_as="@misc{made, title = {Made}}",
    date_published="2026-11-30",
)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of 4 rooms, one of which is black and has no consistency."""
    root, rooms = tmp_path_factory.mktemp("croissant"), toy.real_samples(4)
    rooms["room001"] = np.zeros_like(rooms["room001"])
    folder = toy.write_folder(root / "made", "made", rooms)
    settings = ScoreSettings(consistency_resolution=toy.SIZE)
    write_json(root / "s.json", mvdiffusion_eval.score(folder, settings=settings, protocols=FEW))
    mvdiffusion_eval.pack(root / "s.json", folder, root / "a.zip", images=True, about=ABOUT)
    with zipfile.ZipFile(root / "a.zip") as opened:
        opened.extractall(root / "extracted")
    return root / "extracted"


def test_it_is_valid_and_complete(extracted: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = mlcroissant.Dataset(jsonld=str(extracted / "croissant.json")).metadata
    assert not found.ctx.issues.errors
    assert not found.ctx.issues.warnings
    assert "not standard" not in caplog.text  # the context
    assert found.name == "Scores of made (panorama)"
    assert found.license == [ABOUT.license]
    assert [each.name for each in found.creators] == list(ABOUT.creators)
    assert found.cite_as == ABOUT.cite_as


def test_its_records_are_the_samples(extracted: Path) -> None:
    dataset = mlcroissant.Dataset(jsonld=str(extracted / "croissant.json"))
    score = json.loads((extracted / "scores.json").read_text())
    rows = list(dataset.records("samples"))
    plain = [{k.partition("/")[2]: _text(value) for k, value in row.items()} for row in rows]
    assert [row["id"] for row in plain] == score["images"]["samples"]
    prompt = (extracted / "images/room002/prompt.txt").read_text()
    assert plain[2]["prompt"] == prompt.strip()
    one = score["metrics"]["cross_view_psnr"]
    assert [i for i, v in enumerate(one["values"]) if v is None] == [1]
    found = np.array([row["cross_view_psnr"] for row in plain], dtype=np.float64)
    np.testing.assert_equal(found, np.array(one["values"], dtype=np.float64))  # null reads as NaN
    by_sample = {n for n, each in score["metrics"].items() if each["values_per"] == "sample"}
    assert set(plain[0]) == {"id", "prompt", *by_sample}


def test_its_images_are_read(extracted: Path) -> None:
    dataset = mlcroissant.Dataset(jsonld=str(extracted / "croissant.json"))
    pictures = {_text(r["images/name"]): r["images/content"] for r in dataset.records("images")}
    assert len(pictures) == 32
    own = Image.open(extracted / "images/room003/5.png")
    np.testing.assert_array_equal(pictures["images/room003/5.png"], own)


def test_the_score_file_has_its_hash(extracted: Path) -> None:
    content = json.loads((extracted / "croissant.json").read_text())
    (scores,) = [each for each in content["distribution"] if each["@id"] == "scores.json"]
    text = (extracted / "scores.json").read_bytes()
    assert scores["sha256"] == hashlib.sha256(text).hexdigest()


def test_options_of_the_command(extracted: Path, tmp_path: Path) -> None:
    words = ["pack", str(extracted / "scores.json"), "--generated", str(extracted / "images")]
    words += ["--output", str(tmp_path / "b.zip"), "--license", "MIT", "--creator", "B"]
    toy.run(*words, "--date-published", "2026-11-30")
    with zipfile.ZipFile(tmp_path / "b.zip") as opened:
        found = json.loads(opened.read("croissant.json"))
    assert (found["license"], found["datePublished"]) == ("MIT", "2026-11-30")
    assert found["creator"] == [{"@type": "Person", "name": "B"}]
    with pytest.raises(SystemExit) as end:
        main([*words, "--date-published", "today"])
    assert end.value.code == 2
    with pytest.raises(InputError, match="date_published"):
        About(date_published="30.11.2026")


def _text(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value
