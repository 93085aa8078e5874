"""Attention of cells with tokens of their own, and its gradient in as few passes as it needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def attend_to_tokens(query: Tensor, tokens: Tensor, allowed: Tensor | None, scale: float) -> Tensor:
    """Let each of M cells attend to N tokens of its own, which are keys and values alike.

    Scores and softmax are in float32 at least, as in fused kernels, whatever the precision of the
    rest: rounded to half precision, large scores would change the attention by some percent, or
    overflow.

    Args:
        query: of the cells' H heads, [M, H, C].
        tokens: [M, N, C].
        allowed: which tokens count, at least one of every cell, [M, 1, N]; None if all do.
        scale: factor of the scores.

    Returns:
        What the heads read [M, H, C].
    """
    read: Tensor = _Attention.apply(query, tokens, allowed, scale)
    return read


class _Attention(torch.autograd.Function):
    """With PyTorch's own gradient, the tokens would be kept in both precisions.

    Two gradients of the tokens' size would be added up, for keys and for values. Together that is
    most of the layer's memory and a third of its time.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, tokens: Tensor, allowed: Tensor | None, scale: float
    ) -> Tensor:
        exact = torch.promote_types(tokens.dtype, torch.float32)
        with torch.autocast(tokens.device.type, enabled=False):
            scores = query.to(exact) @ tokens.to(exact).mT * scale  # [M, H, N]
            if allowed is not None:
                scores = scores.masked_fill_(~allowed, -torch.inf)
            weights = scores.softmax(-1)
            ctx.save_for_backward(query, tokens, weights)
            ctx.scale = scale
            return weights.to(tokens.dtype) @ tokens

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, tokens, weights = ctx.saved_tensors
        gradient = gradient.to(tokens.dtype)
        with torch.autocast(tokens.device.type, enabled=False):
            of_weights = (gradient @ tokens.mT).to(weights.dtype)
            # The derivative of the softmax.
            of_scores = weights * (of_weights - (weights * of_weights).sum(-1, keepdim=True))
            of_scores = (of_scores * ctx.scale).to(tokens.dtype)
            # Of keys and values in one product: the sum over the heads of dS q + a dO.
            factors = torch.cat([of_scores, weights.to(tokens.dtype)], 1)  # [M, 2 H, N]
            of_tokens = factors.mT @ torch.cat([query.to(tokens.dtype), gradient], 1)
            return (of_scores @ tokens).to(query.dtype), of_tokens, None, None
