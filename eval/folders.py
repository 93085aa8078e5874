"""Sample folders: what every method, ours or not, hands over to be scored.

Layout: `<root>/<sample id>/<view>.png` (RGB, views numbered from 0),
`<root>/<sample id>/prompt.txt` (one line per view) and `<root>/manifest.json`. Without a manifest
the folder's name is the method and the views are taken to be evenly spaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mvdiffusion.records import InputError, read_json, sha256_file

MANIFEST_KEYS = ("method", "num_views", "height", "width", "fov_deg", "yaw_deg", "samples")


@dataclass(frozen=True)
class SampleFolder:
    """A validated folder of samples that share one camera arrangement.

    Attributes:
        root: the folder.
        method: what made the images.
        sample_ids: names of the sample directories, sorted.
        height, width: size of every view in pixels.
        fov_deg: horizontal field of view of every view.
        yaw_deg: viewing direction of each view, to the right.
        settings_sha256: hash of the settings upstream of the images; None if unknown.
    """

    root: Path
    method: str
    sample_ids: tuple[str, ...]
    height: int
    width: int
    fov_deg: float
    yaw_deg: tuple[float, ...]
    settings_sha256: str | None

    @property
    def num_views(self) -> int:
        """Views per sample."""
        return len(self.yaw_deg)

    def views(self, sample_id: str) -> np.ndarray:
        """Read the views of a sample: uint8 RGB [V, H, W, 3]."""
        return np.stack([_read_rgb(path) for path in self.view_paths(sample_id)])

    def prompts(self, sample_id: str) -> list[str]:
        """Read the prompts of a sample, one per view.

        Raises:
            InputError: `prompt.txt` is missing, or has not one non-empty line per view.
        """
        path = self.root / sample_id / "prompt.txt"
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected one prompt per view, one per line.")
        lines = [line.strip() for line in path.read_text().splitlines()]
        if len(lines) != self.num_views or not all(lines):
            found = f"{len(lines)} lines, {sum(not line for line in lines)} of them empty"
            raise InputError(
                f"{path}: found {found}; expected {self.num_views} lines, one prompt per view."
            )
        return lines

    def view_paths(self, sample_id: str) -> list[Path]:
        """List the files of a sample's views, in order."""
        return [self.root / sample_id / f"{view}.png" for view in range(self.num_views)]

    def images_sha256(self) -> str:
        """Hash names and bytes of every view (64 hex digits)."""
        digest = hashlib.sha256()
        for sample_id in self.sample_ids:
            for path in self.view_paths(sample_id):
                digest.update(f"{sample_id}/{path.name}\0".encode())
                digest.update(bytes.fromhex(sha256_file(path)))
        return digest.hexdigest()


def open_folder(
    root: str | Path, *, fov_deg: float = 90.0, yaw_deg: Sequence[float] | None = None
) -> SampleFolder:
    """Open a sample folder and check every file's presence and size before any work is done.

    Args:
        root: the folder; its manifest, if any, decides everything else.
        fov_deg: horizontal field of view, used without a manifest.
        yaw_deg: direction of each view, used without a manifest; default evenly spaced.

    Raises:
        InputError: a view is missing, has another size or is not RGB, or the manifest disagrees.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected <sample id>/<view>.png inside it.")
    found = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if (root / "manifest.json").is_file():
        folder = _from_manifest(root, found)
    else:
        folder = _without_manifest(root, found, fov_deg, yaw_deg)
    for sample_id in folder.sample_ids:
        for path in folder.view_paths(sample_id):
            _check_view(path, folder.height, folder.width)
    return folder


def _from_manifest(root: Path, found: list[str]) -> SampleFolder:
    path = root / "manifest.json"
    manifest = read_json(path)
    _check_manifest(path, manifest, found)
    return SampleFolder(
        root=root,
        method=manifest["method"],
        sample_ids=tuple(sorted(manifest["samples"])),
        height=manifest["height"],
        width=manifest["width"],
        fov_deg=manifest["fov_deg"],
        yaw_deg=tuple(manifest["yaw_deg"]),
        settings_sha256=manifest.get("settings_sha256"),
    )


def _check_manifest(path: Path, manifest: Mapping[str, Any], found: list[str]) -> None:
    missing_keys = [key for key in MANIFEST_KEYS if key not in manifest]
    if missing_keys:
        raise InputError(f"{path}: missing keys {missing_keys}; expected {list(MANIFEST_KEYS)}.")
    if len(manifest["yaw_deg"]) != manifest["num_views"]:
        raise InputError(
            f"{path}: yaw_deg has {len(manifest['yaw_deg'])} entries; "
            f"expected num_views = {manifest['num_views']}."
        )
    listed = set(manifest["samples"])
    if not listed:
        raise InputError(f"{path}: lists no samples; expected at least one.")
    absent, extra = sorted(listed - set(found)), sorted(set(found) - listed)
    if absent or extra:
        raise InputError(
            f"{path}: does not match the folder: listed but absent {absent[:3]}, present but not "
            f"listed {extra[:3]} ({len(absent)} and {len(extra)} in all); generate the folder "
            "again, or delete the manifest to score what is there."
        )


def _without_manifest(
    root: Path, found: list[str], fov_deg: float, yaw_deg: Sequence[float] | None
) -> SampleFolder:
    if not found:
        raise InputError(f"{root}: holds no sample directories; expected <sample id>/0.png …")
    first = root / found[0]
    num_views = len(yaw_deg) if yaw_deg else sum(p.stem.isdigit() for p in first.glob("*.png"))
    if num_views == 0:
        raise InputError(f"{first}: holds no views; expected 0.png, 1.png, …")
    width, height = _image_header(first / "0.png")[0]
    even = tuple(360.0 / num_views * view for view in range(num_views))
    yaws = tuple(yaw_deg) if yaw_deg else even
    return SampleFolder(root, root.name, tuple(found), height, width, fov_deg, yaws, None)


def _check_view(path: Path, height: int, width: int) -> None:
    size, mode = _image_header(path)
    if size != (width, height):
        raise InputError(
            f"{path}: is {size[0]}×{size[1]} pixels; expected {width}×{height} as the others are."
        )
    if mode != "RGB":
        raise InputError(f"{path}: is a '{mode}' image; expected RGB; convert it to 8-bit RGB.")


def _image_header(path: Path) -> tuple[tuple[int, int], str]:
    try:
        with Image.open(path) as image:
            return image.size, image.mode
    except FileNotFoundError:
        raise InputError(f"{path}: no such view; expected every view of every sample.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: not a readable image ({error}); write it again.") from None


def _read_rgb(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: not a readable image ({error}); write it again.") from None
