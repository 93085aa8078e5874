"""A house of Matterport3D out of its owners' archive: skyboxes checked, kept byte for byte.

matterport_skybox_images.zip    …/matterport_skybox_images/<id>_skybox{0..5}_sami.jpg
<prepared>/<house>/             matterport_skybox_images/<id>_skybox{0..5}_sami.jpg, prepared.json
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from mvdiffusion.archives import extract
from mvdiffusion.data.splits import FACE, FACES, face_names, panorama_id, read_split
from mvdiffusion.geometry.cubemap import cube_to_equirectangular
from mvdiffusion.images import is_whole_png, read_face, save_png
from mvdiffusion.outputs import begin, end
from mvdiffusion.preparation.settings import HousePreparation
from mvdiffusion.preparation.units import Unit
from mvdiffusion.records import InputError, atomic_output, settings_sha256, sha256_file

DATASET = "matterport3d"
_MEMBER = re.compile(rf"(?:.*/)?{FACES}/({FACE.pattern})")


def prepare_house(
    archive: Path,
    output: Path,
    house: str,
    settings: HousePreparation,
    workers: int = 1,
    overwrite: bool = False,
) -> None:
    """Extract a house and leave out panoramas that can't be used; done already, do nothing.

    Args:
        archive: the owners' `matterport_skybox_images.zip`.

    Raises:
        InputError: the archive is missing, broken or hostile, or has no whole panorama; or `output`
            is of another archive or other settings.
    """
    unit = Unit(output, DATASET, house, asdict(settings), archive)
    if unit.is_prepared(overwrite):
        return
    with unit.made() as folder:
        extract(archive, folder / FACES, _MEMBER)
        flaws = _flaws(folder / FACES, settings.face_size, workers)
        for name, reason in flaws.items():
            if reason:
                unit.skipped.append({"panorama": name, "reason": reason})
                for face in face_names(name):
                    (folder / FACES / face).unlink(missing_ok=True)
        if all(flaws.values()):
            name, reason = next(iter(flaws.items()))
            raise InputError(
                f"{archive}: none of its {len(flaws)} panoramas can be used ({name}: {reason}); "
                "fetch it again, or change face_size."
            )


def _flaws(folder: Path, size: int | None, workers: int) -> Mapping[str, str]:
    """Say per panorama why it can't be used, if so; decodes every face."""
    names = sorted({panorama_id(path.name) for path in folder.iterdir()})
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda name: _flaw(folder, name, size), names)
        return dict(zip(names, tqdm(found, "checking panoramas", len(names)), strict=True))


def _flaw(folder: Path, panorama: str, size: int | None) -> str:
    # In words of our own, because those of the decoder change with its version.
    for face, name in enumerate(face_names(panorama)):
        if not (folder / name).is_file():
            return f"face {face} is missing"
        try:
            found = len(read_face(folder / name))
        except InputError:
            return f"face {face} is not a whole square image"
        size = size or found
        if found != size:
            return f"face {face} is {found} pixels wide, not {size}"
    return ""


def write_equirectangular(
    root: Path,
    split: str,
    output: Path,
    height: int,
    workers: int = 1,
    overwrite: bool = False,
) -> int:
    """Stitch every panorama of a split to `<output>/<id>.png`; finished ones are kept.

    Args:
        root: data in Matterport3D's layout.
        height: image height in pixels; they are twice as wide.

    Raises:
        InputError: the split is missing or wrong, a face is broken, or `output` is of other faces
            or another height.
    """
    if height < 2:
        raise InputError(f"--height: found {height}; expected 2 pixels or more.")
    entries = read_split(root, split)
    with ThreadPoolExecutor(workers) as pool:
        hashes = pool.map(lambda faces: [sha256_file(root / face) for face in faces], entries)
        read = zip(entries, tqdm(hashes, "reading", len(entries)), strict=True)
        made_of = {
            panorama_id(faces[0]): settings_sha256({"faces": found}) for faces, found in read
        }
        begin(output, {"faces": made_of, "height": height}, overwrite=overwrite)
        done = pool.map(lambda faces: _stitch(root, faces, output, height), entries)
        for _ in tqdm(done, "stitching", len(entries)):
            pass
    end(output)
    return len(entries)


def _stitch(root: Path, faces: Sequence[str], output: Path, height: int) -> None:
    path = output / f"{panorama_id(faces[0])}.png"
    if is_whole_png(path):
        return
    pixels = [torch.from_numpy(read_face(root / face)) for face in faces]
    if len({face.shape for face in pixels}) > 1:
        raise InputError(f"{root / faces[0]}: its six faces differ in size; export them again.")
    panorama = cube_to_equirectangular(torch.stack(pixels).permute(0, 3, 1, 2).float(), height)
    with atomic_output(path) as temporary:
        save_png(panorama / 127.5 - 1, temporary)
