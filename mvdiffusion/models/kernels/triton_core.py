"""Reading of tokens on a GPU, by kernels in Triton's language.

A token is sampled, encoded and normalized where it is used, some channels at a time. None is ever
kept, at the price of making each twice (for its scores, then for its value) and four times for
gradients. A program serves one cell: all its heads, whose tokens are the same, and two samples that
share cameras, as guided ones do, for which the position code is computed once.

Nothing is added up atomically, so that every run gives the same. Products of matrices are of the
features' precision; their sums, scores, softmax and moments are float32.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from mvdiffusion.models.kernels import triton_kernels as kernels
from mvdiffusion.models.kernels.angles import turns_of_exponents
from mvdiffusion.models.kernels.tokens import Norm, Tokens

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
TOKEN_BLOCK = 64
"""Tokens at a time; where a cell has more, the softmax is computed online."""


class TritonCore:
    """The core in Triton, for GPUs; see `Core`."""

    name = "Triton"

    def bytes_per_cell(self, tokens: int, channels: int, backward: bool) -> int:
        """Count the gradients of the tokens; the tokens themselves stay in registers."""
        return tokens * channels * 4 if backward else 0

    def read(
        self,
        query: Tensor,
        features: Tensor,
        tokens: Tokens,
        bands: Tensor,
        norm: Norm | None,
        scale: float,
    ) -> Tensor:
        """See `Core`."""
        repeats, count, heads, channels = query.shape
        shared, number = min(repeats, 2), tokens.valid.shape[1]
        sizes = _sizes(number, len(bands), heads, channels, shared)
        # What was read of one block of tokens is weighed down at the next: in full precision.
        blocks = triton.cdiv(number, sizes["NB"])
        exact = query.dtype if blocks == 1 else torch.float32
        read = torch.empty(query.shape, dtype=exact, device=query.device)
        with torch.cuda.device_of(query):
            kernels.read[(count, triton.cdiv(repeats, shared))](
                *(query.contiguous(), read, _pointers(features, tokens, bands, norm)),
                *(repeats, count, number, features.shape[1], scale, norm.eps if norm else 0.0),
                RB=shared,
                **sizes,
            )
        return read.to(query.dtype)

    def read_backward(
        self,
        gradient: Tensor,
        query: Tensor,
        features: Tensor,
        tokens: Tokens,
        bands: Tensor,
        norm: Norm | None,
        scale: float,
        summed: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Core`; gradients of the tokens [R, M, N, C] are held on the way."""
        repeats, count, heads, channels = query.shape
        number, cells = tokens.valid.shape[1], features.shape[1]
        sizes = _sizes(number, len(bands), heads, channels, 1)
        blocks = triton.cdiv(number, sizes["NB"])
        pointers, shape = _pointers(features, tokens, bands, norm), (repeats, count, number, cells)
        rows = query.contiguous(), gradient.to(features.dtype).contiguous()
        products = summed.new_empty(2, repeats, count, heads, number)
        moments = summed.new_empty(2, repeats, count, number)
        exact = query.dtype if blocks == 1 else torch.float32
        of_query = torch.empty(query.shape, dtype=exact, device=query.device)
        of_tokens = features.new_empty(repeats, count, number, channels)
        of_norm = summed.new_empty(repeats, count, 2, channels) if norm else None
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
                *(of_tokens, tokens.weight.contiguous(), order, begin, summed),
                *(count * number, cells),
                C=channels,
                CB=triton.next_power_of_2(channels),
            )
        added = summed.new_zeros(2, channels) if of_norm is None else of_norm.sum((0, 1))
        read = self.read(query, features, tokens, bands, norm, scale)
        return of_query.to(query.dtype), added, read


def _pointers(features: Tensor, tokens: Tokens, bands: Tensor, norm: Norm | None) -> kernels.Tokens:
    own = (tokens.index, tokens.weight, tokens.displacement, tokens.valid)
    gain, bias = (None, None) if norm is None else (norm.weight, norm.bias)
    turns = turns_of_exponents(features.device)
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
