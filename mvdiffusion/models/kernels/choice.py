"""Which kernel reads the tokens of correspondence-aware attention."""

from __future__ import annotations

import logging
import os
from functools import cache

import torch
from torch import Tensor

from mvdiffusion.models.kernels.compiled_core import CompiledCore
from mvdiffusion.models.kernels.reference import TorchCore
from mvdiffusion.models.kernels.tokens import Core
from mvdiffusion.records import InputError

SWITCH = "MVDIFFUSION_KERNELS"
"""Environment variable; "off" computes with PyTorch alone."""

_REFERENCE = TorchCore()


def switched_off() -> bool:
    """Tell whether PyTorch is to compute alone.

    Raises:
        InputError: the switch has a value that is not known.
    """
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "off"):
        raise InputError(f"Expected {SWITCH} 'off', or not set, got '{switch}'.")
    return switch == "off"


def core_for(features: Tensor) -> Core:
    """Return the fastest kernel for features of this kind.

    Args:
        features: what tokens are read from; their device and type count.
    """
    return core_of(features.device.type, features.dtype)


def core_of(device: str, dtype: torch.dtype) -> Core:
    """Return the fastest kernel for a type of device and of values.

    Args:
        device: "cpu" or "cuda".
        dtype: of the features.

    Raises:
        InputError: see `switched_off`.
    """
    if switched_off():
        return _REFERENCE
    if device == "cpu":
        return _compiled() or _REFERENCE
    if device == "cuda" and dtype in (torch.float32, torch.bfloat16, torch.float16):
        return _triton() or _REFERENCE
    return _REFERENCE


def chosen() -> str:
    """Name the kernel on this machine's device, for the provenance.

    It is the same for float32 and half precision, which the CPU reads as float32.
    """
    return core_of("cuda" if torch.cuda.is_available() else "cpu", torch.float32).name


@cache
def _compiled() -> Core | None:
    """Compile the kernel of the CPU; None where that is not possible, which is said once."""
    try:
        return CompiledCore()
    except OSError as error:
        logging.getLogger(__name__).warning(
            "Attention between views runs in PyTorch alone, more slowly: its kernel could not be "
            "compiled (%s). Install a C++ compiler, let XDG_CACHE_HOME name a folder of your own, "
            "or set %s=off to hide this.",
            error,
            SWITCH,
        )
        return None


@cache
def _triton() -> Core | None:
    """Load the kernels of the GPU; None where that is not possible, which is said once."""
    try:
        from mvdiffusion.models.kernels.triton_core import TritonCore
    except ImportError as error:
        logging.getLogger(__name__).warning(
            "Attention between views runs in PyTorch alone, more slowly: there is no Triton (%s). "
            "Install it (`pip install triton`), or set %s=off to hide this.",
            error,
            SWITCH,
        )
        return None
    return TritonCore()
