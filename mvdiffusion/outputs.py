"""Outputs that are made once: the same settings resume, other settings are refused.

Every command that fills a folder keeps to one rule. Before anything else the folder gets a record
of the settings that decide its contents, `.output.json`. When the command runs again,

- a folder that is missing or empty is made;
- a folder of the same settings is resumed: what is there is kept, what is missing is made;
- a folder of other settings is refused, with the names of the settings that differ. `--overwrite`
  moves it aside to `<output>.old`, with all that a user has put into it, and makes it anew;
- a folder without a record holds files of somebody else. It is refused, with `--overwrite` too.

Nothing is deleted here: neither what was made nor what lies beside it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mvdiffusion.records import (
    InputError,
    canonical_json,
    read_json,
    remove_leftovers,
    write_json,
)

RECORD = ".output.json"
_NAMED = 6  # differing settings that a message lists


def begin(output: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Open a folder that is filled step by step.

    Args:
        output: the folder.
        settings: everything that decides its contents, as JSON can hold it.
        overwrite: move an output of other settings aside instead of refusing.

    Returns:
        Whether the folder was begun before, with the same settings.

    Raises:
        InputError: it holds an output of other settings or files of somebody else.
    """
    begun = is_begun(output, settings, overwrite=overwrite)
    if not begun:
        write_record(output, settings)
    return begun


def is_begun(output: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> bool:
    """Tell whether a folder holds an output of these settings; arguments as for `begin`.

    A folder that is written in one piece (`atomic_output`, with `write_record`) is then finished.

    Raises:
        InputError: it holds an output of other settings or files of somebody else.
    """
    record = output / RECORD
    remove_leftovers(record)
    if not record.is_file():
        _check_empty(output)
        return False
    others = list(differences(read_json(record), _plain(settings)))
    if not others:
        return True
    if [path.name for path in output.iterdir()] == [RECORD]:
        return False  # begun, but nothing was made
    if not overwrite:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise InputError(
            f"{output}: was made with other settings ({', '.join(others[:_NAMED])}{more}); choose "
            "another output folder, or pass --overwrite to move this one aside and make it anew."
        )
    print(f"{output}: other settings; moved to {set_aside(output)}", file=sys.stderr)
    return False


def write_record(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write down what decides the contents of a folder (see `begin`)."""
    write_json(folder / RECORD, _plain(settings))


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


def _check_empty(output: Path) -> None:
    if output.is_dir():
        foreign = next(output.iterdir(), None)
        if foreign is not None:
            raise InputError(
                f"{output}: holds other files ({foreign.name}, …); expected a new or empty output "
                "folder."
            )
    elif os.path.lexists(output):
        raise InputError(f"{output}: is a file; expected a new or empty output folder.")


def _plain(settings: Mapping[str, Any]) -> Any:
    """Settings as they read back from JSON: tuples become lists."""
    return json.loads(canonical_json(dict(settings)))
