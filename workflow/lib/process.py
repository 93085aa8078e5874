"""The process that Snakemake runs in: what its commands inherit, and one at a time in a checkout.

Snakemake's own locks outlive a kill (-9, power cut), so the profiles switch them off (`nolock`).
The lock here belongs to the process: the system drops it when the process ends, however it ends.
The command of every job has a share in it (`JOB_PREFIX`). So after a kill of Snakemake alone, no
run begins before its jobs have ended too: what they write would be taken for that of the new run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path

from snakemake.workflow import Workflow
from snakemake_interface_common.exceptions import WorkflowError

from mvdiffusion.locks import lock, processes

LOCK = "results/.lock"
# Where the file system has no locks, jobs have none.
JOB_PREFIX = (
    f"set -euo pipefail; exec 9<> {LOCK};"
    " python -ISc 'import fcntl; fcntl.flock(9, fcntl.LOCK_SH)' 2> /dev/null || true; "
)

CORES = "MVDIFFUSION_CORES"

_held: list[int] = []  # open files keep their locks


def prepare_environment() -> None:
    """Let rules run this environment's programs, activated or not, in a terminal's width.

    Their memory, once freed, stays with them.
    """
    programs = os.path.dirname(sys.executable)
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    # Layers ask for it again and again: trainings take 6 % less time.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))
    os.environ.setdefault("COLUMNS", str(shutil.get_terminal_size((120, 24)).columns))


def cores_of_jobs(workflow: Workflow) -> int:
    """How many cores a job may have at most, in the process that sends it and in the job's own.

    On a cluster, Snakemake reads the rules again inside the job, where `--cores` is another number;
    the threads of the job must be those that it asked for.
    """
    own = str(workflow.cores or 1)
    if workflow.is_main_process:
        os.environ[CORES] = own
    return int(os.environ.get(CORES, own))


def hold_lock() -> None:
    """Lock this folder until this process and its jobs have ended.

    Raises:
        WorkflowError: another process, or a job of one that was killed, is at work.
    """
    path = Path(LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    # First alone; then jobs may share it.
    if not (lock(file, fcntl.LOCK_EX) and lock(file, fcntl.LOCK_SH)):
        os.close(file)
        found = ", ".join(map(str, processes(path))) or "unknown"
        raise WorkflowError(
            f"{path}: another Snakemake is at work in this folder, or jobs of one that was killed"
            f" (processes {found}); wait until they end, or stop them"
        )
    _held.append(file)
