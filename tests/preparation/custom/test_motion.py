"""Depth against poses: wrong scales and axes are found and named; right ones raise nothing."""

import foreign_recordings
import numpy as np
import pytest
import torch
from foreign_recordings import COUNT, depth, intrinsics, pose

from mvdiffusion.preparation.custom.check import CheckSettings, survey
from mvdiffusion.preparation.custom.motion import Agreement, advice, agreement

GL = torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))


def recording() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    depths = np.stack([depth(frame) for frame in range(COUNT)])
    poses = np.stack([pose(frame) for frame in range(COUNT)])
    K = torch.from_numpy(intrinsics()).expand(COUNT, 3, 3)
    return torch.from_numpy(depths), K, torch.from_numpy(poses)


def scaled(factor: float) -> Agreement:
    depths, K, poses = recording()
    poses[:, :3, 3] *= factor
    return agreement(depths, K, poses)


@pytest.mark.parametrize("factor", [0.001, 0.1, 0.2, 0.25, 0.5, 0.7, 1.4, 1.5, 1.8, 2, 3, 10, 1000])
def test_wrong_scales(factor):
    found = scaled(factor)
    assert found.scale == pytest.approx(1 / factor, rel=0.04)
    assert not found.distances
    assert (found.inverted, found.flipped) == (False, False)


def test_the_right_scale():
    found = scaled(1.0)
    assert not found.explained
    assert found.difference < 0.01


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_noise_of_a_sensor_raises_nothing(noise):
    depths, K, poses = recording()
    generator = torch.Generator().manual_seed(0)
    depths = depths * (1 + noise * torch.randn(depths.shape, generator=generator))
    found = agreement(depths, K, poses)
    assert not found.explained
    assert found.difference < 0.03


@pytest.mark.parametrize("factor", [1.0, 0.2])
@pytest.mark.parametrize(
    ("change", "inverted", "flipped"),
    [
        (lambda poses: poses @ GL, False, True),
        (torch.linalg.inv, True, False),
        (lambda poses: torch.linalg.inv(poses @ GL), True, True),
    ],
)
def test_wrong_axes(change, inverted, flipped, factor):
    depths, K, poses = recording()
    poses[:, :3, 3] *= factor
    found = agreement(depths, K, change(poses))
    assert (found.inverted, found.flipped) == (inverted, flipped)
    assert found.scale == (None if factor == 1 else pytest.approx(5, rel=0.04))


def test_distances_from_the_camera():
    """Renderers and laser scanners write them: every pixel is as far as its ray is long."""
    depths, K, poses = recording()
    height, width = depths.shape[1:]
    fx, fy, cx, cy = (float(K[0, i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    y, x = np.mgrid[:height, :width]
    ray = np.sqrt(1 + ((x - cx) / fx) ** 2 + ((y - cy) / fy) ** 2)
    found = agreement(depths * torch.from_numpy(ray), K, poses)
    assert found.distances
    assert (found.scale, found.inverted, found.flipped) == (None, False, False)
    said = advice(found, "x right, y down, z forward", 1.0, 0.001)
    assert said.startswith("Divide the depth of each pixel")
    assert not agreement(depths, K, poses).distances


def test_a_flat_wall_tells_nothing_about_the_scale():
    depths, K, poses = recording()
    poses[:, :3, :3], poses[:, 1:3, 3] = torch.eye(3, dtype=torch.float64), 0
    assert not agreement(torch.full_like(depths, 2.0), K, poses).explained


def test_poses_of_other_frames_are_a_contradiction_without_an_explanation():
    depths, K, poses = recording()
    order = torch.tensor([0, 7, 3, 10, 1, 11, 5, 8, 2, 9, 4, 6])
    found = agreement(depths, K, poses[order])
    assert not found.explained
    assert found.difference > 0.03


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Agreement(0.1, 2.01), ["--scale 2 if", "--depth-unit 0.0005 if"]),
        (Agreement(0.1, 5.07), ["--scale 5 if", "--depth-unit 1/5000 if"]),
        (Agreement(0.1, 6.6), ["--scale 6.6 if", "--depth-unit 1/6553.5 if"]),
        (Agreement(0.1, 0.001), ["--scale 0.001 if", "--depth-unit 1 if"]),
        (Agreement(0.1, None, True), ["Invert the poses"]),
    ],
)
def test_advice(found, words):
    said = advice(found, "x right, y down, z forward", 1.0, 0.001)
    assert all(word in said for word in words)


def test_transforms_of_opencv_axes_are_told_to_turn_round(tmp_path):
    """The file must have y up and z backward; the advice says so, and following it helps."""
    foreign_recordings.nerfcapture(tmp_path)
    path = tmp_path / "transforms.json"
    meta = foreign_recordings.json.loads(path.read_text())
    for frame in meta["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ GL.numpy()).tolist()
    path.write_text(foreign_recordings.json.dumps(meta))
    (problem,) = survey(tmp_path, CheckSettings(caption="x")).stopping
    assert problem.problem.startswith("depth and poses contradict each other by")
    assert "Negate the second and third column of the poses" in problem.fix
    assert "fit as y down, z forward, and must be x right, y up, z backward" in problem.fix
    accepted = survey(tmp_path, CheckSettings(caption="x", accept_poses=True))
    assert accepted.stopping == []
    assert any("contradict" in each.problem for each in accepted.problems)


def test_the_scale_that_is_named_is_accepted(tmp_path):
    foreign_recordings.colmap(tmp_path)
    path = tmp_path / "colmap/sparse/0/images.txt"
    lines = [line.split() for line in path.read_text().split("\n\n") if line]
    for words in lines:
        words[5:8] = [repr(float(word) / 3) for word in words[5:8]]
    path.write_text("".join(" ".join(words) + "\n\n" for words in lines))
    (problem,) = survey(tmp_path, CheckSettings(caption="x")).stopping
    assert "--scale 3" in problem.fix
    assert survey(tmp_path, CheckSettings(caption="x", scale=3.0)).stopping == []
