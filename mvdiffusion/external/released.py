"""The checkpoints that the paper's authors released: fetched, checked, and recorded beside.

<folder>/pano.ckpt         as released
<folder>/pano.ckpt.json    where it came from, its size and SHA-256
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mvdiffusion.external.download import download, is_page
from mvdiffusion.methods.specification import find_specification
from mvdiffusion.records import InputError, listed, read_json, sha256_file, write_json
from mvdiffusion.settings import suggest

SPECIFICATION = "mvdiffusion-released"
"""The external method whose specification has the addresses; it does not use the last one."""
FIRST_STAGE = (
    "https://www.dropbox.com/scl/fi/i1u8jzadcq1mx23aef7s6/depth_single_view.ckpt"
    "?rlkey=4in8g1g8vxrbx21o7do4hqy3c&dl=1"
)
FILES = {
    "panorama": "pano.ckpt",
    "outpaint": "pano_outpaint.ckpt",
    "depth": "depth_gen.ckpt",
    "single_view_depth": "depth_single_view.ckpt",
}
"""Files by what they were trained for, as `mvdiffusion convert --task` has it."""


@dataclass(frozen=True)
class Released:
    """A released checkpoint: its file, its address, and its SHA-256 if that is on record."""

    file: str
    url: str
    sha256: str | None = None


def released_checkpoints() -> dict[str, Released]:
    """Know the released checkpoints by name; addresses are those of the authors' README."""
    given = {Path(one.path).name: one for one in find_specification(SPECIFICATION).checkpoints}
    found = {}
    for name, file in FILES.items():
        one = given.get(file)
        url = one.url if one and one.url else FIRST_STAGE
        found[name] = Released(file, url, one.sha256.get(file) if one else None)
    return found


def fetch_released(
    names: Iterable[str],
    output: Path,
    source: str | None = None,
    sha256: Mapping[str, str] | None = None,
) -> list[str]:
    """Fetch released checkpoints into a folder; what is there and right is left alone.

    Args:
        names: of `released_checkpoints`.
        output: the folder. A file that was put there by hand is checked and recorded, too.
        source: folder or address that has files of the same names, in place of the authors' links.
        sha256: hashes that files must have, by name; otherwise that on record, or, if there is
            none, the one that an earlier call found.

    Returns:
        What was found, a sentence for each file.

    Raises:
        InputError: an unknown name, a failed download, a file with another hash, or a folder that
            holds other files.
    """
    known, expected, said = released_checkpoints(), dict(sha256 or {}), []
    for name in (*(names := list(names)), *expected):
        if name not in known:
            raise InputError(f"'{name}': is no released checkpoint{suggest(name, list(known))}")
    if left := [name for name in expected if name not in names]:
        raise InputError(
            f"--sha256 {left[0]}: is not fetched; name it, too, or leave the hash out."
        )
    _check_folder(output)
    for name in names:
        one = known[name]
        said.append(_fetch(one, output / one.file, source, expected.get(name, one.sha256)))
    return said


def _check_folder(output: Path) -> None:
    """Refuse a folder of something else."""
    ours = {
        f"{file}{end}" for file in FILES.values() for end in ("", ".json", ".part", ".part.json")
    }
    there = [path.name for path in output.iterdir()] if output.is_dir() else []
    if others := sorted(name for name in there if name not in ours and not name.startswith(".")):
        raise InputError(
            f"{output}: holds other files ({listed(others)}); choose one for checkpoints alone."
        )


def _fetch(one: Released, target: Path, source: str | None, expected: str | None) -> str:
    record = target.with_name(f"{target.name}.json")
    earlier = read_json(record) if record.is_file() else {}
    if target.is_file():
        file, url = target, earlier.get("url")  # none: it was put there by hand
    else:
        url = _address(one, source)
        file = target.with_name(f"{target.name}.part")
        print(f"{one.file}: from {url}", file=sys.stderr)
        download(url, file)
    with open(file, "rb") as opened:
        begin = opened.read(1 << 12)
    if not begin or is_page(begin):
        found = "a web page" if begin else "empty"
        raise InputError(
            f"{file}: is {found}, not a checkpoint; delete it, and fetch the file anew."
        )
    found = sha256_file(file)
    held = expected or earlier.get("sha256")
    if held and found != held.lower():
        where = "is expected" if expected else f"stands in {record.name}"
        raise InputError(
            f"{file}: its SHA-256 is {found}, but {held} {where}; delete {file.name} and fetch it "
            "again."
        )
    write_json(record, {"bytes": file.stat().st_size, "sha256": found, "url": url})
    if file != target:
        file.replace(target)
    if expected:
        return f"{target}: has the SHA-256 that is expected"
    return f"{target}: no public record of its SHA-256 is known; found {found} ({record.name})"


def _address(one: Released, source: str | None) -> str:
    """Address of a file at its authors' or at another place."""
    if source is None:
        return one.url
    if "://" in source:
        return f"{source.rstrip('/')}/{one.file}"
    if not (path := (Path(source) / one.file).absolute()).is_file():
        raise InputError(f"{path}: no such file; --from needs a folder that has it.")
    return path.as_uri()
