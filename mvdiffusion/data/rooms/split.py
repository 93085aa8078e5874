"""Writing whole splits of rooms in Matterport3D's layout, resumably and reproducibly."""

from __future__ import annotations

import io
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, features
from tqdm import tqdm

from mvdiffusion.data.rooms.captions import caption_views
from mvdiffusion.data.rooms.design import design_room
from mvdiffusion.data.rooms.furniture import Dice
from mvdiffusion.data.rooms.render import render_faces
from mvdiffusion.records import InputError, atomic_output, folder_sha256, remove, settings_sha256

SPLITS = ("train", "validation", "test", "evaluator")  # the position is part of a room's seed


@dataclass(frozen=True)
class RoomSettings:
    """What decides the bytes of the rooms.

    Attributes:
        seed: of the whole collection.
        num_scenes: rooms by split ("train", "validation", "test", "evaluator").
        face_size: edge of a cube face in pixels, a multiple of 16.
        jpeg_quality: 1 … 95.
    """

    seed: int
    num_scenes: Mapping[str, int]
    face_size: int = 128
    jpeg_quality: int = 92

    def __post_init__(self) -> None:
        """Check the values."""
        for key, value in self.num_scenes.items():
            if key not in SPLITS or not _whole(value, 1, 99999):
                raise InputError(
                    f"num_scenes.{key}: found {value!r}; expected one of {', '.join(SPLITS)} "
                    "with 1 … 99999 rooms."
                )
        for key, low, high in (
            ("seed", 0, 2**32),
            ("face_size", 16, 4096),
            ("jpeg_quality", 1, 95),
        ):
            if not _whole(getattr(self, key), low, high):
                raise InputError(
                    f"{key}: found {getattr(self, key)!r}; expected a whole number {low} … {high}."
                )
        if self.face_size % 16:
            raise InputError(f"face_size: found {self.face_size}; expected a multiple of 16.")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> RoomSettings:
        """Read settings as they stand in a configuration.

        Raises:
            InputError: a key is unknown, missing or of the wrong type.
        """
        known = {field.name for field in fields(cls)}
        for key in settings:
            if key not in known:
                raise InputError(
                    f"{key}: unknown setting of rooms; expected some of {', '.join(sorted(known))}."
                )
        for key in ("seed", "num_scenes"):
            if key not in settings:
                raise InputError(f"{key}: missing from the settings of rooms; add it.")
        if not isinstance(settings["num_scenes"], Mapping):
            raise InputError(
                f"num_scenes: found {settings['num_scenes']!r}; expected rooms by split."
            )
        return cls(**settings)


_Job = tuple[Path, str, int, RoomSettings]  # folder, split, index of the room, settings


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def render_splits(
    output: Path,
    settings: RoomSettings,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    expect_sha256: str | None = None,
) -> str:
    """Render splits into one folder in Matterport3D's layout; killed, it goes on where it was.

    Args:
        output: the folder, which appears when all rooms are there.
        settings: what decides the bytes.
        splits: some of `settings.num_scenes` (default: all of them).
        workers: processes (default: one per core); they do not change the bytes.
        expect_sha256: the hash that the folder must have.

    Returns:
        The folder's hash (`records.folder_sha256`).

    Raises:
        InputError: a split is unknown, the hash differs, or the disk refuses.
    """
    splits = tuple(settings.num_scenes) if splits is None else splits
    for split in splits:
        if split not in settings.num_scenes:
            raise InputError(
                f"num_scenes.{split}: missing; found {', '.join(settings.num_scenes) or 'none'}."
            )
    partial = _open_partial(output, splits, settings)
    jobs = [
        (partial, split, scene, settings)
        for split in splits
        for scene in range(settings.num_scenes[split])
    ]
    todo = [job for job in jobs if not (partial / scene_name(job[1], job[2])).is_dir()]
    progress = tqdm(
        total=len(jobs), initial=len(jobs) - len(todo), desc=f"{'+'.join(splits)} rooms"
    )
    with progress:
        for _ in _each_rendered(todo, workers or os.cpu_count() or 1):
            progress.update()
    for split in splits:
        _write_list(partial, split, settings.num_scenes[split])
    return _finish(partial, output, expect_sha256)


def scene_name(split: str, scene: int) -> str:
    """Name of a room, which is also its panorama's id."""
    return f"{split}-{scene:05d}"  # no underscore: the released loader splits names there


def _open_partial(output: Path, splits: Sequence[str], settings: RoomSettings) -> Path:
    """Open the unfinished folder of this very job; those of other settings or code are deleted."""
    code = folder_sha256(Path(__file__).parent, "*.py")
    job = {"splits": list(splits), "code": code, **asdict(settings)}
    identity = settings_sha256(job)[:12]
    partial = output.parent / f".{output.name}.{identity}.partial"
    for other in output.parent.glob(f".{output.name}.*.partial"):
        if other != partial:
            remove(other)
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"could not be created ({error.strerror}); choose an output you may write to"
        raise InputError(f"{partial}: {reason}.") from error
    return partial


def _each_rendered(jobs: list[_Job], workers: int) -> Iterator[None]:
    """Render the jobs, yielding once after each."""
    if workers == 1 or len(jobs) < 2:
        yield from map(_render_scene, jobs)
        return
    context = multiprocessing.get_context("spawn")  # forking a process with threads may hang
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        yield from pool.map(_render_scene, jobs, chunksize=4)


def _end_with_parent() -> None:
    """Let a worker die when its parent was killed, instead of waiting forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_list(root: Path, split: str, num_scenes: int) -> None:
    """Write <split>.npy: relative paths [N, 6] of the faces."""
    names = [scene_name(split, scene) for scene in range(num_scenes)]
    paths = [
        [f"{name}/matterport_skybox_images/{name}_skybox{face}_sami.jpg" for face in range(6)]
        for name in names
    ]
    with atomic_output(root / f"{split}.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(paths))


def _finish(partial: Path, output: Path, expected: str | None) -> str:
    found = folder_sha256(partial)
    if expected is not None and found != expected:
        remove(partial)
        raise InputError(
            f"{output}: the rendered rooms have the hash {found}; expected {expected}. They "
            f"were rendered with numpy {np.__version__}, Pillow {PIL.__version__} (libjpeg "
            f"{features.version('jpg')}). Install the versions of constraints.txt, or record the "
            "new hash if the rooms were changed on purpose."
        )
    remove(output)
    partial.rename(output)
    return found


def _render_scene(job: _Job) -> None:
    root, split, scene, settings = job
    name = scene_name(split, scene)
    room = design_room(Dice(settings.seed, SPLITS.index(split), scene))
    faces, shown = render_faces(room, settings.face_size)
    with atomic_output(root / name) as folder:
        (folder / "matterport_skybox_images").mkdir(parents=True)
        (folder / "blip3").mkdir()
        for face, image in enumerate(faces):
            path = folder / "matterport_skybox_images" / f"{name}_skybox{face}_sami.jpg"
            path.write_bytes(_jpeg(image, settings.jpeg_quality))
        for degrees, caption in caption_views(room, shown).items():
            (folder / "blip3" / f"{name}_{degrees}.txt").write_text(caption + "\n")


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
