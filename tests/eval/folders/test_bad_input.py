"""Bad input: one sentence, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import foreign
import numpy as np
import pytest
import toy
import walks
from PIL import Image

from mvdiffusion_eval.cli import main
from mvdiffusion_eval.folders.opening import open_folder

SPOILED = "room001/4.png"


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Good folders of every kind: `mine` and `real`, `walks` and `real_walks`, others' layouts."""
    rooms, frames = toy.real_samples(2), walks.real_samples(2)
    toy.write_folder(tmp_path / "mine", "mine", toy.noisy(rooms, 3))
    toy.write_folder(tmp_path / "real", "real", rooms)
    walks.write_folder(tmp_path / "walks", "mine", toy.noisy(frames, 3))
    walks.write_folder(tmp_path / "real_walks", "real", frames)
    return tmp_path


def score(workplace: Path, *extra: str, generated: str = "mine", reference: str = "real") -> None:
    arguments = ["--generated", str(workplace / generated)]
    arguments += ["--reference", str(workplace / reference)] if reference else []
    if "--output" not in extra:
        arguments += ["--output", str(workplace / "scores" / "score.json")]
    main(["score", *arguments, "--settings", toy.SCORE_SETTINGS, *extra])


def refused(
    capsys: pytest.CaptureFixture[str], workplace: Path, *extra: str, **folders: str
) -> str:
    """The one line of a refusal, once it is clear that nothing was written."""
    before = sorted(workplace.rglob("*"))
    with pytest.raises(SystemExit) as end:
        score(workplace, *extra, **folders)
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1, printed.err
    line = printed.err.strip()
    assert line.startswith("mvdiffusion-eval: ")
    assert not printed.out
    assert sorted(workplace.rglob("*")) == before
    return line


def save(mode: str, size: tuple[int, int] = (toy.SIZE, toy.SIZE), kind: str = "PNG") -> Callable:
    return lambda path: Image.new(mode, size).save(path, kind)


def deep_colors(path: Path) -> None:
    cv2.imwrite(str(path), np.full((toy.SIZE, toy.SIZE, 3), 40000, np.uint16))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def bomb(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def link_to(target: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return spoil


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


VIEWS = {
    "another size": (save("RGB", (16, 16)), r"is 16×16 pixels; expected 32×32"),
    "grayscale": (save("L"), r"is a 'L' image; expected RGB"),
    "alpha": (save("RGBA"), r"is a 'RGBA' image; expected RGB"),
    "palette": (save("P"), r"is a 'P' image; expected RGB"),
    "16-bit gray": (save("I;16"), r"is a 'I;16' image; expected RGB"),
    "16-bit colors": (deep_colors, r"is a 'RGB;16' image; expected RGB"),
    "CMYK JPEG": (save("CMYK", kind="JPEG"), r"is a 'CMYK' image; expected RGB"),
    "truncated": (truncated, r"not a readable image"),
    "damaged": (damaged, r"not a readable image"),
    "zero bytes": (lambda path: path.write_bytes(b""), r"not a readable image"),
    "text": (lambda path: path.write_text("a picture of a room"), r"not a readable image"),
    "decompression bomb": (bomb, r"not a readable image .*decompression bomb"),
    "link to nothing": (link_to("nowhere.png"), r"is a broken link"),
    "link to itself": (link_to("4.png"), r"not a readable image"),
    "a directory": (directory, r"not a readable image"),
    "missing": (Path.unlink, r"no such view"),
}


@pytest.mark.parametrize("case", VIEWS)
def test_views(case: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, message = VIEWS[case]
    spoil(workplace / "mine" / SPOILED)
    line = refused(capsys, workplace)
    assert f"mine/{SPOILED}: " in line
    assert re.search(message, line), line


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    """Change values of a JSON file; a function changes the value that is there."""

    def spoil(root: Path) -> None:
        content = json.loads((root / name).read_text())
        for key, value in changes.items():
            content[key] = value(content[key]) if callable(value) else value
        (root / name).write_text(json.dumps(content))

    return spoil


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    encoded = content.encode() if isinstance(content, str) else content
    return lambda root: (root / name).write_bytes(encoded)


def delete(*names: str) -> Callable[[Path], None]:
    return lambda root: [(root / name).unlink() for name in names] and None


def no_manifest(spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    def both(root: Path) -> None:
        (root / "manifest.json").unlink()
        spoil(root)

    return both


def one_more_view(root: Path) -> None:
    Image.new("RGB", (toy.SIZE, toy.SIZE)).save(root / "room001" / "8.png")


def looping_sample(root: Path) -> None:
    (root / "room002").symlink_to("room002")


FOLDERS = {
    "manifest is no JSON": (write("manifest.json", "{"), r"manifest.json: not valid JSON"),
    "manifest is binary": (write("manifest.json", b"\xff\xfe\x00"), r"manifest.json: not valid"),
    "manifest is a list": (write("manifest.json", "[]"), r"keys: \[\]; expected a mapping"),
    "manifest: size": (edit("manifest.json", height=64), r"is 32×32 pixels; expected 32×64"),
    "manifest: size in words": (
        edit("manifest.json", width="wide"),
        r"'width' is 'wide'",
    ),
    "manifest: samples": (edit("manifest.json", samples=["room000", "x"]), r"missing \['x'\]"),
    "manifest: no samples": (edit("manifest.json", samples=[]), r"'samples' is \[\]"),
    "manifest: samples in words": (edit("manifest.json", samples=7), r"'samples' is 7; expected"),
    "manifest: escape": (
        edit("manifest.json", samples=["../real"]),
        r"'../real'; expected names of folders",
    ),
    "manifest: task": (
        edit("manifest.json", task="panoram"),
        r"'task' is 'panoram'; expected",
    ),
    "manifest: task of others": (edit("manifest.json", task="depth"), r"cameras.json: no such"),
    "manifest: yaws": (
        edit("manifest.json", yaw_deg=[0, 45]),
        r"'yaw_deg' is 'of 2 entries'",
    ),
    "manifest: yaw": (
        edit("manifest.json", yaw_deg=lambda yaws: [*yaws[:7], float("nan")]),
        r"'yaw_deg.7' is nan; expected a number",
    ),
    "manifest: field of view": (edit("manifest.json", fov_deg=200), r"'fov_deg' is 200; expected"),
    "manifest: views": (
        edit("manifest.json", num_views=9, yaw_deg=[40 * view for view in range(9)]),
        r"room000/8.png: no such view",
    ),
    "manifest: fewer views": (
        edit("manifest.json", num_views=4, yaw_deg=[0, 90, 180, 270]),
        r"room000/4.png: is one view more than the 4",
    ),
    "manifest: another field of view": (
        edit("manifest.json", fov_deg=20),
        r"fov_deg is 20.0, but 90.0 in the reference",
    ),
    "manifest: given view": (edit("manifest.json", given_views=[9]), r"'given_views' is \(9,\)"),
    "one view more": (no_manifest(one_more_view), r"room001/8.png: is one view more than the 8"),
    "gap in the numbers": (no_manifest(delete("room000/3.png")), r"room000/3.png: no such view"),
    "a sample that loops": (looping_sample, r"room002: is a broken or circular link"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(case: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, message = FOLDERS[case]
    spoil(workplace / "mine")
    line = refused(capsys, workplace)
    assert f"{workplace / 'mine'}" in line
    assert re.search(message, line), line


PROMPTS = {
    "not UTF-8": (b"caf\xe9\n" * 8, r"not be read as UTF-8"),
    "fewer than views": (b"a\nb\n", r"found 2 prompts; expected 8"),
    "an empty line among them": (b"a\n" * 3 + b"\n" + b"a\n" * 4, r"found 7 prompts; expected 8"),
    "none": (b"", r"found 0 prompts"),
}


@pytest.mark.parametrize("case", PROMPTS)
def test_prompts(case: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused where a protocol reads them, before its network is loaded; else told."""
    content, message = PROMPTS[case]
    write("room001/prompt.txt", content)(workplace / "mine")
    line = refused(capsys, workplace, "--protocol", "paper-pano")
    assert f"{workplace / 'mine'}" in line
    assert re.search(message, line), line
    with pytest.raises(SystemExit) as end:
        score(workplace)
    assert not end.value.code
    told = capsys.readouterr().err
    assert "Warning: the prompts of 1 samples are wrong, though no metric reads them" in told
    assert re.search(message, told), told


def depth_map(spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda root: spoil(root / "walk001" / "depth" / "2.png")


def no_depth_at_all(root: Path) -> None:
    for path in root.glob("walk001/depth/*.png"):
        Image.fromarray(np.zeros((walks.HEIGHT, walks.WIDTH), np.uint16)).save(path)


def cameras(**changes: Any) -> Callable[[Path], None]:
    return edit("walk001/cameras.json", **changes)


def at(place: tuple[int, ...], value: Any) -> Callable[[list], list]:
    """Put a value at a place of a nested list."""

    def change(nested: list) -> list:
        inner = nested
        for index in place[:-1]:
            inner = inner[index]
        inner[place[-1]] = value
        return nested

    return change


DEPTH = {
    "cameras: NaN": (cameras(pose=at((3, 0, 3), float("nan"))), r"'pose.3.0.3' is nan"),
    "cameras: infinite": (cameras(K=at((3, 0, 0), float("inf"))), r"'K.3.0.0' is inf"),
    "cameras: words": (cameras(pose="ahead"), r"'pose' is 'ahead'; expected a list"),
    "cameras: sheared": (cameras(pose=at((2, 0, 0), 2.0)), r"'pose.2' is .* expected rotation"),
    "cameras: mirrored": (
        cameras(pose=lambda poses: (np.array(poses) @ np.diag([-1.0, 1, 1, 1])).tolist()),
        r"'pose.0' is .* expected rotation",
    ),
    "cameras: K singular": (cameras(K=at((1, 1, 1), 0.0)), r"'K.1' is .* expected \[fx 0 cx"),
    "cameras: frames": (
        cameras(frames=3),
        r"'frames' is 3; expected a list of",
    ),
    "cameras: key frames": (cameras(key_frames=[0, 9]), r"'key_frames' is .* expected positions"),
    "cameras: a list": (write("walk001/cameras.json", "[1]"), r"keys: \[1\]; expected a mapping"),
    "depth: all zero": (no_depth_at_all, r"walk001: no two of the compared frames"),
    "depth: 8 bits": (depth_map(save("L", (32, 24))), r"is a 'L' image; expected a 16-bit"),
    "depth: another size": (depth_map(save("I;16", (8, 6))), r"is 8×6 pixels; expected 32×24"),
    "depth: cut short": (depth_map(truncated), r"not a readable image"),
    "depth: damaged": (depth_map(damaged), r"not a readable image"),
    "depth: missing": (depth_map(Path.unlink), r"depth/2.png: no such view"),
}


@pytest.mark.parametrize("case", DEPTH)
def test_depth(case: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, message = DEPTH[case]
    spoil(workplace / "walks")
    line = refused(capsys, workplace, generated="walks", reference="")
    assert f"{workplace / 'walks' / 'walk001'}" in line
    assert re.search(message, line), line


def test_folders_that_hold_too_little(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def message(**folders: str) -> str:
        return refused(capsys, workplace, **folders)

    assert "nowhere: no such folder" in message(generated="nowhere")
    (workplace / "empty").mkdir()
    assert "empty: contains neither sample folders" in message(generated="empty")
    (workplace / "hollow" / "room000").mkdir(parents=True)
    assert "hollow/room000: contains no views" in message(generated="hollow")
    (workplace / "one").mkdir()
    Image.new("RGB", (64, 64)).save(workplace / "one" / "x.png")
    assert "one/x.png: is 64×64 pixels; expected an equirect" in message(generated="one")
    lonely = {"room000": toy.views_of(0, 0)[:1]}
    toy.write_folder(workplace / "lonely", "x", lonely, manifest=False)
    assert "needs at least three views" in message(generated="lonely", reference="")


def test_references_that_do_not_fit(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def message(**folders: str) -> str:
        return refused(capsys, workplace, **folders)

    assert "both must have the same task" in message(reference="walks")
    toy.write_folder(workplace / "others", "real", {"attic": toy.views_of(9, 2)})
    assert "['room000', 'room001'] (2 in all) are not in the" in message(reference="others")
    edit("manifest.json", yaw_deg=lambda yaws: [yaw + 10 for yaw in yaws])(workplace / "real")
    assert "yaw_deg is" in message()
    edit("walk001/cameras.json", pose=shifted)(workplace / "real_walks")
    assert "frames, cameras or depth maps differ" in message(
        generated="walks", reference="real_walks"
    )


def shifted(poses: list) -> list:
    moved = np.array(poses)
    moved[:, 0, 3] += 0.1
    return moved.tolist()


def test_outputs_that_cannot_be_written(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(output: Path) -> str:
        return refused(capsys, workplace, "--output", str(output))

    assert "real: is a folder; expected the name of a file" in message(workplace / "real")
    assert "manifest.json is not a folder" in message(workplace / "real/manifest.json/s.json")
    (workplace / "loop").symlink_to("loop")
    assert "loop is not a folder" in message(workplace / "loop" / "s.json")
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    assert f"{workplace} cannot be written to" in message(workplace / "s.json")


def test_names_that_nobody_knows(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, workplace, "--protocol", "paper-consistency-panorama")
    assert "did you mean 'paper-consistency-pano'" in line
    assert "'inception' is neither a folder nor the name of an extractor; did you mean" in refused(
        capsys, workplace, "--extractor", "inception"
    )


def test_cameras_that_cannot_be(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected degrees" in refused(capsys, workplace, "--fov-deg", "180")
    assert "expected degrees" in refused(capsys, workplace, "--yaw", "0", "--yaw", "nan")


def test_cameras_that_the_manifest_contradicts(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contradicted = r"mine/manifest.json says 90.0; leave the option out"
    assert contradicted in refused(capsys, workplace, "--fov-deg", "60")
    assert "--yaw: (0.0, 90.0), but" in refused(capsys, workplace, "--yaw", "0", "--yaw", "90")
    assert open_folder(workplace / "mine", fov_deg=90.0).sample_ids


@pytest.mark.parametrize("name", ["room001/4.png", "room001", "."])
def test_what_may_not_be_read(
    name: str,
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tests may run as root, who may read everything."""
    locked = workplace / "mine" / name

    def forbid(owner: Any, method: str) -> None:
        usual = getattr(owner, method)

        def guarded(path: Any, *arguments: Any, **options: Any) -> Any:
            if Path(path) == locked:
                raise PermissionError(13, "Permission denied", str(path))
            return usual(path, *arguments, **options)

        monkeypatch.setattr(owner, method, guarded)

    refused_before = sorted(workplace.rglob("*"))
    forbid(Image, "open")
    forbid(Path, "read_text")
    forbid(Path, "iterdir")
    with pytest.raises(SystemExit) as end:
        score(workplace)
    assert end.value.code == 2
    monkeypatch.undo()
    assert "Permission denied" in capsys.readouterr().err
    assert sorted(workplace.rglob("*")) == refused_before


FOREIGN = {
    "panoramas of two sizes": (
        foreign.panoramas,
        lambda root: Image.new("RGB", (64, 32)).save(root / "room001.png"),
        r"room001.png: is 64×32 pixels; expected 256×128",
    ),
    "one name twice": (
        foreign.panoramas,
        lambda root: Image.new("RGB", (256, 128)).save(root / "room001.jpg"),
        r"room001.png: another image also has the name 'room001'",
    ),
    "no panorama": (
        foreign.panfusion,
        delete("room001/pano.png"),
        r"room001: contains no views; expected",
    ),
    "panoramas of two sizes, the odd one first": (
        lambda root, count: foreign.panoramas(root, 3),
        lambda root: (
            Image.new("RGB", (64, 32)).save(root / "preview.png")
            or (root / "preview.png").rename(root / "a.png")
        ),
        r"a.png: is 64×32 pixels; expected 256×128",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_others_panoramas(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, spoil, message = FOREIGN[case]
    spoil(layout(tmp_path / "theirs", 2))
    line = refused(capsys, tmp_path, generated="theirs", reference="")
    assert re.search(message, line), line


RELEASED = {
    "no K": (delete("scene_0/K.txt"), r"scene_0/K.txt: no such file"),
    "K of another shape": (write("scene_0/K.txt", "1 2 3\n"), r"K.txt: found \[1, 3\] numbers"),
    "K singular": (write("scene_0/K.txt", "0 0 1\n0 1 1\n0 0 1\n"), r"K.txt: .* above 0"),
    "pose not finite": (
        write("scene_0/30_poses.txt", "nan 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"),
        r"30_poses.txt: the pose is not rigid",
    ),
    "pose not rigid": (
        write("scene_0/30_poses.txt", "2 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"),
        r"30_poses.txt: the pose is not rigid",
    ),
    "empty pose": (
        write("scene_0/30_poses.txt", ""),
        r"30_poses.txt: found \[0\] numbers; expected 4 x 4",
    ),
    "no depth": (delete("scene_0/30_depth.png"), r"30_depth.png: no such view"),
}


@pytest.mark.parametrize("case", RELEASED)
def test_released_sequences(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = {"scene_0": walks.real_samples(1)["walk000"]}
    root = foreign.released_sequences(tmp_path / "images", samples, samples)
    spoil, message = RELEASED[case]
    spoil(root)
    line = refused(capsys, tmp_path, generated="images", reference="")
    assert re.search(message, line), line
