"""Stage 2: only correspondence-aware attention trains, on whole panoramas (paper, section 4.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.models.correspondence_geometry import MultiViewGeometry
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.training.diffusion import (
    PICTURE_GUIDANCE,
    PICTURE_STEPS,
    DiffusionTask,
    TextToImage,
    diffusion_examples,
    freeze,
)
from mvdiffusion.training.examples import Batch
from mvdiffusion.training.loop import train
from mvdiffusion.training.runs import run_identity
from mvdiffusion.training.settings import MultiViewSettings, ViewSettings, parse
from mvdiffusion.training.single_view import load_parts


class MultiViewTask(DiffusionTask):
    """Denoising of all views of a panorama together, at one timestep per panorama."""

    unet: MultiViewUNet

    def __init__(self, view: ViewSettings, *task: Any) -> None:
        """Add the cameras of the views to a `DiffusionTask`."""
        super().__init__(*task)
        self.view = view
        self._geometry: MultiViewGeometry | None = None

    def predict(self, noisy: Tensor, embeds: Tensor, batch: Batch) -> Tensor:
        """Return the output [B * V, C, h, w] for B panoramas of V views each."""
        shape = (-1, self.view.num_views)
        output = self.unet(
            noisy.unflatten(0, shape),
            batch["timesteps"].unflatten(0, shape),
            embeds.unflatten(0, shape),
            self.geometry(),
        )
        preds: Tensor = output.sample.flatten(0, 1)
        return preds

    def geometry(self) -> MultiViewGeometry:
        """Return the cameras; only relative rotations matter, so one yaw serves every panorama."""
        if self._geometry is None:
            size = self.view.image_size
            K, R = panorama_cameras(size, size, self.view.num_views, self.view.fov_deg)
            self._geometry = self.unet.prepare_geometry(K[None], R[None], size, size)
        return self._geometry

    def pipeline(self) -> MVDiffusionPanoramaPipeline:
        """Return the parts as the pipeline that generates panoramas."""
        parts = self.parts
        pipeline = MVDiffusionPanoramaPipeline(
            parts.vae, parts.text_encoder, parts.tokenizer, self.unet, parts.scheduler
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def pictures(self) -> tuple[Tensor, Tensor]:
        """Return views of a held-out panorama and one sampled from its captions, [V, 3, H, W]."""
        sample = self.held_out.panoramas.load(0)
        images = self.pipeline()(
            [sample.prompts],
            num_inference_steps=PICTURE_STEPS,
            guidance_scale=PICTURE_GUIDANCE,
            fov_deg=self.view.fov_deg,
            generator=torch.Generator().manual_seed(0),
            output_type="pt",
        ).images
        return sample.views, images[0] * 2 - 1


def frozen_sha256(module: nn.Module) -> str:
    """Hash names and bytes of all parameters and buffers that do not train."""
    digest = hashlib.sha256()
    trained = {name for name, value in module.named_parameters() if value.requires_grad}
    for name, value in module.state_dict().items():
        if name not in trained:
            digest.update(name.encode() + b"\0")
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def train_stage2(
    settings: Mapping[str, Any],
    data: Path,
    validation: Path,
    base: Path,
    output: Path,
    checkpoints: Path,
    log_dir: Path,
) -> None:
    """Insert CAA into the model of `base` and train it; write a panorama pipeline folder.

    Raises:
        InputError: for wrong settings, data or base model.
        RuntimeError: if training changed anything but CAA.
    """
    parsed = parse(MultiViewSettings, settings)
    torch.manual_seed(parsed.seed)
    task = _build(parsed, data, validation, load_parts(base))
    before = frozen_sha256(task)
    files = train(
        task,
        parsed.training,
        name="stage2",
        identity=run_identity("stage2", settings, data, base),
        checkpoints=checkpoints,
        log_dir=log_dir,
        device=parsed.device,
    )
    if frozen_sha256(task) != before:
        raise RuntimeError("stage 2 changed weights outside of correspondence-aware attention")
    files.finish(output, task.pipeline().save_pretrained)


def _build(
    settings: MultiViewSettings, data: Path, validation: Path, parts: TextToImage
) -> MultiViewTask:
    freeze(parts.vae, parts.text_encoder, parts.unet)
    parts.unet = MultiViewUNet.from_unet(parts.unet, settings.variant)
    for parameter in parts.unet.correspondence_parameters():
        parameter.requires_grad_(True)
    examples = diffusion_examples(settings, parts, data, validation)
    return MultiViewTask(settings.data, parts, settings.loss.min_snr_gamma, *examples)
