"""Whether the results are those of the configuration and the code as they are now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from workflow.lib.seal import complaint

RESULTS = Path("results")
CONFIG = Path("workflow/config/mini.yaml")


def refuse_unless_current() -> None:
    """Ask the workflow whether every result is there and belongs to mini as it is now.

    Raises:
        SystemExit: with one sentence.
    """
    command = ["snakemake", "--cores", "1", "--dry-run", "run"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode or "Nothing to be done" not in answer.stdout + answer.stderr:
        sys.exit(
            f"{RESULTS}: not the complete results of {CONFIG} and the code as they are now; "
            "finish `make run` first"
        )
    if found := complaint(sorted(RESULTS.glob("*/recipe-*.json"))):
        sys.exit(found)
