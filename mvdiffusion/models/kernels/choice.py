"""Which kernel reads the tokens of correspondence-aware attention."""

from __future__ import annotations

from torch import Tensor

from mvdiffusion.models.kernels.reference import TorchCore
from mvdiffusion.models.kernels.tokens import Core

_REFERENCE = TorchCore()


def core_for(features: Tensor) -> Core:
    """Return the fastest kernel for features of this kind.

    Args:
        features: what tokens are read from; their device and type count.
    """
    return _REFERENCE
