"""Whether results are those of a configuration and the code as they are now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from workflow.lib.seal import complaint

MINI = Path("workflow/config/mini.yaml")


def refuse_unless_current(results: Path, config: Path) -> None:
    """Ask the workflow whether every result is there and belongs to a configuration as it is now.

    Args:
        results: folder of the results.
        config: the configuration file.

    Raises:
        SystemExit: with one sentence.
    """
    command = ["snakemake", "--cores", "1", "--dry-run", "run", "--configfile", str(config)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode or "Nothing to be done" not in answer.stdout + answer.stderr:
        finish = "make run" if config == MINI else f"snakemake run --configfile {config}"
        sys.exit(
            f"{results}: not the complete results of {config} and the code as they are now; "
            f"finish `{finish}` first"
        )
    if found := complaint(sorted(results.glob("*/recipe-*.json"))):
        sys.exit(found)
