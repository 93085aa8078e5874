"""Installing an external method at its commit, step by step; a second call goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from mvdiffusion.external.download import download
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
            finished installation, a person has to fetch some, something else lies in their place,
            or an installation of another commit is there.
    """
    place = Place((root / specification.name).resolve())
    begin(place.root, specification.installation(), overwrite=overwrite)
    done = _done(place)
    steps = installation_steps(specification, place)
    left = [step for step in steps if not _is_done(step, done)]
    if not left:
        verify(specification, root)
        already_made(place.root)
    for step in left:
        print(f"{specification.name}: {step.title}", file=sys.stderr)
        if step.warning:
            print(f"warning: {step.warning}", file=sys.stderr)
        done[step.words] = _take(step, place)
        if step.checks_out:
            for other in steps:  # before the environment takes its hours
                _refuse_others(other)
        # Recorded before they get their place, so that nothing else that is there passes for them.
        write_json(place.root / _DONE, {"steps": done})
        if step.makes and step.part and not step.makes.exists():
            step.part.replace(step.makes)
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
    left = [s for s in installation_steps(specification, place) if not _is_done(s, done)]
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


def _is_done(step: Step, done: Mapping[str, object]) -> bool:
    return step.words in done and (step.makes is None or step.makes.exists())


def _take(step: Step, place: Place) -> dict[str, str] | None:
    """Take a step, and hash the weights that it makes.

    Weights are fetched beside their place, so that nothing unfinished or wrong is ever in it.
    """
    if step.makes is None:
        run(step.command, step.folder, place.root / "log.txt")
        return None
    if step.part:
        _refuse_others(step)
    fetched = step.part if not step.makes.exists() else None
    if fetched and not (fetched.is_file() and _has_all(step, fetched)):
        _fetch(step, fetched, place)
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
    if left := [name for name in found if name not in step.sha256]:
        print(
            f"{step.makes}: no hash is on record of {listed(left)}; {_DONE} has what was found",
            file=sys.stderr,
        )
    return found


def _fetch(step: Step, part: Path, place: Place) -> None:
    goes_on = part.is_file()
    try:
        if step.url:
            download(step.url, part)
        else:
            run(step.command, step.folder, place.root / "log.txt")
    except InputError as error:
        if not goes_on:
            raise
        # Not deleted here: most failures are the network's, and hours of downloading may be in it.
        raise InputError(
            f"{error}\nThe download went on from {part}; if it keeps failing, delete this file."
        ) from None


def _refuse_others(step: Step) -> None:
    """Refuse what is where weights belong, but was not put there as such, nor has their hashes."""
    if step.makes and step.makes.exists() and not _has_all(step, step.makes):
        raise InputError(
            f"{step.makes}: is in the repository already, as no weights with all hashes on record; "
            "choose another path for the weights in the specification."
        )


def _has_all(step: Step, where: Path) -> bool:
    """Whether hashes are on record, and files have all of them."""
    is_known = bool(step.sha256) and where.exists()
    return is_known and not _wrong(step, _hashes(where, step.sha256))


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
        fetched_again = f"delete {step.makes}, and" if step.part else "replace it, and"
        advice = "it was deleted:" if where == step.part else fetched_again
        raise InputError(
            f"{file}: its SHA-256 is {found.get(wrong[0], 'none, it is missing')}, but "
            f"{step.sha256[wrong[0]]} is on record{more if len(wrong) > 1 else ''}; "
            f"{advice} run `mvdiffusion external install` again."
        )
