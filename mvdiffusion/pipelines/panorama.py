"""Text → the views of a panorama (paper, section 4.1)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.models.correspondence_geometry import MultiViewGeometry
from mvdiffusion.models.multiview_unet import MultiViewUNet

Generators = torch.Generator | list[torch.Generator] | None
StepCallback = Callable[[int, Tensor, Tensor], Tensor]


@dataclass
class MultiViewOutput(BaseOutput):
    """Result of a multi-view pipeline.

    Attributes:
        images: views, one list per panorama ("pil"), or an array [B, V, H, W, 3] in 0 … 1 ("np"),
            or a tensor [B, V, 3, H, W] in 0 … 1 ("pt"), or latents [B, V, C, h, w] ("latent").
    """

    images: Any


class MVDiffusionPanoramaPipeline(DiffusionPipeline):
    """Denoise the views of panoramas together, each with its own prompt."""

    model_cpu_offload_seq = "text_encoder->unet->vae"

    def __init__(
        self, vae: Any, text_encoder: Any, tokenizer: Any, unet: MultiViewUNet, scheduler: Any
    ) -> None:
        """Hold the parts; `from_pretrained` and `save_pretrained` come with diffusers."""
        super().__init__()
        self.register_modules(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler
        )
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)

    @classmethod
    def from_single_view(
        cls, folder: str | Path, variant: str = "released", **options: Any
    ) -> MVDiffusionPanoramaPipeline:
        """Load a Stable Diffusion folder (or hub id) and insert untrained CAA blocks.

        Args:
            folder: a folder in the format of `StableDiffusionPipeline.save_pretrained`.
            variant: CAA arithmetic, "released" or "paper".
            options: passed on to `StableDiffusionPipeline.from_pretrained`.
        """
        base = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, **options)
        unet = MultiViewUNet.from_unet(base.unet, variant)
        return cls(base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | Sequence[Sequence[str]],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 9.0,
        negative_prompt: str = "",
        num_views: int = 8,
        fov_deg: float = 90.0,
        K: Tensor | None = None,
        R: Tensor | None = None,
        correspondence_attention: bool = True,
        generator: Generators = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
    ) -> MultiViewOutput:
        """Generate panoramas as sets of perspective views.

        Args:
            prompt: one text for all views; or one per view (one panorama); or a list of those
                lists (several panoramas).
            height: view height in pixels; default: the UNet's sample size.
            width: view width in pixels; default: the UNet's sample size.
            num_inference_steps: denoising steps.
            guidance_scale: classifier-free guidance; 1 or less switches it off.
            negative_prompt: text of the unconditional branch.
            num_views: number of views when `prompt` is one text.
            fov_deg: horizontal field of view of the evenly spaced default cameras, in degrees.
            K: intrinsics [V, 3, 3] in pixels, instead of the default cameras.
            R: camera-to-world rotations [V, 3, 3], with `K`.
            correspondence_attention: False leaves the views independent.
            generator: one, or one per panorama, so that a panorama does not depend on its batch.
            latents: initial noise [B, V, C, h, w] of unit variance.
            output_type: "pil", "np", "pt" or "latent".
            callback_on_step_end: called with (step, timestep, latents); returns latents.

        Returns:
            A `MultiViewOutput`.

        Raises:
            ValueError: arguments that do not fit together; the message says which.
        """
        prompts = _per_view_prompts(prompt, num_views)
        size = self.unet.config["unet_config"]["sample_size"] * self.vae_scale_factor
        height, width = height or size, width or size
        self.check_inputs(prompts, height, width, K, R, generator, output_type)
        views = len(prompts[0])
        guided = guidance_scale > 1
        embeds = self.encode_prompt(prompts, negative_prompt if guided else None)
        if K is None or R is None:
            K, R = panorama_cameras(height, width, views, fov_deg)
        geometry = None
        if correspondence_attention:
            geometry = self.unet.prepare_geometry(K[None], R[None], height, width)
        shape = (len(prompts), views, *self.latent_shape(height, width))
        latents = self.prepare_latents(shape, generator, latents)
        latents = self.denoise(
            latents,
            embeds,
            geometry,
            num_inference_steps,
            guidance_scale,
            generator,
            callback_on_step_end,
        )
        images = latents if output_type == "latent" else self.decode_latents(latents, output_type)
        return MultiViewOutput(images=images)

    def check_inputs(
        self,
        prompts: Sequence[Sequence[str]],
        height: int,
        width: int,
        K: Tensor | None,
        R: Tensor | None,
        generator: Generators,
        output_type: str,
    ) -> None:
        """Refuse arguments that do not fit together, with one sentence."""
        views = len(prompts[0])
        if any(len(texts) != views for texts in prompts):
            counts = [len(texts) for texts in prompts]
            raise ValueError(f"Expected the same number of prompts per panorama, got {counts}.")
        factor = self.vae_scale_factor
        if height % factor or width % factor:
            raise ValueError(f"Expected sizes divisible by {factor}, got {height} x {width}.")
        if (K is None) != (R is None):
            raise ValueError("Expected `K` and `R` together, got only one of them.")
        for name, camera in (("K", K), ("R", R)):
            if camera is not None and camera.shape != (views, 3, 3):
                raise ValueError(
                    f"Expected `{name}` of shape ({views}, 3, 3), got {tuple(camera.shape)}."
                )
        if isinstance(generator, list) and len(generator) != len(prompts):
            raise ValueError(
                f"Expected one generator per panorama ({len(prompts)}), got {len(generator)}."
            )
        if output_type not in ("pil", "np", "pt", "latent"):
            raise ValueError(
                f"Expected `output_type` 'pil', 'np', 'pt' or 'latent', got {output_type!r}."
            )

    def encode_prompt(
        self, prompts: Sequence[Sequence[str]], negative_prompt: str | None
    ) -> Tensor:
        """Encode per-view prompts as [B, V, L, D], after the negative prompt's if one is given."""
        negative = [] if negative_prompt is None else [[negative_prompt] * len(prompts[0])]
        texts = [text for view_texts in (*negative, *prompts) for text in view_texts]
        distinct = sorted(set(texts))
        tokens = self.tokenizer(
            distinct,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids.to(self.text_encoder.device)
        embeds = self.text_encoder(tokens)[0].to(self.unet.dtype)
        place = {text: index for index, text in enumerate(distinct)}
        embeds = embeds[[place[text] for text in texts]].unflatten(0, (-1, len(prompts[0])))
        if negative_prompt is None:
            return embeds
        return torch.cat([embeds[:1].expand(len(prompts), -1, -1, -1), embeds[1:]])

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape (C, h, w) of one view's latents."""
        factor = self.vae_scale_factor
        return self.vae.config.latent_channels, height // factor, width // factor

    def prepare_latents(
        self, shape: tuple[int, ...], generator: Generators, latents: Tensor | None
    ) -> Tensor:
        """Draw the initial noise [B, V, C, h, w], or check and take the given one."""
        if latents is None:
            latents = randn_tensor(shape, generator, self._execution_device)
        elif latents.shape != shape:
            raise ValueError(f"Expected `latents` of shape {shape}, got {tuple(latents.shape)}.")
        # Float32 whatever the UNet's type: small steps would be lost in half precision.
        latents = latents.to(self._execution_device, torch.float32)
        return latents * self.scheduler.init_noise_sigma

    def denoise(
        self,
        latents: Tensor,  # [B, V, C, h, w]
        prompt_embeds: Tensor,  # [B or 2 B, V, L, D]
        geometry: MultiViewGeometry | None,
        num_inference_steps: int,
        guidance_scale: float,
        generator: Generators = None,
        callback_on_step_end: StepCallback | None = None,
    ) -> Tensor:
        """Run the sampler; prompts twice as many as latents mean guidance, negative ones first."""
        self.scheduler.set_timesteps(num_inference_steps, device=latents.device)
        extra = {}
        if "generator" in inspect.signature(self.scheduler.step).parameters:
            extra["generator"] = generator
        repeats = len(prompt_embeds) // len(latents)
        for index, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            model_input = self.scheduler.scale_model_input(torch.cat([latents] * repeats), t)
            model_input = model_input.to(self.unet.dtype)
            noise_pred = self.unet(model_input, t, prompt_embeds, geometry).sample.float()
            if repeats == 2:
                negative, positive = noise_pred.chunk(2)
                noise_pred = negative + guidance_scale * (positive - negative)
            latents = self.scheduler.step(noise_pred, t, latents, **extra).prev_sample
            if callback_on_step_end is not None:
                latents = callback_on_step_end(index, t, latents)
        return latents

    def encode_views(self, views: Tensor) -> Tensor:
        """Encode views [B, V, 3, H, W] in −1 … 1 as scaled latents [B, V, C, h, w] (the mode)."""
        distribution = self.vae.encode(views.flatten(0, 1).to(self.vae.dtype)).latent_dist
        latents = distribution.mode() * self.vae.config.scaling_factor
        return latents.unflatten(0, views.shape[:2])

    def decode_latents(self, latents: Tensor, output_type: str = "pt") -> Any:
        """Decode latents [B, V, C, h, w] as `output_type` images (see `MultiViewOutput`)."""
        scaled = latents.flatten(0, 1).to(self.vae.dtype) / self.vae.config.scaling_factor
        # One panorama at a time bounds the memory; the result is the same.
        chunks = [self.vae.decode(chunk).sample for chunk in scaled.split(latents.shape[1])]
        images = self.image_processor.postprocess(torch.cat(chunks).float(), output_type)
        if output_type == "pil":
            views = latents.shape[1]
            return [images[start : start + views] for start in range(0, len(images), views)]
        return images.reshape(*latents.shape[:2], *images.shape[1:])


def _per_view_prompts(
    prompt: str | Sequence[str] | Sequence[Sequence[str]], num_views: int
) -> list[list[str]]:
    """Bring the accepted forms of prompts into [B][V]."""
    if isinstance(prompt, str):
        return [[prompt] * num_views]
    if not prompt or any(not texts for texts in prompt):
        raise ValueError("Expected at least one non-empty prompt, got none.")
    if all(isinstance(text, str) for text in prompt):
        return [[str(text) for text in prompt]]
    return [list(texts) for texts in prompt]
