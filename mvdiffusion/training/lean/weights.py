"""Weights that do not train, held in the type in which autocast computes."""

from __future__ import annotations

from types import TracebackType

import torch
from torch import nn


class RoundedWeights:
    """Holds the frozen weights of layers that autocast computes in half precision rounded.

    Autocast rounds a weight once a step if it trains, and at every use if it does not: for a frozen
    UNet, half as much memory traffic as its layers cause themselves. The numbers are the same.
    While they are rounded, the exact weights are in the main memory, so that a GPU holds half as
    much of them.

    >>> layer = nn.Linear(2, 2).requires_grad_(False)
    >>> with RoundedWeights(layer, torch.bfloat16):
    ...     layer.weight.dtype
    torch.bfloat16
    >>> layer.weight.dtype
    torch.float32
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype | None) -> None:
        """Find the layers.

        Args:
            module: of which some weights do not train.
            dtype: that of autocast, None where there is none.
        """
        self.dtype = dtype
        self.layers = [] if dtype is None else [each for each in module.modules() if _rounds(each)]
        self._exact: list[tuple[nn.Parameter, torch.Tensor]] = []

    def __enter__(self) -> RoundedWeights:
        """Round the weights."""
        assert self.dtype is not None or not self.layers
        for layer in self.layers:
            for parameter in layer.parameters(recurse=False):
                if parameter.dtype == self.dtype:  # of two layers, and rounded already
                    continue
                self._exact.append((parameter, parameter.data.cpu()))
                parameter.data = parameter.data.to(self.dtype)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put the exact weights back."""
        for parameter, exact in self._exact:
            parameter.data = exact.to(parameter.device)
        self._exact.clear()


def _rounds(layer: nn.Module) -> bool:
    """Tell whether autocast computes a layer, none of whose weights trains, in half precision."""
    if not isinstance(layer, nn.Linear | nn.Conv2d) or "forward" in vars(layer):
        return False  # a layer with a forward pass of its own is exempt
    return not any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
