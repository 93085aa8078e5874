"""Points and meshes of a scene whose surfaces are known."""

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scenes import FLOOR, WALL, intrinsics, pose, render

needs_open3d = pytest.mark.skipif(find_spec("open3d") is None, reason="open3d is not installed")
FRAMES = 6


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The rendered frames as a generated sequence."""
    folder = tmp_path / "sample"
    (folder / "depth").mkdir(parents=True)
    for frame in range(FRAMES):
        color, depth = render(frame)
        depth[:2, :5] = 0  # nothing measured
        Image.fromarray(color).save(folder / f"{frame}.png")
        Image.fromarray((depth * 1000).round().astype(np.uint16)).save(
            folder / "depth" / f"{frame}.png"
        )
    cameras = {
        "frames": list(range(FRAMES)),
        "key_frames": [0, FRAMES - 1],
        "K": [intrinsics().tolist()] * FRAMES,
        "pose": [pose(frame).tolist() for frame in range(FRAMES)],
    }
    (folder / "cameras.json").write_text(json.dumps(cameras))
    return folder


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    header, data = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    kinds = {"float": "<f4", "double": "<f8", "uchar": "u1"}
    vertices, properties = 0, []
    for line in lines[: next((i for i, x in enumerate(lines) if "face" in x), None)]:
        words = line.split()
        if words[:2] == ["element", "vertex"]:
            vertices = int(words[2])
        elif words[0] == "property":
            properties.append((words[2], kinds[words[1]]))
    found = np.frombuffer(data, np.dtype(properties), vertices)
    points = np.stack([found[axis] for axis in "xyz"], 1)
    return points, np.stack([found[name] for name in ("red", "green", "blue")], 1)


def check_surfaces(points: np.ndarray, colors: np.ndarray, tolerance: float) -> None:
    """Every point lies on the wall or on the floor, in its color."""
    to_wall, to_floor = np.abs(points[:, 2] - WALL), np.abs(points[:, 1] - FLOOR)
    assert np.quantile(np.minimum(to_wall, to_floor), 0.99) < tolerance
    inner = np.maximum(to_wall, to_floor) > 0.2  # away from where they meet
    red = colors[:, 0] > colors[:, 2]
    assert (red == (to_wall < to_floor))[inner].mean() > 0.99
    assert points[:, 1].max() < FLOOR + tolerance
    assert 0.1 < red.mean() < 0.99


def test_points(sample: Path, tmp_path: Path, run: Callable[..., tuple[int, str]]) -> None:
    path = tmp_path / "points.ply"
    words = ("mesh", "--sample", sample, "--output", path, "--kind", "points")
    code, said = run(*words, "--voxel-size", 0.05)
    assert code == 0, said
    points, colors = read_ply(path)
    assert f"{len(points)} points" in said
    check_surfaces(points, colors, 0.03)
    assert len(np.unique(np.floor(points / 0.05), axis=0)) == len(points)
    finer = run(*words, "--voxel-size", 0.01)
    assert finer[0] == 0
    assert len(read_ply(path)[0]) > 2 * len(points)


def test_bad_samples(sample: Path, tmp_path: Path, run: Callable[..., tuple[int, str]]) -> None:
    words = ("mesh", "--sample", sample, "--output", tmp_path / "a.ply", "--kind", "points")
    assert "expected meters, more than 0" in run(*words, "--voxel-size", 0)[1]
    (sample / "depth" / "2.png").unlink()
    code, said = run(*words)
    assert (code, "2.png: no such file" in said) == (2, True)
    (sample / "cameras.json").write_text('{"K": [[1, 2]], "pose": []}')
    assert "cameras.json: key 'frames' is missing" in run(*words)[1]
    (sample / "cameras.json").unlink()
    assert "cameras.json: no such file" in run(*words)[1]
    assert not (tmp_path / "a.ply").exists()


def test_meshes_say_why_open3d_is_missing(
    sample: Path,
    tmp_path: Path,
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A library of the system may be what is missing, not the package."""
    package = tmp_path / "packages" / "open3d.py"
    package.parent.mkdir()
    package.write_text("raise ImportError('libusb-1.0.so.0: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    monkeypatch.syspath_prepend(package.parent)
    code, said = run("mesh", "--sample", sample, "--output", tmp_path / "a.ply")
    assert code == 2
    assert "libusb-1.0.so.0: cannot open shared object file" in said
    assert "pip install -e '.[mesh]'" in said


@needs_open3d
def test_mesh(sample: Path, tmp_path: Path, run: Callable[..., tuple[int, str]]) -> None:
    path = tmp_path / "mesh.ply"
    words = ("mesh", "--sample", sample, "--output", path, "--voxel-size", 0.04)
    code, said = run(*words)
    assert code == 0, said
    check_surfaces(*read_ply(path), 0.06)
    assert not list(tmp_path.glob(".*"))
