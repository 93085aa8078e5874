"""Checkpoint files of one training run: atomic, bound to its settings, the last two kept."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from mvdiffusion.records import atomic_output

KEPT = 2  # the newest and, should it prove unreadable, the one before


class CheckpointFolder:
    """Checkpoints `step-<step>-<identity>.pt` in one folder.

    `identity` is the hash of everything that determines the run. Checkpoints of another
    identity are never resumed from: they are removed, with a line that says so.
    """

    def __init__(self, folder: Path, identity: str, *, writable: bool = True) -> None:
        """Remember the folder; only the process with `writable` creates or removes files."""
        self.folder, self.identity, self.writable = folder, identity[:16], writable
        if writable:
            folder.mkdir(parents=True, exist_ok=True)

    def latest(self) -> dict[str, Any] | None:
        """Return the newest readable state of this identity, or None."""
        self._remove_foreign()
        for path in reversed(self._own()):
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                return state
            except (OSError, RuntimeError, EOFError, ValueError) as error:
                self._remove(path, f"cannot be read ({type(error).__name__})")
        return None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps, then drop all but the last two."""
        path = self.folder / f"step-{step:08d}-{self.identity}.pt"
        with _written_whole(path) as temporary, open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # the rename must not become durable before the bytes
        for old in self._own()[:-KEPT]:
            old.unlink()

    def finish(self, output: Path, write: Callable[[Path], Any]) -> None:
        """Let `write` fill `output`, which appears whole, then drop this run's checkpoints."""
        if not self.writable:
            return
        with _written_whole(output) as temporary:
            write(temporary)
        for path in self._own():
            path.unlink()

    def _own(self) -> list[Path]:
        return sorted(self.folder.glob(f"step-*-{self.identity}.pt"))

    def _remove_foreign(self) -> None:
        own = set(self._own())
        for path in sorted(self.folder.glob("step-*.pt")):
            if path not in own:
                self._remove(path, "belongs to other settings, data, base model or code")

    def _remove(self, path: Path, reason: str) -> None:
        if self.writable:
            print(f"checkpoint {path} {reason}: removed", file=sys.stderr)
            path.unlink(missing_ok=True)


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """`atomic_output` for writers that hide the operating system's error, as a full disk."""
    with atomic_output(path) as temporary:
        try:
            yield temporary
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error
        except RuntimeError as error:
            if "inline_container" not in str(error):
                raise
            raise OSError(errno.EIO, "the disk is full or its quota is used up") from error
