"""A user's own data → the project's layouts.

<root>/<scene>/matterport_skybox_images/…, <root>/<scene>/blip3/…, <root>/<split>.npy   panoramas
<root>/<split>/<scene>/{color,depth,pose,intrinsic,prompt}/…, key frames                recordings
<root>/import_<split>.json              what was imported with which settings
<root>/import_<split>_provenance.json   by what, from where
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from mvdiffusion.data.scannet import INTRINSICS, KEY_FRAMES
from mvdiffusion.data.splits import CAPTION_DEGREES, FACES, caption_name, face_names, write_split
from mvdiffusion.geometry.cubemap import face_rotations
from mvdiffusion.geometry.depth import scale_intrinsics
from mvdiffusion.geometry.matrix_files import write_matrix
from mvdiffusion.geometry.panoramas import cut_views
from mvdiffusion.images import jpeg_bytes, read_face, read_image, read_rgb, save_depth, to_pixels
from mvdiffusion.preparation.custom.check import Survey, frame_names, panorama_names
from mvdiffusion.preparation.custom.depth_files import MILLIMETER, in_meters, read_counts
from mvdiffusion.preparation.custom.frame_checks import camera_shift
from mvdiffusion.preparation.custom.image_checks import identifier, in_parallel
from mvdiffusion.preparation.custom.panorama_files import Panorama
from mvdiffusion.preparation.custom.problems import Problem, name_in
from mvdiffusion.preparation.custom.recordings import FrameLook, Recording, usual_camera
from mvdiffusion.preparation.key_frames import write_key_frames
from mvdiffusion.records import (
    InputError,
    atomic_output,
    provenance,
    read_json,
    remove,
    settings_sha256,
    sha256_file,
    write_json,
)
from mvdiffusion.settings import settings

FORMAT = 1
_QUARTER_TURNS = (1, 0, 0, 0, 0, -1)  # anticlockwise, from tilted faces to Matterport3D's
_SAME_CAMERA = 0.5  # pixels in the corners


@settings
class ImportSettings:
    """What decides the bytes of an import, besides the source and the settings of its check.

    Attributes:
        face_size: pixels of a face cut out of an equirectangular image; None means a quarter of
            the image's width, rounded to even.
        quality: of JPEGs that are encoded again, 90 … 100; colors are never thinned out.
    """

    face_size: Annotated[int, Field(ge=8, le=8192, multiple_of=2)] | None = None
    quality: Annotated[int, Field(ge=90, le=100)] = 97


def import_folder(
    found: Survey, root: Path, split: str, settings: ImportSettings | None = None
) -> dict[str, int]:
    """Bring a checked folder into the project's layout; the source is only read.

    After an interruption the same call resumes: finished panoramas and scenes are kept.

    Args:
        found: the check of the folder.
        root: of the layout.

    Returns:
        Per panorama 6 (its faces), per scene its number of key frames, by name.

    Raises:
        InputError: the check found problems, the root holds something else, or the disk refuses.
    """
    settings = settings or ImportSettings()
    _check(found, root, split, settings)
    record = _record(found, split, settings)
    _begin(found, root, split, record)
    write = _import_panoramas if found.panoramas else _import_recordings
    result = write(found, root, split, settings)
    by = {**provenance(), "source": str(found.folder), "frames": _frames(found)}
    write_json(root / f"import_{split}_provenance.json", by)
    return result


def _check(found: Survey, root: Path, split: str, settings: ImportSettings) -> None:
    if stopping := found.stopping:
        first = stopping[0]
        raise InputError(
            f"{found.folder / first.file}: {first.problem}, and {len(stopping) - 1} more problems; "
            f"list them with `mvdiffusion data check {found.folder}`."
        )
    if settings.face_size is not None and found.kind != "panoramas":
        raise InputError(
            f"--face-size: {found.folder} contains no equirectangular images; leave the option out."
        )
    if found.kind == "matterport3d":
        raise InputError(f"{found.folder}: already in the project's layout; use it as it is.")
    if not split or identifier(split) != split:
        raise InputError(f"--split {split!r}: expected a name of letters, digits, '_' and '-'.")
    if root.resolve().is_relative_to(found.folder):
        raise InputError(
            f"--output {root}: lies inside {found.folder}, which is only read; choose a folder "
            "outside."
        )


def _record(found: Survey, split: str, settings: ImportSettings) -> dict[str, Any]:
    check = {key: getattr(found.settings, key) for key in ("overlap", "scale", "depth_unit")}
    captions = {"texts": dict(found.captions.texts), "everywhere": found.captions.everywhere}
    return {
        "format": FORMAT,
        "split": split,
        "kind": found.kind,
        "settings": {**asdict(settings), **check},
        "captions_sha256": settings_sha256(captions),
        "source_sha256": _source_sha256(found),
        "units": _units(found),
    }


def _frames(found: Survey) -> dict[str, dict[str, str]]:
    """The color image of each frame's number, by scene."""
    return {
        recording.name: {
            str(frame.number): name_in(frame.color, found.folder) for frame in recording.frames
        }
        for recording, *_ in found.recordings
    }


def _units(found: Survey) -> dict[str, list[str]]:
    """Scenes, with the ids of their panoramas or nothing."""
    units: dict[str, list[str]] = {recording.name: [] for recording, *_ in found.recordings}
    for panorama in found.panoramas:
        units.setdefault(panorama.scene, []).append(panorama.id)
    return units


def _source_sha256(found: Survey) -> str:
    """Hash names and bytes of the images, and the cameras."""
    images = [look.path for panorama in found.panoramas for look in panorama.images]
    digest = hashlib.sha256()
    for recording, *_ in found.recordings:
        for frame in recording.frames:
            images += [frame.color, frame.depth]
            for matrix in (frame.pose, frame.K):
                digest.update(np.asarray(matrix, np.float64).tobytes())
        digest.update(repr(recording.depth_unit).encode())
    for path, sha256 in zip(images, in_parallel(sha256_file, images, "hashing"), strict=True):
        digest.update(name_in(path, found.folder).encode() + b"\0")
        digest.update(bytes.fromhex(sha256))
    return digest.hexdigest()


def _begin(found: Survey, root: Path, split: str, record: dict[str, Any]) -> None:
    """Write the record, or find the very same: then the import resumes."""
    path = root / f"import_{split}.json"
    if path.exists():
        if (earlier := read_json(path)) != record:
            keys = [key for key in record if earlier.get(key) != record[key]]
            raise InputError(
                f"{path}: an earlier import of the split '{split}' differs in {', '.join(keys)}; "
                "choose another --output or --split, or delete the earlier import."
            )
        return
    scenes = list(_units(found)) if found.panoramas else []
    taken = [root / f"{split}.npy", root / split, *(root / scene for scene in scenes)]
    for there in taken:
        if there.exists():
            raise InputError(
                f"{there}: exists already and does not belong to this import; choose another "
                "--output or --split, or rename the source's folder."
            )
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output {root}: could not be created ({error.strerror}); choose a folder that you "
            "may write to."
        ) from None
    remove(root / f".import_{split}.partial")
    write_json(path, record)


def _import_panoramas(
    found: Survey, root: Path, split: str, settings: ImportSettings
) -> dict[str, int]:
    partial_root = root / f".import_{split}.partial"
    todo = [panorama for panorama in found.panoramas if not (root / panorama.scene).is_dir()]
    for panorama in tqdm(todo, desc="cutting faces"):
        scene = partial_root / panorama.scene
        write_panorama(panorama, scene / FACES, settings.face_size, settings.quality)
        _write_captions(found, panorama, scene)
    for scene in dict.fromkeys(panorama.scene for panorama in todo):
        (partial_root / scene).rename(root / scene)
    remove(partial_root)
    named = sorted((panorama.scene, panorama.id) for panorama in found.panoramas)
    write_split(root / f"{split}.npy", named)
    return {panorama.id: 6 for panorama in found.panoramas}


def _write_captions(found: Survey, panorama: Panorama, scene: Path) -> None:
    for degrees in CAPTION_DEGREES:
        caption = found.captions.of(*panorama_names(panorama, degrees))
        if caption is not None:
            with atomic_output(scene / caption_name(panorama.id, degrees)) as temporary:
                temporary.write_text(f"{caption}\n", encoding="utf-8")


def _import_recordings(
    found: Survey, root: Path, split: str, settings: ImportSettings
) -> dict[str, int]:
    counts = {}
    for recording, looks, _ in found.recordings:
        scene = root / split / recording.name
        if not scene.is_dir():
            with atomic_output(scene) as folder:
                _write_scene(found, recording, looks, folder, settings)
                write_key_frames(folder, found.settings.overlap)
        counts[recording.name] = len((scene / KEY_FRAMES).read_text().splitlines())
    return counts


def _write_scene(
    found: Survey,
    recording: Recording,
    looks: list[FrameLook],
    folder: Path,
    settings: ImportSettings,
) -> None:
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    camera = usual_camera(looks)
    assert camera is not None  # the check saw to it
    assert camera.K is not None
    write_matrix(folder / INTRINSICS, camera.K)
    write = partial(write_frame, folder=folder, camera=camera, quality=settings.quality)
    for _ in in_parallel(write, looks, f"writing {recording.name}"):
        pass
    for frame in recording.frames:
        if (caption := found.captions.of(*frame_names(recording, frame))) is not None:
            (folder / "prompt").mkdir(exist_ok=True)
            (folder / "prompt" / f"{frame.number}.txt").write_text(f"{caption}\n", "utf-8")


def write_panorama(panorama: Panorama, folder: Path, size: int | None, quality: int) -> None:
    """Write `<id>_skybox{0..5}_sami.jpg`; faces that are there already are kept.

    Args:
        panorama: that passed its check.
        size: pixels of a face of an equirectangular image (default: a quarter of its width).
        quality: of the JPEGs. Faces that are JPEGs and need no turn keep their bytes.
    """
    paths = [folder / name for name in face_names(panorama.id)]
    if all(path.is_file() for path in paths):
        return
    whole = read_image(panorama.images[0].path) if len(panorama.images) == 1 else None
    for face, path in enumerate(paths):
        with atomic_output(path) as temporary:
            if whole is not None:
                pixels = cut_face(whole, face, size or panorama.face_size)
            else:
                look, turns = panorama.images[face], _QUARTER_TURNS[face] * panorama.tilted
                if look.plain_jpeg and not turns:
                    shutil.copyfile(look.path, temporary)
                    continue
                pixels = np.ascontiguousarray(np.rot90(read_face(look.path), turns))
            temporary.write_bytes(jpeg_bytes(pixels, quality))


def cut_face(panorama: Tensor, face: int, size: int) -> NDArray[np.uint8]:
    """Cut a cube face, RGB [size, size, 3], out of an equirectangular image, without aliasing.

    Args:
        panorama: [3, H, 2 H] in −1 … 1.
        face: 0 … 5, up, left, front, right, back, down, as Matterport3D turns them.
    """
    R = face_rotations()[face : face + 1]
    return to_pixels(cut_views(panorama, 90.0, R, size, size)[0])


def write_frame(look: FrameLook, folder: Path, camera: FrameLook, quality: int) -> None:
    """Write color, depth and pose of a frame.

    A scene has one camera: frames of another size, or of a slightly different camera, are resampled
    to it. Files that need no change keep their bytes.

    Args:
        camera: the frame whose camera and sizes the scene has.
        quality: of JPEGs that are encoded again.
    """
    frame, number = look.frame, look.frame.number
    assert frame.pose is not None  # the check saw to it
    color, depth = folder / "color" / f"{number}.jpg", folder / "depth" / f"{number}.png"
    moved = _is_moved(look, camera)
    if look.color.plain_jpeg and not moved:
        shutil.copyfile(frame.color, color)
    else:
        color.write_bytes(jpeg_bytes(_color(look, camera if moved else look), quality))
    kept = look.unit == MILLIMETER and frame.depth.suffix.lower() == ".png"
    if kept and not look.saturated and not moved:
        shutil.copyfile(frame.depth, depth)
    else:
        save_depth(_depth(look, camera if moved else look), depth)
    write_matrix(folder / "pose" / f"{number}.txt", torch.from_numpy(frame.pose))


def _is_moved(look: FrameLook, camera: FrameLook) -> bool:
    assert look.K is not None  # the check saw to it
    assert camera.K is not None
    same = look.depth_size == camera.depth_size
    return not same or camera_shift(look.K, camera.K, camera.depth_size) > _SAME_CAMERA


def _color(look: FrameLook, camera: FrameLook) -> NDArray[np.uint8]:
    pixels = read_rgb(look.frame.color)
    if camera is look:
        return pixels
    old, new = ((each.color.height, each.color.width) for each in (look, camera))
    move = _between(look, camera, old, new)
    moved = cv2.warpAffine(
        pixels, move, new[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def _depth(look: FrameLook, camera: FrameLook) -> NDArray[np.float64]:
    """Depth [H, W] in meters."""
    counts = read_counts(look.frame.depth)
    if isinstance(counts, Problem):  # changed since the check
        raise InputError(f"{look.frame.depth}: {counts.problem}. {counts.fix}")
    depth = in_meters(counts, look.unit)
    if camera is look:
        return depth
    # Not a mean: between two surfaces there is none.
    move = _between(look, camera, look.depth_size, camera.depth_size)
    size = camera.depth_size[::-1]
    return np.asarray(cv2.warpAffine(depth, move, size, flags=cv2.INTER_NEAREST), np.float64)


def _between(
    look: FrameLook, camera: FrameLook, old: tuple[int, int], new: tuple[int, int]
) -> NDArray[np.float64]:
    """The affine map [2, 3] from a frame's pixels to those of another's camera.

    Args:
        old: (height, width) of the frame's image.
        new: (height, width) of the camera's image.
    """
    assert look.K is not None
    assert camera.K is not None
    ours = scale_intrinsics(camera.K, camera.depth_size, new)
    theirs = scale_intrinsics(look.K, look.depth_size, old)
    return (ours @ theirs.inverse())[:2].numpy()
