"""Checking an external method: its folder is scored, and its score file read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mvdiffusion.methods.specification import Specification
from mvdiffusion.records import InputError, read_json


def score_folder(generated: Path, output: Path, options: Sequence[str]) -> None:
    """Score a folder with the suite, in a process of its own.

    Args:
        generated: the folder.
        output: score file to write.
        options: further words of `mvdiffusion-eval score`.

    Raises:
        InputError: the suite refused.
    """
    words = ["--generated", str(generated), "--output", str(output), *options]
    command = [sys.executable, "-m", "mvdiffusion_eval", "score", *words]
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"{generated}: could not be scored; the suite's reason stands above.")


def read_score(path: Path, specification: Specification) -> dict[str, Any]:
    """Read a score file of a method.

    Args:
        path: the file.
        specification: the method.

    Raises:
        InputError: it is missing, no score file, or of another method.
    """
    found = read_json(path)
    if not isinstance(found, dict) or not {"metrics", "method", "task"} <= set(found):
        raise InputError(f"{path}: no score file; expected what `mvdiffusion-eval score` writes.")
    if found["method"] != specification.method:
        raise InputError(
            f"{path}: its method is '{found['method']}'; expected '{specification.method}'."
        )
    return found
