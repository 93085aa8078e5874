"""The depth channel of the UNet against pixels computed by hand."""

import pytest
import torch

from mvdiffusion.geometry.depth import normalized_inverse_depth


def test_inverse_depth_runs_from_minus_one_to_one_and_nothing_is_minus_two() -> None:
    """Inverse depths 1, 1/2, 1/4 of an image lie at 1, 1/3 and 0 of its range."""
    depth = torch.tensor([[[[1.0, 2.0], [4.0, 0.0]]]])
    channel = normalized_inverse_depth(depth, 2, 2)
    assert channel.shape == (1, 1, 1, 2, 2)
    assert channel.flatten().tolist() == pytest.approx([1, -1 / 3, -1, -2])
