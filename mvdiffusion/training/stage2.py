"""Stage 2: only correspondence-aware attention, and the image condition of interpolation, train
on all views of a sample together (paper, sections 4.1 and 4.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.models.correspondence_geometry import CorrespondenceGeometry, MultiViewGeometry
from mvdiffusion.models.image_conditioning import image_condition
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines import PIPELINES
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.diffusion import DiffusionTask, TextToImage, freeze, load_parts
from mvdiffusion.training.examples import Batch, OutpaintedViews, PanoramaViews, Sequences
from mvdiffusion.training.pictures import (
    depth_pictures,
    make_pipeline,
    outpaint_pictures,
    view_pictures,
)
from mvdiffusion.training.runs import Places, Run, open_panoramas, open_scenes
from mvdiffusion.training.settings import (
    MultiFrameSettings,
    MultiViewSettings,
    ViewSettings,
)


class MultiViewTask(DiffusionTask):
    """Denoising of all views of a sample together, at one timestep per sample."""

    unet: MultiViewUNet
    shared_timestep = True

    def __init__(self, settings: MultiViewSettings | MultiFrameSettings, *task: Any) -> None:
        """Add how samples become views to a `DiffusionTask`."""
        super().__init__(settings, *task)
        self.view = settings.data
        self._panorama: MultiViewGeometry | None = None

    def predict(self, inputs: Tensor, embeds: Tensor, batch: Batch) -> Tensor:
        """Return the output [B * V, C, h, w] for B samples of V views each.

        Args:
            inputs: noisy latents and extra channels, [B * V, C', h, w].
            embeds: embeddings of the captions, [B * V, L, D].
            batch: an example with its clean latents, and cameras if they are not those of
                panoramas.
        """
        shape = (-1, self.view.num_views)
        condition = None
        if "known" in batch:
            latents, known = (batch[key].unflatten(0, shape) for key in ("latents", "known"))
            condition = image_condition(latents, known)
        output = self.unet(
            inputs.unflatten(0, shape),
            batch["timesteps"].unflatten(0, shape),
            embeds.unflatten(0, shape),
            self.geometry(batch),
            condition,
        )
        preds: Tensor = output.sample.flatten(0, 1)
        return preds

    def geometry(self, batch: Batch) -> CorrespondenceGeometry:
        """Return the cameras: those of the batch, or the fixed ones of panoramas.

        Of panoramas only relative rotations matter, so one yaw serves all.
        """
        if "pose" in batch:
            shape = (-1, self.view.num_views)
            cameras = (batch[key].unflatten(0, shape) for key in ("depth", "K", "pose"))
            return self.unet.prepare_depth_geometry(*cameras)
        if self._panorama is None:
            assert isinstance(self.view, ViewSettings)
            K, R = panorama_cameras(*self.view.size, self.view.num_views, self.view.fov_deg)
            self._panorama = self.unet.prepare_geometry(K[None], R[None], *self.view.size)
        return self._panorama


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
    task: str,
    settings: Mapping[str, Any],
    base: Path,
    places: Places,
) -> None:
    """Insert CAA into the model of `base` and train it; write the task's pipeline folder.

    Args:
        task: "panorama", "outpaint" or "depth".
        settings: those of `MultiViewSettings`, for depth of `MultiFrameSettings`.
        base: single-view model of the task.
        places: where it reads and writes.

    Raises:
        InputError: for wrong settings, data or base model.
        RuntimeError: if training changed anything but the new layers.
    """
    run = Run(f"{task}_stage2", settings, base, places, __name__)
    kind: Any = MultiFrameSettings if task == "depth" else MultiViewSettings
    parsed = parse(kind, settings)
    if run.is_finished():
        return
    torch.manual_seed(parsed.seed)
    parts = _with_attention(load_parts(base), task, parsed.variant)
    if isinstance(parsed, MultiFrameSettings):
        multiview = sequence_task(parsed, places.data, places.validation, parts)
    else:
        multiview = panorama_task(parsed, places.data, places.validation, parts, task == "outpaint")
    before = frozen_sha256(multiview)
    files = run.train(multiview, parsed.training, parsed.device)
    if frozen_sha256(multiview) != before:
        raise RuntimeError("stage 2 changed weights outside of the multi-view layers")
    files.finish(places.output, make_pipeline(PIPELINES[task], parts).save_pretrained)


def _with_attention(parts: TextToImage, task: str, variant: str) -> TextToImage:
    """Put the multi-view UNet in place of the single-view one; only what it adds trains."""
    freeze(parts.vae, parts.text_encoder, parts.unet)
    channels = parts.vae.config.latent_channels
    expected, found = PIPELINES[task].input_channels(channels), parts.unet.config.in_channels
    if found != expected:
        raise InputError(
            f"the base model's UNet takes {found} channels; expected {expected} for the task "
            f"'{task}': train its single-view stage first"
        )
    try:
        parts.unet = MultiViewUNet.from_unet(parts.unet, variant, PIPELINES[task].unet_task)
    except ValueError as error:
        raise InputError(f"the base model's UNet cannot be given attention: {error}") from None
    for parameter in parts.unet.correspondence_parameters():
        parameter.requires_grad_(True)
    return parts


def panorama_task(
    settings: MultiViewSettings, data: Path, validation: Path, parts: TextToImage, outpaint: bool
) -> MultiViewTask:
    """Make the task of denoising whole panoramas.

    Args:
        settings: settings of the training.
        data: folder of the split "train".
        validation: folder of the split "validation".
        parts: parts of the model.
        outpaint: whether a view of each panorama is given.
    """
    view, kind = settings.data, OutpaintedViews if outpaint else PanoramaViews
    held_out = open_panoramas(validation, "validation", view)
    panoramas = (open_panoramas(data, "train", view), held_out)
    train, tested = (kind(part, settings.seed, view.num_views) for part in panoramas)
    draw = outpaint_pictures if outpaint else view_pictures
    return MultiViewTask(settings, parts, (train, tested), draw(held_out))


def sequence_task(
    settings: MultiFrameSettings, data: Path, validation: Path, parts: TextToImage
) -> MultiViewTask:
    """Make the task of denoising posed frames: key frames, and frames between two of them.

    Args:
        settings: settings of the training.
        data: folder of the split "train".
        validation: folder of the split "validation".
        parts: parts of the model.
    """
    frame, share = settings.data, settings.interpolation_share
    held_out = open_scenes(validation, "validation", frame)
    train, tested = (
        Sequences(part.scenes, settings.seed, frame.num_views, share)
        for part in (open_scenes(data, "train", frame), held_out)
    )
    return MultiViewTask(settings, parts, (train, tested), depth_pictures(held_out))
