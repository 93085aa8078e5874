"""One panorama or sequence for a user: a sample folder of one sample, with films and the like.

<output>/<sample>/         views, prompts, and of a sequence depth and cameras (see `sample_folder`)
<output>/panorama.png, panorama.jpg, viewer.html, turning.mp4, contact_sheet.png
<output>/sequence.mp4, contact_sheet.png (of a sequence)
<output>/manifest.json     as of every sample folder, with the hashes of all files
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count as counted
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from mvdiffusion.data.scannet import DepthSample, ScanNetScene
from mvdiffusion.generation.media import write_panorama, write_sequence
from mvdiffusion.generation.sample_folder import SampleFolder, identity
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.generation.split import load_pipeline
from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.images import UNREADABLE, holds_depth, open_image
from mvdiffusion.manifest import Manifest
from mvdiffusion.outputs import already_made, is_begun, whole_output
from mvdiffusion.pipelines.checks import check_overlap
from mvdiffusion.pipelines.depth import frame_groups
from mvdiffusion.pipelines.loading import check_model
from mvdiffusion.pipelines.panorama import DEFAULT_VIEWS
from mvdiffusion.records import InputError, model_sha256, sha256_file
from mvdiffusion.tasks import Task

OnStep = Callable[[int, int], None]
"""Called after every denoising step with its number from 1 and that of all; what it raises ends the
generation, and nothing is written."""

Load = Callable[[Task, Path, GenerationSettings], Any]
"""Gives the pipeline of a task and a model folder, as `load_pipeline` does."""


def create_panorama(
    model: Path,
    output: Path,
    prompts: Sequence[str],
    settings: GenerationSettings,
    given: Mapping[int, Path] | None = None,
    height: int | None = None,
    width: int | None = None,
    num_views: int | None = None,
    fov_deg: float = 90.0,
    overwrite: bool = False,
    correspondence_attention: bool = True,
    load: Load = load_pipeline,
    on_step: OnStep | None = None,
) -> None:
    """Generate a panorama from text, or the rest of one around given views.

    Args:
        model: folder of a panorama pipeline; with `given`, of an outpainting pipeline.
        output: new folder of the result; a finished one of equal settings is kept.
        prompts: one text for all views, or one per view, given ones too.
        settings: how to sample.
        given: image files by the number of the view that they are. Each is cropped about its
            middle to the views' proportions and resized; it should have their field of view.
        height, width: of a view in pixels (default: the model's).
        num_views: evenly spaced views (default: as many as prompts, which must overlap, or 8).
        fov_deg: horizontal field of view in degrees.
        overwrite: move an `output` of other settings aside instead of refusing.
        correspondence_attention: False generates every view by itself, as the baseline does.
        load: gives the pipeline; one that keeps it saves whoever generates often the loading.
        on_step: see `OnStep`.

    Raises:
        InputError: arguments that do not fit together, no such model, files that are no images, an
            `output` of other settings.
    """
    given = given or {}
    task = Task.OUTPAINT if given else Task.PANORAMA
    count = num_views or (len(prompts) if len(prompts) > 1 else DEFAULT_VIEWS)
    texts = _each(prompts, count, "view")
    if num_views is None and len(prompts) > 1:
        check_overlap(count, fov_deg)
    layout = {"num_views": count, "fov_deg": fov_deg, "height": height, "width": width}
    method = _method(correspondence_attention)
    made_of = {
        **_sampling_identity(model, settings),
        "prompts": list(prompts),
        "given": {str(view): _file_identity(path) for view, path in given.items()},
        **layout,
    }
    if is_begun(output, identity(task, method, made_of), overwrite=overwrite):
        return already_made(output)
    pipeline = load(task, model, settings)
    high, wide = pipeline.default_size()
    images = [_fitted(path, (width or wide, height or high)) for path in given.values()]
    known = {"image": images, "given_views": list(given)} if given else {}
    _tell_gaps(count, fov_deg)
    options = {"correspondence_attention": correspondence_attention, **known, **layout}
    views = _sample(pipeline, settings, on_step, 1, texts, **options)
    size, sample = (views.shape[-2], views.shape[-1]), "panorama"
    manifest = Manifest(
        task, method, *size, (sample,), None, fov_deg, even_yaws(count), tuple(given)
    )
    with _result(output, manifest, made_of) as folder:
        folder.write_sample(sample, views, texts)
        write_panorama(views, fov_deg, folder.root)


def create_sequence(
    model: Path,
    output: Path,
    scene: Path,
    prompts: Sequence[str] | None,
    settings: GenerationSettings,
    height: int = 192,
    width: int = 256,
    num_views: int | None = None,
    key_frames: int | None = None,
    stride: int = 1,
    prompt_prefix: str = "",
    overwrite: bool = False,
    correspondence_attention: bool = True,
    load: Load = load_pipeline,
    on_step: OnStep | None = None,
) -> None:
    """Generate images for the depth and poses of a scene.

    Args:
        model: folder of a depth pipeline.
        output: new folder of the result; a finished one of equal settings is kept.
        scene: folder of a scene in ScanNet's exported layout, with key frames.
        prompts: one text for all frames, or one per frame; None takes the scene's.
        settings: how to sample.
        height, width: of a frame in pixels.
        num_views: most frames to denoise together (default: all key frames, see `frame_groups`).
        key_frames: how many, from the first; None means all.
        stride: of the frames between two key frames every `stride`th is generated; 0: none.
        prompt_prefix: put before each of the scene's captions, as in the training of the model.
        overwrite: move an `output` of other settings aside instead of refusing.
        correspondence_attention: False generates every frame by itself, as the baseline does.
        load: gives the pipeline; one that keeps it saves whoever generates often the loading.
        on_step: see `OnStep`.

    Raises:
        InputError: arguments that do not fit together, no such model or scene, an `output` of other
            settings.
    """
    opened = ScanNetScene(scene, height, width, prompt_prefix)
    frames = sequence_frames(opened, key_frames, stride)
    texts = None if prompts is None else _each(prompts, len(frames), "frame")
    sample = opened.load(frames, prompts=texts, views=False)
    method = _method(correspondence_attention)
    made_of = {
        **_sampling_identity(model, settings),
        "scene": opened.name,
        "depth_and_cameras": _tensor_hash(sample),
        "prompts": sample.prompts,
        "height": height,
        "width": width,
        "num_views": num_views,
        "frames": frames,
    }
    if is_begun(output, identity(Task.DEPTH, method, made_of), overwrite=overwrite):
        return already_made(output)
    _tell_squeezed(opened, sample)
    pipeline = load(Task.DEPTH, model, settings)
    keys = sample.is_key.nonzero().flatten().tolist()
    inputs = (sample.prompts, sample.depth, sample.pose, sample.K, keys, num_views)
    passes = len(frame_groups(keys, num_views))
    attention = {"correspondence_attention": correspondence_attention}
    views = _sample(pipeline, settings, on_step, passes, *inputs, **attention)
    manifest = Manifest(Task.DEPTH, method, height, width, (sample.sample_id,))
    with _result(output, manifest, made_of) as folder:
        folder.write_sample(sample.sample_id, views, sample.prompts, geometry=sample.geometry)
        write_sequence(views, folder.root)


def _method(correspondence_attention: bool) -> str:
    """Name what makes the views: the method, or its baseline without attention between views."""
    return "mvdiffusion" if correspondence_attention else "independent"


def _sample(
    pipeline: Any,
    settings: GenerationSettings,
    on_step: OnStep | None,
    passes: int,
    *inputs: Any,
    **options: Any,
) -> Tensor:
    """Sample views [V, 3, H, W] in −1 … 1 from noise that is drawn on the CPU.

    Args:
        passes: how often the pipeline runs its sampler.
        inputs, options: what it is called with, beside the settings.
    """
    pipeline.set_progress_bar_config(disable=False, unit="step")
    generator = torch.Generator().manual_seed(settings.seed)
    numbers = counted(1)

    def tell(pipeline: Any, *_: Any) -> dict[str, Tensor]:
        if on_step:
            on_step(next(numbers), passes * pipeline.num_timesteps)
        return {}

    options["callback_on_step_end"] = tell
    options |= {**settings.sampling(), "generator": generator, "output_type": "pt"}
    images: Tensor = pipeline(*inputs, **options).images[0]
    return 2 * images - 1


@contextmanager
def _result(
    output: Path, manifest: Manifest, settings: Mapping[str, Any]
) -> Iterator[SampleFolder]:
    """Give a sample folder to fill, which becomes `output` at the end, with a manifest."""
    with whole_output(output, identity(manifest.task, manifest.method, settings)) as root:
        folder = SampleFolder(root, manifest, settings)
        yield folder
        files = sorted(path for path in root.rglob("[!.]*") if path.is_file())
        folder.write_manifest(
            files={path.relative_to(root).as_posix(): sha256_file(path) for path in files}
        )


def sequence_frames(scene: ScanNetScene, key_frames: int | None, stride: int) -> list[int]:
    """Numbers of the frames to generate: key frames and, between them, every `stride`th frame.

    Raises:
        InputError: not so many key frames, or not even one.
    """
    keys, count = scene.key_frames[:key_frames], len(scene.key_frames)
    if not keys or len(keys) != (count if key_frames is None else key_frames):
        raise InputError(
            f"--key-frames {key_frames}: {scene.folder} has {count}; expected a number from 1 to "
            "that."
        )
    frames = keys[:1]
    for first, last in pairwise(keys):
        between = scene.frames_between(first, last)
        frames += [*(between[stride - 1 :: stride] if stride else []), last]
    return frames


def _each(prompts: Sequence[str], count: int, name: str) -> list[str]:
    """One prompt for each of `count` views or frames, as `name` says."""
    if len(prompts) not in (1, count):
        raise InputError(f"--prompts: {len(prompts)} lines; expected 1 or {count}, one per {name}.")
    return list(prompts) * (count if len(prompts) == 1 else 1)


def _tell_gaps(count: int, fov_deg: float) -> None:
    """Say that views of a panorama lie apart; one view is none."""
    if count > 1 and 0 < count * fov_deg <= 360:
        print(
            f"note: {count} views of {fov_deg:g} degrees cover {count * fov_deg:g} of 360 and "
            "share no pixel, so nothing makes them agree, and what lies between them is gray; "
            "choose more --num-views or a larger --fov-deg to change that",
            file=sys.stderr,
        )


def _tell_squeezed(scene: ScanNetScene, sample: DepthSample) -> None:
    """Say that the frames of a scene get other proportions, which the model has not learned."""
    height, width = sample.depth.shape[-2:]
    across, down = (sample.K[0].double() / scene.K).diagonal()[:2].tolist()
    if abs(across / down - 1) > 0.03:
        proportions = width * down / (height * across)
        fitting = round(height * proportions / 8) * 8
        print(
            f"note: frames of {scene.name} are {proportions:.2f} times as wide as high, and "
            f"{width} x {height} pixels squeeze them; --width {fitting} --height {height} do not",
            file=sys.stderr,
        )


def _sampling_identity(model: Path, settings: GenerationSettings) -> dict[str, Any]:
    check_model(model)
    return {"model": model_sha256(model), **settings.deciding()}


def _file_identity(path: Path) -> dict[str, str]:
    try:
        return {"name": path.name, "sha256": sha256_file(path)}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected an image file.") from None


def _tensor_hash(sample: DepthSample) -> str:
    digest = hashlib.sha256()
    for values in (sample.depth, sample.K, sample.pose):
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fitted(path: Path, size: tuple[int, int]) -> Image.Image:
    """Read an image, upright, cropped about its middle and resized to (width, height)."""
    try:
        with open_image(path) as image:
            if holds_depth(image.mode) or image.mode == "F":
                raise InputError(
                    f"--image {path}: one channel of more than 8 bits (mode {image.mode}); "
                    "expected a picture with 8 bits per channel."
                )
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"--image {path}: not a whole image ({error}).") from None
    return ImageOps.fit(upright, size, Image.Resampling.LANCZOS)
