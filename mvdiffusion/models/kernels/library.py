"""Libraries of kernels in C++, compiled at their first use and kept for this user and processor."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import uuid
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno"]


def open_library(source: Path) -> ctypes.CDLL:
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


def build(source: Path) -> Path:
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
