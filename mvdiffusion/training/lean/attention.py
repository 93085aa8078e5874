"""Attention within a view, for training on a CPU.

There, PyTorch's fused kernel takes three times as long in its backward pass as plain attention at
sizes like the miniature's. PyTorch's plain attention, on the other hand, computes half-precision
inputs in float32 throughout, and looks in every row of the scores for one that is masked whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@contextmanager
def plain_attention(*modules: nn.Module) -> Iterator[None]:
    """Let the attention of transformer blocks within `modules` run as `attend` does.

    Attention that has another processor than diffusers' usual one keeps it.
    """
    changed = [layer for module in modules for layer in module.modules() if _is_usual(layer)]
    usual: list[Any] = [layer.processor for layer in changed]
    plain: Any = _Processor()
    try:
        for layer in changed:
            layer.processor = plain
        yield
    finally:
        for layer, processor in zip(changed, usual, strict=True):
            layer.processor = processor


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend with H heads of width D; scores and their softmax are in float32 at least.

    Args:
        query: [N, L, H, D].
        key: [N, M, H, D].
        value: [N, M, H, D].

    Returns:
        What the heads read [N, L, H * D].
    """
    read: Tensor = _Attention.apply(query, key, value)
    return read


class _Attention(torch.autograd.Function):
    """Keeps the weights in the precision of the inputs, and none of the scores."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads, width = query.shape[2:]
        ctx.heads, ctx.scale = heads, width**-0.5
        exact = torch.promote_types(query.dtype, torch.float32)
        query, key, value = (_by_head(each) for each in (query, key, value))
        with torch.autocast(query.device.type, enabled=False):
            scores = (query.to(exact) * ctx.scale) @ key.to(exact).mT  # [N * H, L, M]
            weights = scores.softmax(-1).to(query.dtype)
            read = weights @ value
        ctx.save_for_backward(query, key, value, weights)
        return _by_sample(read, heads).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights = ctx.saved_tensors
        gradient = _by_head(gradient.to(query.dtype).unflatten(2, (ctx.heads, -1)))
        of_query = of_key = of_value = None
        with torch.autocast(query.device.type, enabled=False):
            # Of frozen projections of frozen texts no gradient is wanted.
            if ctx.needs_input_grad[2]:
                of_value = _by_sample(weights.mT @ gradient, ctx.heads)
            of_weights = gradient @ value.mT
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            if ctx.needs_input_grad[0]:
                of_query = _by_sample(of_scores @ key * ctx.scale, ctx.heads)
            if ctx.needs_input_grad[1]:
                of_key = _by_sample(of_scores.mT @ query * ctx.scale, ctx.heads)
        return of_query, of_key, of_value


def _by_head(values: Tensor) -> Tensor:
    """Bring [N, L, H, D] into [N * H, L, D]."""
    return values.transpose(1, 2).flatten(0, 1)


def _by_sample(values: Tensor, heads: int) -> Tensor:
    """Bring [N * H, L, D] back into [N, L, H, D]."""
    return values.unflatten(0, (-1, heads)).transpose(1, 2)


class _Processor:
    """diffusers' processor for attention that is `_is_usual`."""

    def __call__(
        self,
        layer: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """Attend from cells [N, L, C] to themselves, or to a text [N, M, D]."""
        if options.get("attention_mask") is not None:
            raise ValueError("Expected no mask: attention within a view has none.")
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            project(tokens).unflatten(2, (layer.heads, -1))
            for project, tokens in (
                (layer.to_q, hidden_states),
                (layer.to_k, seen),
                (layer.to_v, seen),
            )
        )
        project, dropout = layer.to_out
        out: Tensor = dropout(project(attend(query, key, value)))
        return out


def _is_usual(layer: nn.Module) -> bool:
    """Tell whether a module is the attention of a transformer block, with no parts of its own."""
    if not isinstance(layer, Attention) or type(layer.processor) is not AttnProcessor2_0:
        return False
    parts = (layer.group_norm, layer.spatial_norm, layer.norm_cross, layer.norm_q, layer.norm_k)
    ordinary = layer.rescale_output_factor == 1 and not layer.residual_connection
    return ordinary and not any(parts)
