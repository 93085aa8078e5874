"""Locks on files: one process at a time fills an output.

A lock belongs to the open file, so the system drops it when the process ends, however it ends.
Processes that it forks (workers of data loaders, which only read) have no part in it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from mvdiffusion.records import InputError

_held: dict[Path, int] = {}  # open files keep their locks
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # file systems that have none


class Held(InputError):
    """Another process has locked the file."""


def hold(path: Path, kind: int = fcntl.LOCK_EX) -> int:
    """Lock a file, which is made if it is missing, until `release` or the end of this process.

    Args:
        path: the file; a process that holds it already keeps it.
        kind: `fcntl.LOCK_EX`, or `fcntl.LOCK_SH` for one that several may hold.

    Returns:
        The open file.

    Raises:
        Held: another process holds it.
        OSError: the file cannot be opened.
    """
    key = path.resolve()
    while True:
        file = _held.pop(key, None)
        file = _open(path) if file is None else file
        if not lock(file, kind):
            os.close(file)
            found = ", ".join(map(str, processes(path))) or "unknown"
            raise Held(
                f"{path.parent}: is being written by another command (process {found}); wait "
                "until it ends, or stop it, then run this command again."
            )
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            _held[key] = file
            return file
        os.close(file)  # the file was moved away meanwhile, with its folder


def release(path: Path) -> None:
    """Give a lock back, if it is held."""
    if (file := _held.pop(path.resolve(), None)) is not None:
        os.close(file)


def lock(file: int, kind: int) -> bool:
    """Lock an open file; False if another process's lock does not allow it.

    On a file system without locks, as some clusters have, nothing is locked.

    Args:
        file: the open file.
        kind: `fcntl.LOCK_EX`, or `fcntl.LOCK_SH` for one that several may hold.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # of an output that may only be read


def processes(path: Path) -> list[int]:
    """Other processes that have a file open, as far as the system (Linux) tells this user."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_is_same(path, file) for file in os.scandir(process / "fd")):
                found.add(int(process.name))
        except OSError:  # ended meanwhile, or of another user
            continue
    return sorted(found - {os.getpid()})


def _is_same(path: Path, file: os.DirEntry[str]) -> bool:
    try:
        return os.path.samefile(file, path)
    except OSError:  # closed meanwhile
        return False


def _forget() -> None:
    while _held:
        os.close(_held.popitem()[1])


os.register_at_fork(after_in_child=_forget)
