"""Which panoramas and scenes are for training, and which for testing.

Matterport3D: the authors' lists where the user has them, otherwise whole houses drawn by hash, so
that no house is in two splits. ScanNet: by number, as the owners do.

The paper names no validation split. Of our own splits, validation has houses that are taken out
of training; of ScanNet, scans that were prepared for it. With the authors' lists, training stays
exactly theirs, and validation repeats some of its panoramas: it tells how training goes, not how
well a model generalizes.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from mvdiffusion.data.splits import FACE, FACES, read_rows, write_split
from mvdiffusion.preparation.labels import find_labels
from mvdiffusion.preparation.settings import PanoramaSplits
from mvdiffusion.preparation.units import RECORD, collect, read_record
from mvdiffusion.records import InputError, atomic_output, sha256_file, write_json

FORMAT = 1
SUMMARY = "splits.json"
SPLITS = ("train", "validation", "test")
_LAST_TRAINING_SCENE, _LAST_SCENE = 706, 806
_ENTRY = re.compile(rf"(?:.*/)?(?P<house>[^/]+)/{FACES}/{FACE.pattern}")
_SCENE = re.compile(r"scene(\d{4})_\d\d")

Panorama = tuple[str, str]  # house and id


def scene_list(name: str) -> list[str]:
    """Return an official list of ids: "matterport3d", "scannet_train" or "scannet_test"."""
    path = files("mvdiffusion.preparation") / "lists" / f"{name}.txt"
    return path.read_text(encoding="utf-8").split()


def split_of_scene(scene: str) -> str:
    """Return "train" or "test": the paper trains on ScanNet's first 707 scenes and tests on 100.

    Raises:
        InputError: not a name of a scene, or there is no such scene.
    """
    match = _SCENE.fullmatch(scene)
    if not match or int(match[1]) > _LAST_SCENE:
        raise InputError(
            f"{scene!r}: not a scene of ScanNet; expected scene0000_00 … scene0806_00."
        )
    return "train" if int(match[1]) <= _LAST_TRAINING_SCENE else "test"


def write_panorama_splits(
    prepared: Path,
    settings: PanoramaSplits,
    labels: Path | None = None,
    houses: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write train.npy, validation.npy and test.npy of prepared houses, and splits.json.

    With labels, the authors' captions are copied into the houses. A split that the settings make
    empty (validation) is not written.

    Args:
        houses: which of the prepared houses (default: all).

    Returns:
        The summary: format, settings, per split its panoramas, houses and hash, per house the hash
        of its record, whether labels were used, and how many of their entries were left out.

    Raises:
        InputError: a house is not prepared, there are too few for the splits, or the authors'
            lists name panoramas that are not prepared.
    """
    folders = _folders(prepared, houses)
    units = collect(prepared, "matterport3d", folders)
    panoramas = [(folder.name, name) for folder in folders for name in _panoramas(folder)]
    dropped = 0
    if labels is None:
        splits = _own_splits(panoramas, settings)
    else:
        splits, dropped = _authors_splits(labels, set(panoramas), settings)
        for folder in folders:
            _copy_captions(labels, folder)
    made = {}
    for name in SPLITS:
        path = prepared / f"{name}.npy"
        if rows := splits.get(name):
            write_split(path, rows)
            inside = sorted({house for house, _ in rows})
            made[name] = {"panoramas": len(rows), "houses": inside, "sha256": sha256_file(path)}
        else:
            path.unlink(missing_ok=True)
    about = {"dataset": "matterport3d", "settings": asdict(settings), "labels": labels is not None}
    summary = {"format": FORMAT, **about, "splits": made, "units": units, "dropped": dropped}
    write_json(prepared / SUMMARY, summary)
    return summary


def write_scene_splits(
    prepared: Path, labels: bool = False, scenes: Sequence[str] | None = None
) -> dict[str, Any]:
    """Write train.json, validation.json and test.json of prepared scans, and splits.json.

    Args:
        prepared: the folder of prepared scans, <split>/<scan>; those of "validation" are of the
            owners' for training.
        labels: whether they were prepared with the authors' labels, for splits.json.
        scenes: all of them, to be sure that there are no others (default: whatever is there).

    Raises:
        InputError: none is prepared, one of `scenes` is not, there are others than `scenes`, or one
            is in the wrong split or in two.
    """
    folders = _folders(prepared, None, "*/*")
    _check_scenes(folders, scenes)
    units = collect(prepared, "scannet", folders)
    made = {}
    for name in SPLITS:
        path = prepared / f"{name}.json"
        if records := {
            key.split("/")[1]: units[key] for key in units if key.startswith(f"{name}/")
        }:
            write_json(path, {"format": FORMAT, "scenes": records})
            made[name] = {"scenes": len(records), "sha256": sha256_file(path)}
        else:
            path.unlink(missing_ok=True)
    about = {"dataset": "scannet", "settings": {}, "labels": labels}
    summary = {"format": FORMAT, **about, "splits": made, "units": units}
    write_json(prepared / SUMMARY, summary)
    return summary


def _check_scenes(folders: Sequence[Path], scenes: Sequence[str] | None) -> None:
    places: dict[str, Path] = {}
    for folder in folders:
        split = split_of_scene(folder.name)
        if folder.parent.name not in {"train": ("train", "validation"), "test": ("test",)}[split]:
            raise InputError(
                f"{folder}: belongs to the owners' split {split}; prepare it for that one."
            )
        if (other := places.setdefault(folder.name, folder)) != folder:
            raise InputError(f"{folder}: is also prepared as {other}; delete one of them.")
    if scenes is None:
        return
    for scene in sorted(set(scenes) ^ set(places)):
        if scene in places:
            raise InputError(
                f"{places[scene]}: is not among the requested scenes; delete or request it."
            )
        raise InputError(f"{scene}: is not prepared; run `mvdiffusion data prepare`.")


def _folders(prepared: Path, names: Sequence[str] | None, pattern: str = "*") -> list[Path]:
    """Folders of prepared units: those named, or all."""
    if names is not None:
        return [prepared / name for name in sorted(set(names))]
    found = sorted(path.parent for path in prepared.glob(f"{pattern}/{RECORD}"))
    if not (found := [path for path in found if not path.name.startswith(".")]):
        raise InputError(f"{prepared}: contains nothing prepared; run `mvdiffusion data prepare`.")
    return found


def _panoramas(folder: Path) -> list[str]:
    """Ids of a prepared house's panoramas."""
    names = read_record(folder, "matterport3d")["files"]
    matches = (_ENTRY.fullmatch(f"{folder.name}/{name}") for name in names)
    return sorted({match["id"] for match in matches if match})


def _order(seed: int, names: Sequence[str]) -> list[str]:
    """Put names in an order that only they and the seed decide."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())


def _own_splits(
    panoramas: Sequence[Panorama], settings: PanoramaSplits
) -> dict[str, list[Panorama]]:
    houses = _order(settings.seed, sorted({house for house, _ in panoramas}))
    # Rounded first: 0.1 of 70 is above 7 in binary.
    num_test = max(1, math.ceil(round(settings.test_share * len(houses), 9)))
    num_held = num_test + settings.validation_houses
    if num_held >= len(houses):
        raise InputError(
            f"{len(houses)} houses are prepared; with {num_test} for testing and "
            f"{settings.validation_houses} for validation none is left to train on. Prepare more, "
            "or lower validation_houses or test_share."
        )
    test, held, train = (
        [panorama for panorama in sorted(panoramas) if panorama[0] in part]
        for part in (houses[:num_test], houses[num_test:num_held], houses[num_held:])
    )
    return {"train": train, "test": test} | _validation(held, settings)


def _validation(
    panoramas: Sequence[Panorama], settings: PanoramaSplits
) -> dict[str, list[Panorama]]:
    """Choose panoramas for validation by hash; they stay in order."""
    order = _order(settings.seed, ["/".join(panorama) for panorama in panoramas])
    chosen = set(order[: settings.validation_panoramas])
    rows = [panorama for panorama in panoramas if "/".join(panorama) in chosen]
    return {"validation": rows} if rows else {}


def _authors_splits(
    labels: Path, prepared: set[Panorama], settings: PanoramaSplits
) -> tuple[dict[str, list[Panorama]], int]:
    splits, dropped = {}, 0
    for name in ("train", "test"):
        if (path := find_labels(labels, f"{name}.npy")) is None:
            raise InputError(
                f"{labels}: contains no {name}.npy; extract the authors' mp3d_skybox.tar there "
                "with `mvdiffusion data labels`, or leave out --labels."
            )
        listed = _read_entries(path)
        splits[name] = [panorama for panorama in listed if panorama in prepared]
        dropped += len(listed) - len(splits[name])
        missing = ["/".join(panorama) for panorama in listed if panorama not in prepared]
        if missing and not (settings.allow_missing and splits[name]):
            raise InputError(
                f"{path}: {len(missing)} of its {len(listed)} panoramas are not prepared (such as "
                f"{', '.join(missing[:3])}); prepare their houses, or set allow_missing: true if "
                "you use some of the houses on purpose (one panorama of each split is needed)."
            )
    return splits | _validation(splits["train"], settings), dropped


def _read_entries(path: Path) -> list[Panorama]:
    """Read the authors' list, whatever folders lead to the houses."""
    entries = []
    for number, row in enumerate(read_rows(path)):
        matches = [match for name in row if (match := _ENTRY.fullmatch(name))]
        faces = [(match["house"], match["id"], match["face"]) for match in matches]
        if len(faces) != 6 or faces != [(*faces[0][:2], str(face)) for face in range(6)]:
            raise InputError(
                f"{path}: row {number} is {row[0]!r} …; expected the six faces of one panorama, "
                "…/<house>/matterport_skybox_images/<id>_skybox{0..5}_sami.jpg."
            )
        entries.append(faces[0][:2])
    return entries


def _copy_captions(labels: Path, folder: Path) -> None:
    """Put the authors' captions of a house's panoramas beside, and over, those that are there."""
    given, target = find_labels(labels, f"{folder.name}/blip3"), folder / "blip3"
    prepared = set(_panoramas(folder))
    texts = {
        path.name: path.read_bytes()
        for path in sorted(given.glob("*.txt") if given else ())
        if path.stem.rsplit("_", 1)[0] in prepared
    }
    there = {path.name: path.read_bytes() for path in target.glob("*.txt")}
    if texts.items() <= there.items():
        return
    with atomic_output(target) as temporary:
        temporary.mkdir()
        for name, text in (there | texts).items():
            (temporary / name).write_bytes(text)
