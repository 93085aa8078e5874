"""The diffusion loss on latents of views, shared by the base model, stage 1 and stage 2."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextModel, CLIPTokenizer

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.models import MultiViewUNet, PatchAutoencoder
from mvdiffusion.training.examples import Batch, DiffusionExamples
from mvdiffusion.training.runs import open_panoramas, picture_rows
from mvdiffusion.training.settings import BaseSettings, MultiViewSettings, SingleViewSettings

PICTURE_STEPS = 12  # sampling steps of the pictures drawn while training
PICTURE_GUIDANCE = 3.0
VALIDATION_EXAMPLES = 64  # views whose loss is recorded while training


@dataclass
class TextToImage:
    """The parts of a Stable Diffusion style model."""

    vae: AutoencoderKL | PatchAutoencoder
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel | MultiViewUNet
    scheduler: Any

    def pipeline(self) -> StableDiffusionPipeline:
        """Return the parts as a pipeline that writes, or samples from, the same weights."""
        pipeline = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def min_snr_weights(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Min-SNR weights of the squared error (Hang et al. 2023, eq. 8), [N] for `snr` [N].

    A weight min(snr, gamma) on the error of the clean latents is min(snr, gamma) / snr on the
    error of the noise and min(snr, gamma) / (snr + 1) on that of the velocity.
    """
    divisor = {"epsilon": snr, "v_prediction": snr + 1}[prediction_type]
    return snr.clamp(max=gamma) / divisor


class DiffusionTask(nn.Module):
    """Denoising of single views; the forward pass is the loss."""

    def __init__(
        self,
        parts: TextToImage,
        min_snr_gamma: float | None,
        examples: DiffusionExamples,
        held_out: DiffusionExamples,
    ) -> None:
        """Hold the parts; which of them train is decided by their `requires_grad`."""
        super().__init__()
        self.parts, self.examples, self.held_out = parts, examples, held_out
        self.vae, self.text_encoder, self.unet = parts.vae, parts.text_encoder, parts.unet
        self.noise_scheduler = DDPMScheduler.from_config(parts.scheduler.config)
        self.min_snr_gamma = min_snr_gamma

    def forward(self, batch: Batch) -> Tensor:
        """Return the weighted squared error over all views of the batch."""
        scheduler, timesteps, noise = self.noise_scheduler, batch["timesteps"], batch["noise"]
        latents = self.encode(batch["pixels"])  # [N, C, h, w]
        noisy = scheduler.add_noise(latents, noise, timesteps)
        embeds = self.text_encoder(batch["input_ids"]).last_hidden_state  # [N, L, D]
        preds = self.predict(noisy, embeds, batch).float()
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(latents, noise, timesteps) if velocity else noise
        errors = (preds - target).square().mean(dim=(1, 2, 3))  # [N]
        if self.min_snr_gamma is not None:
            snr = compute_snr(scheduler, timesteps)
            kind = scheduler.config.prediction_type
            errors = errors * min_snr_weights(snr, self.min_snr_gamma, kind)
        return errors.mean()

    def predict(self, noisy: Tensor, embeds: Tensor, batch: Batch) -> Tensor:
        """Return the UNet's output [N, C, h, w] for noisy latents of N independent views."""
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        # On CPU the fused kernel's backward pass is slower than plain attention at small sizes.
        plain = sdpa_kernel(SDPBackend.MATH) if noisy.device.type == "cpu" else nullcontext()
        with plain:
            preds: Tensor = self.unet(noisy, batch["timesteps"], embeds).sample
        return preds

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents [N, C, h, w] of views [N, 3, H, W] (their means)."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        mean = self.vae.encode(pixels).latent_dist.mean.float()
        latents: Tensor = mean * self.vae.config.scaling_factor
        return latents

    def validate(self) -> tuple[Tensor, dict[str, float]]:
        """Return held-out views above samples from their captions, and the held-out loss."""
        views, samples = self.pictures()
        positions = range(max(1, VALIDATION_EXAMPLES // self.held_out.chosen_views))
        losses = []
        for position in positions:
            batch = {k: v.to(self.vae.device) for k, v in self.held_out[position].items()}
            losses.append(self(batch).item())
        return picture_rows(views, samples), {"validation_loss": sum(losses) / len(losses)}

    def pictures(self) -> tuple[Tensor, Tensor]:
        """Return views of a held-out panorama and samples from their captions, [V, 3, H, W]."""
        sample = self.held_out.panoramas.load(0)
        generator = torch.Generator().manual_seed(0)
        images = self.parts.pipeline()(
            sample.prompts,
            num_inference_steps=PICTURE_STEPS,
            guidance_scale=PICTURE_GUIDANCE,
            generator=generator,
            output_type="pt",
        ).images
        return sample.views, images * 2 - 1


DiffusionSettings = BaseSettings | SingleViewSettings | MultiViewSettings


def diffusion_examples(
    settings: DiffusionSettings, parts: TextToImage, data: Path, validation: Path
) -> tuple[DiffusionExamples, DiffusionExamples]:
    """Return the streams of training and of held-out examples; stage 2 takes whole panoramas."""
    view = settings.data
    whole = isinstance(settings, MultiViewSettings)
    chosen = None if whole else settings.training.views_per_panorama
    side = view.image_size // 2 ** (len(parts.vae.config.block_out_channels) - 1)

    def stream(panoramas: Matterport3DPanoramas, views: int | None) -> DiffusionExamples:
        return DiffusionExamples(
            panoramas,
            settings.seed,
            view.num_views,
            views,
            tokenizer=parts.tokenizer,
            latent_shape=(parts.vae.config.latent_channels, side, side),
            num_train_timesteps=parts.scheduler.config.num_train_timesteps,
            caption_dropout=settings.loss.caption_dropout,
            shared_timestep=whole,
        )

    held_out = stream(open_panoramas(validation, "validation", view), None)
    return stream(open_panoramas(data, "train", view), chosen), held_out


def freeze(*modules: nn.Module) -> None:
    """Exclude the modules' parameters from training and put them into evaluation mode."""
    for module in modules:
        module.eval().requires_grad_(False)
