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
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mvdiffusion.data.captions import read_caption
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.data.splits import CAPTION_DEGREES
from mvdiffusion.data.workers import end_if_unable_to_send
from mvdiffusion.images import read_image, to_pixels
from mvdiffusion.preparation.settings import CaptionSettings
from mvdiffusion.preparation.units import has_bytes
from mvdiffusion.records import (
    InputError,
    atomic_output,
    folder_sha256,
    provenance,
    read_json,
    write_json,
)
from mvdiffusion.settings import torch_device

_FORMAT = 1
_NOT_DECIDING = ("model", "revision", "batch_size", "device")  # the model is recorded by its hash


class Captioner:
    """A BLIP-2 that is ready to caption (paper, section 5; model: arXiv 2301.12597)."""

    def __init__(self, settings: CaptionSettings) -> None:
        """Read the model, from its folder or the hub's cache, or else from the hub.

        Raises:
            InputError: the model cannot be read, is no BLIP-2 or not whole, or there is no CUDA.
        """
        from transformers import AutoConfig, Blip2ForConditionalGeneration, Blip2Processor

        self.settings, self.device = settings, torch_device(settings.device)
        self.dtype = getattr(torch, settings.dtype)
        config = _read(AutoConfig.from_pretrained, settings)
        if config.model_type != "blip-2":
            raise InputError(
                f"model: '{settings.model}' is of type {config.model_type!r}; expected a BLIP-2, "
                "such as Salesforce/blip2-opt-2.7b."
            )
        self.identity = _identity(settings, config)
        self.processor = _read(Blip2Processor.from_pretrained, settings)
        self._prompt = self._encode(settings.prompt, config)
        model, report = _read(
            Blip2ForConditionalGeneration.from_pretrained,
            settings,
            torch_dtype=self.dtype,
            use_safetensors=True,  # the other format could run code
            output_loading_info=True,
        )
        if report["missing_keys"]:
            raise InputError(
                f"model: '{settings.model}' lacks {len(report['missing_keys'])} weights, such as "
                f"{min(report['missing_keys'])}; fetch or export it again."
            )
        self.model = model.to(self.device).eval()

    def _encode(self, prompt: str, config: Any) -> Tensor:
        """Return the tokens [1, L] of the image's places and of the prompt."""
        blank = Image.new("RGB", (32, 32))
        tokens = self.processor(images=blank, text=prompt, return_tensors="pt")["input_ids"]
        places = tokens[0].tolist().count(getattr(config, "image_token_index", None))
        if places != config.num_query_tokens:
            raise InputError(
                f"model: '{self.settings.model}' reserves no tokens for the image "
                "(num_query_tokens in processor_config.json and image_token_index in "
                "config.json); use a newer revision of the model."
            )
        return tokens

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> list[str]:
        """Caption images.

        Args:
            pixels: [N, 3, S, S] of `prepare_images`.

        Returns:
            N captions, each in one line; "" where the model says nothing.

        Raises:
            InputError: the images do not fit the GPU's memory.
        """
        prompt = self._prompt.expand(len(pixels), -1).to(self.device)
        try:
            tokens = self.model.generate(
                pixel_values=pixels.to(self.device, self.dtype),
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=self.settings.max_new_tokens,
                num_beams=self.settings.num_beams,
                do_sample=False,
                min_new_tokens=1,
            )
        except torch.cuda.OutOfMemoryError:
            raise InputError(
                f"batch_size: {self.settings.batch_size} images with {self.settings.num_beams} "
                "beams do not fit into the GPU's memory; lower batch_size and run the command "
                "again."
            ) from None
        # Language models that only decode begin with what they were given, depending on version.
        start = tokens[:, : prompt.shape[1]]
        if start.shape == prompt.shape and bool((start == prompt).all()):
            tokens = tokens[:, prompt.shape[1] :]
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


def prepare_images(processor: Any, images: Sequence[Tensor]) -> Tensor:
    """Turn images into pixels [N, 3, S, S] (float32) as a model's processor says.

    Args:
        processor: the model's, of transformers.
        images: N tensors [3, H, W] in −1 … 1.
    """
    pictures = [Image.fromarray(to_pixels(image)) for image in images]
    pixels = processor.image_processor(images=pictures, return_tensors="np")["pixel_values"]
    return torch.from_numpy(np.asarray(pixels, np.float32))


def _read(load: Callable[..., Any], settings: CaptionSettings, **options: Any) -> Any:
    """Read a part of the model; the network is asked only for what is not on disk.

    Raises:
        InputError: it is neither on disk nor can be downloaded, or is broken.
    """
    load = partial(load, settings.model, revision=settings.revision, **options)
    try:
        try:
            return load(local_files_only=True)
        except OSError:
            if Path(settings.model).is_dir():
                raise
            return load()
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"model: '{settings.model}' could not be read ({reason}); expected the folder of a "
            "BLIP-2 model with safetensors, or a hub id, which `hf download ID` downloads."
        ) from None


def _identity(settings: CaptionSettings, config: Any) -> dict[str, str | None]:
    """Say which model it is, alike on every machine."""
    folder = Path(settings.model)
    if folder.is_dir():
        return {"name": folder.resolve().name, "sha256": folder_sha256(folder)}
    commit = getattr(config, "_commit_hash", None) or settings.revision
    return {"name": settings.model, "revision": commit}


@dataclass(frozen=True)
class _Source:
    """Images that get captions, by panorama or scene, and by direction or number of the frame."""

    files: dict[tuple[int, int], Path]  # of the captions, which may be missing
    read: Callable[[int, Sequence[int]], list[Tensor]]  # some images [3, H, W] of one group


def _panoramas(data: Path, split: str, settings: CaptionSettings) -> _Source:
    """Views of panoramas at all directions that have captions."""
    panoramas = Matterport3DPanoramas(data, split, image_size=settings.image_size)
    keys = itertools.product(range(len(panoramas)), CAPTION_DEGREES)
    files = {key: panoramas.caption_file(*key) for key in keys}
    return _Source(files, partial(_read_views, panoramas))


def _read_views(panoramas: Matterport3DPanoramas, group: int, keys: Sequence[int]) -> list[Tensor]:
    views = [degrees // CAPTION_DEGREES.step for degrees in keys]
    return list(panoramas.views(group, 0.0, views))


def _scenes(data: Path, split: str, settings: CaptionSettings) -> _Source:
    """Frames of scenes, as they are: their height and width are of no meaning here."""
    scenes = ScanNetScenes(data, split, height=8, width=8, num_views=1).scenes
    files = {
        (index, frame): scene.folder / "prompt" / f"{frame}.txt"
        for index, scene in enumerate(scenes)
        for frame in (scene.valid_frames if settings.frames == "valid" else scene.key_frames)
    }
    return _Source(files, partial(_read_frames, [scene.folder / "color" for scene in scenes]))


def _read_frames(folders: Sequence[Path], group: int, keys: Sequence[int]) -> list[Tensor]:
    return [read_image(folders[group] / f"{frame}.jpg") for frame in keys]


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
        limit: of images now; None means all. The record appears only when none is left.
        workers: processes that read images while the model works; they do not change the captions.

    Returns:
        Numbers of captions that were "made" now, that are "left" to make, and "all" of the split.

    Raises:
        InputError: an image or the model cannot be read, the split's captions were begun in
            another way, the model returned an empty caption, or the disk refuses.
    """
    source = (_scenes if task == "depth" else _panoramas)(data, split, settings)
    missing = [key for key, path in source.files.items() if not has_bytes(path)]
    chosen = missing[: len(missing) if limit is None else max(limit, 0)]
    run = data.resolve().parent / f"{data.resolve().name}_captions_{split}_provenance.json"
    if chosen:
        captioner = Captioner(settings)
        _begin(run, settings, captioner.identity)
        _write_captions(source, chosen, captioner, workers)
    left = len(missing) - len(chosen)
    if not left:
        begun = read_json(run) if run.is_file() else {}
        _write_record(data, split, list(source.files.values()), begun)
    return {"made": len(chosen), "left": left, "all": len(source.files)}


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


@dataclass(frozen=True)
class _Batches(Dataset[Any]):
    """Images ready for the model, so many at a time."""

    source: _Source
    keys: Sequence[tuple[int, int]]
    size: int
    processor: Any

    def __len__(self) -> int:
        return -(-len(self.keys) // self.size)

    def __getitem__(self, index: int) -> tuple[list[Path], Tensor] | InputError:
        keys = self.keys[index * self.size :][: self.size]
        images = []
        try:  # views of one panorama are cut at once
            for group, part in itertools.groupby(keys, lambda key: key[0]):
                images += self.source.read(group, [key for _, key in part])
            return [self.source.files[key] for key in keys], prepare_images(self.processor, images)
        except InputError as error:  # as a value: a worker would wrap it in its traceback
            return error


def _write_captions(
    source: _Source, keys: Sequence[tuple[int, int]], captioner: Captioner, workers: int
) -> None:
    """Caption images.

    Raises:
        InputError: an image is broken, or the model returned an empty caption for some.
    """
    batches = _Batches(source, keys, captioner.settings.batch_size, captioner.processor)
    silent: list[Path] = []
    with tqdm(total=len(keys), desc="captions", unit="image") as bar:
        loader = DataLoader(
            batches, batch_size=None, num_workers=workers, worker_init_fn=end_if_unable_to_send
        )
        for batch in loader:
            if isinstance(batch, InputError):
                raise batch
            files, pixels = batch
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
