"""Reading features between cells, against `grid_sample`, which computes it another way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.models.bilinear import BilinearReading

IMAGES, CHANNELS, SIZE = 3, 5, (4, 6)


def places() -> tuple[Tensor, Tensor]:
    """Places within, at the edges, and outside of images, and which image each is in."""
    seed = torch.Generator().manual_seed(0)
    x = torch.rand(200, generator=seed, dtype=torch.float64) * 9 - 2
    y = torch.rand(200, generator=seed, dtype=torch.float64) * 7 - 2
    at_centers = torch.tensor([[0, 0], [5, 3], [2, 1], [-1, 0], [6, 3], [5, 4]])
    where = torch.cat([torch.stack([x, y], -1), at_centers.double()])
    return where, torch.randint(IMAGES, (len(where),), generator=seed)


def by_grid_sample(features: Tensor, where: Tensor, images: Tensor) -> Tensor:
    """The same for features [R, images, C, h, w], place by place."""
    size = torch.tensor([SIZE[1], SIZE[0]])
    grid = ((2 * where + 1) / size - 1)[:, None, None]
    return torch.stack(
        [
            F.grid_sample(sample[images], grid, align_corners=False)[:, :, 0, 0]
            for sample in features
        ]
    )


@pytest.mark.parametrize("repeats", [1, 2])
def test_values_and_gradients_are_those_of_grid_sample(repeats: int) -> None:
    where, images = places()
    features = torch.randn(repeats, IMAGES, CHANNELS, *SIZE, dtype=torch.float64)
    reading = BilinearReading.at(where, images, SIZE)
    read = reading(features.permute(0, 1, 3, 4, 2).flatten(1, 3))
    expected = by_grid_sample(features.requires_grad_(), where, images)
    torch.testing.assert_close(read, expected)
    weights = torch.randn_like(read)
    gradient = torch.zeros(repeats, IMAGES, *SIZE, CHANNELS, dtype=torch.float64)
    reading.add_transposed(weights, gradient.flatten(1, 3))
    (other,) = torch.autograd.grad((expected * weights).sum(), features)
    torch.testing.assert_close(gradient.movedim(-1, 2), other)


def test_half_precision_rounds_the_weights_alone() -> None:
    """Places in half precision would be off by up to half a cell in images of 512 cells."""
    size = (2, 512)
    where = torch.stack([torch.linspace(0, 511, 999), torch.zeros(999)], -1)
    ramp = torch.arange(512.0).repeat(2)[None, :, None] / 512
    reading = BilinearReading.at(where, torch.zeros(999, dtype=torch.long), size)
    read = reading(ramp.bfloat16())[0, :, 0].float()
    # Two factors and a sum of eight binary digits each.
    torch.testing.assert_close(read, where[:, 0] / 512, rtol=2**-6, atol=2**-8)


def test_gradients_are_added_where_a_place_is_read() -> None:
    reading = BilinearReading.at(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), (3, 3))
    summed = torch.full((1, 18, 2), 3.0)
    reading.add_transposed(torch.ones(1, 1, 2), summed)
    expected = torch.full((18,), 3.0)
    expected[4] = 4.0
    torch.testing.assert_close(summed[0, :, 0], expected)
