"""Installing an external method at its commit, step by step; a second call goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from mvdiffusion.external.process import run
from mvdiffusion.external.steps import Place, Step, installation_steps
from mvdiffusion.methods.specification import Specification
from mvdiffusion.outputs import already_made, begin, end
from mvdiffusion.records import InputError, listed, read_json, sha256_file, write_json

_DONE = "installed.json"


def install(specification: Specification, root: Path, overwrite: bool = False) -> Place:
    """Install a method below a folder.

    Args:
        specification: the method.
        root: folder of all installations; the method gets a folder of its name.
        overwrite: move an installation of another commit or environment aside.

    Returns:
        Where it is.

    Raises:
        InputError: a step fails, weights have another hash than on record, also those of a
            finished installation, a person has to fetch some, or an installation of another commit
            is there.
    """
    place = Place((root / specification.name).resolve())
    begin(place.root, specification.installation(), overwrite=overwrite)
    done = _done(place)
    steps = installation_steps(specification, place)
    left = [step for step in steps if step.words not in done]
    if not left:
        verify(specification, root)
        already_made(place.root)
    for step in left:
        print(f"{specification.name}: {step.title}", file=sys.stderr)
        if step.warning:
            print(f"warning: {step.warning}", file=sys.stderr)
        done[step.words] = _take(step, place)
        write_json(place.root / _DONE, {"steps": done})
    end(place.root)
    return place


def installed(specification: Specification, root: Path) -> Place:
    """Find a finished installation.

    Args:
        specification: the method.
        root: folder of all installations.

    Raises:
        InputError: there is none, or it lacks steps, or is of another commit.
    """
    place = Place((root / specification.name).resolve())
    done = _done(place)
    left = [s for s in installation_steps(specification, place) if s.words not in done]
    if left:
        raise InputError(
            f"{place.root}: {specification.method} is not installed there as specified ("
            f"{left[0].title}); run `mvdiffusion external install {specification.name}` with the "
            "same --root."
        )
    return place


def verify(specification: Specification, root: Path) -> None:
    """Compare weights with the hashes on record, if a finished installation is there.

    Args:
        specification: the method.
        root: folder of all installations.

    Raises:
        InputError: a file is missing or has another hash.
    """
    place = Place((root / specification.name).resolve())
    done = _done(place)
    for step in installation_steps(specification, place):
        if step.makes and step.words in done:
            _check(step, step.makes, _hashes(step.makes, step.sha256))


def _done(place: Place) -> dict[str, dict[str, str] | None]:
    """Steps that were taken, by their words, with the hashes of what they made."""
    record = place.root / _DONE
    return dict(read_json(record)["steps"]) if record.is_file() else {}


def _take(step: Step, place: Place) -> dict[str, str] | None:
    """Take a step, and hash the weights that it makes.

    Weights are fetched beside their place, so that nothing unfinished or wrong is ever in it.
    """
    if step.makes is None:
        run(step.command, step.folder, place.root / "log.txt")
        return None
    fetched = step.part if not step.makes.exists() else None
    if fetched:
        run(step.command, step.folder, place.root / "log.txt")
    where = fetched or step.makes
    if not where.exists():
        raise InputError(f"{step.title}: {step.by_hand or f'{where} was not made'}.")
    found = _hashes(where, _names(where))
    try:
        _check(step, where, found)
    except InputError:
        for name in _wrong(step, found) if fetched else ():
            _file(where, name).unlink(missing_ok=True)  # or the next call would keep it
        raise
    if fetched:
        fetched.replace(step.makes)
    if left := [name for name in found if name not in step.sha256]:
        print(
            f"{step.makes}: no hash is on record of {listed(left)}; {_DONE} has what was found",
            file=sys.stderr,
        )
    return found


def _names(where: Path) -> list[str]:
    """Names of weights: the files inside a folder, without those of a download, or its own."""
    if where.is_file():
        return [where.name.removesuffix(".part")]
    files = (path.relative_to(where) for path in where.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if path.parts[0] != ".cache")


def _file(where: Path, name: str) -> Path:
    return where / name if where.is_dir() else where


def _hashes(where: Path, names: Iterable[str]) -> dict[str, str]:
    """Hash files of weights, those that are there."""
    files = {name: _file(where, name) for name in names}
    return {name: sha256_file(file) for name, file in files.items() if file.is_file()}


def _wrong(step: Step, found: Mapping[str, str]) -> list[str]:
    return [name for name, sha256 in step.sha256.items() if found.get(name) != sha256]


def _check(step: Step, where: Path, found: Mapping[str, str]) -> None:
    """Refuse weights with other hashes than those on record."""
    if wrong := _wrong(step, found):
        file, more = _file(where, wrong[0]), f" ({len(wrong)} files are wrong)"
        is_fetched = where == step.part
        raise InputError(
            f"{file}: its SHA-256 is {found.get(wrong[0], 'none, it is missing')}, but "
            f"{step.sha256[wrong[0]]} is on record{more if len(wrong) > 1 else ''}; "
            f"{'it was deleted: ' if is_fetched else 'delete it, and '}run "
            "`mvdiffusion external install` again."
        )
