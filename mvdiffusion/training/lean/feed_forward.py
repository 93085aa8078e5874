"""The gate of feed-forward layers, for training on a CPU in bfloat16.

Between its products of matrices, a transformer block multiplies one half of what it projects by the
GELU of the other. PyTorch makes that of several passes over tensors of four times the features'
size, each rounded: a twelfth of the miniature's step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mvdiffusion.models.kernels.choice import switched_off
from mvdiffusion.models.kernels.library import SOURCES, open_library


@contextmanager
def fused_gates(*modules: nn.Module) -> Iterator[None]:
    """Let the gates of feed-forward layers within `modules` run as `gate` does.

    Nothing changes where the kernel cannot be compiled, or is switched off.
    """
    layers = [layer for module in modules for layer in module.modules() if _is_usual(layer)]
    if switched_off() or _library() is None:
        layers = []
    for layer in layers:
        layer.forward = partial(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def gate(projected: Tensor) -> Tensor:
    """Multiply the first half of channels by the GELU of the second, in one pass.

    Args:
        projected: [..., 2 W], bfloat16 on the CPU.

    Returns:
        [..., W], rounded once.

    Raises:
        OSError: the kernel cannot be compiled here.
    """
    gated: Tensor = _Gate.apply(projected)
    return gated


class _Gate(torch.autograd.Function):
    """Keeps what is given alone."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor) -> Tensor:
        projected = projected.contiguous()
        ctx.save_for_backward(projected)
        result = projected.new_empty(*projected.shape[:-1], projected.shape[-1] // 2)
        _call("gate", projected, result, like=result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (projected,) = ctx.saved_tensors
        result = torch.empty_like(projected)
        gradient = gradient.contiguous()
        _call("gate_backward", gradient, projected, result, like=gradient)
        return result


def _call(name: str, *tensors: Tensor, like: Tensor) -> None:
    library = _library()
    if library is None:
        raise OSError("the kernel of gates cannot be compiled here")
    width = like.shape[-1]
    sizes = (like.numel() // max(width, 1), width, torch.get_num_threads())
    pointers = [ctypes.c_void_p(each.data_ptr()) for each in tensors]
    getattr(library, name)(*pointers, *map(ctypes.c_int64, sizes))


@cache
def _library() -> ctypes.CDLL | None:
    """Compile the kernel, or find it compiled; that there is no compiler, attention says."""
    try:
        return open_library(SOURCES / "gate.cpp")
    except OSError:
        return None


def _forward(layer: GEGLU, cells: Tensor) -> Tensor:
    projected = layer.proj(cells)
    if projected.dtype == torch.bfloat16 and projected.device.type == "cpu":
        return gate(projected)
    hidden, gates = projected.chunk(2, dim=-1)
    result: Tensor = hidden * layer.gelu(gates)
    return result


def _is_usual(layer: nn.Module) -> bool:
    """Tell whether a module is such a gate, with no forward pass of its own."""
    return type(layer) is GEGLU and "forward" not in vars(layer)
