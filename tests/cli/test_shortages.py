"""A machine that gives too little: one sentence, from the errors that libraries really raise."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from processes import PROCESSES
from torch.utils.data import DataLoader, Dataset

from mvdiffusion.commands import running


class Deadly(Dataset):
    """Kills whoever reads it."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def allocate_tensor():
    torch.empty(1 << 50)


def allocate_array():
    np.empty(1 << 50)


def lose_a_loader():
    list(DataLoader(Deadly(), num_workers=1))


def lose_a_worker():
    with ProcessPoolExecutor(1, mp_context=PROCESSES) as pool:
        pool.submit(os._exit, 1).result()


def load_a_library():
    """What CPython 3.11 raises in an import whose memory is limited meanwhile."""
    raise SystemError("error return without exception set")


def import_a_part():
    """As diffusers tells that one of its modules could not be imported."""
    try:
        raise MemoryError
    except MemoryError as error:
        raise RuntimeError("Failed to import diffusers.loaders.peft because of …") from error


@pytest.mark.parametrize(
    ("lack", "told"),
    [
        (import_a_part, "the memory ran out"),
        (allocate_tensor, "the memory ran out"),
        (allocate_array, "the memory ran out"),
        (load_a_library, "the interpreter failed, as it does where the memory runs out"),
        (lose_a_loader, "a process that loads data has ended"),
        (lose_a_worker, "a process that shares the work was killed"),
    ],
)
def test_a_machine_that_gives_too_little_is_one_sentence(lack, told, capsys):
    with pytest.raises(SystemExit, match="2"), running("mvdiffusion"):
        lack()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mvdiffusion: {told}")
    assert line.endswith("then run the same command again.")


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), running("mvdiffusion"):
        raise RuntimeError("shapes differ")
