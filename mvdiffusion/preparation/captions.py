"""Captions of a split's images, as files that training and generation read.

<data>/<house>/blip3/<id>_<degrees>.txt   of a panorama's views at 0, 45, … 315
<data>/<split>/<scene>/prompt/N.txt       of frame N of a scene
<data>/captions_<split>.json              when all are there: count, hash, model, settings
<data>/../<data's name>_captions_<split>_provenance.json   what machine and versions made them

A caption that is there is kept, whoever made it. `captions_<split>.json` is the same wherever the
same captions were made in the same way; its model is null if none were made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mvdiffusion.data.captions import read_caption
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.images import read_image
from mvdiffusion.preparation.captioner import Captioner, prepare_images
from mvdiffusion.preparation.settings import CaptionSettings
from mvdiffusion.records import InputError, atomic_output, provenance, read_json, write_json

__all__ = ["CaptionSettings", "caption_split"]

_FORMAT = 1
_NOT_DECIDING = ("model", "revision", "batch_size", "device")  # the model is recorded by its hash
_TOGETHER = 8  # views of a panorama, which are cut at once


class PanoramaViews:
    """The views of a split's panoramas that have captions; a key is a direction in degrees."""

    def __init__(self, data: Path, split: str, settings: CaptionSettings) -> None:
        """Open the split, which may lack captions."""
        self._panoramas = Matterport3DPanoramas(data, split, image_size=settings.image_size)

    def keys(self) -> Iterator[tuple[int, int]]:
        """Panorama and direction of every view."""
        for index in range(len(self._panoramas)):
            for degrees in range(0, 360, 45):
                yield index, degrees

    def file(self, group: int, key: int) -> Path:
        """Where a view's caption stands."""
        return self._panoramas.caption_file(group, key)

    def read(self, group: int, keys: Sequence[int]) -> Tensor:
        """Cut views [V, 3, H, W] in −1 … 1 of one panorama."""
        return self._panoramas.views(group, 0.0, [degrees // 45 for degrees in keys])


class SceneFrames:
    """The frames of a split's scenes; a key is a frame's number."""

    def __init__(self, data: Path, split: str, settings: CaptionSettings) -> None:
        """Open the split, which may lack captions."""
        # Height and width are of no meaning here: frames are read as they are.
        self._scenes = ScanNetScenes(data, split, height=8, width=8, num_views=1).scenes
        self._frames = settings.frames

    def keys(self) -> Iterator[tuple[int, int]]:
        """Scene and number of every frame."""
        for index, scene in enumerate(self._scenes):
            frames = scene.valid_frames if self._frames == "valid" else scene.key_frames
            for frame in frames:
                yield index, frame

    def file(self, group: int, key: int) -> Path:
        """Where a frame's caption stands."""
        return self._scenes[group].folder / "prompt" / f"{key}.txt"

    def read(self, group: int, keys: Sequence[int]) -> list[Tensor]:
        """Read frames [3, H, W] in −1 … 1 of one scene."""
        folder = self._scenes[group].folder / "color"
        return [read_image(folder / f"{frame}.jpg") for frame in keys]


Source = PanoramaViews | SceneFrames


def caption_split(
    task: str,
    data: Path,
    split: str,
    settings: CaptionSettings,
    limit: int | None = None,
    workers: int = 0,
) -> dict[str, int]:
    """Write the captions that a split lacks; an interrupted run resumes.

    Args:
        task: "depth" for scenes; any other for panoramas.
        data: folder of the prepared dataset.
        split: its name.
        settings: how captions are made.
        limit: of images now; None means all. The record appears only when none is left.
        workers: processes that read images while the model works; they do not change the captions.

    Returns:
        Numbers of captions that were "made" now, that are "left" to make, and "all" of the split.

    Raises:
        InputError: an image or the model cannot be read, the split's captions were begun in
            another way, the model returned an empty caption, or the disk refuses.
    """
    source = (SceneFrames if task == "depth" else PanoramaViews)(data, split, settings)
    keys = list(source.keys())
    missing = [key for key in keys if not _has_text(source.file(*key))]
    chosen = missing[: len(missing) if limit is None else max(limit, 0)]
    run = data.resolve().parent / f"{data.resolve().name}_captions_{split}_provenance.json"
    if chosen:
        captioner = Captioner(settings)
        _begin(run, settings, captioner.identity)
        _write_captions(source, chosen, captioner, workers)
    left = len(missing) - len(chosen)
    if not left:
        begun = read_json(run) if run.is_file() else {}
        _write_record(data, split, [source.file(*key) for key in keys], begun)
    return {"made": len(chosen), "left": left, "all": len(keys)}


def _has_text(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _begin(run: Path, settings: CaptionSettings, model: Mapping[str, Any]) -> None:
    """Note, before the first caption, how this split's captions are made.

    Raises:
        InputError: some were made in another way.
    """
    deciding = {key: value for key, value in asdict(settings).items() if key not in _NOT_DECIDING}
    found = {"settings": deciding, "model": dict(model)}
    if run.is_file():
        before = read_json(run)
        for part, key, value in ((p, k, v) for p in found for k, v in found[p].items()):
            if (begun := (before.get(part) or {}).get(key)) != value:
                raise InputError(
                    f"{run}: the captions of this split were begun with {part} {key} = {begun!r}, "
                    f"not {value!r}; continue with the former, or delete those captions and this "
                    "file to start again."
                )
    write_json(run, {**found, "provenance": provenance()})


class _Pictures(Dataset[Any]):
    """Images of one panorama or scene at a time, ready for the model."""

    def __init__(self, source: Source, keys: Sequence[tuple[int, int]], processor: Any) -> None:
        self._source, self._processor = source, processor
        self._parts = list(_parts(keys))

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> tuple[list[Path], Tensor] | InputError:
        group, keys = self._parts[index]
        try:
            pixels = prepare_images(self._processor, list(self._source.read(group, keys)))
        except InputError as error:  # as a value: a worker would wrap it in its traceback
            return error
        return [self._source.file(group, key) for key in keys], pixels


def _parts(keys: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    """Put the keys of a group together, some at a time."""
    part: list[int] = []
    for place, (group, key) in enumerate(keys):
        part.append(key)
        if place + 1 == len(keys) or keys[place + 1][0] != group or len(part) == _TOGETHER:
            yield group, part
            part = []


def _batches(parts: DataLoader[Any], batch_size: int) -> Iterator[tuple[list[Path], Tensor]]:
    """Regroup what is read into batches for the model."""
    files: list[Path] = []
    pixels: list[Tensor] = []
    for part in parts:
        if isinstance(part, InputError):
            raise part
        files += part[0]
        pixels += part[1]
        while len(files) >= batch_size:
            yield files[:batch_size], torch.stack(pixels[:batch_size])
            files, pixels = files[batch_size:], pixels[batch_size:]
    if files:
        yield files, torch.stack(pixels)


def _write_captions(
    source: Source, keys: Sequence[tuple[int, int]], captioner: Captioner, workers: int
) -> None:
    """Caption images.

    Raises:
        InputError: an image is broken, or the model returned an empty caption for some.
    """
    pictures = _Pictures(source, keys, captioner.processor)
    loader = DataLoader(pictures, batch_size=None, num_workers=workers)
    silent: list[Path] = []
    with tqdm(total=len(keys), desc="captions", unit="image") as bar:
        for files, pixels in _batches(loader, captioner.settings.batch_size):
            for path, text in zip(files, captioner(pixels), strict=True):
                if not text:
                    silent.append(path)
                    continue
                with atomic_output(path) as temporary:
                    temporary.write_text(text + "\n", encoding="utf-8")
            bar.update(len(files))
    if silent:
        raise InputError(
            f"{silent[0]}: the model returned an empty caption for this image ({len(silent)} such "
            "images); write these captions by hand, or choose another model or prompt."
        )


def _write_record(data: Path, split: str, files: Sequence[Path], begun: Mapping[str, Any]) -> None:
    """Record the captions of a whole split.

    Raises:
        InputError: a caption's first line is empty.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        line = f"{path.relative_to(data).as_posix()}\0{read_caption(path)}\n"
        digest.update(line.encode())
    record = {
        "format": _FORMAT,
        "split": split,
        "settings": begun.get("settings"),
        "model": begun.get("model"),
        "count": len(files),
        "sha256": digest.hexdigest(),
    }
    write_json(data / f"captions_{split}.json", record)
