"""The programs by which jobs are sent to Slurm: those of a real one, or stand-ins."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PLUGIN = "snakemake_executor_plugin_slurm"
needs_the_executor = pytest.mark.skipif(
    importlib.util.find_spec(PLUGIN) is None,
    reason="no executor for Slurm: pip install -c constraints.txt -e '.[slurm]'",
)


@dataclass(frozen=True)
class Slurm:
    """Programs that reach a Slurm, or play one.

    Attributes:
        programs: their folder.
    """

    programs: Path

    @property
    def path(self) -> str:
        """Value of PATH with the programs first."""
        before = (str(self.programs), str(Path(sys.executable).parent))
        return os.pathsep.join([*before, os.environ["PATH"]])

    def ask(self, program: str, *words: str) -> str:
        """Run one of the programs and return what it prints."""
        command = [self.programs / program, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def calls(self, program: str) -> list[list[str]]:
        """Words of all calls of a stand-in."""
        lines = (self.programs / "calls.jsonl").read_text().splitlines()
        return [words for name, *words in map(json.loads, lines) if name == program]
