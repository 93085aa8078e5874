"""Opening sample folders: layout, manifest, and one clear error for whatever does not fit.

Every task: `<root>/<sample id>/<view>.png` (RGB, views numbered from 0),
`<root>/<sample id>/prompt.txt` (one line per view) and `<root>/manifest.json`. Depth samples also
have `cameras.json` and `depth/<view>.png` (16-bit, millimetres, 0 for none), and as many views as
they like. Without a manifest the folder's name is the method; samples with `cameras.json` are
taken to be sequences with depth, others panoramas of evenly spaced views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.images import image_header
from eval.samples import TASKS, PanoramaFolder, SampleFolder, SequenceFolder
from eval.settings import suggest
from eval.trajectories import Trajectory, read_trajectory
from mvdiffusion.records import InputError, read_json

COMMON_KEYS = ("method", "height", "width", "samples")
PANORAMA_KEYS = ("num_views", "fov_deg", "yaw_deg")


def open_folder(
    root: str | Path, *, fov_deg: float = 90.0, yaw_deg: Sequence[float] | None = None
) -> SampleFolder:
    """Open a sample folder and check every file's presence and size before any work is done.

    Args:
        root: the folder; its manifest, if any, decides everything else.
        fov_deg: horizontal field of view, used without a manifest.
        yaw_deg: direction of each view, used without a manifest; default evenly spaced.

    Raises:
        InputError: a view is missing, has another size or is not RGB, a camera is impossible, or
            the manifest disagrees.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected <sample id>/<view>.png inside it.")
    found = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if (root / "manifest.json").is_file():
        folder = _from_manifest(root, found)
    else:
        folder = _without_manifest(root, found, fov_deg, yaw_deg)
    folder.check()
    return folder


def _from_manifest(root: Path, found: list[str]) -> SampleFolder:
    path = root / "manifest.json"
    manifest = read_json(path)
    task = manifest.get("task", "panorama")
    if task not in TASKS:
        raise InputError(f"{path}: unknown task '{task}'{suggest(task, TASKS)}")
    _check_manifest(path, manifest, found, COMMON_KEYS + PANORAMA_KEYS * (task != "depth"))
    ids = tuple(sorted(manifest["samples"]))
    size, stamp = (manifest["height"], manifest["width"]), manifest.get("settings_sha256")
    common = (root, task, manifest["method"], ids, *size, stamp)
    if task == "depth":
        return SequenceFolder(*common, _trajectories(root, ids))
    given = tuple(manifest.get("given_views", ()))
    _check_views(path, manifest, given)
    return PanoramaFolder(*common, manifest["fov_deg"], tuple(manifest["yaw_deg"]), given)


def _trajectories(root: Path, sample_ids: Sequence[str]) -> dict[str, Trajectory]:
    return {name: read_trajectory(root / name / "cameras.json") for name in sample_ids}


def _check_manifest(
    path: Path, manifest: Mapping[str, Any], found: list[str], keys: Sequence[str]
) -> None:
    missing_keys = [key for key in keys if key not in manifest]
    if missing_keys:
        raise InputError(f"{path}: missing keys {missing_keys}; expected {list(keys)}.")
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


def _check_views(path: Path, manifest: Mapping[str, Any], given: tuple[int, ...]) -> None:
    count = manifest["num_views"]
    if len(manifest["yaw_deg"]) != count:
        raise InputError(
            f"{path}: yaw_deg has {len(manifest['yaw_deg'])} entries; expected num_views = {count}."
        )
    outside = [view for view in given if view not in range(count)]
    if outside or len(set(given)) == count:
        raise InputError(
            f"{path}: given_views is {list(given)}; expected some, not all, of 0 … {count - 1}."
        )
    if manifest.get("task") == "outpaint" and not given:
        raise InputError(f"{path}: task is outpaint but given_views is empty; name the view given.")


def _without_manifest(
    root: Path, found: list[str], fov_deg: float, yaw_deg: Sequence[float] | None
) -> SampleFolder:
    if not found:
        raise InputError(f"{root}: holds no sample directories; expected <sample id>/0.png …")
    first = root / found[0]
    num_views = len(yaw_deg) if yaw_deg else sum(p.stem.isdigit() for p in first.glob("*.png"))
    if num_views == 0:
        raise InputError(f"{first}: holds no views; expected 0.png, 1.png, …")
    width, height = image_header(first / "0.png")[0]
    common = (root.name, tuple(found), height, width, None)
    if (first / "cameras.json").is_file():
        return SequenceFolder(root, "depth", *common, _trajectories(root, found))
    even = tuple(360.0 / num_views * view for view in range(num_views))
    return PanoramaFolder(root, "panorama", *common, fov_deg, tuple(yaw_deg or even))
