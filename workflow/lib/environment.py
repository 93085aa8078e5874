"""The environment of the commands that rules run."""

from __future__ import annotations

import os
import shutil
import sys


def prepare_environment() -> None:
    """Let rules run this environment's programs, activated or not, and spare shared cores."""
    programs = os.path.dirname(sys.executable)
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not burn cores
    os.environ.setdefault("COLUMNS", str(shutil.get_terminal_size((120, 24)).columns))
