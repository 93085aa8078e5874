"""Line-wise JSON logs that survive a kill and continue without repeated steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mvdiffusion.records import atomic_output


class MetricsLog:
    """One JSON object per line, each with a `step`; lines after `resumed_step` are dropped."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        """Open the log of a run that continues after `resumed_step` steps."""
        self.path = path
        kept = [line for line in self._lines() if line["step"] <= resumed_step]
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_output(path) as temporary:
            Path(temporary).write_text("".join(json.dumps(line) + "\n" for line in kept))

    def append(self, values: Mapping[str, float]) -> None:
        """Add one line and hand it to the operating system."""
        with self.path.open("a") as file:
            file.write(json.dumps(dict(values)) + "\n")

    def _lines(self) -> list[dict[str, float]]:
        lines = []
        for text in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break  # a kill cut this line; the step it stood for is trained again
        return lines
