"""Folders of sequences and of outpainted panoramas: what is read, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import walks
from PIL import Image

from mvdiffusion.records import InputError
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import PanoramaFolder, SequenceFolder
from mvdiffusion_eval.scoring.score import matching_reference


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return walks.write_folder(tmp_path / "mine", "mine", walks.real_samples(2))


def opened_sequence(folder: Path) -> SequenceFolder:
    opened = open_folder(folder)
    assert isinstance(opened, SequenceFolder)
    return opened


def test_reads_frames_cameras_and_depth(folder: Path) -> None:
    opened = opened_sequence(folder)
    assert (opened.task, opened.count("walk001")) == ("depth", 7)
    assert (opened.views("walk001") == walks.real_samples(2)["walk001"]).all()
    assert (opened.views("walk001", [3, 6])[1] == opened.views("walk001")[6]).all()
    expected = np.stack([walks.wall_points(pose)[1] for pose in walks.poses()])
    np.testing.assert_allclose(opened.depth("walk000"), expected, atol=5.1e-4)  # half a millimeter
    trajectory = opened.trajectories["walk000"]
    np.testing.assert_allclose(trajectory.pose, walks.poses())
    assert trajectory.key_pairs == [(0, 3), (3, 6)]
    assert trajectory.between_pairs == [
        (1, 0),
        (1, 3),
        (2, 0),
        (2, 3),
        (4, 3),
        (4, 6),
        (5, 3),
        (5, 6),
    ]
    assert opened.evaluated_views("walk000") == [0, 3, 6]
    assert opened.prompts("walk000")[6].endswith("frame 70.")


def test_samples_may_differ_in_length(folder: Path) -> None:
    for name in ("6.png", "depth/6.png", "5.png", "depth/5.png"):
        (folder / "walk001" / name).unlink()
    change(
        folder,
        lambda c: {k: [x for x in v[:5] if k != "key_frames" or x < 5] for k, v in c.items()},
    )
    opened = opened_sequence(folder)
    assert [opened.count(i) for i in opened.sample_ids] == [7, 5]
    assert opened.arrangement()["num_key_frames"] == 3 + 2


def test_without_manifest_cameras_tell_a_sequence(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    opened = opened_sequence(folder)
    assert (opened.method, opened.settings_sha256) == ("mine", None)


def change(folder: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = folder / "walk001" / "cameras.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))


def edited(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder, lambda content: {**content, **values})


def scaled_pose(folder: Path) -> None:
    change(folder, lambda c: {**c, "pose": (np.array(c["pose"]) * [1.1, 1, 1, 1]).tolist()})


def mirrored_pose(folder: Path) -> None:
    change(folder, lambda c: {**c, "pose": (np.array(c["pose"]) * [-1, 1, 1, 1]).tolist()})


def infinite_pose(folder: Path) -> None:
    change(folder, lambda c: {**c, "pose": [[[float("inf")] * 4] * 4] * 7})


def few_poses(folder: Path) -> None:
    change(folder, lambda c: {**c, "pose": c["pose"][:-1]})


def no_focal_length(folder: Path) -> None:
    change(folder, lambda c: {**c, "K": np.zeros((7, 3, 3)).tolist()})


def no_poses(folder: Path) -> None:
    change(folder, lambda c: {k: v for k, v in c.items() if k != "pose"})


def no_cameras(folder: Path) -> None:
    (folder / "walk001" / "cameras.json").unlink()


def no_depth(folder: Path) -> None:
    (folder / "walk001" / "depth" / "2.png").unlink()


def small_depth(folder: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.uint16)).save(folder / "walk001" / "depth" / "2.png")


def colored_depth(folder: Path) -> None:
    Image.new("RGB", (walks.WIDTH, walks.HEIGHT)).save(folder / "walk001" / "depth" / "2.png")


def stray_view(folder: Path) -> None:
    Image.new("RGB", (walks.WIDTH, walks.HEIGHT)).save(folder / "walk001" / "7.png")


def unknown_task(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**content, "task": "dept"}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_cameras, r"walk001/cameras.json: no such file"),
        (no_poses, r"cameras.json: key 'pose' is missing"),
        (few_poses, r"cameras.json: key 'pose' is 'of 6 matrices'; expected 7"),
        (infinite_pose, r"cameras.json: key 'pose.* is (nan|inf|-inf); expected a number"),
        (scaled_pose, r"cameras.json: key 'pose.0' is .*expected rotation"),
        (mirrored_pose, r"cameras.json: key 'pose.0' is .*expected rotation"),
        (no_focal_length, r"cameras.json: key 'K.0' is .*expected \[fx"),
        (edited(K=["x"]), r"cameras.json: key 'K.0' is 'x'; expected a list"),
        (
            edited(key_frames=[0, 7]),
            r"cameras.json: key 'key_frames' is .*expected positions",
        ),
        (
            edited(key_frames=[3, 0]),
            r"cameras.json: key 'key_frames' is .*expected positions",
        ),
        (
            edited(frames=[1, 1, 2, 3, 4, 5, 6]),
            r"key 'frames' is .*expected numbers that rise",
        ),
        (no_depth, r"walk001/depth/2.png: no such view"),
        (small_depth, r"walk001/depth/2.png: is 4×4 pixels; expected 32×24"),
        (colored_depth, r"walk001/depth/2.png: is a 'RGB' image; expected a 16-bit"),
        (stray_view, r"walk001: has 8 views, but cameras.json has 7 frames"),
        (unknown_task, r"key 'task' is 'dept'; expected one of 'panorama', 'outpaint', 'depth'"),
    ],
)
def test_refuses(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        open_folder(folder)


@pytest.mark.parametrize("given", [(8,), (-1,), tuple(range(8))])
def test_given_views_must_be_some_of_the_views(tmp_path: Path, given: tuple[int, ...]) -> None:
    root = toy.write_folder(tmp_path / "x", "x", toy.real_samples(1), given_views=given)
    with pytest.raises(InputError, match=r"key 'given_views' is"):
        open_folder(root)


def test_outpainting_names_its_given_views(tmp_path: Path) -> None:
    root = toy.write_folder(tmp_path / "x", "x", toy.real_samples(1), given_views=(0, 3))
    opened = open_folder(root)
    assert isinstance(opened, PanoramaFolder)
    assert opened.evaluated_views("room000") == [1, 2, 4, 5, 6, 7]
    content = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps({**content, "given_views": []}))
    with pytest.raises(InputError, match=r"key 'given_views' is \(\); expected some"):
        open_folder(root)


def test_a_reference_must_be_the_same_frames(folder: Path, tmp_path: Path) -> None:
    real = opened_sequence(walks.write_folder(tmp_path / "real", "real", walks.real_samples(3)))
    generated = opened_sequence(folder)
    assert matching_reference(generated, real).sample_ids == generated.sample_ids
    moved = np.array(walks.poses())
    moved[4, 0, 3] += 0.01
    change(folder, lambda content: {**content, "pose": moved.tolist()})
    with pytest.raises(InputError, match=r"walk001: its frames, cameras or depth maps differ"):
        matching_reference(opened_sequence(folder), real)
    panorama = open_folder(toy.write_folder(tmp_path / "p", "real", toy.real_samples(2)))
    with pytest.raises(InputError, match="must have the same task"):
        matching_reference(generated, panorama)
