"""GPUs of one's own: commands on one machine take different ones, by locks on slot files.

A slot is a file in the system's temporary folder, named as the GPU. Its lock ends with the process,
however that ends. Whoever does not ask here is not seen: other programs, and commands without
`--processes`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from mvdiffusion.locks import lock
from mvdiffusion.records import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
_QUERY = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
_TICK = 0.5  # seconds between two looks at the slots

held: list[int] = []  # open files keep their locks


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, by UUID, without a word to CUDA.

    Those are what CUDA_VISIBLE_DEVICES names, as Slurm sets it; without it, all that the driver
    shows. Where there is no driver, there are none.
    """
    try:
        found = subprocess.run(_QUERY, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    known = dict(line.split(", ", 1) for line in found.splitlines() if ", " in line)
    if (named := os.environ.get(VISIBLE)) is None:
        return list(known.values())
    gpus = []
    for word in map(str.strip, named.split(",")):
        if word not in known and not word.startswith(("GPU-", "MIG-")):
            break  # CUDA, too, ignores what follows a number that is none
        gpus.append(known.get(word, word))
    return gpus


def take_gpus(count: int) -> list[str]:
    """Take GPUs until this process ends, and show no others to it and to those that it starts.

    It waits until so many are free.

    Args:
        count: how many.

    Returns:
        Their UUIDs; none where there are no GPUs.

    Raises:
        InputError: there are some, but not so many.
    """
    gpus, said = visible_gpus(), False
    if gpus and count > len(gpus):
        raise InputError(
            f"--processes {count}: every process has a GPU of its own; expected {len(gpus)} at "
            f"most, as there are no more (see {VISIBLE})."
        )
    while gpus and len(taken := _free(gpus, count)) < count:
        if not said:
            print(f"waits for {count} of {len(gpus)} GPUs, which others use", file=sys.stderr)
        said = True
        time.sleep(_TICK)
    if not gpus:
        return []
    os.environ[VISIBLE] = ",".join(taken)
    return taken


def _free(gpus: list[str], count: int) -> list[str]:
    """Lock as many as are asked for, or none, so that no two commands wait for one another."""
    taken: list[str] = []
    files: list[int] = []
    for gpu in gpus:
        file = _open_slot(gpu)
        if len(taken) < count and lock(file, fcntl.LOCK_EX):
            taken.append(gpu)
            files.append(file)
        else:
            os.close(file)
    if len(taken) < count:
        for file in files:
            os.close(file)
        return []
    held.extend(files)
    return taken


def _open_slot(gpu: str) -> int:
    """Open the slot of a GPU, which other users of the machine may have made."""
    folder = Path(tempfile.gettempdir()) / "mvdiffusion-gpus"
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):
        folder.chmod(0o1777)
    slot = folder / gpu.replace("/", "_")  # older drivers name a part of a GPU MIG-GPU-UUID/1/0
    try:
        return os.open(slot, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(slot, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
