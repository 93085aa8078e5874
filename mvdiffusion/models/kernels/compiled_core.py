"""Reading of tokens on the CPU by a kernel in C++, which is compiled at its first use.

No library of PyTorch's is needed for that, only a compiler: `compiled_core.cpp` has plain functions
of pointers. It shares PyTorch's threads, as both use the OpenMP library that PyTorch has loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import uuid
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.models.kernels.angles import turns_of_exponents
from mvdiffusion.models.kernels.tokens import Norm, Tokens

SOURCES = Path(__file__).parent
SOURCE = SOURCES / "compiled_core.cpp"
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno"]
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
            OSError: see `build`.
        """
        self._library = open_library()
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


def open_library(source: Path = SOURCE) -> ctypes.CDLL:
    """Load a kernel, compiled now or before.

    Args:
        source: in C++, in a file of its own.

    Raises:
        OSError: see `build`.
    """
    library = build(source)
    try:
        return ctypes.CDLL(str(library))
    except OSError:  # cut short when the machine went down
        library.unlink()
        return ctypes.CDLL(str(build(source)))


def build(source: Path = SOURCE) -> Path:
    """Compile a kernel for this processor; return where it is, also if it has been for long.

    Args:
        source: in C++, in a file of its own.

    Raises:
        OSError: there is no compiler, it refuses the source or its flags, or there is no place for
            what it makes that nobody else can write to.
    """
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    version = _call([*compiler, "--version"])
    # Folders of users are often shared by machines whose processors differ.
    what = [source.read_bytes(), " ".join(FLAGS).encode(), version, _processor()]
    name = hashlib.sha256(b"\0".join(what)).hexdigest()[:16]
    folder = _cache_folder()
    library = folder / f"{source.stem}_{name}.so"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_ours(folder)
    if not library.exists():
        # Several processes may compile at once: each names its own, and they are the same.
        made = library.with_name(f"{name}.{uuid.uuid4().hex}.tmp")
        try:
            _call([*compiler, *FLAGS, "-o", str(made), str(source)])
            made.chmod(0o700)
            made.replace(library)
        finally:
            made.unlink(missing_ok=True)
    _check_ours(library)
    return library


def _cache_folder() -> Path:
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:  # a user without a name, as in some containers
        raise OSError(str(error)) from error
    return cache / "mvdiffusion"


def _check_ours(path: Path) -> None:
    """Refuse a library that another user could have written: what is in it runs."""
    status = path.stat()
    if status.st_uid not in (os.getuid(), 0) or status.st_mode & 0o022:
        raise OSError(f"{path} can be written to by other users")


def _call(command: list[str]) -> bytes:
    """Run a compiler; return what it prints."""
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").splitlines() or [str(error)]
        first = next((line for line in lines if "error" in line), lines[0])
        raise OSError(f"{command[0]}: {first}") from error


def _processor() -> bytes:
    """Name the instructions that this processor has."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    kinds = {line for line in lines if line.startswith((b"flags", b"Features", b"model"))}
    return b"\n".join(sorted(kinds))


def _name(features: Tensor) -> str:
    return PRECISIONS[features.dtype].__name__.removeprefix("c_")


def _pointer(value: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if value is None else value.data_ptr())
