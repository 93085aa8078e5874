"""Bad folders end in one error that names the file and the fix."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mvdiffusion.records import InputError
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import file_sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy.write_folder(tmp_path / "mine", "mine", toy.real_samples(2))


def test_reads_rgb_views_in_order(folder: Path) -> None:
    opened = open_folder(folder)
    assert opened.views("room001").shape == (8, toy.SIZE, toy.SIZE, 3)
    assert (opened.views("room001") == toy.views_of(1, 1)).all()
    assert opened.prompts("room000")[3].endswith("A kitchen, side 3.")
    assert opened.yaw_deg[7] == 315


def test_a_folder_without_manifest_is_evenly_spaced(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    opened = open_folder(folder)
    assert (opened.method, opened.num_views, opened.yaw_deg[1]) == ("mine", 8, 45.0)
    assert opened.settings_sha256 is None
    assert open_folder(folder, yaw_deg=[0, 30, 60]).yaw_deg == (0, 30, 60)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_folder(tmp_path_factory.mktemp("fuzzed"), "mine", toy.real_samples(2))


@pytest.mark.long
@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_any_manifest_is_read_or_refused_in_a_sentence(fuzzed: Path, data: st.DataObject) -> None:
    path = fuzzed / "manifest.json"
    whole = path.read_text()
    keys = st.sampled_from(["task", "given_views", *json.loads(whole)])
    changes = data.draw(st.dictionaries(keys, JUNK, max_size=2))
    path.write_text(json.dumps(json.loads(whole) | changes))
    said = "manifest.json"
    try:
        open_folder(fuzzed)
    except InputError as error:
        said = str(error)
    finally:
        path.write_text(whole)
    assert "manifest.json" in said


def gray_view(folder: Path) -> None:
    Image.new("L", (toy.SIZE, toy.SIZE)).save(folder / "room001" / "4.png")


def small_view(folder: Path) -> None:
    Image.new("RGB", (16, 16)).save(folder / "room001" / "4.png")


def truncated_header(folder: Path) -> None:
    (folder / "room001" / "4.png").write_bytes(b"\x89PNG")


def missing_view(folder: Path) -> None:
    (folder / "room001" / "4.png").unlink()


def missing_sample(folder: Path) -> None:
    (folder / "room001").rename(folder.parent / "elsewhere")


def extra_sample(folder: Path) -> None:
    (folder / "room009").mkdir()


def broken_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def manifest_without_yaws(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    del content["yaw_deg"]
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (gray_view, r"room001/4.png: is a 'L' image; expected RGB"),
        (small_view, r"room001/4.png: is 16×16 pixels; expected 32×32"),
        (truncated_header, r"room001/4.png: not a readable image"),
        (missing_view, r"room001/4.png: no such view"),
        (missing_sample, r"manifest.json: does not match the folder.*missing \['room001'\]"),
        (extra_sample, r"manifest.json: does not match the folder.*listed \['room009'\]"),
        (broken_manifest, r"manifest.json: not valid JSON"),
        (manifest_without_yaws, r"manifest.json: key 'yaw_deg' is"),
    ],
)
def test_refuses(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        open_folder(folder)


def test_refuses_a_truncated_picture_when_it_is_read(folder: Path) -> None:
    path = folder / "room000" / "2.png"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=r"room000/2.png: not a readable image"):
        open_folder(folder).views("room000")


@pytest.mark.parametrize("text", ["one\ntwo\n", "\n".join("abcdefg") + "\n\n", "\n\n"])
def test_refuses_prompts_that_do_not_fit(folder: Path, text: str) -> None:
    (folder / "room000" / "prompt.txt").write_text(text)
    with pytest.raises(InputError, match=r"prompt.txt: found \d prompts; expected 8 prompts"):
        open_folder(folder).prompts("room000")


@pytest.mark.parametrize(
    "text", ["a lake\n", "\ufeffa lake\n", "a lake", "a lake\n\n" * 8, "\ufeff" + "a lake\r\n" * 8]
)
def test_prompts_are_lines_with_text(text: str, folder: Path) -> None:
    (folder / "room000" / "prompt.txt").write_bytes(text.encode())
    assert open_folder(folder).prompts("room000") == ["a lake"] * 8


def test_the_odd_view_is_named_wherever_it_stands(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    toy.write_folder(folder.parent / "more", "more", toy.real_samples(3), manifest=False)
    for path in ("room000/0.png", "room001/3.png"):
        odd = folder.parent / "more" / path
        whole = odd.read_bytes()
        Image.new("RGB", (16, 16)).save(odd)
        with pytest.raises(InputError, match=rf"{path}: is 16×16 pixels; expected 32×32"):
            open_folder(folder.parent / "more")
        odd.write_bytes(whole)


@pytest.mark.parametrize("height", [1, 2, 7])
def test_tiny_views_are_refused(height: int, tmp_path: Path) -> None:
    views = np.zeros((8, height, 32, 3), np.uint8)
    root = toy.write_folder(tmp_path / "tiny", "tiny", {"room000": views}, manifest=False)
    with pytest.raises(InputError, match=rf"is 32×{height} pixels; expected at least 8×8"):
        open_folder(root)


def test_a_file_rewritten_at_once_has_another_hash(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    path.write_bytes(b"one")
    before, times = file_sha256(path), path.stat()
    time.sleep(0.02)  # beyond the resolution of file times
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert file_sha256(path) != before


def test_the_hash_covers_pixels_and_names(folder: Path) -> None:
    before = open_folder(folder).images_sha256()
    toy_view = folder / "room000" / "0.png"
    Image.open(toy_view).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(toy_view)
    assert open_folder(folder).images_sha256() != before
