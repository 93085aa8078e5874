"""Time and memory of parts of a program that call each other."""

from __future__ import annotations

import ctypes
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

MIB = 2**20


class Stopwatch:
    """Counts the seconds that each part spends itself, without the parts that it calls."""

    def __init__(self, device: torch.device) -> None:
        """Make a stopwatch; on a GPU it waits for the work at every change of parts."""
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    def _switch(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def start(self, part: str) -> None:
        """Begin a part, within the one that runs now."""
        self._switch()
        self._running.append(part)

    def stop(self) -> None:
        """End the part that runs now; the one around it goes on."""
        self._switch()
        self._running.pop()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block."""
        self.start(name)
        try:
            yield
        finally:
            self.stop()

    def wrap(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Time every call of a function."""

        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(name):
                return function(*arguments, **options)

        return timed

    @contextmanager
    def watch(self, modules: dict[nn.Module, str]) -> Iterator[None]:
        """Time every forward pass of modules."""
        hooks = []
        for module, name in modules.items():
            hooks.append(module.register_forward_pre_hook(lambda *_, part=name: self.start(part)))
            hooks.append(module.register_forward_hook(lambda *_: self.stop()))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class PeakMemory:
    """Peak memory of a block: of the GPU's allocator, else of the process."""

    def __init__(self, device: torch.device) -> None:
        """Prepare for measuring on a device."""
        self.device = device

    @contextmanager
    def measure(self) -> Iterator[dict[str, float]]:
        """Measure a block; the dictionary is filled at its end, in MiB.

        `before` is held when the block begins (weights, and on the CPU the process itself),
        `peak` is the most held within it.
        """
        found: dict[str, float] = {}
        self._reset()
        before = self._now()
        yield found
        found.update(before=round(before / MIB, 1), peak=round(self._peak() / MIB, 1))

    def _reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            ctypes.CDLL(None).malloc_trim(0)  # what is free, but kept for later, does not count
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far

    def _now(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        return _status("VmRSS")

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return max(_status("VmHWM"), _status("VmRSS"))


def _status(key: str) -> int:
    """Read a size in bytes from Linux's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}: memory is measured on Linux only")
