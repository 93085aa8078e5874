"""Manifests come back as they were written; those of earlier versions are read or refused."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvdiffusion.generation.export import stitch_folder
from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.geometry.matrix_files import read_pose
from mvdiffusion.manifest import (
    Manifest,
    Trajectory,
    read_manifest,
    read_trajectory,
    write_geometry,
    write_manifest,
)
from mvdiffusion.pipelines.checks import check_poses
from mvdiffusion.records import InputError, read_json
from mvdiffusion.tasks import Task
from mvdiffusion_eval.folders.opening import open_folder

PANORAMA = Manifest(Task.PANORAMA, "ours", 24, 32, ("a", "b"), "0" * 64, 75.0, even_yaws(8))


@pytest.mark.parametrize(
    "manifest",
    [
        PANORAMA,
        replace(PANORAMA, task=Task.OUTPAINT, given_views=(0, 3)),
        Manifest(Task.DEPTH, "ours", 24, 32, ("a",)),
    ],
)
def test_a_manifest_comes_back(manifest: Manifest, tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest, {"steps": 3}, files={"a/0.png": "…"})
    assert read_manifest(tmp_path) == manifest
    assert read_json(tmp_path / "manifest.json")["settings"] == {"steps": 3}


@pytest.mark.parametrize(("scale", "is_taken"), [(1.004, True), (1.02, False)])
def test_rigid_means_the_same_to_data_pipelines_and_scores(
    scale: float, is_taken: bool, tmp_path: Path
) -> None:
    """A pose read from a file, sampled with and scored: all take it, or none."""
    pose = np.diag([scale, 1, 1, 1])
    np.savetxt(tmp_path / "0.txt", pose)
    cameras = {"frames": [0], "key_frames": [0], "K": [np.eye(3).tolist()], "pose": [pose.tolist()]}
    (tmp_path / "cameras.json").write_text(json.dumps(cameras))
    assert (read_pose(tmp_path / "0.txt") is not None) == is_taken
    with nullcontext() if is_taken else pytest.raises(ValueError, match="orthonormal"):
        check_poses(torch.tensor(pose)[None, None])
    with nullcontext() if is_taken else pytest.raises(InputError, match="pose"):
        read_trajectory(tmp_path)


def test_other_forms_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "settings": {}, "files": {}}))
    with pytest.raises(InputError, match=r"manifest\.json: key 'method' is missing; add it"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 2, "task": "depth"}))
    with pytest.raises(InputError, match=r"manifest\.json: key 'format' is 2; expected one of 1"):
        read_manifest(tmp_path)


BAD_NAMES = ["../victim", "a/b", "/root", "..", ".", ".output.json", "a\0b", "a\nb", "\x1b[2J"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_samples_stay_in_their_folder(name: str, tmp_path: Path, capsys) -> None:
    """What is generated, stitched or scored cannot lead out of the folder, or break a table."""
    expected = "setting 'samples' is .*; expected names of folders, without '/' and control"
    with pytest.raises(InputError, match=expected):
        replace(PANORAMA, samples=("a", name))
    write_manifest(tmp_path / "in", PANORAMA, {})
    content = read_json(tmp_path / "in/manifest.json") | {"samples": [name]}
    (tmp_path / "in/manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"manifest\.json: key 'samples' is .*without '/'"):
        stitch_folder(tmp_path / "in", tmp_path / "deep/out")
    with pytest.raises(InputError, match=r"manifest\.json: key 'samples' is .*without '/'"):
        open_folder(tmp_path / "in")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\udcff"])
def test_folders_without_a_manifest_have_the_same_names(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / name / "0.png")
    with pytest.raises(InputError, match=r"the sample .*; expected names of folders, without"):
        open_folder(tmp_path)


@pytest.mark.parametrize("name", ["a b", "Küche 🛋", "a..b", "-rf", "$(touch x)", "a\\b"])
def test_other_names_are_taken(name: str) -> None:
    assert replace(PANORAMA, samples=(name,)).samples == (name,)


def test_cameras_come_back(tmp_path: Path) -> None:
    K, pose = np.stack([np.eye(3)] * 2), np.stack([np.eye(4)] * 2)
    pose[1, :3, 3] = 0.1, -2, 1 / 3
    write_geometry(tmp_path, Trajectory((3, 7), (0,), K, pose), torch.ones(2, 4, 5))
    found = read_trajectory(tmp_path)
    assert (found.frames, found.key_frames) == ((3, 7), (0,))
    np.testing.assert_array_equal(found.pose, pose)
    assert sorted(path.name for path in (tmp_path / "depth").iterdir()) == ["0.png", "1.png"]
