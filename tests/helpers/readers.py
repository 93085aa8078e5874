"""Readers of the documentation, who type what it prints, and raters of the study that it makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion_eval.study.design import Comparison, Shown, expected_choice


class Reader:
    """Somebody who follows a page in a folder that looks like the repository after `make run`."""

    def __init__(self, folder: Path, commands: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(commands), os.environ["PATH"]])
        packages = os.pathsep.join(filter(None, sys.path))
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": packages}

    def run(self, script: str, language: str = "sh") -> subprocess.CompletedProcess[str]:
        """Run a script of the shell or of Python; output and errors come together."""
        words = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
        return subprocess.run(
            [*words, script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def write_answers(folder: Path) -> None:
    """Have two attentive raters answer the study of a folder, at random."""
    key = json.loads((folder / "page.key.json").read_text())
    shown = {image: Shown(**what) for image, what in key["images"].items()}
    rng = np.random.default_rng(0)
    (folder / "answers").mkdir()
    for rater in ("anna", "bob"):
        answers = [
            {
                "comparison": each["id"],
                "left": each["images"][0],
                "choices": [right(each, shown) or str(rng.choice(each["images"]))]
                * len(key["questions"]),
                "seconds": 2.5,
            }
            for each in key["comparisons"]
        ]
        made = {"format": 1, "study": key["study"], "rater": rater, "answers": answers}
        (folder / "answers" / f"{rater}.json").write_text(json.dumps(made))


def right(comparison: dict[str, Any], shown: dict[str, Shown]) -> str | None:
    """The answer of a catch trial."""
    return expected_choice(Comparison(comparison["id"], tuple(comparison["images"])), shown)
