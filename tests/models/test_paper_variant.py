"""The variant `paper` of the attention against equation 1, written out token by token."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import intrinsics, panorama_cameras, rotation
from mvdiffusion.models.attention import CorrespondenceAttention
from mvdiffusion.models.correspondence_geometry import CorrespondenceGeometry, MultiViewGeometry
from mvdiffusion.models.depth_geometry import DepthGeometry

SIDE, SCALE, CHANNELS = 4, 8, 32  # cells, pixels per cell
SIZE = SIDE * SCALE
BANDS = np.array([1, 2, 4, 8, 16, 32, 64, 128.0])
AROUND = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]

Token = tuple[int, np.ndarray, np.ndarray]
"""Target view, place in it in cells, displacement from the query in cells."""


def code(displacement: np.ndarray) -> np.ndarray:
    """γ: sin x, sin y, cos x, cos y of every band."""
    x, y = displacement
    return np.concatenate([f(v * BANDS) for f in (np.sin, np.cos) for v in (x, y)])


def bilinear(features: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Features [C, h, w] at a place in cells, zero outside."""
    (x, y), (left, top) = place, np.floor(place).astype(int)
    total = np.zeros(len(features))
    for column, row in ((left + i, top + j) for i in (0, 1) for j in (0, 1)):
        if 0 <= column < SIDE and 0 <= row < SIDE:
            total += features[:, row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


def respond(
    layer: CorrespondenceAttention, x: Tensor, view: int, row: int, column: int, tokens: list[Token]
) -> np.ndarray:
    """Equation 1 and the feed-forward layer for one cell of x [V, C, h, w]."""
    normed = layer.norm1(x.movedim(1, -1)).movedim(-1, 1).numpy()
    weights = [part.weight.numpy() for part in (layer.to_q, layer.to_k, layer.to_v)]
    query = weights[0] @ (normed[view, :, row, column] + code(np.zeros(2)))
    sampled = [bilinear(normed[target], place) + code(moved) for target, place, moved in tokens]
    logits = np.array([query @ (weights[1] @ token) for token in sampled]) / 32**0.5
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    message = sum(share * (weights[2] @ t) for share, t in zip(shares, sampled, strict=True))
    cell = x[view, :, row, column] + layer.to_out(torch.from_numpy(message).float())
    return (cell + layer.ff(layer.norm2(cell))).numpy()


def query_pixel(row: int, column: int) -> np.ndarray:
    return np.array([column * SCALE + SCALE // 2, row * SCALE + SCALE // 2, 1.0])


def panorama_tokens(K: np.ndarray, R: np.ndarray, view: int, row: int, column: int) -> list[Token]:
    query, tokens = query_pixel(row, column), []
    for target in ((view - 1) % 8, (view + 1) % 8):  # no other view shares a pixel
        H = K @ R[target].T @ R[view] @ np.linalg.inv(K)
        point = H @ query
        for offset in AROUND:
            place = point[:2] / point[2] / SCALE - 0.5 + offset
            pixel = (place + 0.5) * SCALE
            inside = (pixel > 0).all() and (pixel < SIZE).all()
            if point[2] > 0 and inside:
                back = np.linalg.inv(H) @ [*pixel, 1]
                tokens.append((target, place, (back[:2] / back[2] - query[:2]) / SCALE))
    return tokens


def carry(
    pixel: np.ndarray, depth: float, K: np.ndarray, one: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, float]:
    """A pixel of camera `one` with its depth, seen by camera `other`: pixel and depth."""
    point = np.linalg.inv(other) @ one @ [*(np.linalg.inv(K) @ pixel * depth), 1]
    return (K @ point[:3] / point[2])[:2], point[2]


def depth_tokens(
    K: np.ndarray, pose: np.ndarray, depth: np.ndarray, view: int, row: int, column: int
) -> list[Token]:
    def read(of: int, pixel: np.ndarray) -> float:
        x, y = pixel[:2].round().astype(int)
        return depth[of, y, x] if 0 <= x < SIZE and 0 <= y < SIZE else 0

    query, target, tokens = query_pixel(row, column), 1 - view, []
    own = read(view, query)
    point, _ = carry(query, own, K, pose[view], pose[target])
    for offset in AROUND:
        place = point / SCALE - 0.5 + offset
        pixel = np.array([*((place + 0.5) * SCALE), 1])
        if own > 0 and (found := read(target, pixel)) > 0:
            back, z = carry(pixel, found, K, pose[target], pose[view])
            if abs(z - own) < 0.5:  # not occluded
                tokens.append((target, place, (back - query[:2]) / SCALE))
    return tokens


def layer_and_features(views: int) -> tuple[CorrespondenceAttention, Tensor]:
    torch.manual_seed(0)
    layer = CorrespondenceAttention(CHANNELS, "paper").eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return layer, torch.randn(views, CHANNELS, SIDE, SIDE)


def cells(views: int) -> Iterator[tuple[int, int, int]]:
    yield from ((v, r, c) for v in range(views) for r in range(SIDE) for c in range(SIDE))


def panorama_case() -> tuple[CorrespondenceGeometry, int, list[list[Token]]]:
    K, R = panorama_cameras(SIZE, SIZE, 8)
    made = MultiViewGeometry(K[None], R[None], SIZE, SIZE, "paper")
    tokens = [panorama_tokens(K[0].double().numpy(), R.double().numpy(), *at) for at in cells(8)]
    return made, 8, tokens


def depth_case() -> tuple[CorrespondenceGeometry, int, list[list[Token]]]:
    K, pose = intrinsics(60.0, SIZE, SIZE), torch.eye(4).repeat(2, 1, 1)
    pose[1, :3, :3], pose[1, 0, 3] = rotation(5.0), 0.2
    depth = 2 + torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    depth[:, :, 20:24] = 0  # nothing measured there
    depth[1, 16:] += 0.6  # another surface
    made = DepthGeometry(depth[None], K.expand(1, 2, 3, 3), pose[None], "paper")
    arrays = (K.double().numpy(), pose.double().numpy(), depth.double().numpy())
    return made, 2, [depth_tokens(*arrays, *at) for at in cells(2)]


@pytest.mark.parametrize("case", [panorama_case, depth_case])
@torch.no_grad()
def test_every_cell_is_that_of_equation_1(case) -> None:
    geometry, views, tokens = case()
    layer, x = layer_and_features(views)
    found = layer(x, geometry)
    answered = [index for index, of in enumerate(tokens) if of]
    assert len(answered) > len(tokens) / 2
    for index in answered:
        view, row, column = list(cells(views))[index]
        expected = respond(layer, x, view, row, column, tokens[index])
        np.testing.assert_allclose(found[view, :, row, column], expected, atol=2e-3)
