"""Attention in reduced precision against the plain formula, in float64."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from mvdiffusion.models.attention import CorrespondenceAttention
from mvdiffusion.models.kernels.tokens import Tokens
from mvdiffusion.models.token_attention import attend_to_tokens

CHANNELS, CELLS, TOKENS = 320, 32, 18


def plain(layer: CorrespondenceAttention, cells: Tensor, tokens: Tensor) -> Tensor:
    """Keys and values of every token, and PyTorch's kernel."""
    query = layer.to_q(cells).reshape(CELLS, 1, layer.heads, 32).transpose(1, 2)
    key, value = (
        project(tokens).reshape(CELLS, TOKENS, layer.heads, 32).transpose(1, 2)
        for project in (layer.to_k, layer.to_v)
    )
    return scaled_dot_product_attention(query, key, value).reshape(CELLS, CHANNELS)


def attend(layer: CorrespondenceAttention, cells: Tensor, tokens: Tensor) -> Tensor:
    """The suite's: tokens that lie on cells of the features, without a code."""
    index = torch.arange(CELLS * TOKENS, dtype=torch.int32).reshape(CELLS, TOKENS, 1)
    at = Tokens(
        index.expand(-1, -1, 4),
        torch.tensor([1.0, 0, 0, 0]).expand(CELLS, TOKENS, 4),
        torch.zeros(CELLS, TOKENS, 2),
        torch.zeros(CELLS, TOKENS, dtype=torch.bool),
    )
    to_k, to_v = (each.weight.unflatten(0, (-1, 32)) for each in (layer.to_k, layer.to_v))
    query = layer.to_q(cells).reshape(1, CELLS, layer.heads, 32)
    bands = torch.ones(CHANNELS // 4)
    read = attend_to_tokens(query, tokens.reshape(1, -1, CHANNELS), at, bands, None, to_k, to_v)
    return read.reshape(CELLS, CHANNELS)


def case(peak: float) -> tuple[CorrespondenceAttention, Tensor, Tensor]:
    """Queries and keys that agree as after a training: scores up to 40 or 600."""
    random = torch.Generator().manual_seed(0)
    cells = layer_norm(torch.randn(CELLS, CHANNELS, generator=random), (CHANNELS,))
    near = cells[:, None] + torch.randn(CELLS, TOKENS, CHANNELS, generator=random)
    layer = CorrespondenceAttention(CHANNELS)
    weight = torch.randn(CHANNELS, CHANNELS, generator=random) * peak * CHANNELS**-0.5
    layer.to_q.weight.data, layer.to_k.weight.data = weight, weight.clone()
    return layer, cells, layer_norm(near, (CHANNELS,))


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("peak", [2.0, 8.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mixed", [False, True])
@torch.no_grad()
def test_reduced_precision_costs_no_more_than_in_a_fused_kernel(
    dtype: torch.dtype, mixed: bool, peak: float
) -> None:
    layer, cells, tokens = (each.to(dtype) for each in case(peak))
    exact = plain(*(each.double() for each in (layer, cells, tokens)))
    held = torch.float32 if mixed else dtype
    layer, cells, tokens = (each.to(held) for each in (layer, cells, tokens))
    with torch.autocast("cpu", dtype) if mixed else nullcontext():
        found, usual = attend(layer, cells, tokens), plain(layer, cells, tokens)
    assert error(found, exact) < 1.5 * error(usual, exact)


@torch.no_grad()
def test_scores_beyond_the_range_of_half_precision_are_no_nan() -> None:
    layer, cells, tokens = (each.half() for each in case(64.0))
    assert attend(layer, cells, tokens).isfinite().all()


@torch.no_grad()
def test_double_precision_is_kept() -> None:
    layer, cells, tokens = (each.double() for each in case(2.0))
    assert error(attend(layer, cells, tokens), plain(layer, cells, tokens)) < 1e-12
