"""The demo as a process of its own."""

import os
import re
import subprocess
from pathlib import Path


def start(command: list[str], folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Run a command that serves the demo, in a folder that also gets its temporary files.

    Returns:
        The process, and the address that it says.
    """
    process = subprocess.Popen(
        ["env", "--default-signal=HUP", *command],  # which nohup ignores
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    for line in process.stderr or ():
        if found := re.search(r"http://\S+", line):
            return process, found[0]
    raise AssertionError(f"{command} ended with {process.wait()}")
