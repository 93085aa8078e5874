"""transforms.json and COLMAP models: poses and K against closed forms; every message."""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from mvdiffusion.images import save_depth
from mvdiffusion.preparation.custom.check import CheckSettings, survey
from mvdiffusion.preparation.custom.layouts.colmap import find_colmap
from mvdiffusion.preparation.custom.layouts.transforms import find_transforms
from mvdiffusion.records import InputError

WIDTH, HEIGHT, FOCAL = 32, 24, 32.0


def poses(count: int = 3) -> list[np.ndarray]:
    """Camera-to-world, x right, y down, z forwards."""
    turns = Rotation.from_euler("xyz", np.random.default_rng(1).normal(0, 0.05, (count, 3)))
    found = []
    for frame, R in enumerate(turns.as_matrix()):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = R, [0.05 * frame, 0.01, 0.02 * frame]
        found.append(pose)
    return found


def write_images(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "depth" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), "red").save(folder / "images" / name)
        depth = np.full((HEIGHT, WIDTH), 2.0)
        save_depth(depth, (folder / "depth" / name).with_suffix(".png"))


def transforms(folder: Path, **changes) -> dict:
    """A recording as nerfstudio writes it; OpenGL axes: y and z are turned round."""
    names = [f"frame_{10 * frame:05d}" for frame in range(3)]
    write_images(folder, [f"{name}.jpg" for name in names])
    frames = [
        {
            "file_path": f"images/{name}.jpg",
            "depth_file_path": f"depth/{name}.png",
            "transform_matrix": np.column_stack(
                [pose[:, 0], -pose[:, 1], -pose[:, 2], pose[:, 3]]
            ).tolist(),
        }
        for name, pose in zip(names, poses(), strict=True)
    ]
    meta = {
        "fl_x": FOCAL,
        "fl_y": FOCAL,
        "cx": WIDTH / 2,
        "cy": HEIGHT / 2,
        "w": WIDTH,
        "h": HEIGHT,
        "frames": frames,
        **changes,
    }
    (folder / "transforms.json").write_text(json.dumps(meta))
    return meta


def rewrite(folder: Path, meta: dict) -> None:
    (folder / "transforms.json").write_text(json.dumps(meta))


def problems_of(folder: Path) -> dict[str, str]:
    return {each.file: each.problem for each in survey(folder).stopping}


def test_transforms(tmp_path):
    transforms(tmp_path)
    recording, problems = find_transforms(tmp_path)
    assert problems == []
    assert [frame.number for frame in recording.frames] == [0, 10, 20]
    assert recording.depth_unit == 0.001
    for frame, pose in zip(recording.frames, poses(), strict=True):
        assert np.allclose(frame.pose, pose, atol=1e-12)
        # The middle of an image of 32 pixels is 15.5 when pixel centers are integers.
        assert np.allclose(frame.K, [[FOCAL, 0, 15.5], [0, FOCAL, 11.5], [0, 0, 1]])
    assert not survey(tmp_path).stopping


def test_transforms_project_points_as_opengl_does(tmp_path):
    """A point seen at a pixel by the file's own convention is seen there by ours."""
    meta = transforms(tmp_path)
    point = np.array([0.3, -0.2, 2.5, 1.0])
    frame = find_transforms(tmp_path)[0].frames[1]
    x, y, z, _ = np.linalg.inv(meta["frames"][1]["transform_matrix"]) @ point
    theirs = [FOCAL * x / -z + WIDTH / 2, FOCAL * -y / -z + HEIGHT / 2]
    ours = frame.K @ (np.linalg.inv(frame.pose) @ point)[:3]
    assert np.allclose(ours[:2] / ours[2] + 0.5, theirs)


def test_transforms_of_frames_override_and_scale(tmp_path):
    meta = transforms(tmp_path, depth_unit_scale_factor=0.01)
    meta["frames"][2] |= {"fl_x": 33.0, "file_path": "images/frame_00020"}
    rewrite(tmp_path, meta)
    recording = find_transforms(tmp_path)[0].adjusted(scale=2.0, depth_unit=None)
    assert recording.depth_unit == 0.01
    assert [frame.K[0, 0] for frame in recording.frames] == [32, 32, 33]
    assert recording.frames[2].color == tmp_path / "images/frame_00020.jpg"
    assert np.allclose(recording.frames[2].pose[:3, 3], 2 * poses()[2][:3, 3])
    assert np.allclose(recording.frames[2].pose[:3, :3], poses()[2][:3, :3])


def test_world_axes_do_not_matter(tmp_path):
    meta = transforms(tmp_path)
    turn = np.array([[0, 1, 0, 3], [0, 0, -1, 4], [-1, 0, 0, 5], [0, 0, 0, 1.0]])
    for frame in meta["frames"]:
        frame["transform_matrix"] = (turn @ frame["transform_matrix"]).tolist()
    rewrite(tmp_path, meta)
    first, _, last = find_transforms(tmp_path)[0].frames
    expected = np.linalg.inv(poses()[0]) @ poses()[2]
    assert np.allclose(np.linalg.inv(first.pose) @ last.pose, expected)


def test_a_frame_that_is_listed_twice_is_no_second_frame(tmp_path):
    meta = transforms(tmp_path)
    rewrite(tmp_path, meta | {"frames": [*meta["frames"], meta["frames"][0]]})
    told = {(each.file, each.problem) for each in survey(tmp_path).stopping}
    assert told == {(meta["frames"][0]["file_path"], "listed 2 times in transforms.json")}


def test_every_problem_of_transforms_at_once(tmp_path):
    meta = transforms(tmp_path)
    one, two, three = meta["frames"]
    del one["file_path"], one["depth_file_path"]
    two["transform_matrix"] = [[1, 0, 0, 0]]
    two["k1"] = 0.1
    three["depth_file_path"] = "depth/none.png"
    rewrite(tmp_path, meta | {"depth_unit_scale_factor": "mm"})
    stopping = {(each.file, each.problem) for each in survey(tmp_path).stopping}
    assert stopping >= {
        ("transforms.json: frames[0]", "file_path is missing"),
        ("transforms.json: frames[0]", "depth_file_path is missing"),
        ("transforms.json: frames[1]", "transform_matrix is not 4 x 4 numbers"),
        ("transforms.json: frames[1]", "a distorted camera (k1)"),
        ("transforms.json", "depth_unit_scale_factor is 'mm'"),
        ("depth/none.png", "no such file"),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a mapping"),
        ("[" * 100_000, "not valid JSON"),
        ("{}", "no list of frames"),
        ('{"frames": [1]}', "no list of frames"),
        ('{"frames": []}', "lists no frames"),
    ],
)
def test_transforms_that_are_none(tmp_path, text, problem):
    (tmp_path / "transforms.json").write_text(text)
    assert problem in problems_of(tmp_path)["transforms.json"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"fl_x": None}, "fl_x is None"),
        ({"w": 0}, "w is 0"),
        ({"cx": True}, "cx is True"),
        ({"camera_model": "OPENCV_FISHEYE"}, "a distorted camera (OPENCV_FISHEYE)"),
        ({"fl_y": float("nan")}, "fl_y is nan"),
    ],
)
def test_keys_of_transforms(tmp_path, changes, problem):
    transforms(tmp_path, **changes)
    assert problems_of(tmp_path)["transforms.json: frames[0]"] == problem


def test_transforms_for_another_size(tmp_path):
    meta = transforms(tmp_path)
    twice = {key: 2 * meta[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    rewrite(tmp_path, meta | twice)  # images at half the size that the numbers are for
    found = survey(tmp_path)
    assert not found.stopping
    look = found.recordings[0][1][0]
    assert np.allclose(look.K, [[FOCAL, 0, 15.5], [0, FOCAL, 11.5], [0, 0, 1]])
    rewrite(tmp_path, meta | {"cx": 160.0})
    assert "are not for 32 x 24 pixels" in "".join(problems_of(tmp_path).values())


def colmap(folder: Path, model: str = "PINHOLE 32 24 32 32 16 12", names: str = "a/{}.jpg") -> Path:
    """A text model as COLMAP writes it: world-to-camera, quaternion first."""
    files = [names.format(10 * frame) for frame in range(3)]
    write_images(folder, files)
    sparse = folder / "sparse/0"
    sparse.mkdir(parents=True)
    (sparse / "cameras.txt").write_text(f"# cameras\n1 {model}\n")
    (sparse / "points3D.txt").touch()
    lines = []
    for image, (name, pose) in enumerate(zip(files, poses(), strict=True), 1):
        inverse = np.linalg.inv(pose)
        x, y, z, w = Rotation.from_matrix(inverse[:3, :3]).as_quat()
        numbers = " ".join(repr(float(value)) for value in (w, x, y, z, *inverse[:3, 3]))
        lines.append(f"{image} {numbers} 1 {name}\n\n")
    (sparse / "images.txt").write_text("".join(lines))
    return sparse


def check_colmap(folder: Path, scale: float = 1.0) -> None:
    recording, problems = find_colmap(folder)
    assert problems == []
    recording = recording.adjusted(scale, depth_unit=None)
    assert [frame.number for frame in recording.frames] == [0, 10, 20]
    for frame, pose in zip(recording.frames, poses(), strict=True):
        expected = pose.copy()
        expected[:3, 3] *= scale
        assert np.allclose(frame.pose, expected, atol=1e-12)
        assert np.allclose(frame.K, [[FOCAL, 0, 15.5], [0, FOCAL, 11.5], [0, 0, 1]])
        assert frame.size == (HEIGHT, WIDTH)
        assert frame.color.is_file()
        assert frame.depth.is_file()


@pytest.mark.parametrize("model", ["PINHOLE 32 24 32 32 16 12", "SIMPLE_PINHOLE 32 24 32 16 12"])
def test_colmap(tmp_path, model):
    colmap(tmp_path, model)
    check_colmap(tmp_path)
    check_colmap(tmp_path, scale=0.5)
    found = survey(tmp_path, CheckSettings(caption="x"))
    assert (found.kind, found.stopping) == ("colmap", [])


@pytest.mark.parametrize("place", [".", "sparse"])
def test_colmap_binary_model_in_other_places(tmp_path, place):
    """Files written here, byte by byte, as COLMAP's format says."""
    colmap(tmp_path)
    sparse = tmp_path / "sparse/0"
    images = [line.split() for line in (sparse / "images.txt").read_text().split("\n\n") if line]
    for path in sparse.iterdir():
        path.unlink()
    sparse.rmdir()
    target = tmp_path / place
    camera = struct.pack("<Q", 1) + struct.pack("<IiQQ4d", 1, 1, 32, 24, 32, 32, 16, 12)
    (target / "cameras.bin").write_bytes(camera)
    (target / "points3D.bin").write_bytes(struct.pack("<Q", 0))
    records = [
        struct.pack("<I7dI", int(i), *map(float, numbers), 1)
        + name.encode()
        + b"\0"
        + struct.pack("<Q", 0)
        for i, *numbers, _, name in images
    ]
    (target / "images.bin").write_bytes(struct.pack("<Q", 3) + b"".join(records))
    check_colmap(tmp_path)


def test_colmap_names_without_numbers_keep_their_order(tmp_path):
    colmap(tmp_path, names="x{}y/left.jpg")
    assert [frame.number for frame in find_colmap(tmp_path)[0].frames] == [0, 1, 2]


def test_problems_of_colmap(tmp_path):
    sparse = colmap(tmp_path, "SIMPLE_RADIAL 32 24 32 16 12 0.1")
    (tmp_path / "images/a/20.jpg").unlink()
    (tmp_path / "depth/a/10.png").unlink()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images/a/30.jpg")
    found = survey(tmp_path)
    table = {each.file: (each.problem, each.stops) for each in found.problems}
    assert table["sparse/0"] == ("a camera with distortion (SIMPLE_RADIAL)", True)
    assert table["images/a/20.jpg"] == ("no such file", True)
    assert table["depth/a/10.png"] == ("no such file", True)
    assert table["images/a/30.jpg"] == ("the model contains no pose of this image", False)
    (sparse / "cameras.txt").write_text("1 NONSENSE 1 1 1\n")
    assert "not a whole model" in problems_of(tmp_path)["sparse/0"]
    (sparse / "images.txt").unlink()
    assert "not a whole model" in problems_of(tmp_path)["sparse/0"]
    (sparse / "cameras.txt").unlink()
    found = survey(tmp_path, CheckSettings(kind="colmap"))
    assert "no COLMAP model" in [each.problem for each in found.stopping]


def test_a_cut_off_binary_model_is_one_problem(tmp_path):
    colmap(tmp_path)
    sparse = tmp_path / "sparse/0"
    for path in sparse.iterdir():
        path.unlink()
    (sparse / "cameras.bin").write_bytes(struct.pack("<Q", 1))
    (sparse / "images.bin").write_bytes(struct.pack("<Q", 2**63))
    (sparse / "points3D.bin").write_bytes(b"")
    assert "not a whole model" in problems_of(tmp_path)["sparse/0"]


def test_pycolmap_is_missing(tmp_path, monkeypatch):
    colmap(tmp_path)
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(InputError, match="package pycolmap is missing; install it with"):
        survey(tmp_path)
