"""Checkpoint files of one training run: atomic, bound to what decides its weights, never lost.

<folder>/.output.json         what decides the weights (see `mvdiffusion.outputs`)
<folder>/step-<step>.pt       the newest resumable states, each with a hash at its end; dropped once
                              the model is on the disk
<folder>/step-<step>.pt.old   one that was damaged

The number of steps is not in the record: a run can be continued to more steps than it was begun
with. Up to there it followed the learning rates of the shorter run, from there on it follows those
of the longer one. With a constant learning rate that is the longer run, bit for bit; with the
usual cosine it is not, since the rate rises again, and a line on standard error says so; nor is it
for a VAE's discriminator, which comes in at a share of the steps.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from mvdiffusion.outputs import begin, end, keep_spares, make_room, set_aside, whole_output
from mvdiffusion.pipelines.loading import record_files
from mvdiffusion.records import InputError, is_sealed, sealed_output

KEPT = 2  # the newest and, should it prove unreadable, the one before


class CheckpointFolder:
    """Checkpoints of one run in one folder; `begun` tells whether it was begun before."""

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        *,
        overwrite: bool = False,
        writable: bool = True,
    ) -> None:
        """Open the folder.

        Args:
            identity: everything that decides the weights; "steps" is the length of the run.
            writable: this process alone creates and moves files.

        Raises:
            InputError: the folder holds checkpoints of another identity, or of more steps.
        """
        self.folder, self.identity, self.writable = folder, dict(identity), writable
        if writable:
            self.begun = self._begin(overwrite)

    def _begin(self, overwrite: bool) -> bool:
        steps, found = self.identity["steps"], without_steps(self.identity)
        last = max((int(path.stem.split("-")[1]) for path in self._states()), default=0)
        begun = begin(self.folder, found, overwrite=overwrite)
        if not begun or last <= steps:
            return begun
        if not overwrite:
            raise InputError(
                f"{self.folder}: this run has been trained for {last} steps, more than "
                f"training.steps = {steps}; raise training.steps, choose another folder, or pass "
                "--overwrite to move these checkpoints aside and train again."
            )
        make_room(self.folder)
        return begin(self.folder, found)

    def latest(self) -> dict[str, Any] | None:
        """Return the newest undamaged state, or None if there is none at all.

        Damaged states are moved aside if one before them is whole.

        Raises:
            InputError: all states are damaged.
        """
        damaged: list[tuple[Path, str]] = []
        for path in reversed(self._states()):
            state, problem = _read(path)
            if state is not None:
                for other, reason in damaged if self.writable else ():
                    print(f"{other}: {reason}; moved to {set_aside(other)}", file=sys.stderr)
                return state
            damaged.append((path, problem))
        if damaged:
            path, problem = damaged[0]
            raise InputError(
                f"{path}: {problem}, and no other checkpoint there is whole; copy one from a "
                "backup, or move this folder away to train from the beginning."
            )
        return None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps, then drop all but the last two.

        Raises:
            OSError: the disk refuses.
        """
        path = self.folder / f"step-{step:08d}.pt"
        with sealed_output(path) as file, _telling_the_reason():
            torch.save(state, file)
        for old in self._states()[:-KEPT]:
            old.unlink()

    def finish(self, output: Path, write: Callable[[Path], Any]) -> None:
        """Let `write` fill `output`, which appears whole, then drop this run's checkpoints.

        Raises:
            OSError: the disk refuses.
        """
        if not self.writable:
            return
        with whole_output(output, self.identity) as folder, _telling_the_reason():
            write(folder)
            record_files(folder)
            keep_spares(folder)
        for path in self._states():  # not before the model is on the disk
            path.unlink()
        end(self.folder)

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))


def without_steps(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What checkpoints are bound to: all that decides the weights but the length of the run."""
    return {key: value for key, value in identity.items() if key != "steps"}


def _read(path: Path) -> tuple[dict[str, Any] | None, str]:
    """A state, or None and the reason."""
    try:
        if not is_sealed(path):
            return None, "is damaged (its hash is wrong)"
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # whatever reading a damaged file raises
        return None, f"cannot be read ({type(error).__name__})"
    return state, ""


@contextmanager
def _telling_the_reason() -> Iterator[None]:
    """Say as the operating system does what writers hide, such as a full disk."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from error
    except RuntimeError as error:
        if "inline_container" not in str(error):
            raise
        raise OSError(errno.EIO, "the disk is full or its quota is used up") from error
