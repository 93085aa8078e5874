"""Sittings of a training: the record of who computed which steps, on what, and for how long.

A training of many hours is stopped and resumed, on other machines and by other commits. Its log
folder keeps one line for every process that trained, so that a model card can name them all.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import torch

from mvdiffusion.parallel.workers import part
from mvdiffusion.records import atomic_output, provenance, read_json_lines


class Sittings:
    """The lines of `sittings.jsonl`; the last one is that of this process.

    A line is as of the sitting's last checkpoint, since steps after it are trained again.
    """

    def __init__(self, path: Path, step: int, seconds: float) -> None:
        """Begin a sitting; it has no line before its first checkpoint.

        Args:
            path: the file.
            step: the step after which this process goes on.
            seconds: time that the training took before, in all.
        """
        self.path, self.step, self.seconds = path, step, seconds
        self.before = read_json_lines(path)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        threads = {"threads": torch.get_num_threads(), "processes": part()[1]}
        self.origin = {"started": started, **threads, **provenance()}

    def record(self, step: int, seconds: float) -> None:
        """Write this sitting's line.

        Args:
            step: the step that was reached.
            seconds: time that the training took, in all.
        """
        spent = round(seconds - self.seconds, 1)
        own = {"from_step": self.step, "step": step, "seconds": spent, **self.origin}
        with atomic_output(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in [*self.before, own]))
