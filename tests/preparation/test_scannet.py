"""A scene out of a .sens recording: against the renderer's export, with flaws, kills, labels."""

import importlib
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import exit_code_of
from sens_files import write_sens
from typer.testing import CliRunner

from mvdiffusion.cli import app
from mvdiffusion.data.scannet import ScanNetScene
from mvdiffusion.preparation import scannet as preparation
from mvdiffusion.preparation import units
from mvdiffusion.preparation.key_frames import write_key_frames
from mvdiffusion.preparation.rooms import WALKS, WalkSettings
from mvdiffusion.preparation.scannet import prepare_scene
from mvdiffusion.records import InputError, folder_sha256, read_json
from mvdiffusion.settings import parse

SIZE = {"height": 48, "width": 64, "overlap": 0.8}
FRAMES, NAME = 14, "scene0042_00"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A walk as the renderer exports it."""
    root = tmp_path_factory.mktemp("walks") / "data"
    sizes = {"num_frames": FRAMES, "height": 48, "width": 64}
    settings = {"seed": 4, "num_scenes": {"test": 1}, "overlap": 0.6, **sizes}
    WALKS.render(root, parse(WalkSettings, settings), workers=1)
    return root / "test" / "test-walk-00000"


def frames_of(scene: Path, color_scale: int = 1, depth_per_mm: int = 1) -> list[tuple]:
    """Color, depth and pose of each frame, with ever so large pixels of color."""
    found = []
    for number in range(FRAMES):
        color = np.asarray(Image.open(scene / f"color/{number}.jpg"))
        depth = np.asarray(Image.open(scene / f"depth/{number}.png")).astype(np.uint16)
        pose = np.loadtxt(scene / f"pose/{number}.txt")
        large = color.repeat(color_scale, 0).repeat(color_scale, 1)
        found.append((large, depth * np.uint16(depth_per_mm), pose))
    return found


def camera_of(scene: Path, scale: int = 1) -> np.ndarray:
    K = np.loadtxt(scene / "intrinsic/intrinsic_depth.txt")[:3, :3]
    move = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    return move @ K


def record(path: Path, scene: Path, frames: list[tuple] | None = None, **fields) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = frames_of(scene) if frames is None else frames
    write_sens(path, frames, **{"intrinsic_depth": camera_of(scene), **fields})
    return path


@pytest.fixture(scope="module")
def recording(exported, tmp_path_factory) -> Path:
    return record(tmp_path_factory.mktemp("sens") / f"{NAME}.sens", exported)


def test_prepared_scene_is_what_the_renderer_exports(exported, recording, tmp_path):
    prepare_scene(recording, tmp_path / NAME, NAME, SIZE)
    ours, theirs = ScanNetScene(tmp_path / NAME, 48, 64), ScanNetScene(exported, 48, 64)
    assert ours.valid_frames == theirs.valid_frames == list(range(FRAMES))
    assert ours.key_frames == write_key_frames(exported, 0.8)
    assert len(ours.key_frames) >= 3
    np.testing.assert_allclose(ours.K, theirs.K, rtol=1e-6)
    for number in range(FRAMES):
        depths = [Image.open(f / f"depth/{number}.png") for f in (ours.folder, exported)]
        np.testing.assert_array_equal(*[np.asarray(depth) for depth in depths])
        assert depths[0].mode == depths[1].mode  # of 16 bits
        poses = [np.loadtxt(f / f"pose/{number}.txt") for f in (ours.folder, exported)]
        np.testing.assert_array_equal(*[pose.astype(np.float32) for pose in poses])
        colors = [Image.open(f / f"color/{number}.jpg") for f in (ours.folder, exported)]
        difference = np.subtract(*[np.asarray(color, float) for color in colors])
        assert np.sqrt((difference**2).mean()) < 6  # of 255: two JPEGs more
    made = read_json(tmp_path / NAME / "prepared.json")
    assert made["skipped"] == []
    assert made["settings"] == {**SIZE, "jpeg_quality": 95, "frame_step": 1, "labels": None}
    assert "color/3.jpg" in made["files"]


def test_key_frames_chosen_while_writing_are_those_of_the_written_files(recording, tmp_path):
    for overlap in (0.4, 0.6, 0.8, 0.9):
        prepare_scene(recording, tmp_path / NAME, NAME, SIZE | {"overlap": overlap}, overwrite=True)
        found = ScanNetScene(tmp_path / NAME, 48, 64).key_frames
        assert found == write_key_frames(tmp_path / NAME, overlap)


def test_color_is_brought_onto_the_depth(exported, tmp_path):
    """Color of pixels three times as large averages back to itself."""
    fields = {"intrinsic_color": camera_of(exported, 3), "color_compression": "png"}
    source = record(tmp_path / "a.sens", exported, frames_of(exported, 3), **fields)
    prepare_scene(source, tmp_path / NAME, NAME, SIZE)
    assert Image.open(tmp_path / NAME / "color/5.jpg").size == (64, 48)
    found = np.asarray(Image.open(tmp_path / NAME / "color/5.jpg"), float)
    difference = found - frames_of(exported)[5][0]
    assert np.abs(difference).mean() < 1.5


def test_smaller_output_scales_depth_and_intrinsics(exported, recording, tmp_path):
    prepare_scene(recording, tmp_path / NAME, NAME, SIZE | {"height": 18, "width": 24})
    K, size = ScanNetScene(tmp_path / NAME, 18, 24).K.numpy(), 24 / 64
    old = camera_of(exported)
    np.testing.assert_allclose(K[:2, 2], (old[:2, 2] + 0.5) * size - 0.5, rtol=1e-6)
    np.testing.assert_allclose(K[[0, 1], [0, 1]], old[[0, 1], [0, 1]] * size, rtol=1e-6)
    depth = np.asarray(Image.open(tmp_path / NAME / "depth/2.png"))
    full = frames_of(exported)[2][1]
    rows = np.floor((np.arange(18) + 0.5) * 48 / 18).astype(int)
    columns = np.floor((np.arange(24) + 0.5) * 64 / 24).astype(int)
    np.testing.assert_array_equal(depth, full[rows][:, columns])


def test_depth_of_another_unit_becomes_millimeters(exported, tmp_path):
    frames = frames_of(exported, depth_per_mm=4)
    frames[0][1][0, :3] = [1, 2, 6]  # of a quarter of a millimeter: rounded half up
    source = record(tmp_path / "a.sens", exported, frames, depth_shift=4000.0)
    prepare_scene(source, tmp_path / NAME, NAME, SIZE)
    expected = frames_of(exported)
    for number in (0, 9):
        depth = np.asarray(Image.open(tmp_path / NAME / f"depth/{number}.png"))
        np.testing.assert_array_equal(depth[1:], expected[number][1][1:])
    assert np.asarray(Image.open(tmp_path / NAME / "depth/0.png"))[0, :3].tolist() == [0, 1, 2]
    coarse = [(color, np.full((48, 64), 700, np.uint16), pose) for color, _, pose in expected]
    coarse[0][1][0, 0] = 60  # 6 m of 10 cm each; 70 m are beyond 16 bits of millimeters
    source = record(tmp_path / "b.sens", exported, coarse[:1], depth_shift=10.0)
    prepare_scene(source, tmp_path / "b", "b", SIZE)
    depth = np.asarray(Image.open(tmp_path / "b/depth/0.png"))
    assert depth[0, 0] == 6000
    assert np.count_nonzero(depth) == 1


@pytest.mark.parametrize("shift", [1000.0, 5000.0])
def test_saturated_depth_is_none(exported, tmp_path, shift):
    color, depth, pose = frames_of(exported)[0]
    depth[0, 0] = 65535
    source = record(tmp_path / "a.sens", exported, [(color, depth, pose)], depth_shift=shift)
    prepare_scene(source, tmp_path / NAME, NAME, SIZE)
    written = np.asarray(Image.open(tmp_path / NAME / "depth/0.png"))
    expected = np.floor(depth.astype(float) * 1000 / shift + 0.5)
    assert written[0, 0] == 0
    np.testing.assert_array_equal(written.ravel()[1:], expected.ravel()[1:])


def spoilt_frames(exported: Path) -> list[tuple]:
    frames = frames_of(exported)

    def spoil(number: int, color=None, depth=None, pose=None) -> None:
        new = (color, depth, pose)
        frames[number] = tuple(
            old if given is None else given for old, given in zip(frames[number], new, strict=True)
        )

    spoil(1, pose=np.full((4, 4), -np.inf))
    spoil(2, pose=np.where(np.eye(4) == 1, np.nan, 0))
    spoil(4, pose=np.diag([1.0, 1, 0, 1]))  # singular
    spoil(5, pose=np.diag([2.0, 2, 2, 1]))  # not rigid
    spoil(7, color=b"\xff\xd8\xff\xe0 no picture")
    spoil(8, depth=np.zeros((48, 64), np.uint16))
    spoil(11, depth=b"\x78\x9c no stream")
    return frames


def test_frames_that_cannot_be_used_are_listed(exported, tmp_path):
    source = record(tmp_path / f"{NAME}.sens", exported, spoilt_frames(exported))
    prepare_scene(source, tmp_path / NAME, NAME, SIZE)
    skipped = read_json(tmp_path / NAME / "prepared.json")["skipped"]
    assert [(entry["frame"], entry["reason"]) for entry in skipped] == [
        (1, "the pose is not finite: tracking was lost"),
        (2, "the pose is not finite: tracking was lost"),
        (4, "the pose is no rigid motion"),
        (5, "the pose is no rigid motion"),
        (7, "color is not a whole JPEG"),
        (8, "no depth"),
        (11, "depth is not a zlib stream"),
    ]
    scene = ScanNetScene(tmp_path / NAME, 48, 64)
    assert scene.valid_frames == [0, 3, 6, 9, 10, 12, 13]
    assert scene.key_frames == write_key_frames(tmp_path / NAME, 0.8)
    scene.load(scene.valid_frames, prompts=["a"] * 7)
    for part in ("color", "depth", "pose"):
        found = sorted(int(path.stem) for path in (tmp_path / NAME / part).iterdir())
        assert found == [n for n in range(FRAMES) if n not in (7, 11)]


def test_every_so_many_frames(recording, tmp_path):
    prepare_scene(recording, tmp_path / NAME, NAME, SIZE | {"frame_step": 5})
    assert ScanNetScene(tmp_path / NAME, 48, 64).valid_frames == [0, 5, 10]
    assert len(list((tmp_path / NAME / "color").iterdir())) == 3


def test_workers_do_not_change_the_bytes(exported, tmp_path):
    source = record(tmp_path / f"{NAME}.sens", exported, spoilt_frames(exported))
    for workers in (1, 2, 5):
        prepare_scene(source, tmp_path / str(workers), NAME, SIZE, workers=workers)
    assert len({folder_sha256(tmp_path / str(workers)) for workers in (1, 2, 5)}) == 1


def test_done_already(recording, tmp_path, monkeypatch):
    prepare_scene(recording, tmp_path / NAME, NAME, SIZE)
    with monkeypatch.context() as forbidding:
        forbidding.setattr(preparation, "SensReader", None)
        prepare_scene(recording, tmp_path / NAME, NAME, SIZE, workers=2)
        with pytest.raises(InputError, match=r"other settings \(settings\.jpeg_quality\)"):
            prepare_scene(recording, tmp_path / NAME, NAME, SIZE | {"jpeg_quality": 90})
    prepare_scene(recording, tmp_path / NAME, NAME, SIZE | {"jpeg_quality": 90}, overwrite=True)
    made = read_json(tmp_path / NAME / "prepared.json")
    assert made["settings"]["jpeg_quality"] == 90


def _killed_at(module_name: str, name: str, calls: int, *arguments) -> None:
    """Prepare a scene, and kill the process at a call of a function of a module."""
    module = importlib.import_module(module_name)
    function, count = getattr(module, name), [0]

    def kill(*given):
        count[0] += 1
        if count[0] > calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given)

    setattr(module, name, kill)
    prepare_scene(*arguments)


@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [
        (preparation, "_write_frame", 0),
        (preparation, "_png", 6),  # between color and depth of a frame
        (preparation, "write_lists", 0),
        (units, "write_json", 0),
    ],
)
def test_killed_and_started_again(recording, tmp_path, module, name, calls):
    prepare_scene(recording, tmp_path / "whole" / NAME, NAME, SIZE)
    output = tmp_path / "killed" / NAME
    arguments = (module.__name__, name, calls, recording, output, NAME, SIZE, None, 2)
    assert exit_code_of(_killed_at, *arguments) == -signal.SIGKILL
    assert not output.exists()
    assert list(output.parent.iterdir()) != []  # what the kill left behind
    prepare_scene(recording, output, NAME, SIZE, workers=2)
    assert folder_sha256(output) == folder_sha256(tmp_path / "whole" / NAME)
    assert list(output.parent.iterdir()) == [output]


def write_labels(folder: Path, keys: str | None, valid: list[int] | None) -> Path:
    scene = folder / "scannet_test" / NAME
    (scene / "prompt").mkdir(parents=True)
    (scene / "prompt/3.txt").write_text("a chair\n")
    if keys is not None:
        (scene / "key_frame_0.6.txt").write_text(keys)
    if valid is not None:
        np.save(scene / "valid_frames.npy", np.array(valid))
    return folder


def test_labels_replace_what_would_be_made(exported, tmp_path):
    source = record(tmp_path / f"{NAME}.sens", exported, spoilt_frames(exported))
    keys, valid = "color/0.jpg\ncolor/3.jpg\ncolor/4.jpg\ncolor/9.jpg\ncolor/99.jpg\n", [0, 1, 3, 6]
    labels = write_labels(tmp_path / "labels", keys, valid)
    prepare_scene(source, tmp_path / NAME, NAME, SIZE, labels)
    scene = ScanNetScene(tmp_path / NAME, 48, 64)
    assert scene.valid_frames == [0, 3, 6, 9]  # 1 has no pose; 9 is a key frame
    assert scene.key_frames == [0, 3, 9]  # 4 has no pose, and there is no 99
    assert (tmp_path / NAME / "prompt/3.txt").read_text() == "a chair\n"
    made = read_json(tmp_path / NAME / "prepared.json")
    assert len(made["settings"]["labels"]) == 64
    reasons = {entry["frame"]: entry["reason"] for entry in made["skipped"]}
    assert reasons[4] == "the pose is no rigid motion"
    assert reasons[99] == "a key frame of the labels, not in the recording"


def test_labels_that_hold_a_part(recording, tmp_path):
    prepare_scene(recording, tmp_path / "own", NAME, SIZE)
    own = ScanNetScene(tmp_path / "own", 48, 64)
    prepare_scene(recording, tmp_path / "a", NAME, SIZE, write_labels(tmp_path / "1", None, None))
    captioned = ScanNetScene(tmp_path / "a", 48, 64)
    assert (captioned.key_frames, captioned.valid_frames) == (own.key_frames, own.valid_frames)
    odd = list(range(1, FRAMES, 2))
    prepare_scene(recording, tmp_path / "b", NAME, SIZE, write_labels(tmp_path / "2", None, odd))
    of_odd = ScanNetScene(tmp_path / "b", 48, 64)
    assert of_odd.valid_frames == odd
    assert set(of_odd.key_frames) <= set(odd)
    assert of_odd.key_frames[0] == 1
    steps = SIZE | {"frame_step": 4}
    prepare_scene(recording, tmp_path / "c", NAME, steps, write_labels(tmp_path / "3", "3\n", None))
    stepped = ScanNetScene(tmp_path / "c", 48, 64)
    assert (stepped.key_frames, stepped.valid_frames) == ([3], [0, 3, 4, 8, 12])
    with pytest.raises(InputError, match=r"none of its 14 frames can be used; .*labels"):
        prepare_scene(
            recording, tmp_path / "d", NAME, SIZE, write_labels(tmp_path / "4", "70\n", None)
        )
    prepare_scene(recording, tmp_path / "e", "scene0001_00", SIZE, tmp_path / "1")  # none of it
    assert read_json(tmp_path / "e/prepared.json")["settings"]["labels"] is None


@pytest.mark.parametrize(
    ("settings", "fields", "message"),
    [
        (
            {"overlap": 65.0},
            {},
            r"setting 'overlap' is 65\.0; expected a number, above 0 and below 1",
        ),
        ({"frame_step": 0}, {}, "setting 'frame_step' is 0; expected a whole number"),
        ({"hight": 3}, {}, r"unknown setting 'hight'; did you mean 'height'"),
        ({"height": 480, "width": 640}, {}, r"depth of 48 x 64 pixels, but height and width ask"),
        ({"height": 48, "width": 48}, {}, r"but 48 x 48 for height and width; expected equal prop"),
        ({}, {"intrinsic_color": np.diag([90.0, 90, 1])}, r"expected the same field of view"),
        ({}, {"intrinsic_color": np.zeros((3, 3))}, r"its intrinsics of color are .*expected"),
        ({}, {"intrinsic_depth": np.full((3, 3), np.nan)}, r"intrinsics of (color|depth) are"),
    ],
)
def test_recordings_that_do_not_fit(exported, tmp_path, settings, fields, message):
    source = record(tmp_path / "a.sens", exported, frames_of(exported)[:2], **fields)
    with pytest.raises(InputError, match=message):
        prepare_scene(source, tmp_path / NAME, NAME, SIZE | settings)
    assert not (tmp_path / NAME).exists()


def test_color_of_another_shape_and_unusable_recordings(exported, tmp_path):
    wide = [(color[:24], depth, pose) for color, depth, pose in frames_of(exported)[:2]]
    source = record(tmp_path / "a.sens", exported, wide)
    with pytest.raises(InputError, match=r"depth of 48 x 64 pixels, but 24 x 64 for color"):
        prepare_scene(source, tmp_path / NAME, NAME, SIZE)
    lost = [(color, depth, np.full((4, 4), np.nan)) for color, depth, _ in frames_of(exported)[:2]]
    source = record(tmp_path / "b.sens", exported, lost)
    with pytest.raises(InputError, match=r"none of its 2 frames .*frame 0: the pose is not finite"):
        prepare_scene(source, tmp_path / NAME, NAME, SIZE)
    with pytest.raises(InputError, match=r"c\.sens: no such file"):
        prepare_scene(tmp_path / "c.sens", tmp_path / NAME, NAME, SIZE)
    with pytest.raises(InputError, match=r"workers: found 0; expected 1 or more"):
        prepare_scene(source, tmp_path / NAME, NAME, SIZE, workers=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sens", "b.sens"]


def test_key_frames_that_are_there_are_kept(exported, tmp_path):
    scene = shutil.copytree(exported, tmp_path / "scene", ignore=shutil.ignore_patterns("*.old*"))
    other = shutil.copytree(scene, tmp_path / "other")
    (other / "key_frame_0.6.txt").unlink()
    labels = scene / "key_frame_0.6.txt"
    labels.write_text("0\n3\n9\n")  # stands for the authors' labels
    before = folder_sha256(tmp_path)
    words = ["data", "key-frames", "--scene", str(other), "--scene", str(scene)]
    refused = CliRunner().invoke(app, words)
    assert "exists already; pass --list to print" in str(refused.exception)
    listed = CliRunner().invoke(app, [*words, "--list"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[-3:]] == ["0", "3", "9"]
    again = CliRunner().invoke(app, [*words[:3], str(scene), "--list", "--overwrite"])
    assert folder_sha256(tmp_path) == before
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
    chosen = [line.split()[0] for line in again.stdout.splitlines()[1:]]
    assert labels.read_text().split() == chosen != ["0", "3", "9"]
    assert labels.with_name("key_frame_0.6.txt.old").read_text() == "0\n3\n9\n"
