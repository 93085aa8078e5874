"""Units of a dataset: a house of Matterport3D or a scene of ScanNet, prepared whole or not at all.

<unit>/prepared.json says of what and how a unit was made and holds the hash of every file in it.
Captions (blip3/, prompt/) are not in the record: they come later, from the authors' labels or from
a captioning model.

A unit of other settings is refused; `--overwrite` prepares it again. Then nothing is moved aside,
where it would be read as one more scene of the split: the record's files are replaced, and all
others, captions and whatever the user keeps there, stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvdiffusion.outputs import check_empty, is_same, keep_other_files
from mvdiffusion.records import InputError, atomic_output, read_json, sha256_file, write_json

RECORD = "prepared.json"
FORMAT = 1
CAPTION_FOLDERS = ("blip3", "prompt")


@dataclass
class Unit:
    """A unit in the making.

    Attributes:
        folder: temporary; whatever is put there becomes the unit.
        skipped: what of the source could not be used, as mappings with a "reason".
    """

    folder: Path
    skipped: list[dict[str, Any]] = field(default_factory=list)


def is_prepared(
    folder: Path,
    dataset: str,
    unit: str,
    settings: Mapping[str, Any],
    source: Path,
    overwrite: bool = False,
) -> bool:
    """Say whether `folder` holds this unit, made from this source with these settings.

    The files that its record lists must be there and not empty; their hashes are left to
    `mvdiffusion data check`.

    Args:
        folder: of the unit.
        dataset: "matterport3d" or "scannet".
        unit: id of the house or scene.
        settings: how it is made, as plain values.
        source: the file that it is made of.
        overwrite: do not refuse a unit of another source or other settings.

    Raises:
        InputError: it is of another source or other settings, or the folder holds something else.
    """
    if not (folder / RECORD).is_file():
        check_empty(folder)
        return False
    record = read_record(folder, dataset)
    wanted = _identity(dataset, unit, settings, source)
    found = {key: record.get(key) for key in wanted}
    whole = all(_has_bytes(folder / name) for name in record["files"])
    return is_same(folder, found, wanted, overwrite) and whole


@contextmanager
def open_unit(
    folder: Path, dataset: str, unit: str, settings: Mapping[str, Any], source: Path
) -> Iterator[Unit]:
    """Yield a `Unit` to fill, which becomes `folder` with its record if the block succeeds.

    Args:
        folder: where the unit belongs; the files of an earlier one's record are replaced.
        dataset: "matterport3d" or "scannet".
        unit: id of the house or scene.
        settings: how it is made, as plain values.
        source: the file that it is made of.

    Raises:
        InputError: the source is missing, nothing was put into the unit, or writing failed.
    """
    made_of = _identity(dataset, unit, settings, source)
    with atomic_output(folder) as temporary:
        temporary.mkdir()
        opened = Unit(temporary)
        yield opened
        files = _hashes(temporary)
        if not files:
            raise InputError(f"{source}: contains nothing usable for {dataset} {unit}.")
        if (folder / RECORD).is_file():
            made = {RECORD, *read_record(folder, dataset)["files"]}
            keep_other_files(folder, temporary, made)
        write_json(temporary / RECORD, {**made_of, "files": files, "skipped": opened.skipped})


def collect(prepared: Path, dataset: str, folders: Sequence[Path]) -> dict[str, str]:
    """Gather the units of a dataset for the summary of its splits.

    Args:
        prepared: the dataset's folder of prepared units.
        dataset: "matterport3d" or "scannet".
        folders: of the units, within `prepared`.

    Returns:
        Hash of each unit's record, by relative folder; it stands for the bytes of all its files.

    Raises:
        InputError: a folder is not a unit of this dataset, or lacks a file of its record.
    """
    found = {}
    for folder in sorted(folders):
        record = read_record(folder, dataset)
        for name in record["files"]:
            if not _has_bytes(folder / name):
                raise InputError(
                    f"{folder / name}: missing or empty; delete the folder of this unit and "
                    "prepare it again."
                )
        found[folder.relative_to(prepared).as_posix()] = sha256_file(folder / RECORD)
    return found


def read_record(folder: Path, dataset: str) -> dict[str, Any]:
    """Read and check a unit's `prepared.json`.

    Raises:
        InputError: it is missing, malformed, of another dataset, or written for another format.
    """
    path = folder / RECORD
    record = read_json(path)
    found = (record.get("format"), record.get("dataset")) if isinstance(record, dict) else None
    if found != (FORMAT, dataset) or not isinstance(record.get("files"), dict):
        raise InputError(
            f"{path}: expected the record of a {dataset} unit, format {FORMAT}; delete "
            f"{folder.name} and prepare it again."
        )
    return dict(record)


def _identity(dataset: str, unit: str, settings: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """What decides a unit's files."""
    if not source.is_file():
        raise InputError(f"{source}: no such file; fetch {dataset} {unit} first.")
    size = source.stat().st_size
    made_of = {"name": source.name, "bytes": size, "sha256": sha256_file(source)}
    about = {"format": FORMAT, "dataset": dataset, "unit": unit, "source": made_of}
    return {**about, "settings": dict(settings)}


def _hashes(folder: Path) -> dict[str, str]:
    """Hash the files of a unit, captions aside."""
    relative = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    kept = sorted(path.as_posix() for path in relative if path.parts[0] not in CAPTION_FOLDERS)
    return {name: sha256_file(folder / name) for name in kept}


def _has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
