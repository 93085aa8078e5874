"""Installing an external method at its commit, step by step; a second call goes on."""

from __future__ import annotations

import sys
from pathlib import Path

from mvdiffusion.external.process import run
from mvdiffusion.external.steps import Place, Step, installation_steps
from mvdiffusion.methods.specification import Specification
from mvdiffusion.outputs import already_made, begin, end
from mvdiffusion.records import InputError, read_json, sha256_file, write_json

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
        InputError: a step fails, weights have another hash, a person has to fetch some, or an
            installation of another commit is there.
    """
    place = Place((root / specification.name).resolve())
    begin(place.root, specification.installation(), overwrite=overwrite)
    done = _done(place)
    steps = installation_steps(specification, place)
    left = [step for step in steps if step.words not in done]
    if not left:
        already_made(place.root)
    for step in left:
        print(f"{specification.name}: {step.title}", file=sys.stderr)
        _take(step, place)
        done[step.words] = _found(step)
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


def _done(place: Place) -> dict[str, str | None]:
    """Steps that were taken, by their words, with the hashes of what they made."""
    record = place.root / _DONE
    return dict(read_json(record)["steps"]) if record.is_file() else {}


def _take(step: Step, place: Place) -> None:
    if step.command:
        run(step.command, step.folder, place.root / "log.txt")
    if step.makes is None:
        return
    if not step.makes.exists():
        raise InputError(f"{step.title}: {step.by_hand or f'{step.makes} is not there'}.")
    if step.sha256 and (found := sha256_file(step.makes)) != step.sha256:
        raise InputError(
            f"{step.makes}: its SHA-256 is {found}, but {step.sha256} is on record; delete the "
            "file and run the same command again."
        )


def _found(step: Step) -> str | None:
    """Hash the file that a step made, and say so if none was on record."""
    if step.makes is None or not step.makes.is_file():
        return None
    found = sha256_file(step.makes)
    if step.sha256 is None:
        print(f"{step.makes}: no hash is on record; its SHA-256 is {found}", file=sys.stderr)
    return found
