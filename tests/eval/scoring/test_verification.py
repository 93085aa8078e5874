"""Score files are believed only as they were written, and only if their numbers agree."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mvdiffusion_eval
from mvdiffusion.records import InputError
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.scoring.few_images import few_images
from mvdiffusion_eval.scoring.score_files import read_score
from mvdiffusion_eval.scoring.verification import sealed
from mvdiffusion_eval.settings import ScoreSettings


@pytest.fixture(scope="module")
def content(scores: Path) -> dict[str, Any]:
    return json.loads((scores / "mvdiffusion.json").read_text())


def of(metric: str, **change: Any) -> Callable[[dict], None]:
    return lambda content: content["metrics"][metric].update(change)


def shift_values(content: dict) -> None:
    one = content["metrics"]["cross_view_psnr"]
    one["values"] = [value + 5 for value in one["values"]]


def cut_values(content: dict) -> None:
    content["metrics"]["cross_view_psnr"]["values"].pop()


def spread_pseudo_values(content: dict) -> None:
    one = content["metrics"]["fid"]
    one["values"] = [2 * value for value in one["values"]]


EDITS: dict[str, Callable[[dict], None]] = {
    "'cross_view_psnr' is 30, but the mean of its values is ": of("cross_view_psnr", value=30.0),
    r"'cross_view_psnr' is [\d.]+, but the mean": shift_values,
    "'cross_view_psnr' has 7 values; expected 8": cut_values,
    "'fid' has the standard error .*, but its values have ": spread_pseudo_values,
    "'fid' has 0 values; expected 4": of("fid", values=None),
    "'clip_score' has the standard error None": of("clip_score", se=None),
    "'clip_score' has a value that is not a finite number": of("clip_score", value="99"),
    "'fid' has 3 curvatures, but 4 values": of("fid", curvatures=[0.0, 0.0, 0.0]),
    "'cross_view_psnr' has 1 curvatures, but 8 values": of("cross_view_psnr", curvatures=[0.0]),
    "'fid' has values per 'view', which": of("fid", values_per="view"),
    "'clip_score' lacks 0 values; expected 1": of("clip_score", left_out=1),
}


@pytest.mark.parametrize("message", EDITS)
def test_numbers_that_do_not_follow_from_their_values(
    message: str, content: dict[str, Any], tmp_path: Path
) -> None:
    """Even with the hash made again."""
    changed, path = copy.deepcopy(content), tmp_path / "score.json"
    EDITS[message](changed)
    path.write_text(json.dumps(sealed(changed)))
    with pytest.raises(InputError, match=rf"score.json: {message}.*; score the images again\.$"):
        read_score(path)
    path.write_text(json.dumps(changed))
    with pytest.raises(InputError, match="was changed after it was written"):
        read_score(path)


JUNK_PARTS = {"images": None, "metrics": [], "settings": 3, "faults": {"x": 1}}


@pytest.mark.parametrize("part", JUNK_PARTS)
def test_parts_of_another_kind(part: str, content: dict[str, Any], tmp_path: Path) -> None:
    """With the hash made again."""
    path = tmp_path / "score.json"
    path.write_text(json.dumps(sealed({**content, part: JUNK_PARTS[part]})))
    with pytest.raises(InputError, match="has parts that `mvdiffusion-eval score` does not write"):
        read_score(path)


def test_nan_and_files_without_a_hash(content: dict[str, Any], tmp_path: Path) -> None:
    path, changed = tmp_path / "score.json", copy.deepcopy(content)
    changed["metrics"]["cross_view_psnr"]["values"][2] = math.nan
    path.write_text(json.dumps(changed))
    with pytest.raises(InputError, match="contains a number that is not finite"):
        read_score(path)
    path.write_text(json.dumps({k: v for k, v in content.items() if k != "sha256"}))
    with pytest.raises(InputError, match=r"another version \(no 'sha256'\)"):
        read_score(path)
    path.write_text(json.dumps(content))
    assert read_score(path).metrics["fid"].value == content["metrics"]["fid"]["value"]


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_edit_is_seen_and_told_in_a_sentence(
    content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed: Any = copy.deepcopy(content)
    part, key = changed, data.draw(st.sampled_from(sorted(changed)))
    while isinstance(part[key], dict | list) and part[key] and data.draw(st.booleans()):
        part = part[key]
        keys = sorted(part) if isinstance(part, dict) else list(range(len(part)))
        key = data.draw(st.sampled_from(keys))
    part[key] = data.draw(JUNK)
    path = tmp_path_factory.mktemp("edited") / "score.json"
    path.write_text(json.dumps(changed))
    if json.dumps(changed) == json.dumps(content):
        return
    with pytest.raises(InputError) as error:
        read_score(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_an_edited_file_is_refused_by_every_command(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(scores, tmp_path / "scores")
    file = tmp_path / "scores/mvdiffusion.json"
    file.write_text(re.sub(r'("higher_is_better"): false', r"\1: true", file.read_text()))
    files = [str(path) for path in sorted((tmp_path / "scores").glob("*.json"))]
    made = ("--output-dir", str(tmp_path / "t"))
    commands = {
        "compare": [*files, "--output", str(tmp_path / "t")],
        "tables": [*files, *made, "--metrics", str(tmp_path / "m.json")],
        "figures": [*toy.repeated("--scores", files), *made],
    }
    for command, arguments in commands.items():
        with pytest.raises(SystemExit) as end:
            main([command, *arguments])
        assert end.value.code == 2
        assert "mvdiffusion.json: was changed" in capsys.readouterr().err
        assert not (tmp_path / "t").exists()


def test_one_method_under_two_names_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rooms = toy.noisy(toy.real_samples(4), 2)
    folders = [toy.write_folder(tmp_path / name, name, rooms) for name in ("ours", "theirs")]
    options = ("--protocol", "paper-consistency-pano", "--settings", toy.SCORE_SETTINGS)
    toy.run("compare", *map(str, folders), "--output", str(tmp_path / "o"), *options)
    told = "'ours' and 'theirs' have identical images"
    assert told in capsys.readouterr().err
    assert told in (tmp_path / "o/tables/differences.md").read_text()
    files = [str(tmp_path / f"o/scores/{name}.json") for name in ("ours", "theirs")]
    made = ["--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m.json")]
    toy.run("tables", *files, *made)
    assert told in capsys.readouterr().err
    assert told in (tmp_path / "t/panorama_main.md").read_text()


def test_one_method_in_other_files_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same pixels in another compression are other bytes."""
    rooms = toy.noisy(toy.real_samples(4), 2)
    folders = [toy.write_folder(tmp_path / name, name, rooms) for name in ("ours", "theirs")]
    for path in folders[1].glob("*/*.png"):
        before = path.read_bytes()
        Image.open(path).save(path, compress_level=0)
        assert path.read_bytes() != before
    options = ("--protocol", "paper-consistency-pano", "--settings", toy.SCORE_SETTINGS)
    toy.run("compare", *map(str, folders), "--output", str(tmp_path / "o"), *options)
    assert "'ours' and 'theirs' have identical images" in capsys.readouterr().err


def test_a_few_images_say_so(world: Path, extractors: list[Path]) -> None:
    """8 rooms of 8 views in 40 splits: two images each, of three classes."""
    chosen = ScoreSettings(consistency_resolution=toy.SIZE, inception_splits=40)
    result = mvdiffusion_eval.score(
        world / "mvdiffusion", world / "real", extractors=extractors, settings=chosen
    )
    steps = {k: v for p in result["protocols"].values() for k, v in p["metrics"].items()}
    assert steps["inception_score"]["used"] == {
        "images_per_split": 2,
        "splits": 32,
        "classes": len(toy.KINDS),
    }
    assert result["metrics"]["inception_score"]["value"] <= 2
    assert steps["kid"]["subset_size"] == 1000
    assert steps["kid"]["used"] == {"subset_size": 64, "subsets": 1}
    told = [w for w in result["warnings"] if w.startswith(("inception_score: ", "kid: "))]
    assert told[0].startswith("inception_score: its 32 splits have at most 2 images, so it cannot")
    assert told[1].startswith("kid: is of one subset of 64 images, not of 100 of 1000")


def test_enough_images_say_nothing() -> None:
    score = {"splits": 10, "used": {"images_per_split": 1008, "splits": 10, "classes": 1008}}
    kid = {"subset_size": 1000, "subsets": 100, "used": {"subset_size": 1000, "subsets": 100}}
    steps = {"inception_score": score, "kid": kid}
    assert few_images({"p": {"metrics": steps}}) == []
    kid["used"] = {"subset_size": 999, "subsets": 100}
    assert few_images({"p": {"metrics": steps}}, ["inception_score"]) == []
    (told,) = few_images({"p": {"metrics": steps}}, ["kid"])
    assert "is of 100 subsets of 999 images" in told
