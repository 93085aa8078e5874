"""Problems of a user's files and how to fix them, as all checks report them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvdiffusion.records import InputError


@dataclass(frozen=True)
class Problem:
    """One thing about one file.

    Attributes:
        file: its path; in reports, relative to the checked folder.
        problem: what was found.
        fix: what to do about it.
        stops: False for a note, which an import does not wait for.
    """

    file: Path | str
    problem: str
    fix: str
    stops: bool = True

    def named_in(self, folder: Path) -> Problem:
        """Name the file relative to the folder if it is inside."""
        return replace(self, file=name_in(Path(self.file), folder))


def note(file: Path | str, problem: str, fix: str) -> Problem:
    """Make a problem that does not stop an import."""
    return Problem(file, problem, fix, stops=False)


def name_in(path: Path, folder: Path) -> str:
    """Path relative to the folder if it is inside, else as it is."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def from_error(error: InputError | OSError) -> Problem:
    """Turn the sentence "file: what; fix" of an `InputError` into a problem."""
    if isinstance(error, OSError):
        problem = f"cannot be read ({error.strerror})"
        return Problem(Path(error.filename), problem, "Put a text file there.")
    file, _, rest = str(error).partition(": ")
    problem, separator, fix = rest.partition("; ")
    if not separator:
        problem, _, fix = rest.partition(". ")
    return Problem(Path(file), problem, fix[:1].upper() + fix[1:])


def grouped(problems: Sequence[Problem]) -> list[tuple[str, Problem]]:
    """Join equal problems of many files into one row: (files in words, one of the problems)."""
    rows: dict[tuple[str, str, bool], list[Problem]] = {}
    for found in problems:
        rows.setdefault((found.problem, found.fix, found.stops), []).append(found)
    ordered = sorted(rows.values(), key=lambda row: not row[0].stops)
    return [(_files([str(found.file) for found in row]), row[0]) for row in ordered]


def _files(names: list[str]) -> str:
    if len(names) <= 3:
        return "\n".join(names)
    return f"{names[0]}\n… and {len(names) - 1} more\n{names[-1]}"
