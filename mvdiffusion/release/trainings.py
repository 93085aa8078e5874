"""What a finished training has left: its model, and the log beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mvdiffusion.outputs import RECORD
from mvdiffusion.records import InputError, model_sha256, read_json, read_json_lines


@dataclass(frozen=True)
class Training:
    """A training that has ended.

    Attributes:
        title: what the card calls it.
        model: folder of the model that it wrote.
        log: folder of its metrics, sittings and pictures.
    """

    title: str
    model: Path
    log: Path

    def __post_init__(self) -> None:
        """Refuse a log that does not tell of this model.

        Raises:
            InputError: a file is missing, the last sitting ended at another step, or steps are
                missing between sittings, as when a training went on without its log.
        """
        ended = self.sittings[-1]["step"] if self.sittings else None
        if ended != self.identity["steps"]:
            raise InputError(
                f"{self.log}: its sittings end at step {ended}; expected the log of the training "
                f"that wrote {self.model}, which took {self.identity['steps']} steps."
            )
        ends = [0, *(line["step"] for line in self.sittings)]
        for end, line in zip(ends, self.sittings, strict=False):
            if line["from_step"] > end:
                raise InputError(
                    f"{self.log}: no sitting tells of steps {end} to {line['from_step']}; expected "
                    "all of them. Copy sittings.jsonl from the machine that computed these steps, "
                    "and put its lines in front of those that follow."
                )

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decided the weights, as `training.runs` records it."""
        identity: dict[str, Any] = read_json(self.model / RECORD)
        return identity

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decided the weights."""
        settings = self.identity["settings"]
        training = {"steps": self.identity["steps"], **settings["training"]}
        return {**settings, "training": training}

    @cached_property
    def sha256(self) -> str:
        """Hash of the model's files, as a training that starts from it records it."""
        return model_sha256(self.model)

    @cached_property
    def sittings(self) -> list[dict[str, Any]]:
        """Who computed which steps, the first sitting first."""
        return self.lines("sittings.jsonl")

    @property
    def hours(self) -> float:
        """Time of all sittings."""
        return sum(line["seconds"] for line in self.sittings) / 3600

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Read a file of the log, such as `metrics.jsonl`."""
        return read_json_lines(self.log / name)

    @property
    def measured(self) -> dict[str, float]:
        """Figures on held-out rooms: the last that were logged, and those of `training.json`."""
        logged = (self.lines("validation.jsonl") or [{}])[-1]
        summary = self.model / "training.json"
        measured = logged | (read_json(summary) if summary.is_file() else {})
        return {name: value for name, value in measured.items() if name != "step"}
