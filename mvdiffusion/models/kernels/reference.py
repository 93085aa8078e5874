"""Reading of tokens in PyTorch's own operations: the reference, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdiffusion.models.bilinear import BilinearReading
from mvdiffusion.models.kernels.tokens import Norm, Tokens


class TorchCore:
    """The core in PyTorch's own operations, for any device and precision."""

    name = "PyTorch"

    def bytes_per_cell(self, tokens: int, channels: int, backward: bool) -> int:
        """Count what `read` or `read_backward` holds at once, in tensors of the tokens' size."""
        return (8 if backward else 5) * tokens * channels * 4

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
        sampled = _sample(features, tokens, bands)
        values = sampled if norm is None else _normalize(sampled, norm)[0]
        return _shares(query, values, tokens.counted, scale).to(values.dtype) @ values

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
        """See `Core`."""
        sampled, statistics = _sample(features, tokens, bands), None
        values = sampled
        if norm is not None:
            values, *statistics = _normalize(sampled, norm)
        shares = _shares(query, values, tokens.counted, scale)
        of_shares = (gradient @ values.mT).to(shares.dtype)
        # The derivative of the softmax.
        of_scores = shares * (of_shares - (shares * of_shares).sum(-1, keepdim=True))
        of_scores = (of_scores * scale).to(values.dtype)
        of_query = of_scores @ values
        # Of keys and values in one product: the sum over the heads of dS q + a dO.
        factors = torch.cat([of_scores, shares.to(values.dtype)], -2)  # [R, M, 2 H, N]
        of_tokens = factors.mT @ torch.cat([query, gradient], -2)
        of_norm = query.new_zeros(2, query.shape[-1])
        if norm is not None and statistics is not None:
            of_tokens, *both = torch.ops.aten.native_layer_norm_backward(
                of_tokens,
                sampled,
                norm.weight.shape,
                *statistics,
                norm.weight,
                norm.bias,
                [True, True, True],
            )
            of_norm = torch.stack(both)
        BilinearReading(tokens.index, tokens.weight).add_transposed(of_tokens.flatten(1, 2), summed)
        return of_query, of_norm, shares.to(values.dtype) @ values


def _sample(features: Tensor, tokens: Tokens, bands: Tensor) -> Tensor:
    """Sample features [R, L, C] at the tokens, and add their code: [R, M, N, C]."""
    read = BilinearReading(tokens.index, tokens.weight)(features)
    return read.add_(tokens.code(bands).to(read.dtype))


def _normalize(sampled: Tensor, norm: Norm) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize tokens; returns them, their means and their inverse deviations."""
    weight, bias = norm.weight.to(sampled.dtype), norm.bias.to(sampled.dtype)
    return torch.native_layer_norm(sampled, weight.shape, weight, bias, norm.eps)


def _shares(query: Tensor, values: Tensor, counted: Tensor | None, scale: float) -> Tensor:
    """What share of its attention each head gives to each token, [R, M, H, N].

    Scores are in float32 at least, as in fused kernels: rounded to half precision, large ones would
    change the attention by some percent, or overflow.
    """
    exact = torch.promote_types(values.dtype, torch.float32)
    scores = query.to(exact) @ values.to(exact).mT * scale
    if counted is None:
        return scores.softmax(-1)
    # Softmax over no token at all is NaN.
    shares = scores.masked_fill_(~counted[:, None], -torch.inf).softmax(-1)
    return shares.masked_fill_(~counted[:, None], 0.0)
