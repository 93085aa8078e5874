"""Downloading licensed data sets: the owners' scripts are run, never replaced.

Each owner sends a download script to whoever signs the terms of use. The user names that script,
or a folder in which the files are already. Beside each file stands <file>.json with its size and
SHA-256.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mvdiffusion.archives import check_archive
from mvdiffusion.outputs import set_aside
from mvdiffusion.preparation.sens import SensReader
from mvdiffusion.preparation.splits import scene_list, split_of_scene
from mvdiffusion.records import (
    InputError,
    remove,
    remove_leftovers,
    sha256_file,
    write_json,
)
from mvdiffusion.settings import Text, Whole, read_file, settings

# All that a download needs; nothing else of the user's environment is handed on.
_ENVIRONMENT = re.compile(r"PATH|HOME|LANG|LC_\w+|TMPDIR|SYSTEMROOT|SSL_CERT_\w+|\w+_proxy", re.I)


@dataclass(frozen=True)
class Source:
    """How to obtain a dataset.

    Attributes:
        title: its name.
        terms: the terms of use to sign.
        home: the page that says how to submit them.
        script: name of the script that the owners send.
        file_type: what the script is asked for.
        unit: what it calls a part.
        lists: official ids, by name of the list.
        places: where a unit's file may stand in a download folder; the first is where it is put.
        check: raises `InputError` if a file is not whole.
    """

    title: str
    terms: str
    home: str
    script: str
    file_type: str
    unit: str
    lists: tuple[str, ...]
    places: Callable[[str], tuple[str, ...]]
    check: Callable[[Path], None]


def _house_places(house: str) -> tuple[str, ...]:
    name = f"{house}/matterport_skybox_images.zip"
    return f"v1/scans/{name}", f"scans/{name}", name


def _scan_places(scene: str) -> tuple[str, ...]:
    folders = ("scans", "scans_test")
    if split_of_scene(scene) == "test":
        folders = folders[::-1]
    files = (f"{scene}/{scene}.sens", f"{scene}/{scene}_vh.sens")
    return tuple(f"{folder}/{file}" for folder in folders for file in files) + files


def _check_sens(path: Path) -> None:
    with SensReader(path):
        pass  # it has found the place of every frame


SOURCES: Mapping[str, Source] = {
    "matterport3d": Source(
        "Matterport3D",
        "https://kaldir.vc.in.tum.de/matterport/MP_TOS.pdf",
        "https://niessner.github.io/Matterport",
        "download_mp.py",
        "matterport_skybox_images",
        "house",
        ("matterport3d",),
        _house_places,
        check_archive,
    ),
    "scannet": Source(
        "ScanNet",
        "https://kaldir.vc.in.tum.de/scannet/ScanNet_TOS.pdf",
        "https://github.com/ScanNet/ScanNet",
        "download-scannet.py",
        ".sens",
        "scene",
        ("scannet_train", "scannet_test"),
        _scan_places,
        _check_sens,
    ),
}


def find_download(dataset: str, unit: str, downloads: Path) -> Path | None:
    """Return a house's .zip or a scene's .sens in a download folder, if it is there.

    Args:
        downloads: what the owner's script was given as `-o`.
    """
    found = (downloads / place for place in SOURCES[dataset].places(unit))
    return next((path for path in found if path.is_file()), None)


def fetch_unit(
    dataset: str,
    unit: str,
    downloads: Path,
    script: Path | None = None,
    accept_terms: bool = False,
    retries: int = 3,
    first_wait_s: float = 10.0,
    verify: bool = False,
    python: str = sys.executable,
) -> Path:
    """Get a house's .zip or a scene's .sens into a download folder, whole.

    A file that is there and whole is left alone. Otherwise the owner's script is run in a process
    of its own, as `script -o FOLDER --id UNIT --type TYPE`; its output is shown.

    Args:
        downloads: the folder; files already in it are found.
        script: what the owner sent to the user.
        accept_terms: the user has signed the terms that the script asks about.
        first_wait_s: seconds before the second try; they double each time.
        verify: compare the SHA-256 of a file that is there, not only its size.

    Raises:
        InputError: no such unit; the file is not there and there is no script or no consent; or
            the script did not deliver a whole file.
    """
    source = SOURCES[dataset]
    known = [name for part in source.lists for name in scene_list(part)]
    if unit not in known:
        raise InputError(
            f"--unit: {source.title} has no {source.unit} {unit!r}; expected one of its "
            f"{len(known):,} ids, such as {known[0]}."
        )
    found = find_download(dataset, unit, downloads)
    flaw = "" if found is None else _flaw(source, found, verify)
    if found is not None and not flaw:
        return found
    owners = _check_script(dataset, unit, downloads, script, accept_terms, flaw)
    for attempt in range(retries + 1):
        if attempt:
            print(f"{flaw}\nTrying again ({attempt} of {retries}).", file=sys.stderr)
            time.sleep(first_wait_s * 2 ** (attempt - 1))
        with _own_folder(downloads, unit) as folder:
            flaw = _run(source, [python, str(owners)], unit, folder)
            arrived = find_download(dataset, unit, folder)
            if arrived is not None and not (flaw := _flaw(source, arrived)):
                return _take_over(arrived, downloads / source.places(unit)[0], found)
        if "raw_input" in owners.read_text(errors="replace") and arrived is None:
            break  # written for Python 2, so trying again is useless
    raise InputError(
        f"{owners}: did not deliver {source.unit} {unit} ({flaw.rstrip('.')}). Read what it "
        "printed above; if it was written for Python 2, give such an interpreter with --python; "
        "then run the same command again."
    )


@settings
class _Record:
    """What is known of a whole file."""

    bytes: Whole
    sha256: Text


def _flaw(source: Source, path: Path, verify: bool = False) -> str:
    """Say what is wrong with a file, if anything; keep a record of a whole one."""
    file = _record_path(path)
    try:
        if not file.is_file():
            source.check(path)
            if os.access(path.parent, os.W_OK):
                write_json(file, asdict(_measure(path)))
            return ""
        record = read_file(_Record, file)
    except InputError as error:
        return str(error)
    if path.stat().st_size != record.bytes or (verify and _measure(path) != record):
        return f"{path}: does not match {file.name}"
    return ""


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _measure(path: Path) -> _Record:
    return _Record(path.stat().st_size, sha256_file(path))


def _check_script(
    dataset: str, unit: str, downloads: Path, script: Path | None, accept_terms: bool, flaw: str
) -> Path:
    """Return the script if it may be run; else say what to sign, and where, and what to set."""
    source, key = SOURCES[dataset], f"datasets.{dataset}"
    missing = flaw or f"{downloads / source.places(unit)[0]}: no such file"
    if script is None:
        raise InputError(
            f"{missing.rstrip('.')}. {source.title} requires a signed license: sign "
            f"{source.terms}, submit it as described on {source.home}, and set {key}.script "
            f"(--script) to the path of the {source.script} that you receive; or set "
            f"{key}.downloads (--downloads) to a folder that contains the file."
        )
    if not script.is_file():
        raise InputError(
            f"{script}: no such file; set {key}.script (--script) to the path of the "
            f"{source.script} that you received from the owners of {source.title}."
        )
    if not accept_terms:
        raise InputError(
            f"{script}: asks whether you have agreed to {source.terms}; if you have signed them, "
            f"set {key}.accept_terms: true (--accept-terms)."
        )
    return script.absolute()


@contextmanager
def _own_folder(downloads: Path, unit: str) -> Iterator[Path]:
    """A folder for one try, on the disk that the file will stay on."""
    # The name is that of `atomic_output`, so that what a killed process leaves is cleared away.
    folder = downloads.absolute() / f".{unit}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"{downloads}: cannot be used for downloads ({error.strerror}); choose another folder "
            "(--downloads)."
        ) from None
    remove_leftovers(folder.parent / unit)
    try:
        yield folder
    finally:
        remove(folder)


def _run(source: Source, command: list[str], unit: str, folder: Path) -> str:
    """Run the owner's script; say how it failed to deliver."""
    words = [*command, "-o", str(folder), "--id", unit, "--type", source.file_type]
    environment = {key: value for key, value in os.environ.items() if _ENVIRONMENT.fullmatch(key)}
    # It waits for the return key where it reminds of the terms, and ScanNet's once more.
    try:
        ran = subprocess.run(words, input=b"\n" * 4, env=environment, check=False)
    except OSError as error:
        return f"could not be started: {error.strerror}"
    return f"it ended with code {ran.returncode} and without the file"


def _take_over(arrived: Path, target: Path, damaged: Path | None) -> Path:
    """Move a checked file and its record to their place, instead of a damaged one."""
    if damaged is not None:
        _record_path(damaged).unlink(missing_ok=True)
        print(f"{damaged}: damaged; moved to {set_aside(damaged)}", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The file comes last: without it the record says nothing.
    _record_path(arrived).replace(_record_path(target))
    return arrived.replace(target)
