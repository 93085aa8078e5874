"""What decides results and is neither a setting nor code: named files and installed packages."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from mvdiffusion.records import (
    RECORDED_PACKAGES,
    package_versions,
    settings_sha256,
    sha256_file,
    write_json,
)

KNOWN = Path("results/.contents.json")
NOT_SCORING = ("accelerate", "diffusers", "dvc", "pandas", "snakemake")


def scoring_packages() -> list[str]:
    """Versions of the packages that decide numbers of scores and of feature extractors.

    Those that train and sample are not in any recipe, as it takes days to make models again: models
    and images name the packages that made them, score files their own.
    """
    names = [name for name in RECORDED_PACKAGES if name not in NOT_SCORING]
    return [f"{name} {version}" for name, version in package_versions(names).items()]


def content_sha256(name: str) -> str:
    """Hash the names and bytes of a file or folder.

    A file is read again only if its size, time or inode has changed. What is there no more counts
    as it last was: archives may be deleted once they are extracted.

    Args:
        name: its path. Anything else, such as an id on a hub, has no content here: "".
    """
    before = _read()
    known, path = dict(before), Path(name)
    if not path.exists():
        return str(known.get(name, ""))
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    hashes = {os.path.relpath(file, path): _hash(file, known) for file in files}
    content = settings_sha256(hashes)
    known[name] = content
    if known != before:
        with suppress(Exception):  # only slower without it
            write_json(KNOWN, known)
    return content


def package_sha256(module: str) -> list[str]:
    """Hash the Python files of the package that a module belongs to, or of the module alone.

    Args:
        module: its name; it has been imported.
    """
    package = sys.modules[module.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    return [content_sha256(str(file)) for file in files or [Path(str(package.__file__))]]


def _hash(file: Path, known: dict[str, object]) -> object:
    stat = file.stat()
    state = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    match known.get(key := str(file.resolve())):
        case [*before, sha256] if before == state:
            return sha256
    known[key] = [*state, sha256_file(file)]
    return known[key][-1]  # type: ignore[index]


def _read() -> dict[str, object]:
    try:
        return dict(json.loads(KNOWN.read_text()))
    except (OSError, ValueError):
        return {}
