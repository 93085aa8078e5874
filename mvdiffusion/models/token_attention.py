"""Attention of cells with tokens of their own, which are read from features where they are needed.

Neither the tokens nor what makes them are kept: a block of cells at a time samples them, adds their
position code, and lets the heads read them. The backward pass makes them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.models.kernels.choice import core_for
from mvdiffusion.models.kernels.tokens import Core, Norm, Tokens

BLOCK_BYTES = 2**25
"""Memory of what a block of cells makes on its way, on the CPU."""
ON_GPU = 8
"""Times as much on a GPU, which is busy with thousands of cells alone."""


def block_bytes(device: torch.device) -> int:
    """Memory of what a block of cells makes on its way.

    Args:
        device: where.
    """
    return BLOCK_BYTES if device.type == "cpu" else ON_GPU * BLOCK_BYTES


def attend_to_tokens(
    query: Tensor,
    features: Tensor,
    tokens: Tokens,
    bands: Tensor,
    norm: Norm | None,
    to_k: Tensor,
    to_v: Tensor,
) -> Tensor:
    """Let each of M cells attend to N tokens of its own: attention with H heads of D channels.

    A cell has tokens of its own, so projecting these to keys and values would be most of the work.
    Being linear, the projections are applied on the side of the cells instead, once a head:
    q · (K t) = (Kᵀ q) · t, and Σ a V t = V Σ a t.

    Args:
        query: [R, M, H, D], of R samples with the same cameras.
        features: what the tokens are read from, [R, L, C].
        tokens: where, and what is added.
        bands: of the position code.
        norm: of the tokens after their code is added; None: not normalized.
        to_k: projection to keys [H, D, C].
        to_v: projection to values [H, D, C].

    Returns:
        [R, M, H, D]; zero for cells of which no token counts.
    """
    places = (tokens.index, tokens.weight, tokens.displacement, tokens.valid)
    options = (tokens.counted, tokens.cosine, bands)
    weight, bias, eps = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
    attended: Tensor = _attend(query, features, to_k, to_v, weight, bias, eps, *places, *options)
    return attended


@torch.library.custom_op("mvdiffusion::attend_to_tokens", mutates_args=())
def _attend(
    query: Tensor,
    features: Tensor,
    to_k: Tensor,
    to_v: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    eps: float,
    index: Tensor,
    weight: Tensor,
    displacement: Tensor,
    valid: Tensor,
    counted: Tensor | None,
    cosine: Tensor | None,
    bands: Tensor,
) -> Tensor:
    """See `attend_to_tokens`."""
    tokens = Tokens(index, weight, displacement, valid, counted, cosine)
    norm = _norm(norm_weight, norm_bias, eps)
    result = torch.empty_like(query, memory_format=torch.contiguous_format)
    query, features = _readable(query), _readable(features)
    core, scale = core_for(features), query.shape[-1] ** -0.5
    with torch.autocast(query.device.type, enabled=False):
        for part in _blocks(core, query, features, tokens, backward=False):
            reading = _project(query[:, part], to_k).to(features.dtype)
            own = tokens.part(part.start, part.stop)
            read = core.read(reading, features, own, bands, norm, scale)
            result[:, part] = _project(read, to_v.mT)
    return result


@_attend.register_fake
def _(query: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(query, memory_format=torch.contiguous_format)


@torch.library.custom_op("mvdiffusion::attend_to_tokens_backward", mutates_args=())
def _attend_backward(
    gradient: Tensor,
    query: Tensor,
    features: Tensor,
    to_k: Tensor,
    to_v: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    eps: float,
    index: Tensor,
    weight: Tensor,
    displacement: Tensor,
    valid: Tensor,
    counted: Tensor | None,
    cosine: Tensor | None,
    bands: Tensor,
) -> list[Tensor]:
    """Gradients of query, features, projections, and weight and bias of the norm [2, C]."""
    tokens = Tokens(index, weight, displacement, valid, counted, cosine)
    norm = _norm(norm_weight, norm_bias, eps)
    of_query = torch.empty_like(query, memory_format=torch.contiguous_format)
    dtype = features.dtype
    gradient, query, features = (_readable(each) for each in (gradient, query, features))
    core, scale = core_for(features), query.shape[-1] ** -0.5
    exact = torch.promote_types(features.dtype, torch.float32)
    of_features = torch.zeros_like(features, dtype=exact, memory_format=torch.contiguous_format)
    of_k, of_v = (torch.zeros_like(each, dtype=exact) for each in (to_k, to_v))
    of_norm = torch.zeros(2, features.shape[-1], dtype=exact, device=query.device)
    with torch.autocast(query.device.type, enabled=False):
        for part in _blocks(core, query, features, tokens, backward=True):
            reading = _project(query[:, part], to_k).to(features.dtype)
            own, above = tokens.part(part.start, part.stop), gradient[:, part]
            of_read = _project(above, to_v).to(features.dtype)
            of_reading, added, read = core.read_backward(
                of_read, reading, features, own, bands, norm, scale, of_features
            )
            of_norm += added
            of_v += _product(above, read)
            of_k += _product(query[:, part], of_reading)
            of_query[:, part] = _project(of_reading, to_k.mT)
    return [
        of_query,
        of_features.to(dtype),
        of_k.to(to_k.dtype),
        of_v.to(to_v.dtype),
        of_norm,
    ]


@_attend_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, features: Tensor, to_k: Tensor, to_v: Tensor, *_: Any
) -> list[Tensor]:
    same = [
        torch.empty_like(each, memory_format=torch.contiguous_format)
        for each in (query, features, to_k, to_v)
    ]
    exact = torch.promote_types(features.dtype, torch.float32)
    return [*same, torch.empty(2, features.shape[-1], dtype=exact, device=features.device)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*(each for each in inputs if not isinstance(each, float)))
    ctx.eps = inputs[6]


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    of_query, of_features, of_k, of_v, of_norm = _attend_backward(
        gradient, *saved[:6], ctx.eps, *saved[6:]
    )
    of_norms = (None, None) if saved[4] is None else of_norm.to(saved[4].dtype).unbind(0)
    return of_query, of_features, of_k, of_v, *of_norms, *(None,) * 8


_attend.register_autograd(_differentiate, setup_context=_keep)


def _norm(weight: Tensor | None, bias: Tensor | None, eps: float) -> Norm | None:
    if weight is None or bias is None:
        return None
    return Norm(_readable(weight), _readable(bias), eps)


def _readable(values: Tensor) -> Tensor:
    """Return what is read many times in the precision in which a CPU computes."""
    return values.float() if values.device.type == "cpu" and values.itemsize < 4 else values


def _project(cells: Tensor, weight: Tensor) -> Tensor:
    """Multiply cells [R, M, H, A] with a matrix for each head, [H, A, B]: [R, M, H, B]."""
    weight = weight.to(cells.dtype)
    product = cells.new_empty(*cells.shape[:3], weight.shape[-1])
    rows, results = cells.flatten(0, 1), product.flatten(0, 1)
    if cells.is_cuda:
        product.copy_((rows.transpose(0, 1) @ weight).transpose(0, 1).view_as(product))
        return product
    for head, own in enumerate(weight):  # into its place, which a batched product is copied to
        torch.mm(rows[:, head], own, out=results[:, head])
    return product


def _product(cells: Tensor, others: Tensor) -> Tensor:
    """Sum the outer products of [R, M, H, A] and [R, M, H, B] over cells: [H, A, B]."""
    left, right = (each.flatten(0, 1).transpose(0, 1) for each in (cells, others))
    return left.to(right.dtype).mT @ right


def _blocks(
    core: Core, query: Tensor, features: Tensor, tokens: Tokens, backward: bool
) -> Iterator[slice]:
    """Divide the cells into blocks that take no more than `block_bytes`."""
    repeats, cells, heads = query.shape[:3]
    count, channels = tokens.index.shape[1], features.shape[-1]
    own = core.bytes_per_cell(count, channels, backward)
    held = (8 if backward else 4) * heads * channels * features.element_size()
    size = max(block_bytes(features.device) // (repeats * (own + held)), 1)
    return (slice(start, min(start + size, cells)) for start in range(0, cells, size))
