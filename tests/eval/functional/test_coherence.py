"""Style, pairs of windows and KNN-GIQA against formulas written out; the trap of the width."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss, pairwise_distance

from mvdiffusion_eval.functional.coherence import (
    cosine_distances,
    gram_features,
    knn_giqa,
    squared_distances,
)


def layers_of(count: int, seed: int = 0) -> list[torch.Tensor]:
    """Outputs of three layers with channels and sizes of their own."""
    made = torch.Generator().manual_seed(seed)
    shapes = ((4, 6, 8), (3, 5, 5), (7, 2, 3))
    return [torch.randn(count, *shape, generator=made, dtype=torch.float64) for shape in shapes]


def gram(output: torch.Tensor) -> torch.Tensor:
    """The Gram matrix [C, C] of one image's output [C, H, W], over channels × pixels."""
    flat = output.reshape(len(output), -1)
    return torch.einsum("ip,jp->ij", flat, flat) / flat.numel()


def test_the_squared_distance_of_two_images_is_their_style_distance() -> None:
    layers = layers_of(4)
    found = squared_distances(gram_features(layers))
    for distance, (a, b) in zip(found, itertools.combinations(range(4), 2), strict=True):
        expected = sum(mse_loss(gram(layer[a]), gram(layer[b])) for layer in layers)
        assert float(distance) == pytest.approx(float(expected), rel=1e-12)


def test_cosine_distances_are_those_of_numpy() -> None:
    features = np.random.default_rng(0).normal(size=(5, 9))
    found = cosine_distances(torch.from_numpy(features)).numpy()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = [1 - a @ b for a, b in itertools.combinations(unit, 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_sum_over_pairs_grows_with_the_width_and_the_mean_does_not() -> None:
    """Six windows have 15 pairs, five have 10: with equal distances 1.5 times the sum."""
    six, five = (squared_distances(torch.eye(count, 8)) for count in (6, 5))
    assert (len(six), len(five)) == (15, 10)
    assert float(six.mean()) == pytest.approx(float(five.mean())) == pytest.approx(2)
    assert float(six.sum() / five.sum()) == pytest.approx(1.5)


def brute_force(preds: torch.Tensor, target: torch.Tensor, skipped: int) -> list[float]:
    """KNN-GIQA with K = 3, image by image, by the distance that its authors' code calls."""
    scores = []
    for one in preds:
        distances = pairwise_distance(one.expand_as(target), target, p=1).tolist()
        scores.append(sum(1 / distance for distance in sorted(distances)[skipped:][:3]))
    return scores


@pytest.mark.parametrize("skipped", [0, 1])
def test_giqa_is_the_brute_force(skipped: int) -> None:
    rng = np.random.default_rng(1)
    target, others = (torch.from_numpy(rng.normal(size=(count, 6))) for count in (12, 7))
    preds = target if skipped else others
    found = knn_giqa(preds, target, 3, skipped)
    np.testing.assert_allclose(found.numpy(), brute_force(preds, target, skipped), rtol=1e-12)


def test_giqa_of_a_copy_is_that_of_its_closed_form() -> None:
    """A copy is D · 1e-6 away from itself; two others lie at distance 2 in both directions."""
    target = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    (found,) = knn_giqa(target[:1], target, 3).tolist()
    assert found == pytest.approx(1 / 2e-6 + 1 / 2 + 1 / 2, rel=1e-9)
