"""The diffusion loss on latents of views, shared by the base model, stage 1 and stage 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mvdiffusion.geometry.depth import normalized_inverse_depth
from mvdiffusion.models.text_encoding import TextEncoders
from mvdiffusion.pipelines.checks import check_finite
from mvdiffusion.pipelines.loading import (
    SingleView,
    check_model,
    is_multi_view,
    load_single_view,
    readable,
)
from mvdiffusion.records import InputError
from mvdiffusion.training.examples import (
    Batch,
    DiffusionExamples,
    Frames,
    MaskedViews,
    OutpaintedViews,
    Source,
)
from mvdiffusion.training.lean.attention import plain_attention
from mvdiffusion.training.lean.feed_forward import fused_gates
from mvdiffusion.training.lean.once import ComputedOnce
from mvdiffusion.training.runs import picture_rows
from mvdiffusion.training.settings import FrameStage, ViewStage

# What a pipeline of single views is made with beside its parts; the second is SDXL's.
OPTIONS = ("requires_safety_checker", "force_zeros_for_empty_prompt")
VALIDATION_EXAMPLES = 64  # views whose loss is recorded while training

Pictures = Callable[["DiffusionTask"], tuple[Tensor, Tensor]]


def vae_scale_factor(vae: Any) -> int:
    """Pixels per latent cell along an axis."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def load_parts(folder: Path) -> SingleView:
    """Load a Stable Diffusion style folder, SDXL's too, weights in float32.

    Raises:
        InputError: when the folder does not hold such a model.
    """
    check_model(folder)
    if is_multi_view(folder):
        raise InputError(f"{folder}: is a multi-view model; expected one of single views.")
    with readable(folder, "no Stable Diffusion model"):
        loaded = load_single_view(folder)
    # What is saved is not to tell how it was loaded: a tokenizer would say whether there was a
    # network, and the hash of the model differ; and a pipeline that is not made anew, from where.
    for name, part in loaded.components.items():
        if name.startswith("tokenizer"):
            part.init_kwargs["local_files_only"] = False
    kept = {name: loaded.config[name] for name in OPTIONS if name in loaded.config}
    made: SingleView = type(loaded)(**loaded.components, **kept)
    return made


def min_snr_weights(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Min-SNR weights of the squared error (Hang et al. 2023, eq. 8), [N] for `snr` [N].

    A weight min(snr, gamma) on the error of the clean latents is min(snr, gamma) / snr on the
    error of the noise and min(snr, gamma) / (snr + 1) on that of the velocity.

    Args:
        snr: signal-to-noise ratios of the timesteps.
        gamma: largest weight, in units of the error of the clean latents.
        prediction_type: "epsilon" or "v_prediction".
    """
    divisor = {"epsilon": snr, "v_prediction": snr + 1}[prediction_type]
    return snr.clamp(max=gamma) / divisor


class DiffusionTask(nn.Module):
    """Denoising of single views; the forward pass is the loss."""

    shared_timestep = False  # among the views of an example

    def __init__(
        self,
        settings: ViewStage | FrameStage,
        parts: SingleView,
        sources: Sequence[Source],
        pictures: Pictures,
    ) -> None:
        """Hold the parts; which of them train is decided by their `requires_grad`.

        Args:
            sources: sources of the training views, and of held-out views whose loss is recorded
                while training.
            pictures: makes views of a held-out sample and samples from their captions, both
                [V, 3, H, W] in −1 … 1.
        """
        super().__init__()
        self.parts, self.pictures, self.min_snr_gamma = parts, pictures, settings.loss.min_snr_gamma
        self.vae, self.text_encoder, self.unet = parts.vae, parts.text_encoder, parts.unet
        self.text = TextEncoders.of(parts)
        self.text_encoder_2 = getattr(parts, "text_encoder_2", None)  # a module of this one, too
        frozen = not any(p.requires_grad for each in self.text.encoders for p in each.parameters())
        self.embed = ComputedOnce(self.text.encode) if frozen else self.text.encode
        # Views of panoramas are cut at a random yaw each time: none comes back.
        recur = isinstance(sources[0], Frames | MaskedViews | OutpaintedViews)
        self.encode = ComputedOnce(self._encode) if recur else self._encode
        self.noise_scheduler = DDPMScheduler.from_config(parts.scheduler.config)
        height, width = (side // parts.vae_scale_factor for side in settings.size)
        self.examples, self.held_out = (
            DiffusionExamples(
                source,
                tokenizers=self.text.tokenizers,
                latent_shape=(parts.vae.config.latent_channels, height, width),
                num_train_timesteps=parts.scheduler.config.num_train_timesteps,
                caption_dropout=settings.loss.caption_dropout,
                timestep_shift=settings.loss.timestep_shift,
                shared_timestep=self.shared_timestep,
            )
            for source in sources
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return the weighted squared error over all views of the batch."""
        scheduler, timesteps, noise = self.noise_scheduler, batch["timesteps"], batch["noise"]
        latents = self.encode(batch["pixels"])  # [N, C, h, w]
        noisy = scheduler.add_noise(latents, noise, timesteps)
        embeds = self.embed(batch["input_ids"])  # [N, L, D]
        inputs = torch.cat([noisy, *self.extra_channels(batch)], 1)
        with ExitStack() as stack:
            if inputs.device.type == "cpu":
                stack.enter_context(plain_attention(self))
                stack.enter_context(fused_gates(self))
            preds = self.predict(inputs, embeds, {**batch, "latents": latents}).float()
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(latents, noise, timesteps) if velocity else noise
        errors = (preds - target).square().mean(dim=(1, 2, 3))  # [N]
        if self.min_snr_gamma is not None:
            snr = compute_snr(scheduler, timesteps)
            kind = scheduler.config.prediction_type
            errors = errors * min_snr_weights(snr, self.min_snr_gamma, kind)
        return errors.mean()

    def extra_channels(self, batch: Batch) -> list[Tensor]:
        """Return what the UNet sees beside noisy latents, [N, C', h, w] each.

        Of views with a mask: the mask and the latents of the masked image; with depth: the
        normalized inverse depth.
        """
        size = batch["noise"].shape[-2:]
        if "mask" in batch:
            mask = batch["mask"]
            return [interpolate(mask, size), self.encode(batch["pixels"] * (1 - mask))]
        if "depth" in batch:
            return [normalized_inverse_depth(batch["depth"][None], *size)[0]]
        return []

    def predict(self, inputs: Tensor, embeds: Tensor, batch: Batch) -> Tensor:
        """Return the UNet's output [N, C, h, w] for N independent views.

        Args:
            inputs: noisy latents and extra channels, [N, C', h, w].
            embeds: embeddings of the captions, [N, L, D].
            batch: an example with its clean latents.
        """
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        text, added = self.text.conditions(embeds, *batch["pixels"].shape[-2:])
        preds: Tensor = self.unet(inputs, batch["timesteps"], text, added_cond_kwargs=added).sample
        return preds

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents [N, C, h, w] of views [N, 3, H, W] (their means).

        Raises:
            InputError: they are NaN or infinite.
        """
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        mean = self.vae.encode(pixels).latent_dist.mean
        check_finite("latents", mean, mean.dtype)
        latents: Tensor = mean.float() * self.vae.config.scaling_factor
        return latents

    def validate(self) -> tuple[Tensor, dict[str, float]]:
        """Return held-out views above samples from their captions, and the held-out loss."""
        views, samples = self.pictures(self)
        positions = range(max(1, VALIDATION_EXAMPLES // self.held_out.source.count))
        losses = []
        for position in positions:
            batch = {k: v.to(self.vae.device) for k, v in self.held_out[position].items()}
            losses.append(self(batch).item())
        return picture_rows(views, samples), {"validation_loss": sum(losses) / len(losses)}


def freeze(*modules: nn.Module) -> None:
    """Exclude the modules' parameters from training and put them into evaluation mode."""
    for module in modules:
        module.eval().requires_grad_(False)
