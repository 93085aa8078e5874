"""The miniature's VAE: a diffusers `PatchAutoencoder` trained from scratch on single views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.models.patch_autoencoder import PatchAutoencoder
from mvdiffusion.pipelines.loading import check_files, readable
from mvdiffusion.records import InputError, write_json
from mvdiffusion.training.diffusion import freeze, vae_scale_factor
from mvdiffusion.training.examples import AutoencoderExamples, Batch, PanoramaViews
from mvdiffusion.training.runs import Places, Run, Writer, first_views, picture_rows
from mvdiffusion.training.settings import DecoderSettings, ReconstructionSettings, VaeSettings
from mvdiffusion.training.vae_loss import VaeLoss

SCALING_VIEWS = 2048  # views over which the latents' standard deviation is measured
INITIAL_VIEWS = 1024  # views whose patches give the principal components
BATCH = 64  # views per forward pass outside of training


class AutoencoderTask(nn.Module):
    """Reconstruction of views; the forward pass is the loss."""

    def __init__(
        self,
        vae: PatchAutoencoder,
        loss: VaeLoss,
        examples: AutoencoderExamples,
        validation: Tensor,
    ) -> None:
        """Hold the VAE and what it is trained and judged on.

        Args:
            validation: views [N, 3, H, W] that are pictured and scored while training.
        """
        super().__init__()
        self.vae, self.loss, self.examples, self.validation = vae, loss, examples, validation
        self.has_idle_parts = loss.weights.adversarial_start > 0  # critics, until they come in

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of reconstructing pixels [N, 3, H, W] from sampled latents."""
        pixels = batch["pixels"].contiguous(memory_format=torch.channels_last)
        posterior = self.vae.encode(pixels).latent_dist
        latents = posterior.mean + posterior.std * batch["noise"]  # [N, C, h, w]
        decoded = self.vae.decode(latents).sample.float()
        loss: Tensor = self.loss(decoded, pixels, posterior.kl(), batch["progress"][0].item())
        return loss

    def validate(self) -> tuple[Tensor, dict[str, float]]:
        """Return originals above reconstructions, their PSNR and their share of gradient energy."""
        views = self.validation.to(self.vae.device)
        decoded = reconstruct(self.vae, views)
        picture = picture_rows(views[:8], decoded[:8])
        return picture, figures(decoded, views)


def reconstruct(vae: PatchAutoencoder, views: Tensor) -> Tensor:
    """Send views [N, 3, H, W] through the mean of their latents and back, in float32."""
    latents = vae.encode(views.contiguous(memory_format=torch.channels_last)).latent_dist.mean
    decoded: Tensor = vae.decode(latents).sample.float()
    return decoded


def psnr_db(preds: Tensor, target: Tensor) -> Tensor:
    """PSNR of each image in dB; inputs [N, 3, H, W] in [-1, 1], clamped to it; returns [N].

    Args:
        preds: reconstructions.
        target: the images themselves.
    """
    values: Tensor = peak_signal_noise_ratio(
        preds, target, data_range=(-1.0, 1.0), reduction="none", dim=(1, 2, 3)
    )
    return values


def gradient_energy(images: Tensor) -> Tensor:
    """Mean squared difference of neighboring pixels in both directions, of images [N, C, H, W]."""
    return images.diff(dim=-1).square().mean() + images.diff(dim=-2).square().mean()


def figures(decoded: Tensor, views: Tensor) -> dict[str, float]:
    """Return how good reconstructions are: their PSNR, and whether their edges are as strong.

    Args:
        decoded: reconstructions [N, 3, H, W] of `views`.
        views: the images themselves, in −1 … 1.
    """
    ratio = gradient_energy(decoded.clamp(-1, 1)) / gradient_energy(views)
    psnr = psnr_db(decoded, views)
    return {"psnr_db": psnr.mean().item(), "gradient_energy_ratio": ratio.item()}


def build_vae(model: Mapping[str, Any], image_size: int, views: Tensor) -> PatchAutoencoder:
    """Build the VAE from its keyword arguments; its linear path starts from ``views`` [N, 3, H, W].

    Raises:
        InputError: for an argument that ``PatchAutoencoder`` does not have or cannot use.
    """
    try:
        vae = PatchAutoencoder(**{"sample_size": image_size, **model})
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(f"setting 'model' does not describe a PatchAutoencoder: {error}") from None
    vae.initialize_linear(views)
    return vae


def train_vae(settings: Mapping[str, Any], places: Places) -> None:
    """Train the VAE and write it as a diffusers folder with `training.json` beside its weights.

    The scaling factor is 1 / standard deviation of the latents of training views.

    Raises:
        InputError: for wrong settings or data.
    """

    def build(settings: VaeSettings) -> tuple[nn.Module, Writer]:
        splits = places.panoramas(settings.data)
        views = first_views(splits[0], INITIAL_VIEWS)
        vae = build_vae(settings.model, settings.data.image_size, views)
        return _task(vae, settings, splits)

    Run("vae", settings, None, places, __name__).carry_out(VaeSettings, build)


def train_decoder(settings: Mapping[str, Any], base: Path, places: Places) -> None:
    """Fine-tune the decoder of a VAE, whose encoder and scaling factor stay as they are.

    So a model that was trained on the VAE's latents can be decoded by either.

    Args:
        base: folder of the trained VAE.

    Raises:
        InputError: for wrong settings or data.
    """

    def build(settings: DecoderSettings) -> tuple[nn.Module, Writer]:
        vae = load_vae(base)
        freeze(vae.encoder, vae.encoder_linear)
        if settings.pixel_channels:
            groups = vae.config.norm_num_groups
            if settings.pixel_channels % groups:
                raise InputError(
                    f"setting 'pixel_channels' is {settings.pixel_channels}; expected a multiple "
                    f"of {groups}, the VAE's norm_num_groups."
                )
            vae.refine_pixels(settings.pixel_channels, settings.pixel_layers)
        return _task(vae, settings, places.panoramas(settings.data))

    Run("decoder", settings, base, places, __name__).carry_out(DecoderSettings, build)


def load_vae(folder: Path) -> PatchAutoencoder:
    """Load a trained VAE in float32.

    Raises:
        InputError: the folder does not hold one, or not as it was written.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json; expected the folder of a trained VAE there")
    check_files(folder)
    with readable(folder, "no trained VAE"):
        vae: PatchAutoencoder = PatchAutoencoder.from_pretrained(folder, use_safetensors=True)
    return vae


def _task(
    vae: PatchAutoencoder, settings: ReconstructionSettings, splits: Sequence[Matterport3DPanoramas]
) -> tuple[nn.Module, Writer]:
    """Return what is trained on one split and judged on the other, and what writes the result."""
    panoramas, held_out = splits
    view, training = settings.data, settings.training
    source = PanoramaViews(panoramas, settings.seed, view.num_views, training.views_per_panorama)
    side = view.image_size // vae_scale_factor(vae)
    shape = (vae.config.latent_channels, side, side)
    last = training.steps * training.batch_size // source.count
    examples = AutoencoderExamples(source, shape, last)

    def write(folder: Path) -> None:
        summary = _measure(vae, source, held_out)
        vae.save_pretrained(folder)
        write_json(folder / "training.json", summary)

    loss = VaeLoss(settings.loss)
    return AutoencoderTask(vae, loss, examples, first_views(held_out, BATCH)), write


@torch.no_grad()
def _measure(
    vae: PatchAutoencoder, source: PanoramaViews, held_out: Matterport3DPanoramas
) -> dict[str, float]:
    vae.eval()
    if any(value.requires_grad for value in vae.encoder.parameters()):
        vae.register_to_config(scaling_factor=1 / _latent_std(vae, source))
    views = first_views(held_out, len(held_out) * source.num_views).to(vae.device)
    decoded = torch.cat([reconstruct(vae, part) for part in views.split(BATCH)])
    scores = psnr_db(decoded, views)
    return {
        **figures(decoded, views),
        "psnr_db_standard_error": (scores.std() / len(scores) ** 0.5).item(),
        "num_validation_views": len(scores),
        "scaling_factor": vae.config.scaling_factor,
    }


@torch.no_grad()
def _latent_std(vae: PatchAutoencoder, source: PanoramaViews) -> float:
    """Standard deviation of the latents' means over some thousand training views."""
    count = min(SCALING_VIEWS // source.count, len(source))
    total, squares, number = 0.0, 0.0, 0
    for position in range(count):
        pixels = source.draw(position).views.to(vae.device)
        latents = vae.encode(pixels).latent_dist.mean.double()
        total, squares = total + latents.sum().item(), squares + latents.square().sum().item()
        number += latents.numel()
    return (squares / number - (total / number) ** 2) ** 0.5
