"""The check before scoring: every problem is found and named, and nothing is promised in vain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import walks
from PIL import Image

import mvdiffusion_eval
from mvdiffusion.records import InputError
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.extractors import weights
from mvdiffusion_eval.extractors.pretrained import STANDARD_EXTRACTORS, has_weights
from mvdiffusion_eval.scoring.integrity import check


@pytest.fixture
def views(tmp_path: Path) -> Path:
    return toy.write_folder(tmp_path / "made", "made", toy.real_samples(5))


def found(report: dict[str, Any]) -> dict[str, str]:
    return {each["file"]: each["problem"] for each in report["generated"]["problems"]}


def protocol(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in report["protocols"] if row["name"] == name)


def test_a_whole_folder_has_no_problems(views: Path) -> None:
    report = check(views, views)
    assert report["ok"]
    assert report["generated"]["problems"] == report["reference"]["problems"] == []
    assert report["generated"]["decoded"] == report["generated"]["images"] == 40
    assert report["generated"]["prompts"] == 5


def test_all_problems_are_listed_and_those_of_one_sample_too(views: Path) -> None:
    (views / "room000/1.png").write_bytes((views / "room000/1.png").read_bytes()[:-200])
    Image.new("RGB", (16, 16)).save(views / "room000/4.png")
    (views / "room002/7.png").unlink()
    Image.new("L", (toy.SIZE, toy.SIZE)).save(views / "room002/0.png")
    data = bytearray((views / "room003/3.png").read_bytes())
    data[-5] ^= 1  # in the checksum of the last chunk, which no decoder looks at
    (views / "room003/3.png").write_bytes(data)
    (views / "room004/prompt.txt").write_text("one\ntwo\n")
    (views / "room001/prompt.txt").unlink()
    report = check(views)
    problems = found(report)
    assert not report["ok"]
    assert set(problems) == {
        *("room000/1.png", "room000/4.png", "room002/0.png", "room002/7.png", "room003/3.png"),
        *("room001/prompt.txt", "room004/prompt.txt"),
    }
    assert "not a readable image" in problems["room000/1.png"]
    assert "is 16×16 pixels; expected 32×32" in problems["room000/4.png"]
    assert "is a 'L' image; expected RGB" in problems["room002/0.png"]
    assert "no such view" in problems["room002/7.png"]
    assert "found 2 prompts; expected 8" in problems["room004/prompt.txt"]
    assert report["generated"]["healthy_samples"] == 2
    # Opening it, as `score` does, stops at the first one.
    with pytest.raises(InputError, match=r"room000/4\.png"):
        mvdiffusion_eval.score(views)


def test_what_cannot_be_opened_is_looked_at_file_by_file(views: Path) -> None:
    manifest = json.loads((views / "manifest.json").read_text())
    manifest["samples"] = [*manifest["samples"][1:], "gone", "lost"]
    (views / "manifest.json").write_text(json.dumps(manifest))
    (views / "room003/2.png").write_bytes(b"no image")
    report = check(views)
    problems = found(report)
    assert set(problems) == {"manifest.json", "room003/2.png", "gone", "lost", "room000"}
    assert problems["lost"].startswith("no such folder, but manifest.json lists")
    assert report["protocols"] == []
    assert report["generated"]["decoded"] == 40


def test_sequences_are_checked_with_depth_and_cameras(tmp_path: Path) -> None:
    root = walks.write_folder(tmp_path / "walk", "walk", walks.real_samples(3))
    size = Image.open(root / "walk001/depth/0.png").size
    Image.fromarray(np.zeros(size[::-1], np.uint16)).save(root / "walk001/depth/0.png")
    Image.new("RGB", size).save(root / "walk002/depth/1.png")
    (root / "walk000/99.png").write_bytes((root / "walk000/0.png").read_bytes())
    report = check(root)
    problems = found(report)
    assert "holds no depth at all" in problems["walk001/depth/0.png"]
    assert "expected a 16-bit gray image" in problems["walk002/depth/1.png"]
    assert "cameras.json has" in problems["walk000"]
    stops = {each["file"]: each["stops"] for each in report["generated"]["problems"]}
    assert not stops.pop("walk001/depth/0.png")
    assert all(stops.values())
    (root / "walk002/cameras.json").write_text("{}")
    (root / "walk001/cameras.json").write_text("[")
    broken = found(check(root))
    assert {name for name in broken if "cameras" in name} >= {
        *("walk001/cameras.json", "walk002/cameras.json"),
    }


def test_panoramas_are_decoded_once(tmp_path: Path) -> None:
    for seed in range(3):
        pixels = (255 * toy.panorama(seed, 1)).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / f"{seed}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:3000])
    report = check(tmp_path)
    assert report["generated"]["decoded"] == 3
    assert set(found(report)) == {"1.png", "."}  # the note that there are no prompts
    assert protocol(report, "equirect")["measured"] == ["seams"]


def test_degenerate_images_are_counted(tmp_path: Path) -> None:
    samples = toy.real_samples(4)
    samples["room001"][:] = 0
    samples["room003"] = samples["room002"]
    report = check(toy.write_folder(tmp_path / "m", "m", samples))
    faults = report["generated"]["faults"]
    assert (faults["constant"], faults["repeated_samples"]) == (8, 1)
    assert report["ok"]


def test_reference_that_does_not_match_is_a_problem(views: Path, tmp_path: Path) -> None:
    few = toy.write_folder(tmp_path / "real", "real", toy.real_samples(3))
    report = check(views, few)
    (problem,) = report["reference"]["problems"]
    assert problem["problem"] == "has no real views of 2 samples: room003, room004."
    assert not report["ok"]


def test_protocols_say_what_they_lack(
    views: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "checkpoints", lambda: tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    alone = check(views)
    assert protocol(alone, "paper-consistency-pano")["measured"] == ["cross_view_psnr"]
    paper = protocol(alone, "paper-pano")
    assert paper["measured"] == []
    assert paper["lacking"]["fid"] == ["real views (--reference)", "the weights of inception-v3"]
    assert paper["extractors"]["inception-v3"] is False
    name = weights.known_weights()["inception-v3"].file
    (tmp_path / name).touch()
    other = toy.write_folder(tmp_path / "real", "real", toy.noisy(toy.real_samples(5), 3))
    paper = protocol(check(views, other), "paper-pano")
    assert {"fid", "inception_score"} <= set(paper["measured"])
    assert "fid" not in paper["lacking"]


def test_whether_weights_are_here_is_known_of_every_extractor() -> None:
    assert {type(has_weights(name)) for name in STANDARD_EXTRACTORS} == {bool}
    assert has_weights("none") is None


def test_the_command_ends_with_2_if_there_are_problems(
    views: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(["check", str(views), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    (views / "room001/3.png").unlink()
    assert code(["check", str(views)]) == 2
    printed = capsys.readouterr().out
    assert "room001/3.png" in printed
    assert "problems: 1, notes: 0" in printed
    assert code(["check", str(views / "none")]) == 2


def code(words: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)
