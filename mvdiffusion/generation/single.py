"""One panorama or sequence for a user: a sample folder of one sample, with films and the like.

<output>/<sample>/         views, prompts, and of a sequence depth and cameras (see `sample_folder`)
<output>/panorama.png, panorama.jpg, turning.mp4 (a sequence: sequence.mp4), contact_sheet.png
<output>/manifest.json     as of every sample folder, with the hashes of all files
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from mvdiffusion.data.scannet import DepthSample, ScanNetScene
from mvdiffusion.generation.media import write_panorama, write_sequence
from mvdiffusion.generation.sample_folder import SampleFolder, identity
from mvdiffusion.generation.split import GenerationSettings, check_model, load_pipeline
from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.manifest import Manifest
from mvdiffusion.outputs import already_made, is_begun, whole_output
from mvdiffusion.records import InputError, folder_sha256, sha256_file
from mvdiffusion.tasks import Task

METHOD = "mvdiffusion"


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        steps: denoising steps.
        guidance_scale: classifier-free guidance.
        negative_prompt: text of the unconditional branch.
        seed: of the initial noise, which is drawn on the CPU.
        view_chunk: views at a time in every layer, for less memory; None means all.
        dtype: of the UNet.
        device: "auto", "cpu" or "cuda".
    """

    steps: int = 50
    guidance_scale: float = 9.0
    negative_prompt: str = ""
    seed: int = 0
    view_chunk: int | None = None
    dtype: str = "float32"
    device: str = "auto"

    def load(self, task: str, model: Path) -> Any:
        """Load a task's pipeline, ready to be called.

        Raises:
            InputError: no model of that task there.
        """
        values = {"dtype": self.dtype, "device": self.device}
        pipeline = load_pipeline(task, model, GenerationSettings.from_mapping(values))
        pipeline.set_progress_bar_config(disable=False, desc=task, unit="step")
        pipeline.set_view_chunk(self.view_chunk)
        return pipeline

    def deciding(self) -> dict[str, Any]:
        """What decides the images; the device and the chunks do not."""
        return {
            key: value for key, value in asdict(self).items() if key not in ("device", "view_chunk")
        }

    def arguments(self) -> dict[str, Any]:
        """What every pipeline is called with."""
        return {
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "negative_prompt": self.negative_prompt,
            "generator": torch.Generator().manual_seed(self.seed),
            "output_type": "pt",
        }


def create_panorama(
    model: Path,
    output: Path,
    prompts: Sequence[str],
    sampling: Sampling,
    height: int | None = None,
    width: int | None = None,
    num_views: int | None = None,
    fov_deg: float = 90.0,
    overwrite: bool = False,
) -> None:
    """Generate a panorama from text.

    Args:
        model: folder of a panorama pipeline.
        output: new folder of the result; a finished one of equal settings is kept.
        prompts: one text for all views, or one per view.
        sampling: how to sample.
        height: of a view in pixels (default: the model's).
        width: of a view in pixels (default: the model's).
        num_views: evenly spaced views (default: as many as prompts, or 8).
        fov_deg: horizontal field of view in degrees.
        overwrite: move an `output` of other settings aside instead of refusing.

    Raises:
        InputError: wishes that do not fit together, no such model, an `output` of other settings.
    """
    count = num_views or (len(prompts) if len(prompts) > 1 else 8)
    wishes = {"num_views": count, "fov_deg": fov_deg, "height": height, "width": width}
    known = {"prompts": list(prompts), **wishes}
    settings = {"model": _model_sha256(model), **sampling.deciding(), **known}
    if is_begun(output, identity(Task.PANORAMA, METHOD, settings), overwrite=overwrite):
        return already_made(output)
    pipeline = sampling.load("panorama", model)
    with _pipeline_complaints():
        images = pipeline(_one_or_all(prompts), **wishes, **sampling.arguments()).images[0]
    _write_panorama(Task.PANORAMA, output, settings, 2 * images - 1, prompts, fov_deg)


def create_outpainted_panorama(
    model: Path,
    output: Path,
    prompts: Sequence[str],
    given: Mapping[int, Path],
    sampling: Sampling,
    height: int | None = None,
    width: int | None = None,
    num_views: int | None = None,
    fov_deg: float = 90.0,
    overwrite: bool = False,
) -> None:
    """Generate the rest of a panorama around given views.

    Args:
        given: image files by the number of the view that they are. Each is cropped about its
            middle to the views' proportions and resized; it should have their field of view.
        model: folder of an outpainting pipeline.
        output: as for `create_panorama`, and so are the others.
        prompts: one text for all views, or one per view, given ones too.
        sampling: how to sample.
        height: of a view in pixels.
        width: of a view in pixels.
        num_views: evenly spaced views.
        fov_deg: horizontal field of view in degrees.
        overwrite: move an `output` of other settings aside instead of refusing.

    Raises:
        InputError: as `create_panorama`, and for files that are no images.
    """
    count = num_views or (len(prompts) if len(prompts) > 1 else 8)
    wishes = {"num_views": count, "fov_deg": fov_deg, "height": height, "width": width}
    files = {str(view): {"name": path.name, "sha256": _hash(path)} for view, path in given.items()}
    known = {"prompts": list(prompts), "given": files, **wishes}
    settings = {"model": _model_sha256(model), **sampling.deciding(), **known}
    if is_begun(output, identity(Task.OUTPAINT, METHOD, settings), overwrite=overwrite):
        return already_made(output)
    pipeline = sampling.load("outpaint", model)
    default = pipeline.default_size()
    size = (width or default[1], height or default[0])
    pictures = [_fitted(path, size) for path in given.values()]
    with _pipeline_complaints():
        images = pipeline(
            _one_or_all(prompts), pictures, list(given), **wishes, **sampling.arguments()
        ).images[0]
    views = 2 * images - 1
    _write_panorama(Task.OUTPAINT, output, settings, views, prompts, fov_deg, tuple(given))


def create_sequence(
    model: Path,
    output: Path,
    scene: Path,
    prompts: Sequence[str] | None,
    sampling: Sampling,
    height: int = 192,
    width: int = 256,
    num_views: int = 12,
    key_frames: int | None = None,
    stride: int = 1,
    overwrite: bool = False,
) -> None:
    """Generate images for the depth and poses of a scene.

    Args:
        model: folder of a depth pipeline.
        output: new folder of the result; a finished one of equal settings is kept.
        scene: folder of a scene in ScanNet's exported layout, with key frames.
        prompts: one text for all frames, or one per frame; None takes the scene's.
        sampling: how to sample.
        height: of a frame in pixels.
        width: of a frame in pixels.
        num_views: most frames to denoise together.
        key_frames: how many, from the first; None means all.
        stride: of the frames between two key frames every `stride`th is generated; 0: none.
        overwrite: move an `output` of other settings aside instead of refusing.

    Raises:
        InputError: wishes that do not fit together, no such model or scene, an `output` of other
            settings.
    """
    opened = ScanNetScene(scene, height, width)
    frames = sequence_frames(opened, key_frames, stride)
    wishes = {"height": height, "width": width, "num_views": num_views, "frames": frames}
    texts = _per_frame(prompts, len(frames))
    sample = opened.load(frames, prompts=texts, views=False)
    known = {
        "scene": opened.name,
        "depth_and_cameras": _tensor_hash(sample),
        "prompts": sample.prompts,
    }
    settings = {"model": _model_sha256(model), **sampling.deciding(), **known, **wishes}
    if is_begun(output, identity(Task.DEPTH, METHOD, settings), overwrite=overwrite):
        return already_made(output)
    pipeline = sampling.load("depth", model)
    keys = sample.is_key.nonzero().flatten().tolist()
    with _pipeline_complaints():
        images = pipeline(
            sample.prompts, sample.depth, sample.pose, sample.K, keys, num_views,
            **sampling.arguments(),
        ).images[0]  # fmt: skip
    views = 2 * images - 1
    manifest = Manifest(Task.DEPTH, METHOD, height, width, (sample.sample_id,))
    with _result(output, manifest, settings) as folder:
        folder.write_sample(sample.sample_id, views, sample.prompts, geometry=sample.geometry)
        write_sequence(views, folder.root)


def _write_panorama(
    task: Task,
    output: Path,
    settings: Mapping[str, Any],
    views: Tensor,
    prompts: Sequence[str],
    fov_deg: float,
    given: tuple[int, ...] = (),
) -> None:
    count, _, height, width = views.shape
    manifest = Manifest(
        task, METHOD, height, width, ("panorama",), None, fov_deg, even_yaws(count), given
    )
    texts = list(prompts) * (count // len(prompts))
    with _result(output, manifest, settings) as folder:
        folder.write_sample("panorama", views, texts)
        write_panorama(views, fov_deg, folder.root)


@contextmanager
def _result(
    output: Path, manifest: Manifest, settings: Mapping[str, Any]
) -> Iterator[SampleFolder]:
    """Give a sample folder to fill, which becomes `output` at the end, with a manifest."""
    with whole_output(output, identity(manifest.task, METHOD, settings)) as root:
        folder = SampleFolder(root, manifest, settings)
        yield folder
        files = sorted(path for path in root.rglob("[!.]*") if path.is_file())
        folder.write_manifest(
            files={path.relative_to(root).as_posix(): sha256_file(path) for path in files}
        )


def sequence_frames(scene: ScanNetScene, key_frames: int | None, stride: int) -> list[int]:
    """Numbers of the frames to generate: key frames and, between them, every `stride`th frame.

    Raises:
        InputError: not even one key frame, or a negative stride.
    """
    keys = scene.key_frames[:key_frames]
    if not keys or stride < 0 or (key_frames is not None and key_frames < 1):
        raise InputError(
            f"--key-frames {key_frames} --stride {stride}: expected at least 1 of the "
            f"{len(scene.key_frames)} key frames of {scene.name}, and a stride of 0 or more."
        )
    frames = keys[:1]
    for first, last in pairwise(keys):
        between = scene.frames_between(first, last)
        frames += [*(between[stride - 1 :: stride] if stride else []), last]
    return frames


def _per_frame(prompts: Sequence[str] | None, count: int) -> list[str] | None:
    if prompts is None:
        return None
    if len(prompts) not in (1, count):
        raise InputError(f"--prompts: {len(prompts)} lines; expected 1 or {count}, one per frame.")
    return list(prompts) * (count if len(prompts) == 1 else 1)


def _one_or_all(prompts: Sequence[str]) -> str | list[str]:
    return prompts[0] if len(prompts) == 1 else list(prompts)


def _model_sha256(model: Path) -> str:
    check_model(model)
    return folder_sha256(model)


def _hash(path: Path) -> str:
    try:
        return sha256_file(path)
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
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"--image {path}: not a whole image ({error}).") from None
    return ImageOps.fit(upright, size, Image.Resampling.LANCZOS)


@contextmanager
def _pipeline_complaints() -> Iterator[None]:
    """Pass on what a pipeline refuses ("Expected …, got …") as bad input."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith("Expected"):
            raise InputError(str(error)) from None
        raise
