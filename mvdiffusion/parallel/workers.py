"""Processes that share the work of one command: started, watched and ended together.

What they print: the first process everything, the others what they have to say when they end. So
one mistake is one message, whoever finds it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

from mvdiffusion.parallel.gpus import VISIBLE, take_gpus
from mvdiffusion.records import InputError

LOST = 75  # exit code of a process that could not go on because another one had ended
_TICK = 0.1  # seconds between two looks at the processes
_GRACE = 2.0  # seconds for others to end by themselves once one has failed
_LAST_WORDS = 10.0  # seconds for those that are told to end
_TOLD_BY_SYSTEM = 1  # PR_SET_PDEATHSIG of Linux


def part() -> tuple[int, int]:
    """Number of this process, from 0, and how many share its work: RANK and WORLD_SIZE.

    Raises:
        InputError: they are no such numbers, or only one of them is set.
    """
    words = [os.environ.get(name) for name in ("RANK", "WORLD_SIZE")]
    if words == [None, None]:
        return 0, 1
    rank, size = (int(word) if word and word.isdecimal() else -1 for word in words)
    if not 0 <= rank < size:
        rank_is, size_is = ("not set" if word is None else f"'{word}'" for word in words)
        raise InputError(
            f"RANK is {rank_is} and WORLD_SIZE {size_is}; expected the number of this "
            "process, from 0, and how many there are, or neither."
        )
    return rank, size


def share(processes: int | None, device: str = "auto", *, joined: bool = False) -> bool:
    """Have processes do the work of this command, each with a GPU of its own.

    Args:
        processes: how many; 1 only takes a GPU for this process, and None not even that.
        device: where it computes; a GPU is taken if that is to be found out ("auto", "cuda").
        joined: whether they compute one thing together, as a training, rather than parts.

    Returns:
        Whether they did it; in them, the answer is no.

    Raises:
        InputError: one was killed, or there are not so many GPUs, or one for all of a training.
        SystemExit: one failed, which has said why.
    """
    if processes is None or part()[1] > 1:
        return False
    if joined and processes > 1 and device.startswith("cuda:"):
        raise InputError(
            f"--processes {processes}: each process of a training has a GPU of its own, but the "
            f"device is '{device}'; expected 'auto' or 'cuda', and {VISIBLE} to choose GPUs."
        )
    gpus = take_gpus(processes) if device in ("auto", "cuda") else []
    if processes == 1:
        return False
    _run_all(processes, gpus, joined)
    return True


@contextmanager
def as_one_of_several() -> Iterator[None]:
    """End quietly when another process of a joined computation has ended: it says why."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).lower()
        if part()[1] > 1 and any(word in said for word in ("gloo", "nccl", "peer", "tcpstore")):
            raise SystemExit(LOST) from None
        raise


def this_command() -> list[str]:
    """Words that start this command again."""
    spec = sys.modules["__main__"].__spec__
    start = ["-m", spec.name.removesuffix(".__main__")] if spec else [sys.argv[0]]
    return [sys.executable, *start, *sys.argv[1:]]


def _run_all(count: int, gpus: Sequence[str], joined: bool) -> None:
    shared: dict[str, object] = {
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": _free_port(),
        "OMP_NUM_THREADS": max(1, _threads() // count),
    }
    workers: list[subprocess.Popen[bytes]] = []
    with ExitStack() as files:
        others = (files.enter_context(tempfile.TemporaryFile()) for _ in range(1, count))
        said = [None, *others]
        signal.signal(signal.SIGTERM, _stop)
        try:
            for rank, output in enumerate(said):
                own = shared | {"RANK": rank, "LOCAL_RANK": rank}
                own |= {"TQDM_DISABLE": 1} if rank else {}
                own |= {VISIBLE: gpus[rank]} if gpus and not joined else {}
                variables = {name: str(value) for name, value in own.items()}
                workers.append(_start(os.environ | variables, output))
            failed = _wait(workers)
        finally:
            _end(workers)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        codes = [worker.returncode for worker in workers]
        if failed is None:
            for output in () if joined else said:
                _repeat(output)
        elif codes[failed] >= 0 and codes[0] != codes[failed]:  # else the first has said the same
            _repeat(said[failed])
    if failed is not None:
        _fail(failed + 1, count, codes[failed])


def _fail(number: int, count: int, code: int) -> None:
    """End this command as the process did that failed first."""
    if code >= 0:
        raise SystemExit(code)
    name = signal.Signals(-code).name
    why = " (perhaps for want of memory)" if name == "SIGKILL" else ""
    raise InputError(
        f"process {number} of {count} was ended by {name}{why}, and so the others were; run the "
        "same command again: it goes on from what is finished."
    )


def _start(environment: dict[str, str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start this command once more; it ends with this process, and keeps its open files' locks."""
    system = ctypes.CDLL(None)

    def end_with_parent() -> None:
        with suppress(AttributeError):  # elsewhere than on Linux
            system.prctl(_TOLD_BY_SYSTEM, signal.SIGKILL)

    return subprocess.Popen(
        this_command(),
        env=environment,
        stdout=output,
        stderr=output,
        close_fds=False,  # a job of the workflow has a share in its lock (workflow/lib/process.py)
        preexec_fn=end_with_parent,
    )


def _wait(workers: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all to end, or for one to fail; return the number of the one that failed first."""
    limit = first = None
    while True:
        codes = [worker.poll() for worker in workers]
        if all(code == 0 for code in codes):
            return None
        wrong = [rank for rank, code in enumerate(codes) if code]
        causes = [rank for rank in wrong if codes[rank] != LOST]
        if first is None and causes:
            first = causes[0]
        if wrong and limit is None:
            limit = time.monotonic() + _GRACE
        over = limit is not None and time.monotonic() > limit
        if wrong and (over or None not in codes or (first is not None and codes[0] is not None)):
            return first if first is not None else wrong[0]
        time.sleep(_TICK)


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """End those that still run."""
    for stop in (subprocess.Popen.terminate, subprocess.Popen.kill):
        for worker in workers:
            if worker.poll() is None:
                stop(worker)
        limit = time.monotonic() + _LAST_WORDS
        for worker in workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, limit - time.monotonic()))


def _repeat(output: IO[bytes] | None) -> None:
    """Say what a process had to say."""
    if output is not None:
        output.seek(0)
        sys.stderr.write(output.read().decode(errors="replace"))


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() else os.cpu_count() or 1
