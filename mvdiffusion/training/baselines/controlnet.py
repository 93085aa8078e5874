"""A ControlNet on depth, and the inpainting UNet beside it, for the paper's baseline of that name.

The paper's main text (section 5.2) trains "a depth-conditioned ControlNet"; its appendix (B.4)
fine-tunes the inpainting UNet on ScanNet and adds the features of a ControlNet that others trained.
Both can be had: the ControlNet always trains, from the UNet's own encoder or from a published one;
the UNet trains with it unless `train_unet` is off, since it knows other pictures than those frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetInpaintPipeline,
)
from torch import Tensor, nn

from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.models.controlnet import control_image, controlnet_of, run_with_controlnet
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.models.text_encoding import TextEncoders
from mvdiffusion.pipelines.checks import most_steps
from mvdiffusion.pipelines.controlnet import ControlNetInpaintPipeline
from mvdiffusion.pipelines.loading import SingleView, readable
from mvdiffusion.pipelines.sequential import inpaint_view
from mvdiffusion.records import InputError
from mvdiffusion.training.baselines.settings import ControlNetSettings
from mvdiffusion.training.diffusion import DiffusionTask, Pictures, freeze, load_parts
from mvdiffusion.training.examples import Batch, MaskedFrames
from mvdiffusion.training.pictures import OPTIONS, STEPS
from mvdiffusion.training.runs import Places, Run, Writer


class ControlNetTask(DiffusionTask):
    """Denoising of single frames of which parts are given, with a ControlNet on their depth."""

    def __init__(
        self, controlnet: ControlNetModel, settings: ControlNetSettings, *task: Any
    ) -> None:
        """Add the ControlNet to a `DiffusionTask`, and the learning rate of the UNet beside it."""
        super().__init__(settings, *task)
        self.controlnet = controlnet
        rate = settings.training.learning_rate
        self.rate_factors = {"unet": (settings.unet_learning_rate or rate) / rate}

    def predict(self, inputs: Tensor, embeds: Tensor, batch: Batch) -> Tensor:
        """Return the UNet's output [N, C, h, w] for N independent views.

        Args:
            inputs: noisy latents, mask and latents of the masked image, [N, 2 C + 1, h, w].
            embeds: embeddings of the captions, [N, L, D].
            batch: an example with depth.
        """
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        given = batch["timesteps"], embeds, control_image(batch["depth"])
        return run_with_controlnet(self.controlnet, self.unet, inputs, *given)


def train_controlnet(settings: Mapping[str, Any], base: Path, places: Places) -> None:
    """Train a ControlNet beside the inpainting model of `base`; write both in one folder.

    Args:
        settings: those of `ControlNetSettings`.
        base: Stable Diffusion style folder of an inpainting model.

    Raises:
        InputError: for wrong settings, data or base model.
    """

    def build(settings: ControlNetSettings) -> tuple[nn.Module, Writer]:
        parts = load_parts(base)
        freeze(parts.vae, *TextEncoders.of(parts).encoders)
        controlnet = _controlnet(settings, parts, base)
        if settings.train_unet:
            parts.unet.train()
        else:
            freeze(parts.unet)
        task = controlnet_task(settings, places, parts, controlnet.train())

        def write(folder: Path) -> None:
            _together(parts, controlnet).save_pretrained(folder)

        return task, write

    Run("depth_controlnet", settings, base, places, __name__).carry_out(ControlNetSettings, build)


def controlnet_task(
    settings: ControlNetSettings,
    places: Places,
    parts: SingleView,
    controlnet: ControlNetModel,
) -> ControlNetTask:
    """Make the task of denoising single frames with their depth."""
    train, held_out = places.scenes(settings.data)
    chosen, count = settings.training.views_per_panorama, settings.data.num_views
    sources = [
        MaskedFrames(train.scenes, settings.seed, chosen),
        MaskedFrames(held_out.scenes, settings.seed, count),
    ]
    return ControlNetTask(controlnet, settings, parts, sources, _pictures(held_out))


def _controlnet(settings: ControlNetSettings, parts: SingleView, base: Path) -> ControlNetModel:
    """Load the ControlNet to start from, or make one of the UNet."""
    channels, unet = parts.vae.config.latent_channels, parts.unet
    if len(TextEncoders.of(parts).encoders) > 1:
        raise InputError(
            f"{base}: has two text encoders, as SDXL; expected a model of one beside a ControlNet."
        )
    if unet.config.in_channels != 2 * channels + 1:
        raise InputError(
            f"{base}: its UNet takes {unet.config.in_channels} channels; expected an inpainting "
            f"model, whose UNet takes {2 * channels + 1}: run `mvdiffusion train inpainting`."
        )
    if settings.pretrained is None:
        return controlnet_of(unet, channels, parts.vae_scale_factor)
    name, _, revision = settings.pretrained.partition("@")
    with readable(Path(settings.pretrained), "no ControlNet"):
        loaded = ControlNetModel.from_pretrained(
            name, revision=revision or None, use_safetensors=True
        )
    for key in ("in_channels", "cross_attention_dim", "block_out_channels"):
        expected = channels if key == "in_channels" else unet.config[key]
        if loaded.config[key] != expected:
            raise InputError(
                f"{settings.pretrained}: is a ControlNet with {key} of {loaded.config[key]}; "
                f"expected {expected}, as the model of {base} has. Name one that was trained for "
                "this model."
            )
    return loaded.float()


def _together(parts: SingleView, controlnet: ControlNetModel) -> Any:
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    components = {name: getattr(parts, name) for name in names}
    return StableDiffusionControlNetInpaintPipeline(**components, controlnet=controlnet, **none)


def _pictures(data: ScanNetScenes) -> Pictures:
    """Paint the key frames of the first held-out scene from their captions and depth."""

    def draw(training: Any) -> tuple[Tensor, Tensor]:
        scene, parts = data.scenes[0], training.parts
        sample = scene.load(scene.key_frames[: data.num_views])
        unet = MultiViewUNet.from_unet(parts.unet)
        names = ("vae", "text_encoder", "tokenizer")
        shared = {name: getattr(parts, name) for name in names}
        pipeline = ControlNetInpaintPipeline(
            **shared, unet=unet, scheduler=parts.scheduler, controlnet=training.controlnet
        )
        pipeline.set_progress_bar_config(disable=True)
        size = pipeline.latent_shape(*sample.depth.shape[-2:])
        noise = torch.randn(len(sample.frames), *size, generator=torch.Generator().manual_seed(0))
        sampling = {
            "num_inference_steps": min(STEPS, most_steps(parts.scheduler)),
            "guidance_scale": OPTIONS["guidance_scale"],
            "negative_prompt": "",
        }
        device = parts.unet.device
        control = control_image(sample.depth.to(device))[:, None]
        made = inpaint_view(
            pipeline, sample.prompts, noise.to(device), sampling, image_condition=control
        )
        return sample.views, made * 2 - 1

    return draw
