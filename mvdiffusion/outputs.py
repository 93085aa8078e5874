"""Outputs that are made once: the same settings resume, other settings are refused.

Every command that fills a folder keeps to one rule. Before anything else the folder gets a record
of the settings that decide its contents, `.output.json`. When the command runs again,

- a folder that is missing or empty is made;
- a folder of the same settings is resumed: what is there is kept, what is missing is made;
- a folder of other settings is refused, with the names of the settings that differ. `--overwrite`
  moves it aside to `<output>.old`, with all that a user has put into it, and makes it anew;
- a folder without a record holds files of somebody else. It is refused, with `--overwrite` too;
- a folder that another process fills is refused until that process has ended. The record is the
  lock, so that what is left of a killed run can neither write into the next run's output nor be
  taken for it. Processes that each fill a part of it (`begin_part`) share the lock, and have one
  for each part beside it.

What took long and appears whole has spare copies of its index files (`keep_spares`), as a workflow
deletes the file by which it knows an output before it runs a command again, even if the command has
finished without its notice. They are brought back, so what is finished is not made twice.

What takes seconds, such as tables, is made anew by every run (`remade_output`): the files of the
run before are replaced, files that a user has put beside them stay, and a folder of somebody else's
files is refused.

So nothing that cost anybody time is deleted.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvdiffusion.locks import Held, hold, release
from mvdiffusion.records import (
    InputError,
    atomic_output,
    canonical_json,
    listed,
    read_json,
    remove_leftovers,
    write_json,
)

RECORD = ".output.json"
_PART = ".part-"  # names of locks begin so
_SPARE = ".spare-"  # names of copies begin so
_INDEX = {".json", ".npy"}  # of files that say what a folder holds; all else is large
_PATIENCE = 30.0  # seconds for which parts wait for one another to begin
_NAMED = 6  # differing settings that a message lists


def begin(output: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Open a folder that is filled step by step.

    It is this process's until `end(output)`, or until the process ends.

    Args:
        output: the folder.
        settings: everything that decides its contents, as JSON can hold it.
        overwrite: move an output of other settings aside instead of refusing.

    Returns:
        Whether the folder was begun before, with the same settings.

    Raises:
        InputError: it holds an output of other settings or files of somebody else, or another
            process fills it.
    """
    is_begun(output, settings, overwrite=overwrite)  # refuses before anything is written
    record = _hold(output)
    if is_begun(output, settings, overwrite=overwrite):  # now that nobody else can change it
        return True
    if not _holds_nothing(output):
        make_room(output)
        record = _hold(output)
    content = json.dumps(_plain(settings), indent=2, sort_keys=True) + "\n"
    os.truncate(record, os.pwrite(record, content.encode(), 0))
    os.fsync(record)
    return False


def begin_part(
    output: Path, settings: Mapping[str, Any], part: tuple[int, int], *, overwrite: bool = False
) -> None:
    """Open a folder that several processes fill, each a part of it, as `begin` does for one alone.

    Args:
        output: the folder.
        settings: everything that decides its contents, as JSON can hold it.
        part: number of this part, from 0, and how many there are.
        overwrite: move an output of other settings aside instead of refusing.

    Raises:
        InputError: as `begin`; or another process fills the same part, or parts of another number.
    """
    patience = time.monotonic() + _PATIENCE
    while True:
        try:
            if not is_begun(output, settings, overwrite=overwrite):
                begin(output, settings, overwrite=overwrite)
                release(output / RECORD)
            hold(output / RECORD, fcntl.LOCK_SH)
        except Held:  # by one that begins it, which takes a moment, or that fills it alone
            if time.monotonic() > patience:
                raise
            time.sleep(0.05)
            continue
        if is_begun(output, settings, overwrite=overwrite):
            break
        release(output / RECORD)  # moved aside meanwhile
    number, count = part
    hold(output / f"{_PART}{number}-of-{count}")
    for other in output.glob(f"{_PART}*"):  # after one's own, so that of two at once one is seen
        if not other.name.endswith(f"-of-{count}"):
            hold(other)
            release(other)


def end_part(output: Path, part: tuple[int, int]) -> None:
    """Let other processes have this part of a folder that several fill."""
    release(output / f"{_PART}{part[0]}-of-{part[1]}")
    release(output / RECORD)


def end(output: Path) -> None:
    """Let other processes have a folder that this one alone fills; its parts are forgotten."""
    for lock in output.glob(f"{_PART}*"):
        lock.unlink(missing_ok=True)
    release(output / RECORD)


def _hold(output: Path) -> int:
    output.mkdir(parents=True, exist_ok=True)
    return hold(output / RECORD)


@contextmanager
def whole_output(output: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder to fill that becomes `output`, with its record, if the block succeeds.

    Ask `is_begun` first: what lies at `output` is moved aside.

    Raises:
        InputError: the operating system refused.
    """
    output = _behind_link(output)
    with atomic_output(output) as folder:
        folder.mkdir()
        write_json(folder / RECORD, _plain(settings))
        yield folder
        make_room(output)


def keep_spares(folder: Path) -> None:
    """Copy the index files of a folder that is finished, for `is_begun` to bring back."""
    for path in list(folder.iterdir()):
        if path.suffix in _INDEX and not path.name.startswith("."):
            shutil.copyfile(path, folder / f"{_SPARE}{path.name}")


def _bring_back(output: Path) -> None:
    for spare in output.glob(f"{_SPARE}*"):
        path = output / spare.name.removeprefix(_SPARE)
        if not os.path.lexists(path):
            with atomic_output(path) as file:
                shutil.copyfile(spare, file)
            print(f"{path}: was deleted, and is brought back", file=sys.stderr)


@contextmanager
def remade_output(output: Path) -> Iterator[Path]:
    """Yield a folder to fill that becomes `output` in place of what the run before made there.

    Args:
        output: the folder; its record names the files that a run makes.

    Raises:
        InputError: it holds no such output but other files, or the operating system refused.
    """
    output = _behind_link(output)
    earlier = made_before(output)
    with atomic_output(output) as folder:
        folder.mkdir()
        yield folder
        write_json(folder / RECORD, {"files": _files(folder)})
        keep_other_files(output, folder, earlier | made_before(output))


def made_before(output: Path) -> set[str]:
    """Return the files that an earlier `remade_output` made.

    Raises:
        InputError: the folder holds other files, or what another command made.
    """
    remove_leftovers(output)
    if not _has_record(output):
        return set()
    record = read_json(output / RECORD)
    if set(record) != {"files"}:
        raise InputError(f"{output}: is the output of another command; choose another folder.")
    return {RECORD, *record["files"]}


def keep_other_files(earlier: Path, folder: Path, made: Collection[str]) -> None:
    """Bring all files of a folder into the one that replaces it, but for those that were made.

    Args:
        folder: the new one, whose own files are kept.
        made: relative names of the files that a run before made.
    """
    for name in _files(earlier):
        if name not in made and not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(earlier / name, folder / name, follow_symlinks=False)
            except OSError:  # a file system without hard links
                shutil.copy2(earlier / name, folder / name, follow_symlinks=False)


def _files(folder: Path) -> list[str]:
    """Files in a folder, and links as they are."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def is_begun(output: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Tell whether a folder holds an output of these settings.

    It is only looked at, but index files of a whole one that were deleted are brought back. With
    `overwrite`, one of other settings is not refused.

    Raises:
        InputError: it holds an output of other settings or files of somebody else.
    """
    remove_leftovers(output)
    if not _has_record(output):
        return False
    empty = _holds_nothing(output)
    try:
        found = read_json(output / RECORD)
    except InputError:
        if empty:  # killed before the record was whole
            return False
        raise
    same = is_same(output, found, settings, overwrite or empty)
    if same:
        _bring_back(output)
    return same


def is_same(output: Path, found: Any, settings: Mapping[str, Any], overwrite: bool = False) -> bool:
    """Tell whether what decided an output's contents is what decides them now.

    Args:
        overwrite: do not refuse if they differ.

    Raises:
        InputError: they differ.
    """
    others = list(differences(_plain(found), _plain(settings)))
    if others and not overwrite:
        raise InputError(
            f"{output}: was made with other settings ({listed(others, _NAMED)}); choose another "
            "output, or pass --overwrite to replace this one."
        )
    return not others


def make_room(output: Path) -> None:
    """Move what lies at `output`, if it holds anything, aside and tell the user."""
    if os.path.lexists(output) and not _holds_nothing(output):
        print(f"{output}: moved to {set_aside(output)}", file=sys.stderr)


def already_made(output: Path) -> None:
    """Tell the user that there is nothing to do."""
    print(f"{output}: already made with these settings", file=sys.stderr)


def set_aside(path: Path) -> Path:
    """Rename a file or folder to the first free name of `<path>.old`, `<path>.old2`, …

    Returns:
        The new path.

    Raises:
        InputError: the operating system refused.
    """
    path = Path(os.path.abspath(path))  # a link is renamed, not what it points to
    names = (path.with_name(f"{path.name}.old{number}") for number in ("", *range(2, 10_000)))
    aside = next(name for name in names if not os.path.lexists(name))
    try:
        return path.rename(aside)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: could not be moved to {aside} ({reason}); choose another output folder."
        ) from error


def differences(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """Name the keys whose values differ, those of nested mappings as `outer.inner`."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in sorted({*found, *wanted}):
            yield from differences(found.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
    elif found != wanted:
        yield name


def _has_record(output: Path) -> bool:
    """Tell whether a folder has a record; without one, nothing may lie there."""
    record = output / RECORD
    if record.is_file():
        return True
    try:
        check_empty(output)
    except InputError:
        if not record.is_file():  # or else another process has begun it at this moment
            raise
        return True
    return False


def _holds_nothing(output: Path) -> bool:
    return output.is_dir() and all(
        path.name == RECORD or path.name.startswith(_PART) for path in output.iterdir()
    )


def check_empty(output: Path) -> None:
    """Check that nothing lies at `output` but perhaps an empty folder.

    Raises:
        InputError: something does.
    """
    if not os.path.lexists(output):  # asked first, as another process may make the folder now
        return
    if not output.is_dir():
        kind = "file" if output.exists() else "broken link"
        raise InputError(f"{output}: is a {kind}; expected a new or empty output folder.")
    if (foreign := next(output.iterdir(), None)) is not None:
        raise InputError(
            f"{output}: holds other files ({foreign.name}, …); expected a new or empty output "
            "folder."
        )


def check_apart(output: Path, *inputs: Path) -> None:
    """Check that an output, which would be replaced or moved aside, is or holds no input.

    Args:
        output: the folder or file to write.
        inputs: what is read for it; what is not there, such as the id of a model on the hub, is
            passed over.

    Raises:
        InputError: it does.
    """
    for path in inputs:
        if path.exists() and path.resolve().is_relative_to(output.resolve()):
            raise InputError(f"{output}: holds the input {path}; choose another output.")


def check_file(path: Path, suffix: str = "") -> None:
    """Find out before any work whether a file can be written.

    Args:
        path: the file.
        suffix: that it must have, if any, so that no file of another kind is replaced.

    Raises:
        InputError: the suffix is another one, a folder is there, or nothing can be written there.
    """
    if suffix and path.suffix.lower() != suffix:
        raise InputError(f"{path}: is to be written; expected a name that ends in {suffix}.")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected the name of a file to write.")
    above = next(p for p in path.absolute().parents if p.exists() or p.is_symlink())
    if not above.is_dir() or not os.access(above, os.W_OK):
        problem = "cannot be written to" if above.is_dir() else "is not a folder"
        raise InputError(f"{path}: {above} {problem}; choose another output.")


def _behind_link(output: Path) -> Path:
    """Where a folder is written whose name is a link: beside the folder that is meant."""
    return output.resolve() if output.is_dir() else output


def _plain(settings: Any) -> Any:
    """Settings as they read back from JSON: tuples become lists."""
    return json.loads(canonical_json(settings))
