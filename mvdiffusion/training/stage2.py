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
from mvdiffusion.models.text_encoding import TextEncoders
from mvdiffusion.pipelines import PIPELINES
from mvdiffusion.pipelines.folders import write_card
from mvdiffusion.pipelines.loading import SingleView
from mvdiffusion.records import InputError
from mvdiffusion.training.diffusion import DiffusionTask, freeze, load_parts
from mvdiffusion.training.examples import Batch, OutpaintedViews, PanoramaViews, Sequences, Source
from mvdiffusion.training.pictures import make_pipeline, pictures
from mvdiffusion.training.runs import Places, Run, Writer
from mvdiffusion.training.settings import (
    STAGE2_SETTINGS,
    MultiFrameSettings,
    MultiView,
    MultiViewRing,
    MultiViewSettings,
    OutpaintSettings,
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
        text, added = self.text.conditions(embeds.unflatten(0, shape), *batch["pixels"].shape[-2:])
        output = self.unet(
            inputs.unflatten(0, shape),
            batch["timesteps"].unflatten(0, shape),
            text,
            self.geometry(batch),
            condition,
            added_cond_kwargs=added,
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


def train_stage2(task: str, settings: Mapping[str, Any], base: Path, places: Places) -> None:
    """Insert CAA into the model of `base` and train it; write the task's pipeline folder.

    Args:
        task: "panorama", "outpaint" or "depth".
        settings: those of `STAGE2_SETTINGS`.
        base: single-view model of the task.

    Raises:
        InputError: for wrong settings, data or base model.
        RuntimeError: if training changed anything but the new layers.
    """

    def build(settings: Any) -> tuple[nn.Module, Writer]:
        parts = _with_attention(load_parts(base), task, settings)
        multiview = multi_view_task(settings, places, parts, task)
        before = frozen_sha256(multiview)

        def write(folder: Path) -> None:
            if frozen_sha256(multiview) != before:
                raise RuntimeError("stage 2 changed weights outside of the multi-view layers")
            pipeline = make_pipeline(task, parts)
            pipeline.save_pretrained(folder)
            write_card(folder, pipeline, _provenance(run, settings))

        return multiview, write

    run = Run(f"{task}_stage2", settings, base, places, __name__)
    run.carry_out(STAGE2_SETTINGS[task], build)


def _provenance(run: Run, settings: Any) -> dict[str, str]:
    """Say in a model card's rows what was trained from which base."""
    training, data = settings.training, settings.data
    return {
        "Base": "a single-view model, of which this folder holds all weights unchanged; SHA-256 of "
        f"its files `{run.identity['base']}`",
        "Training": f"stage 2, of the layers between the views alone: {training.steps:,} steps of "
        f"{training.batch_size} samples of {data.num_views} views, learning rate "
        f"{training.learning_rate:g}, seed {settings.seed}",
    }


def _with_attention(parts: SingleView, task: str, settings: MultiView) -> SingleView:
    """Put the multi-view UNet in place of the single-view one; only what it adds trains."""
    freeze(parts.vae, *TextEncoders.of(parts).encoders, parts.unet)
    channels = parts.vae.config.latent_channels
    expected, found = PIPELINES[task].input_channels(channels), parts.unet.config.in_channels
    if found != expected:
        raise InputError(
            f"the base model's UNet takes {found} channels; expected {expected} for the task "
            f"'{task}': train its single-view stage first"
        )
    try:
        parts.unet = MultiViewUNet.from_unet(
            parts.unet,
            settings.variant,
            PIPELINES[task].unet_task,
            settings.attention.changes() if isinstance(settings, MultiViewRing) else None,
        )
    except ValueError as error:
        raise InputError(f"the base model's UNet cannot be given attention: {error}") from None
    for parameter in parts.unet.correspondence_parameters():
        parameter.requires_grad_(True)
    return parts


def multi_view_task(
    settings: MultiViewSettings | MultiFrameSettings,
    places: Places,
    parts: SingleView,
    task: str,
) -> MultiViewTask:
    """Make the task of denoising whole samples.

    Args:
        settings: its class decides the samples: panoramas; with `OutpaintSettings` panoramas of
            which views are given; with `MultiFrameSettings` key frames, and frames between two.
        task: "panorama", "outpaint" or "depth".
    """
    seed, count = settings.seed, settings.data.num_views
    sources: list[Source]
    if isinstance(settings, MultiFrameSettings):
        splits: Any = places.scenes(settings.data)
        share = settings.interpolation_share
        sources = [Sequences(split.scenes, seed, count, share) for split in splits]
    else:
        splits = places.panoramas(settings.data)
        sources = [PanoramaViews(split, seed, count) for split in splits]
        if isinstance(settings, OutpaintSettings):
            shares = settings.given_view_shares
            sources = [OutpaintedViews(split, seed, count, shares) for split in splits]
    return MultiViewTask(settings, parts, sources, pictures(task, splits[1]))
