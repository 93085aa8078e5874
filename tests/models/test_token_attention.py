"""Attention to tokens of one's own: its gradient is written by hand, so it is held to others'."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.models.token_attention import attend_to_tokens

CELLS, HEADS, TOKENS, CHANNELS = 5, 3, 7, 4


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    seed = torch.Generator().manual_seed(0)
    query = torch.randn(CELLS, HEADS, CHANNELS, generator=seed, dtype=torch.float64)
    tokens = torch.randn(CELLS, TOKENS, CHANNELS, generator=seed, dtype=torch.float64)
    allowed = torch.rand(CELLS, 1, TOKENS, generator=seed) < 0.6
    allowed[:, :, 0] = True
    return (
        query.to(dtype).requires_grad_(),
        tokens.to(dtype).requires_grad_(),
        allowed,
    )


def expected(query: Tensor, tokens: Tensor, allowed: Tensor | None, scale: float) -> Tensor:
    return F.scaled_dot_product_attention(query, tokens, tokens, allowed, scale=scale)


@pytest.mark.parametrize("masked", [True, False])
def test_values_and_gradients_are_those_of_pytorch(masked: bool) -> None:
    query, tokens, allowed = inputs()
    mask = allowed if masked else None
    read, other = (f(query, tokens, mask, 0.7) for f in (attend_to_tokens, expected))
    torch.testing.assert_close(read, other)
    weights = torch.randn_like(read)
    ours, theirs = (
        torch.autograd.grad((out * weights).sum(), (query, tokens)) for out in (read, other)
    )
    torch.testing.assert_close(ours, theirs)


def test_the_gradient_is_that_of_finite_differences() -> None:
    query, tokens, allowed = inputs()
    assert torch.autograd.gradcheck(
        lambda q, t: attend_to_tokens(q, t, allowed, 0.7), (query, tokens)
    )


def test_large_scores_are_exact_in_half_precision() -> None:
    """Scores of 300 ± 1: rounded to half precision they would be off by one."""
    query, tokens, _ = inputs(torch.bfloat16)
    with torch.no_grad():
        query.mul_(100)
    read = attend_to_tokens(query, tokens, None, 1.0)
    exact = expected(query.double(), tokens.double(), None, 1.0)
    torch.testing.assert_close(read.double(), exact, rtol=2**-7, atol=2**-7)
    assert read.dtype == torch.bfloat16
