"""Memory that a step gives back is kept for the next step."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of mallopt, glibc's <malloc.h>


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to 2 GiB, instead of returning it to the system.

    Every step of a training on a CPU allocates the same tensors. Returned in between, their pages
    have to be cleared and mapped again: about a twelfth of the miniature's time. Nothing happens
    where the library is another than glibc.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, 32 * 2**20)  # the highest that it takes
        library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError, TypeError):  # other systems
        return
