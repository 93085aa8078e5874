"""The process that Snakemake runs in: what its commands inherit, and one at a time in a checkout.

Snakemake's own locks outlive a kill (-9, power cut), so the profiles switch them off (`nolock`).
The lock here belongs to the process: the system drops it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

_held: list[int] = []  # open files keep their locks


def prepare_environment() -> None:
    """Let rules run this environment's programs, activated or not, and spare shared cores."""
    programs = os.path.dirname(sys.executable)
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not burn cores
    os.environ.setdefault("COLUMNS", str(shutil.get_terminal_size((120, 24)).columns))


def hold_lock(path: str | Path) -> None:
    """Lock a file until this process ends.

    Raises:
        WorkflowError: another process holds it.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 20).decode() or "unknown"
        os.close(file)
        raise WorkflowError(
            f"{path}: another Snakemake is at work in this folder (process {holder}); wait until it"
            " ends, or stop it"
        ) from None
    os.ftruncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    _held.append(file)
