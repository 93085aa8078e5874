"""The CLIP score against cosines known by hand."""

import pytest
import torch

from mvdiffusion_eval.functional.clip_score import clip_score


def test_opposite_directions_score_nothing() -> None:
    images = torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    texts = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 5.0], [-1.0, 0.0]])
    expected = [100, 100 * 0.5**0.5, 0, 0]
    assert clip_score(images, texts).tolist() == pytest.approx(expected, abs=1e-4)
