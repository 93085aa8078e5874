"""Correspondence-aware attention on a GPU, in kernels of Triton: the core of `token_attention`.

A token is sampled from four cells, encoded and normalized where it is used, some channels at a
time. So none is ever kept in memory, at the price of computing each twice for its reading (scores,
then values) and three times for gradients. A program serves one query: all its heads, whose tokens
are the same, and two samples that share cameras, as guided ones do, for which the position code is
computed once.

Nothing is added up atomically, so that a result is the same in every run. Products of matrices
take the features' precision, sums, scores and softmax float32. Sines are those of CUDA's library,
which are exact for arguments of any size, as PyTorch's are.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
import triton
from torch import Tensor

from mvdiffusion.models import triton_kernels as kernels
if TYPE_CHECKING:
    from mvdiffusion.models.token_attention import Norm, Tokens

TOKEN_BLOCK = 64  # tokens at a time; beyond, the softmax is computed online


def read(
    query: Tensor,
    features: Tensor,
    tokens: Tokens,
    bands: Tensor,
    norm: Norm | None,
    scale: float,
) -> Tensor:
    """Let the heads of M queries read their tokens; see `token_attention`.

    Args:
        query: [R, M, H, C], in the features' precision.
        features: [R, L, C].
        tokens: of the queries, N each.
        bands: frequencies of the position code.
        norm: of the tokens, or None.
        scale: factor of the scores.

    Returns:
        What the heads read, [R, M, H, C].
    """
    repeats, count, heads, channels = query.shape
    shared, number = min(repeats, 2), tokens.valid.shape[1]
    sizes = _sizes(number, len(bands), heads, channels, shared)
    # What was read of one block of tokens is weighed down at the next: in full precision.
    blocks = triton.cdiv(number, sizes["NB"])
    out = torch.empty_like(query, dtype=query.dtype if blocks == 1 else torch.float32)
    with torch.cuda.device_of(query):
        kernels.read[(count, triton.cdiv(repeats, shared))](
            *(query.contiguous(), out, _pointers(features, tokens, bands, norm)),
            *(repeats, count, number, features.shape[1], scale, norm.eps if norm else 0.0),
            RB=shared,
            **sizes,
        )
    return out.to(query.dtype)


def read_backward(
    gradient: Tensor,
    query: Tensor,
    features: Tensor,
    tokens: Tokens,
    bands: Tensor,
    norm: Norm | None,
    scale: float,
    of_features: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Differentiate `read`; gradients of the tokens [R, M, N, C] are held on the way.

    Args:
        gradient: of what was read, [R, M, H, C].
        query, features, tokens, bands, norm, scale: as given to `read`.
        of_features: [R, L, C] in float32; the features' gradient is added to it.

    Returns:
        Gradients of the query, and of the norm's weight and bias [2, C], None without a norm.
    """
    repeats, count, heads, channels = query.shape
    number, cells = tokens.valid.shape[1], features.shape[1]
    sizes = _sizes(number, len(bands), heads, channels, 1)
    blocks = triton.cdiv(number, sizes["NB"])
    pointers = _pointers(features, tokens, bands, norm)
    rows = query.contiguous(), gradient.to(features.dtype).contiguous()
    shape = (repeats, count, number, cells)
    products = of_features.new_empty(2, repeats, count, heads, number)
    moments = of_features.new_empty(2, repeats, count, number)
    of_query = torch.empty_like(rows[0], dtype=query.dtype if blocks == 1 else torch.float32)
    of_tokens = features.new_empty(repeats, count, number, channels)
    of_norm = of_features.new_empty(repeats, count, 2, channels) if norm else None
    order, begin = _readers(tokens, cells)
    with torch.cuda.device_of(query):
        kernels.multiply[(count, repeats, blocks)](
            *rows, products, moments, pointers, *shape, norm.eps if norm else 0.0, **sizes
        )
        factors = _differentiate_softmax(products, tokens.counted, scale)
        kernels.differentiate[(count, repeats)](
            *rows, *factors, moments, pointers, of_query, of_tokens, of_norm, *shape, **sizes
        )
        kernels.collect[(cells, repeats)](
            *(of_tokens, tokens.weight, order, begin, of_features, count * number, cells),
            C=channels,
            CB=triton.next_power_of_2(channels),
        )
    return of_query.to(query.dtype), None if of_norm is None else of_norm.sum((0, 1))


def _pointers(
    features: Tensor, tokens: Tokens, bands: Tensor, norm: Norm | None
) -> kernels.Tokens:
    own = (tokens.index, tokens.weight, tokens.displacement, tokens.valid)
    gain, bias = (None, None) if norm is None else (norm.weight, norm.bias)
    turns = _turns(features.device)
    found = (features, *own, tokens.counted, tokens.cosine, bands, turns, gain, bias)
    return kernels.Tokens(*(None if each is None else each.contiguous() for each in found))


def _sizes(number: int, bands: int, heads: int, channels: int, shared: int) -> dict[str, int]:
    """Sizes to compile kernels for: powers of two, no less than a tile of a tensor core."""
    block = min(TOKEN_BLOCK, max(16, triton.next_power_of_2(number)))
    return {
        "H": heads,
        "C": channels,
        "B": bands,
        "HB": max(16, triton.next_power_of_2(heads)),
        "NB": block,
        "BB": 16 if bands % 32 else 32,
        "num_warps": 2 if block * shared <= 32 else 4,
    }


def _differentiate_softmax(
    products: Tensor, counted: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Gradients of products of queries with tokens, and the attention's weights, [R, M, H, N].

    Args:
        products: of queries, and of gradients, with tokens, [2, R, M, H, N].
        counted: tokens that take part, [M, N], or None.
        scale: factor of the scores.
    """
    scores, slopes = products[0] * scale, products[1]
    if counted is not None:
        scores.masked_fill_(~counted[:, None], -torch.inf)
    weights = scores.softmax(-1)
    if counted is not None:  # where none counts, a softmax is NaN
        weights.masked_fill_(~counted[:, None], 0.0)
    mean = (weights * slopes).sum(-1, keepdim=True)
    return (slopes - mean).mul_(weights).mul_(scale), weights


def _readers(tokens: Tokens, cells: int) -> tuple[Tensor, Tensor]:
    """List the readers of every cell: corners of tokens, in ascending order.

    Returns:
        Corners in the order of their cells [4 * M * N], and where each cell's begin [cells + 1].
    """
    # Computed without waiting for the GPU: corners that read nothing are put behind the others.
    cell = torch.where(tokens.weight != 0, tokens.index, cells).flatten()
    found, order = cell.sort(stable=True)
    bounds = torch.arange(cells + 1, device=cell.device, dtype=found.dtype)
    return order, torch.searchsorted(found, bounds)


@cache
def _turns(device: torch.device) -> Tensor:
    """How many turns 2^(e - 150) is, in units of 2^-64 turns without whole ones, for e below 256.

    That is what the last bit of a float32 of exponent e is worth as an angle.
    """
    digits = 320
    one = 1 << digits
    # Machin's formula: pi / 4 = 4 arctan(1 / 5) - arctan(1 / 239).
    pi = 4 * (4 * _inverse_arctan(5, one) - _inverse_arctan(239, one))
    per_radian = one * one // (2 * pi)
    parts = [(per_radian >> digits - 64 + 150 - e) & (1 << 64) - 1 for e in range(256)]
    signed = [part - (1 << 64) if part >> 63 else part for part in parts]
    return torch.tensor(signed, device=device)


def _inverse_arctan(x: int, one: int) -> int:
    """The series of arctan(1 / x), in units of 1 / one."""
    total, power, term = 0, one // x, 1
    while power:
        total += power // term if term % 4 == 1 else -(power // term)
        power, term = power // (x * x), term + 2
    return total
