"""Which matrices are cameras: the same ones for whoever reads, samples or scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mvdiffusion.geometry.cameras import is_pinhole, is_rigid, rotation, rotation_error
from mvdiffusion.geometry.matrix_files import read_matrix, read_pose
from mvdiffusion.manifest import read_trajectory
from mvdiffusion.pipelines.checks import check_poses
from mvdiffusion.records import InputError
from mvdiffusion_eval.folders.layouts import read_text_trajectory


def scaled(factor: float) -> np.ndarray:
    """A pose whose R Rᵀ is factor² in one place of the diagonal."""
    pose = np.eye(4)
    pose[0, 0], pose[:3, 3] = factor, (1, 2, 3)
    return pose


def data_accepts(pose: np.ndarray, folder: Path) -> bool:
    np.savetxt(folder / "pose.txt", pose)
    return read_pose(folder / "pose.txt") is not None


def generation_accepts(pose: np.ndarray, folder: Path) -> bool:
    try:
        check_poses(torch.from_numpy(pose).float()[None, None])
    except ValueError:
        return False
    return True


def scoring_accepts(pose: np.ndarray, folder: Path) -> bool:
    cameras = {"frames": [7], "key_frames": [0], "K": [np.eye(3).tolist()], "pose": [pose.tolist()]}
    (folder / "cameras.json").write_text(json.dumps(cameras))
    np.savetxt(folder / "K.txt", np.eye(3))
    np.savetxt(folder / "7_poses.txt", pose)
    accepted = []
    for read in (
        lambda: read_trajectory(folder),
        lambda: read_text_trajectory(folder, [7]),
    ):
        try:
            accepted.append((read().pose[0] == pose).all())
        except InputError:
            accepted.append(False)
    assert len(set(accepted)) == 1
    return bool(accepted[0])


@pytest.mark.parametrize("accepts", [data_accepts, generation_accepts, scoring_accepts])
def test_what_data_accept_generation_and_scoring_accept(accepts, tmp_path: Path) -> None:
    drifted, broken, mirrored = scaled(1.0025), scaled(1.01), scaled(-1)
    assert accepts(np.eye(4), tmp_path)
    assert accepts(drifted, tmp_path)  # off by 0.005
    assert not accepts(broken, tmp_path)  # off by 0.02
    assert not accepts(mirrored, tmp_path)
    drifted[3, 2] = 0.01
    assert not accepts(drifted, tmp_path)


def test_error_of_a_rotation() -> None:
    R = torch.stack(
        [rotation(30, 20), 1.01 * torch.eye(3), -torch.eye(3), torch.eye(3) * torch.nan]
    )
    assert rotation_error(R).tolist() == pytest.approx([0, 1.01**2 - 1, np.inf, np.inf], abs=1e-6)


def test_rigid_poses_and_pinholes_of_a_batch() -> None:
    poses = torch.eye(4).repeat(3, 2, 1, 1)
    poses[0, 1, 0, 3], poses[2, 0, 1, 1] = torch.inf, 2
    assert is_rigid(poses).tolist() == [[True, False], [True, True], [False, True]]
    K = torch.eye(3).repeat(4, 1, 1)
    K[1, 0, 0], K[2, 2, 2], K[3, 0, 2] = 0, 2, torch.nan
    assert is_pinhole(K).tolist() == [True, False, False, False]


def test_a_matrix_keeps_every_digit_and_what_is_not_finite(tmp_path: Path) -> None:
    matrix = np.array([[1 / 3, -np.inf, 0], [np.pi, 1e-300, 0], [0, 0, 1]])
    np.savetxt(tmp_path / "K.txt", matrix, fmt="%.17g")
    assert (read_matrix(tmp_path / "K.txt", (3, 4)).numpy() == matrix).all()
