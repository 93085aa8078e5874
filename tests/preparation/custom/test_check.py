"""The dry check: every problem with its file, all at once; what is recognized; exit codes."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mvdiffusion.cli import app
from mvdiffusion.images import save_depth
from mvdiffusion.preparation.custom.check import CheckSettings, recognize, survey
from mvdiffusion.preparation.custom.problems import Problem, from_error, grouped
from mvdiffusion.records import InputError

FACES = ("up", "left", "front", "right", "back", "down")


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_recording(folder: Path, count: int = 4, step: float = 0.05) -> Path:
    """A camera that slides along a wall 2 m away."""
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    K = [[32, 0, 15.5], [0, 32, 11.5], [0, 0, 1]]
    np.savetxt(folder / "intrinsic/intrinsic_depth.txt", K)
    for frame in range(count):
        picture(32, 24).save(folder / f"color/{frame}.jpg")
        save_depth(np.full((24, 32), 2.0), folder / f"depth/{frame}.png")
        pose = np.eye(4)
        pose[0, 3] = step * frame
        np.savetxt(folder / f"pose/{frame}.txt", pose)
    return folder


def write_cube(folder: Path, name: str, size: int = 16) -> None:
    for face in FACES:
        picture(size, size).save(folder / f"{name}_{face}.png")


def found(folder: Path, **settings) -> dict[str, str]:
    """Problems and notes, by file."""
    problems = survey(folder, CheckSettings(**settings)).problems
    table: dict[str, str] = {}
    for problem in problems:
        assert problem.fix
        word = problem.problem if problem.stops else f"note: {problem.problem}"
        table[problem.file] = f"{table[problem.file]} | {word}" if problem.file in table else word
    return table


def test_every_problem_of_panoramas_at_once(tmp_path):
    picture(128, 64).save(tmp_path / "good.png")
    picture(136, 68).convert("L").save(tmp_path / "gray.png")
    picture(128, 60).save(tmp_path / "wrong.png")
    picture(32, 16).save(tmp_path / "tiny.png")
    picture(132, 66).save(tmp_path / "odd.png")
    picture(128, 64, "CMYK").save(tmp_path / "print.jpg")
    transparent = picture(128, 64, "RGBA")
    transparent.save(tmp_path / "opaque.png")
    transparent.putalpha(100)
    transparent.save(tmp_path / "alpha.png")
    Image.fromarray(np.full((64, 128), 999, np.uint16)).save(tmp_path / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(128, 64).save(tmp_path / "turned.jpg", exif=turned)
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    picture(128, 64).save(tmp_path / "cut_too.jpg")
    jpeg = (tmp_path / "cut_too.jpg").read_bytes()
    (tmp_path / "cut_too.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "zero.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "camera.heic").touch()
    (tmp_path / "a b.png").write_bytes(whole)
    (tmp_path / "a-b.png").write_bytes(whole)
    (tmp_path / "---.png").write_bytes(whole)
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "up").symlink_to(tmp_path)
    table = found(tmp_path, kind="panoramas")
    expected = {
        "wrong.png": "128 x 60 pixels, not twice as wide as high",
        "tiny.png": "32 x 16 pixels: too small",
        "odd.png": "note: 132 x 66 pixels: a quarter of the width is not even and is rounded",
        "gray.png": "note: grayscale",
        "print.jpg": "CMYK (print) colors",
        "opaque.png": "note: an alpha channel",
        "alpha.png": "transparent pixels",
        "deep.png": "one channel of more than 8 bits (mode I;16), as depth has",
        "turned.jpg": "rotated by EXIF orientation 6",
        "cut.png": "a truncated or broken image",
        "cut_too.jpg": "a truncated or broken image",
        "zero.jpg": "zero bytes",
        "text.jpg": "not an image",
        "camera.heic": "an unsupported image format (.heic)",
        "a-b.png": "has the same id 'a-b' as a b.png",
        "---.png": "no letter or digit in its name",
        "gone.png": "a link to a file that is not there",
        "loop.png": "a link that leads back to itself",
        "pipe.png": "not a regular file",
        "up": "note: a linked folder, which is not searched",
    }
    assert {file: table.get(file) for file in expected} == expected
    assert set(table) - set(expected) == {"."}
    assert "note: panoramas of 5 sizes" in table["."]
    assert "note: no captions" in table["."]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    picture(128, 64).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert found(tmp_path, kind="panoramas")["a.png"] == "may not be read"


def test_a_refused_file_is_told_from_a_missing_one(tmp_path, monkeypatch):
    picture(128, 64).save(tmp_path / "a.png")

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    problem, *_ = survey(tmp_path, CheckSettings(kind="panoramas", caption="x")).problems
    assert (problem.file, problem.problem) == ("a.png", "may not be read")


def test_every_problem_of_faces_at_once(tmp_path):
    write_cube(tmp_path, "good")
    write_cube(tmp_path, "gap")
    (tmp_path / "gap_up.png").unlink()
    (tmp_path / "gap_back.png").unlink()
    write_cube(tmp_path, "flat")
    picture(16, 12).save(tmp_path / "flat_left.png")
    write_cube(tmp_path, "mixed")
    picture(18, 18).save(tmp_path / "mixed_down.png")
    write_cube(tmp_path, "twice")
    picture(16, 16).save(tmp_path / "twice_front.jpg")
    picture(16, 16).save(tmp_path / "logo.png")
    (tmp_path / "good").mkdir()
    for face in FACES:
        picture(16, 16).save(tmp_path / "good" / f"{face}.png")
    table = found(tmp_path, kind="faces", caption="a room")
    assert table["gap_down.png"] == "'gap' lacks up, back"
    assert table["flat_left.png"] == "16 x 12 pixels: not square"
    assert table["mixed_down.png"].startswith("18 x 18 pixels, but mixed_up.png has 16 x 16")
    assert "the same face of 'twice' as twice_front.jpg" in table["twice_front.png"]
    assert table["logo.png"] == "note: not named as a cube face; left out"
    assert "has the same id 'good'" in " ".join(table.values())
    assert len(table) == 6


def test_every_problem_of_a_recording_at_once(tmp_path):
    scene = write_recording(tmp_path / "room", 16)
    (scene / "depth/0.png").unlink()
    (scene / "color/1.jpg").unlink()
    (scene / "pose/2.txt").unlink()
    pose = np.eye(4)
    np.savetxt(scene / "pose/3.txt", np.eye(3))
    (scene / "pose/4.txt").write_text("one two\n")
    np.savetxt(scene / "pose/5.txt", np.full((4, 4), np.nan))
    np.savetxt(scene / "pose/6.txt", np.diag([2.0, 2, 2, 1]))
    np.savetxt(scene / "pose/7.txt", np.diag([1.0, -1, 1, 1]))
    pose[3, 0] = 1
    np.savetxt(scene / "pose/8.txt", pose)
    picture(32, 24, "L").save(scene / "depth/9.png")
    save_depth(np.zeros((24, 32)), scene / "depth/10.png")
    picture(32, 24).save(scene / "depth/11.tif")
    (scene / "depth/11.png").unlink()
    save_depth(np.full((24, 24), 2.0), scene / "depth/12.png")
    picture(32, 24).save(scene / "color/first.jpg")
    picture(32, 24).save(scene / "color/013.jpg")
    table = found(scene)
    expected = {
        "color/0.jpg": "this frame has no depth image",
        "depth/1.png": "this frame has no color image",
        "color/2.jpg": "this frame has no pose",
        "pose/3.txt": "found [3, 3] numbers",
        "pose/4.txt": "could not convert string to float: 'one'",
        "pose/5.txt": "note: a pose with NaN or infinity (tracking lost)",
        "pose/6.txt": "a pose scaled by 2.00",
        "pose/7.txt": "a mirrored pose (left-handed axes)",
        "pose/8.txt": "a pose whose last row is not 0 0 0 1",
        "depth/9.png": "depth is not of 16 bits or more (one channel of 8 bits)",
        "depth/10.png": "note: no depth at all (all zero)",
        "depth/11.tif": "depth is not of 16 bits or more (3 channels of 8 bits)",
        "depth/12.png": "24 x 24 pixels, but the color image has 32 x 24 | "
        "depth of 24 x 24 pixels; other frames have 32 x 24",
        "color/first.jpg": "no frame number in its name",
        "color/13.jpg": "has the same id '13' as color/013.jpg",
        ".": "note: no captions",
    }
    assert table == expected


@pytest.mark.parametrize(
    ("K", "problem"),
    [
        ([[32, 0, 15.5], [0, 32, 11.5]], "Expected 3 x 3 or 4 x 4"),
        ([[-1, 0, 15.5], [0, 32, 11.5], [0, 0, 1]], "found [[-1.0"),
        ([[64, 0, 31.5], [0, 64, 23.5], [0, 0, 1]], "are not for 32 x 24 pixels"),
        (
            [[3200, 0, 15.5], [0, 3200, 11.5], [0, 0, 1]],
            "cannot be those of a camera of 32 x 24 pixels",
        ),
        ([[32, 3, 15.5], [0, 32, 11.5], [0, 0, 1]], "not a pinhole camera"),
    ],
)
def test_intrinsics(tmp_path, K, problem):
    scene = write_recording(tmp_path / "room")
    np.savetxt(scene / "intrinsic/intrinsic_depth.txt", K)
    stopping = survey(scene).stopping
    assert any(problem in f"{each.problem} {each.fix}" for each in stopping)


def test_intrinsics_of_the_color_stand_in_at_equal_sizes_only(tmp_path):
    scene = write_recording(tmp_path / "room")
    (scene / "intrinsic/intrinsic_depth.txt").rename(scene / "intrinsic/intrinsic_color.txt")
    assert not survey(scene).stopping
    for frame in range(4):
        picture(64, 48).save(scene / f"color/{frame}.jpg")
    first = survey(scene).stopping[0]
    assert (first.file, first.problem) == ("intrinsic/intrinsic_depth.txt", "no such file")


def test_units_overlap_and_poses_that_contradict_depth(tmp_path):
    scene = write_recording(tmp_path / "far", step=1.0)  # 45 % of a frame are in the next
    assert "consecutive frames share too little: every frame" in found(scene)["."]
    assert "too little" not in found(scene, overlap=0.4)["."]
    for frame in range(4):  # meters, written as they are: 0.002 m
        Image.fromarray(np.full((24, 32), 2, np.uint16)).save(scene / f"depth/{frame}.png")
    assert "the median depth is 0.002 m" in found(scene)["."]
    scene = write_recording(tmp_path / "slope", 12)
    for frame in range(12):  # a wall at 45°: depth falls as the camera moves along it
        ray = (np.arange(32) - 15.5) / 32
        depth = (2 - 0.05 * frame) / (1 + np.tile(ray, (24, 1)))
        save_depth(depth, scene / f"depth/{frame}.png")
    assert "contradict" not in found(scene)["."]
    for frame in range(12):
        pose = np.loadtxt(scene / f"pose/{frame}.txt")
        np.savetxt(scene / f"pose/{frame}.txt", np.linalg.inv(pose))
    assert "depth and poses contradict each other" in found(scene)["."]
    scene = write_recording(tmp_path / "flat", 8, step=0.2)
    # A frame further, the wall moves by 3.2 of 32 pixels: three steps leave 66 %, four 57 %.
    assert "note: 3 key frames; a sequence of 8" in found(scene)["."]


def test_too_few_frames(tmp_path):
    scene = write_recording(tmp_path / "room", 1)
    assert "1 of 1 frames" in found(scene)["."]
    for part in ("color/0.jpg", "depth/0.png", "pose/0.txt"):
        (scene / part).unlink()
    assert "0 of 0 frames" in found(scene)["."]


def test_folders_that_hold_a_recording_are_not_searched_for_others(tmp_path):
    """A list of thousands of frames is not looked through, and nothing in it is a recording."""
    write_recording(tmp_path / "a")
    write_recording(tmp_path / "a/color/old")
    assert [recording.name for recording, *_ in survey(tmp_path).recordings] == ["a"]
    assert [recording.name for recording, *_ in survey(tmp_path / "a").recordings] == ["a"]


def test_what_is_recognized(tmp_path):
    assert recognize(tmp_path) == []
    assert found(tmp_path) == {".": "an empty folder"}
    (tmp_path / "notes.txt").write_text("x")
    assert found(tmp_path) == {".": "no images, recording or model found"}
    picture(128, 64).save(tmp_path / "house_front.png")
    assert recognize(tmp_path) == ["panoramas"]
    write_cube(tmp_path, "room")
    assert recognize(tmp_path) == ["faces", "panoramas"]
    assert found(tmp_path)["."].startswith("could be faces (cube faces) or panoramas")
    (tmp_path / "house_front.png").unlink()
    assert recognize(tmp_path) == ["faces"]
    write_recording(tmp_path / "scans" / "a")
    assert recognize(tmp_path / "scans") == recognize(tmp_path / "scans/a") == ["rgbd"]
    assert recognize(tmp_path) == ["rgbd"]
    (tmp_path / "transforms.json").write_text("{}")
    (tmp_path / "sparse").mkdir()
    (tmp_path / "sparse/cameras.txt").touch()
    assert recognize(tmp_path) == ["rgbd", "transforms", "colmap"]


def test_captions(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    picture(128, 64).save(images / "a.png")
    picture(128, 64).save(images / "b.png")
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_bytes(b"\xff\xfe\x00")
    (texts / "b.txt").write_text("\n")
    table = found(images, captions=texts)
    assert "not UTF-8" in table[str(texts / "a.txt")]
    assert "the first line is empty" in table[str(texts / "b.txt")]
    (tmp_path / "texts.json").write_text(json.dumps({"a.png": "a room", "b": " "}))
    table = found(images, captions=tmp_path / "texts.json")
    assert table["b.png"] == "no caption for this image"
    assert "the caption of 'b' is ' '" in table[str(tmp_path / "texts.json")]
    assert found(images, caption="a room") == {}
    for options in (
        {"caption": " "},
        {"caption": "a", "captions": texts},
        {"captions": images / "x"},
    ):
        with pytest.raises(InputError, match="--caption"):
            survey(images, CheckSettings(**options))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "video"}, "setting 'kind' is 'video'; expected one of 'panoramas'"),
        ({"overlap": 1.0}, r"setting 'overlap' is 1\.0; expected a number, above 0 and below 1"),
        ({"scale": 0.0}, r"setting 'scale' is 0\.0; expected a number, above 0"),
        ({"scale": 2.0}, "--scale: .* leave the option out"),
    ],
)
def test_settings(tmp_path, settings, message):
    picture(128, 64).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        survey(tmp_path, CheckSettings(**settings))


def test_data_in_the_projects_layouts(tmp_path):
    images = tmp_path / "house/matterport_skybox_images"
    images.mkdir(parents=True)
    entries = [
        [f"house/{images.name}/{name}_skybox{i}_sami.jpg" for i in range(6)] for name in "ab"
    ]
    for name in (tmp_path / file for entry in entries for file in entry):
        picture(16, 16).save(name)
    np.save(tmp_path / "test.npy", np.asarray(entries))
    (tmp_path / "house/blip3").mkdir()
    for degrees in range(0, 360, 45):
        for name in "ab":
            (tmp_path / f"house/blip3/{name}_{degrees}.txt").write_text("a room\n")
    assert found(tmp_path) == {}
    (tmp_path / "house/blip3/a_45.txt").unlink()
    (tmp_path / "house/blip3/a_90.txt").write_text("")
    table = found(tmp_path)
    assert table.pop("house/blip3/a_45.txt") == "note: no caption"
    assert table.pop("house/blip3/a_90.txt") == "the first line is empty"
    assert table == {}
    (tmp_path / entries[0][3]).unlink()
    picture(16, 15).save(tmp_path / entries[1][2])
    record = {"files": {f"{images.name}/b_skybox4_sami.jpg": "0" * 64}}
    (tmp_path / "house/prepared.json").write_text(json.dumps(record))
    assert found(tmp_path) == {
        entries[0][3]: "no such file",
        entries[1][2]: "16 x 15 pixels: not square",
        entries[1][4]: "not the file that was prepared",
    }
    (tmp_path / "test.npy").write_text("no array")
    assert "not an array of text" in found(tmp_path)["test.npy"]


def test_a_list_that_leads_outside_is_not_followed(tmp_path):
    outside = [f"../x/matterport_skybox_images/a_skybox{i}_sami.jpg" for i in range(6)]
    np.save(tmp_path / "test.npy", np.asarray([outside]))
    assert "leads outside" in found(tmp_path)["test.npy"]


def test_key_frames_of_a_prepared_scene(tmp_path):
    scene = write_recording(tmp_path / "test" / "room")
    np.save(scene / "valid_frames.npy", np.arange(3))
    (scene / "key_frame_0.6.txt").write_text("0\n3\n")
    (scene / "prompt").mkdir()
    for frame in range(4):
        (scene / f"prompt/{frame}.txt").write_text("a wall\n")
    assert "key frame 3 is not in" in found(tmp_path)["test/room/key_frame_0.6.txt"]
    (scene / "key_frame_0.6.txt").write_text("0\n2\n")
    assert set(found(tmp_path)) == {"test/room"}  # the note that it is short


def test_errors_become_problems_and_equal_ones_share_a_row(tmp_path):
    error = InputError(f"{tmp_path / 'a.txt'}: it is bad; expected better. Fix it.")
    assert from_error(error).named_in(tmp_path) == Problem(
        "a.txt", "it is bad", "Expected better. Fix it."
    )
    problems = [Problem(f"{i}.png", "bad", "fix", i != 4) for i in range(6)]
    assert [files for files, _ in grouped(problems)] == ["0.png\n… and 4 more\n5.png", "4.png"]


def test_exit_codes(tmp_path):
    picture(128, 64).save(tmp_path / "a.png")
    run = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert run.exit_code == 0
    assert "panoramas: 1, scenes: 1, faces of 32 pixels" in run.output
    (tmp_path / "b.png").touch()
    run = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert run.exit_code == 1
    assert "zero bytes" in run.output
    run = CliRunner().invoke(
        app, ["data", "import", str(tmp_path), "--output", "x", "--split", "y"]
    )
    assert run.exit_code == 1
    assert not Path("x").exists()
    run = CliRunner().invoke(app, ["data", "check", str(tmp_path / "none")])
    assert isinstance(run.exception, InputError)  # `main` makes it exit code 2
    assert "not a folder that can be read" in str(run.exception)


def test_the_source_is_not_touched(tmp_path):
    scene = write_recording(tmp_path / "room")
    before = {path: path.stat().st_mtime_ns for path in scene.rglob("*")}
    survey(scene)
    assert {path: path.stat().st_mtime_ns for path in scene.rglob("*")} == before
    shutil.rmtree(scene)
