"""Run a method over a split: seeds, batches, files, restart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from tqdm.auto import tqdm

from mvdiffusion.baselines.autoregressive import generate_autoregressive
from mvdiffusion.data.matterport3d import Matterport3DPanoramas, PanoramaSample
from mvdiffusion.data.views import SampleFolder
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError


@dataclass(frozen=True)
class GenerationSettings:
    """Numbers of a sampling run (paper: DDIM, 50 steps, guidance 9, negative prompt "").

    Attributes:
        seed: base of the per-sample seeds.
        num_samples: how many samples of the split, from its start; None means all.
        num_inference_steps: denoising steps.
        guidance_scale: classifier-free guidance.
        negative_prompt: text of the unconditional branch.
        scheduler: name of any diffusers scheduler class; its numbers come from the model.
        batch_size: panoramas at once. Batches are cut from the whole list, whatever is finished.
        dtype: of the UNet, "float32", "bfloat16" or "float16"; all else is float32.
        device: "auto", "cpu" or "cuda".
    """

    seed: int = 0
    num_samples: int | None = None
    num_inference_steps: int = 50
    guidance_scale: float = 9.0
    negative_prompt: str = ""
    scheduler: str = "DDIMScheduler"
    batch_size: int = 1
    dtype: str = "float32"
    device: str = "auto"

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> GenerationSettings:
        """Check the keys and build.

        Raises:
            InputError: unknown key, or a name that torch or diffusers does not know.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise InputError(f"generation: unknown key {unknown[0]!r}; expected {sorted(known)}.")
        made = cls(**settings)
        if not hasattr(diffusers, made.scheduler):
            raise InputError(
                f"generation.scheduler: diffusers has no {made.scheduler!r}; "
                "expected a scheduler class such as 'DDIMScheduler'."
            )
        if made.dtype not in ("float32", "bfloat16", "float16"):
            raise InputError(f"generation.dtype: expected a float type, got {made.dtype!r}.")
        return made

    def torch_device(self) -> torch.device:
        """Resolve "auto"."""
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(automatic if self.device == "auto" else self.device)


Method = Callable[
    [MVDiffusionPanoramaPipeline, list[PanoramaSample], Tensor, GenerationSettings, float], Tensor
]


def _sample_jointly(
    pipeline: MVDiffusionPanoramaPipeline,
    samples: list[PanoramaSample],
    noise: Tensor,
    settings: GenerationSettings,
    fov_deg: float,
    **options: Any,
) -> Tensor:
    return pipeline(
        [sample.prompts for sample in samples],
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        negative_prompt=settings.negative_prompt,
        latents=noise,
        height=noise.shape[-2] * pipeline.vae_scale_factor,
        width=noise.shape[-1] * pipeline.vae_scale_factor,
        fov_deg=fov_deg,
        output_type="pt",
        **options,
    ).images


def mvdiffusion(*arguments: Any) -> Tensor:
    """All views at once with correspondence-aware attention (the paper's method)."""
    return _sample_jointly(*arguments)


def independent(*arguments: Any) -> Tensor:
    """Every view by itself: the paper's "SD (Perspective)"."""
    return _sample_jointly(*arguments, correspondence_attention=False)


def wrong_correspondence(
    pipeline: MVDiffusionPanoramaPipeline,
    samples: list[PanoramaSample],
    noise: Tensor,
    settings: GenerationSettings,
    fov_deg: float,
) -> Tensor:
    """Control: the cameras turn to the left while the prompts go to the right.

    Every view still attends to its two neighbours, at places where they do not correspond.
    """
    height, width = (side * pipeline.vae_scale_factor for side in noise.shape[-2:])
    K, R = panorama_cameras(height, width, noise.shape[1], fov_deg)
    R = R.transpose(-1, -2).contiguous()  # the inverse turns: yaw → −yaw
    return _sample_jointly(pipeline, samples, noise, settings, fov_deg, K=K, R=R)


def autoregressive(
    pipeline: MVDiffusionPanoramaPipeline,
    samples: list[PanoramaSample],
    noise: Tensor,
    settings: GenerationSettings,
    fov_deg: float,
) -> Tensor:
    """View after view by warping and inpainting (the paper's "Inpainting")."""
    return generate_autoregressive(
        pipeline,
        [sample.prompts for sample in samples],
        noise,
        settings.num_inference_steps,
        settings.guidance_scale,
        settings.negative_prompt,
        fov_deg,
    )


@torch.no_grad()
def codec(pipeline: MVDiffusionPanoramaPipeline, samples: list[PanoramaSample], *_: Any) -> Tensor:
    """Ceiling: the real views, through the VAE and back."""
    views = torch.stack([sample.views for sample in samples]).to(pipeline.vae.device)
    return pipeline.decode_latents(pipeline.encode_views(views))


METHODS: dict[str, Method] = {
    "mvdiffusion": mvdiffusion,
    "independent": independent,
    "autoregressive": autoregressive,
    "wrong_correspondence": wrong_correspondence,
    "codec": codec,
}


def load_pipeline(model: Path, settings: GenerationSettings) -> MVDiffusionPanoramaPipeline:
    """Load a stage-2 folder, or a Stable Diffusion folder (its CAA blocks are the identity)."""
    if not (model / "model_index.json").is_file():
        raise InputError(f"{model}: no model_index.json; expected a diffusers pipeline folder.")
    if (model / "unet" / "config.json").read_text().find("MultiViewUNet") >= 0:
        pipeline = MVDiffusionPanoramaPipeline.from_pretrained(model)
    else:
        pipeline = MVDiffusionPanoramaPipeline.from_single_view(model)
    scheduler = getattr(diffusers, settings.scheduler)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.to(getattr(torch, settings.dtype))
    return pipeline.to(settings.torch_device())


def sample_seed(seed: int, sample_id: str) -> int:
    """Seed of one sample: depends on nothing but the run's seed and the sample's name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()[:7], "big")


def draw_noise(
    pipeline: MVDiffusionPanoramaPipeline, samples: list[PanoramaSample], seed: int
) -> Tensor:
    """Draw initial noise [B, V, C, h, w] on the CPU, so that every device starts alike."""
    noises = []
    for sample in samples:
        views, _, height, width = sample.views.shape
        generator = torch.Generator().manual_seed(sample_seed(seed, sample.sample_id))
        shape = (views, *pipeline.latent_shape(height, width))
        noises.append(randn_tensor(shape, generator))
    return torch.stack(noises).to(pipeline.unet.device)


def generate_split(
    method: str,
    model: Path,
    dataset: Matterport3DPanoramas,
    settings: GenerationSettings,
    folder: SampleFolder,
) -> None:
    """Generate a split's samples with one method; finished samples are kept.

    Args:
        method: a key of `METHODS`.
        model: folder of the model.
        dataset: the split that gives prompts (and, for `codec`, views).
        settings: numbers of the sampling.
        folder: where samples and, last, the manifest are written.

    Raises:
        InputError: unknown method, no model, not enough samples in the split.
    """
    if method not in METHODS:
        raise InputError(f"--method {method}: expected one of {', '.join(METHODS)}.")
    count = len(dataset) if settings.num_samples is None else settings.num_samples
    if count > len(dataset):
        raise InputError(
            f"generation.num_samples: {count} asked for, the split has {len(dataset)}."
        )
    pipeline = load_pipeline(model, settings)
    starts = range(0, count, settings.batch_size)
    for start in tqdm(starts, desc=method, unit="batch", mininterval=2):
        batch = range(start, min(start + settings.batch_size, count))
        if not all(folder.has_sample(dataset.sample_id(index)) for index in batch):
            # The whole batch again: results must not depend on what was finished before.
            samples = [dataset.load(index) for index in batch]
            _generate_batch(METHODS[method], pipeline, samples, settings, folder)
    folder.write_manifest([dataset.sample_id(i) for i in range(count)], asdict(settings))


def _generate_batch(
    run: Method,
    pipeline: MVDiffusionPanoramaPipeline,
    samples: list[PanoramaSample],
    settings: GenerationSettings,
    folder: SampleFolder,
) -> None:
    noise = draw_noise(pipeline, samples, settings.seed)
    views = run(pipeline, samples, noise, settings, folder.fov_deg)
    for sample, images in zip(samples, views, strict=True):
        if not folder.has_sample(sample.sample_id):
            seed = sample_seed(settings.seed, sample.sample_id)
            folder.write_sample(sample.sample_id, 2 * images - 1, sample.prompts, {"seed": seed})
