"""Reading of tokens on the CPU by a kernel in C++, which is compiled at its first use.

No library of PyTorch's is needed for that, only a compiler: `compiled_core.cpp` has plain functions
of pointers. It shares PyTorch's threads, as both use the OpenMP library that PyTorch has loaded.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.models.kernels.angles import turns_of_exponents
from mvdiffusion.models.kernels.library import SOURCES, open_library
from mvdiffusion.models.kernels.tokens import Norm, Tokens

SOURCE = SOURCES / "compiled_core.cpp"
SIZES = ("samples", "cells", "tokens", "heads", "channels", "rows", "bands", "threads")
PLACES = {
    "index": torch.int32,
    "weight": torch.float32,
    "displacement": torch.float32,
    "valid": torch.bool,
    "counted": torch.bool,
    "cosine": torch.bool,
    "bands": torch.float32,
    "turns": torch.int64,
}
PRECISIONS = {torch.float32: ctypes.c_float, torch.float64: ctypes.c_double}


class _Sizes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in SIZES]


class _Places(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in PLACES]


class CompiledCore:
    """The core in C++, on the CPU, of float32 and float64; see `Core`."""

    name = "C++"

    def __init__(self) -> None:
        """Compile the kernel, or find it compiled.

        Raises:
            OSError: see `library.build`.
        """
        self._library = open_library(SOURCE)
        self._turns = turns_of_exponents()

    def bytes_per_cell(self, tokens: int, channels: int, backward: bool) -> int:
        """Count nothing: the tokens and their gradients stay in the cache."""
        return 0

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
        query, features = query.contiguous(), features.contiguous()
        result = torch.empty_like(query)
        call, _held = self._arguments(
            query, features, tokens, bands, norm, scale, [query], [result]
        )
        getattr(self._library, f"read_{_name(features)}")(*call)
        return result

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
        gradient, query, features = (x.contiguous() for x in (gradient, query, features))
        of_query, read = torch.empty_like(query), torch.empty_like(query)
        of_norm = query.new_zeros(2, query.shape[-1])
        given, made = [gradient, query], [of_query, read, of_norm, summed]
        call, _held = self._arguments(query, features, tokens, bands, norm, scale, given, made)
        getattr(self._library, f"read_backward_{_name(features)}")(*call)
        return of_query, of_norm, read

    def _arguments(
        self,
        query: Tensor,
        features: Tensor,
        tokens: Tokens,
        bands: Tensor,
        norm: Norm | None,
        scale: float,
        given: list[Tensor],
        made: list[Tensor],
    ) -> tuple[list[Any], Any]:
        """Bring the arguments into C's form; return them, and what has to live through the call."""
        sizes = _Sizes(
            *query.shape[:2],
            tokens.index.shape[1],
            *query.shape[2:],
            features.shape[1],
            len(bands),
            torch.get_num_threads(),
        )
        parts = [tokens.index, tokens.weight, tokens.displacement, tokens.valid]
        options = [tokens.counted, tokens.cosine, bands, self._turns]
        held = [
            None if each is None else each.to(dtype).contiguous()
            for each, dtype in zip((*parts, *options), PLACES.values(), strict=True)
        ]
        places = _Places(*(None if each is None else each.data_ptr() for each in held))
        of_norm: list[Tensor | None] = [None, None]
        if norm is not None:
            of_norm = [each.to(query.dtype).contiguous() for each in (norm.weight, norm.bias)]
        eps = 0.0 if norm is None else norm.eps
        pointers = [_pointer(each) for each in (*given, features, *of_norm)]
        ends = [_pointer(each) for each in made]
        numbers = [ctypes.c_double(eps), ctypes.c_double(scale)]
        call = [ctypes.byref(sizes), ctypes.byref(places), *pointers, *numbers, *ends]
        return call, [held, of_norm]


def _name(features: Tensor) -> str:
    return PRECISIONS[features.dtype].__name__.removeprefix("c_")


def _pointer(value: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if value is None else value.data_ptr())
