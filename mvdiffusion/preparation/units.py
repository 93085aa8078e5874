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


@dataclass(frozen=True)
class Unit:
    """A house or scene to prepare.

    Attributes:
        folder: where it belongs.
        dataset: "matterport3d" or "scannet".
        name: id of the house or scene.
        settings: how it is made, as plain values.
        source: the file that it is made of.
        skipped: what of the source could not be used, as mappings with a "reason".
    """

    folder: Path
    dataset: str
    name: str
    settings: Mapping[str, Any]
    source: Path
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def made_of(self) -> dict[str, Any]:
        """Gather what decides the unit's files.

        Raises:
            InputError: the source is missing.
        """
        if not self.source.is_file():
            raise InputError(
                f"{self.source}: no such file; fetch {self.dataset} {self.name} first."
            )
        size, digest = self.source.stat().st_size, sha256_file(self.source)
        about = {"format": FORMAT, "dataset": self.dataset, "unit": self.name}
        source = {"name": self.source.name, "bytes": size, "sha256": digest}
        return {**about, "settings": dict(self.settings), "source": source}

    def is_prepared(self, overwrite: bool = False) -> bool:
        """Say whether the folder holds this unit, made from this source with these settings.

        The files that its record lists must be there and not empty; their hashes are left to
        `mvdiffusion data check`. With `overwrite`, a unit of another source or other settings is
        not refused.

        Raises:
            InputError: it is of another source or other settings, or something else.
        """
        if not (self.folder / RECORD).is_file():
            check_empty(self.folder)
            return False
        record, wanted = read_record(self.folder, self.dataset), self.made_of()
        found = {key: record.get(key) for key in wanted}
        whole = all(has_bytes(self.folder / name) for name in record["files"])
        return is_same(self.folder, found, wanted, overwrite) and whole

    @contextmanager
    def made(self) -> Iterator[Path]:
        """Yield a folder to fill, which becomes the unit with its record if the block succeeds.

        The files of an earlier unit's record are replaced.

        Raises:
            InputError: the source is missing, nothing was put into the folder, or writing failed.
        """
        made_of = self.made_of()
        with atomic_output(self.folder) as temporary:
            temporary.mkdir()
            yield temporary
            if not (files := _hashes(temporary)):
                raise InputError(f"{self.source}: contains nothing usable for {self.name}.")
            if (self.folder / RECORD).is_file():
                made = {RECORD, *read_record(self.folder, self.dataset)["files"]}
                keep_other_files(self.folder, temporary, made)
            write_json(temporary / RECORD, {**made_of, "files": files, "skipped": self.skipped})


def collect(prepared: Path, dataset: str, folders: Sequence[Path]) -> dict[str, str]:
    """Gather the units of a dataset for the summary of its splits.

    Returns:
        Hash of each unit's record, by relative folder; it stands for the bytes of all its files.

    Raises:
        InputError: a folder is not a unit of this dataset, or lacks a file of its record.
    """
    found = {}
    for folder in sorted(folders):
        record = read_record(folder, dataset)
        if missing := [name for name in record["files"] if not has_bytes(folder / name)]:
            raise InputError(
                f"{folder / missing[0]}: missing or empty; delete the folder of this unit and "
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


def _hashes(folder: Path) -> dict[str, str]:
    """Hash the files of a unit, captions aside."""
    relative = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    kept = sorted(path.as_posix() for path in relative if path.parts[0] not in CAPTION_FOLDERS)
    return {name: sha256_file(folder / name) for name in kept}


def has_bytes(path: Path) -> bool:
    """Tell whether a file is there and not empty."""
    return path.is_file() and path.stat().st_size > 0
