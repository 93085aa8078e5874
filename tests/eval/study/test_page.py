"""The page of a study: blind, the same for equal seeds, and a key that is never lost."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import walks
from PIL import Image

from mvdiffusion.records import InputError
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.study import page as sheet
from mvdiffusion_eval.study.page import Sheet, write_study
from mvdiffusion_eval.study.pictures import MARK

BROWSER = Path(__file__).with_name("browser.js")
NAMES = ("Zebrafinch", "Quokka", "Axolotl")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs node")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("secretplace")
    real = toy.real_samples(3)
    made = (toy.noisy(real, 3), toy.independent_samples(3), toy.autoregressive_samples(3))
    for name, samples in zip(NAMES, made, strict=True):
        toy.write_folder(root / name, name, samples)
    return [str(root / name) for name in NAMES]


@pytest.fixture(scope="module")
def written(folders: list[str], tmp_path_factory: pytest.TempPathFactory) -> Sheet:
    return write_study(folders, tmp_path_factory.mktemp("study") / "page.html", catch=4)


def content_of(page: Path) -> dict[str, Any]:
    text = page.read_text("utf-8")
    return json.loads(re.search(r'<script id="study"[^>]*>(.*?)</script>', text, re.DOTALL)[1])


def pictures_of(page: Path) -> dict[str, Image.Image]:
    uris = content_of(page)["pictures"]
    data = {image: base64.b64decode(uri.partition(",")[2]) for image, uri in uris.items()}
    return {image: Image.open(io.BytesIO(one)) for image, one in data.items()}


def test_nothing_on_the_page_tells_the_methods(written: Sheet) -> None:
    result, key = written, json.loads(written.key.read_text())
    assert key["methods"] == list(NAMES)
    text = result.page.read_text("utf-8").lower()
    for secret in (
        *NAMES,
        "secretplace",
        "room00",
        "noise",
        '"made"',
        *key["images_sha256"],
    ):
        assert secret.lower() not in text, secret
    content = content_of(result.page)
    assert set(content) == {"study", "questions", "comparisons", "pictures"}
    assert {key for each in content["comparisons"] for key in each} == {"id", "images", "text"}
    pictures = pictures_of(result.page)
    assert list(pictures) == sorted(key["images"])
    assert len({picture.size for picture in pictures.values()}) == 1
    for picture in pictures.values():
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert content["comparisons"][0]["text"]
    assert len(content["questions"]) == 3


def test_every_id_shows_what_the_key_says(written: Sheet) -> None:
    key, pictures = json.loads(written.key.read_text()), pictures_of(written.page)
    assert written.comparisons == 3 * 3 + 4
    roughness = {}
    for image, shown in key["images"].items():
        pixels = np.asarray(pictures[image], float)
        if shown["content"] == "made":
            steps = np.abs(np.diff(pixels.mean((0, 2))))  # seams between independent views
            roughness.setdefault(shown["method"], []).append(steps.max())
    means = {name: np.mean(values) for name, values in roughness.items()}
    assert means["Quokka"] > 2 * means["Zebrafinch"]


def test_equal_seeds_give_equal_pages(folders: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / str(number) / "page.html" for number in range(3)]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        write_study(folders[:2], path, seed=seed, samples=["room001"])
    one, again, other = (path.read_bytes() for path in paths)
    assert one == again
    assert one != other
    keys = [path.with_suffix(".key.json").read_bytes() for path in paths]
    assert keys[0] == keys[1] != keys[2]


def test_the_key_of_another_study_is_kept(folders: list[str], tmp_path: Path) -> None:
    page, one = tmp_path / "page.html", ["room000"]
    first = write_study(folders[:2], page, samples=one)
    again = write_study(folders[:2], page, samples=one)
    assert again.study == first.study  # the same study may be written again
    before = first.key.read_bytes(), page.read_bytes()
    with pytest.raises(InputError, match=r"page\.key\.json: holds the key of another study"):
        write_study(folders[1:], page, samples=one)
    assert (first.key.read_bytes(), page.read_bytes()) == before
    second = write_study(folders[1:], page, samples=one, overwrite=True)
    assert second.study != first.study
    assert (tmp_path / "page.key.json.old").read_bytes() == before[0]


def test_large_pictures_lie_beside_the_page(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "MAX_PAGE_BYTES", 10_000)
    result = write_study(folders[:2], tmp_path / "page.html", count=1)
    assert result.pictures == tmp_path / "page_pictures"
    places = content_of(result.page)["pictures"]
    assert {path.name for path in result.pictures.glob("*.jpg")} == {f"{i}.jpg" for i in places}
    assert all((tmp_path / place).is_file() for place in places.values())
    assert result.page.stat().st_size < 30_000


def test_samples_and_questions_can_be_chosen(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    words = ["--samples", "room001", "--samples", "room002", "--question", "Nicer?"]
    main_ok(["study", *folders[:2], f"third={folders[2]}", "--output", str(page), *words])
    assert "6 comparisons for each rater" in " ".join(capsys.readouterr().out.split())
    key = json.loads((tmp_path / "page.key.json").read_text())
    assert {image["sample"] for image in key["images"].values()} == {"room001", "room002"}
    assert key["methods"] == ["Zebrafinch", "Quokka", "third"]
    assert content_of(page)["questions"] == ["Nicer?"]


def main_ok(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert not end.value.code


def test_a_text_cannot_end_the_script(folders: list[str], tmp_path: Path) -> None:
    question = "</script><b>&"
    page = write_study(folders[:2], tmp_path / "p.html", count=1, questions=[question]).page
    assert content_of(page)["questions"] == [question]
    assert question not in page.read_text()


def test_outpainting_frames_the_given_view(tmp_path: Path) -> None:
    real = toy.real_samples(1)
    for name in ("a", "b"):
        toy.write_folder(tmp_path / name, name, toy.noisy(real, 1), given_views=(0,))
    page = write_study([str(tmp_path / "a"), str(tmp_path / "b")], tmp_path / "p.html").page
    pixels = np.asarray(next(iter(pictures_of(page).values())), int)
    red = (np.abs(pixels - MARK).max(-1) < 40).mean(0) > 0.9
    columns = np.flatnonzero(red)
    assert red.any()
    # View 0 of eight is right of the middle, where the loop closes.
    width = pixels.shape[1]
    assert width / 2 - 2 <= columns.min() <= width / 2 + 2
    assert columns.max() == pytest.approx(width * 5 / 8, abs=3)


def test_walks_show_their_key_frames(tmp_path: Path) -> None:
    real = walks.real_samples(2)
    for name in ("a", "b"):
        walks.write_folder(tmp_path / name, name, toy.noisy(real, 1))
    page = write_study([str(tmp_path / "a"), str(tmp_path / "b")], tmp_path / "p.html").page
    picture = next(iter(pictures_of(page).values()))
    frame = next(iter(real.values())).shape[1:3]
    assert picture.height == frame[0]
    assert picture.width > 2 * frame[1]


def test_equirectangular_images_are_shown_as_they_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for seed in range(2):
            pixels = (255 * toy.panorama(seed, 1)).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / name / f"{seed}.png")
    result = write_study([str(tmp_path / "a"), str(tmp_path / "b")], tmp_path / "p.html")
    assert {picture.size for picture in pictures_of(result.page).values()} == {(256, 128)}
    assert len(content_of(result.page)["questions"]) == 2  # there are no prompts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, t: f[:1], "got 1 folder; expected at least two"),
        (lambda f, t: [f[0], f[0]], "its method is named 'Zebrafinch', and so is that"),
        (lambda f, t: [f[0], str(t / "other")], "given_views is|task is|yaw_deg is"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    folders: list[str], tmp_path: Path, change: Any, message: str
) -> None:
    toy.write_folder(tmp_path / "other", "other", toy.real_samples(4), given_views=(1,))
    with pytest.raises(InputError, match=message):
        write_study(change(folders, tmp_path), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_unknown_samples_are_named(folders: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--samples: 'none' is not in "):
        write_study(folders, tmp_path / "page.html", samples=["none"])


@needs_node
def test_the_script_parses() -> None:
    script = sheet.TEMPLATES / "study.js"
    subprocess.run(["node", "--check", str(script)], check=True)


@needs_node
@pytest.mark.slow
def test_raters_answer_export_and_are_scored(written: Sheet, tmp_path: Path) -> None:
    """A script in place of the raters: it answers, changes an answer, loads the page again."""
    result, key, answers = written, json.loads(written.key.read_text()), []
    for rater in (f"rater-{number}" for number in range(10)):
        words = ["node", str(BROWSER), str(result.page), str(result.key), rater]
        text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        answers.append(tmp_path / f"{rater}.json")
        answers[-1].write_text(text)
    found = [json.loads(path.read_text()) for path in answers]
    orders = {tuple(each["comparison"] for each in one["answers"]) for one in found}
    assert len(orders) == 10  # everybody's own order
    designed = {each["id"]: each["images"][0] for each in key["comparisons"]}
    flipped = [
        {each["left"] != designed[each["comparison"]] for each in one["answers"]} for one in found
    ]
    assert {len(each) for each in flipped} == {1}  # all sides of a rater are exchanged, or none
    assert set.union(*flipped) == {True, False}
    output = tmp_path / "study.json"
    main_ok(["study-score", str(result.key), *map(str, answers), "--output", str(output)])
    scores = json.loads(output.read_text())
    assert [row["catch_right"] for row in scores["raters"]] == [12] * 10
    for question in scores["questions"]:
        assert [row["share"] for row in question["preferences"]] == [1.0] * 3
        assert [row["method"] for row in question["strengths"]] == list(NAMES)
        assert question["krippendorff_alpha"] == 1.0
