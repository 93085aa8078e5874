"""Text → the views of a panorama (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.models.correspondence_geometry import MultiViewGeometry
from mvdiffusion.pipelines.checks import (
    Generators,
    Prompts,
    check_cameras,
    check_overlap,
    check_prompts,
    per_view_prompts,
)
from mvdiffusion.pipelines.multiview import MultiViewPipeline, StepCallback
from mvdiffusion.pipelines.options import SamplingOptions, tensor_names

DEFAULT_VIEWS = 8  # of a panorama (paper, section 4.1)


class PanoramaCameras(MultiViewPipeline):
    """A multi-view pipeline whose views turn about one point."""

    def view_prompts(
        self,
        prompt: Prompts,
        num_views: int | None,
        fov_deg: float,
        K: Tensor | None,
        batch: int = 1,
    ) -> list[list[str]]:
        """Bring the accepted forms of prompts into [B][V] (see `per_view_prompts`).

        Args:
            prompt: one text for all views; or one per view; or a list of those lists.
            num_views: number of views (default: as many as prompts or cameras, or 8).
            fov_deg: horizontal field of view of the evenly spaced cameras, in degrees.
            K: intrinsics [V, 3, 3] of other cameras.
            batch: how many samples share the prompts of one.

        Raises:
            InputError: prompts do not fit, or their number is that of views that lie apart.
        """
        if isinstance(prompt, str) and num_views is None:
            num_views = len(K) if K is not None and K.ndim == 3 else DEFAULT_VIEWS
        prompts = per_view_prompts(prompt, num_views, batch)
        one_list = all(isinstance(text, str) for text in prompt)
        if num_views is None and K is None and one_list:
            check_overlap(len(prompts[0]), fov_deg)
        return prompts

    def panorama_geometry(
        self,
        views: int,
        height: int,
        width: int,
        fov_deg: float,
        K: Tensor | None = None,
        R: Tensor | None = None,
    ) -> MultiViewGeometry:
        """Gather what CAA needs to know of the cameras: evenly spaced ones, or `K` and `R`.

        Args:
            views: number of views.
            height, width: of a view in pixels.
            fov_deg: horizontal field of view of the evenly spaced cameras, in degrees.
            K: intrinsics [V, 3, 3] in pixels, instead of those cameras.
            R: camera-to-world rotations [V, 3, 3], with `K`.
        """
        if K is None or R is None:
            K, R = panorama_cameras(height, width, views, fov_deg)
        # Not by the UNet, which under CPU offload is not on its device yet.
        K, R = (value[None].to(self._execution_device) for value in (K, R))
        variant, attention = self.unet.config["variant"], self.unet.attention
        return MultiViewGeometry(K, R, height, width, variant, attention)


class MVDiffusionPanoramaPipeline(PanoramaCameras):
    """Denoise the views of panoramas together, each with its own prompt."""

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompts | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 9.0,
        negative_prompt: str | Sequence[str] = "",
        num_views: int | None = None,
        fov_deg: float = 90.0,
        K: Tensor | None = None,
        R: Tensor | None = None,
        correspondence_attention: bool = True,
        generator: Generators = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **options: Any,
    ) -> Any:
        """Generate panoramas as sets of perspective views.

        Args:
            prompt: one text for all views; or one per view (one panorama); or a list of those
                lists (several panoramas); None with the option `prompt_embeds`.
            height, width: of a view in pixels; default: the UNet's sample size.
            num_inference_steps: denoising steps.
            guidance_scale: classifier-free guidance; 1 or less switches it off.
            negative_prompt: text of the unconditional branch, for all views or one per view.
            num_views: number of views (default: as many as prompts or cameras, or 8).
            fov_deg: horizontal field of view of the evenly spaced default cameras, in degrees.
            K: intrinsics [V, 3, 3] in pixels, instead of the default cameras.
            R: camera-to-world rotations [V, 3, 3], with `K`.
            correspondence_attention: False leaves the views independent.
            generator: one, or one per panorama, so that a panorama does not depend on its batch.
            latents: initial noise [B, V, C, h, w] of unit variance.
            output_type: "pil", "np", "pt" or "latent", see `MultiViewOutput`.
            callback_on_step_end: see `MultiViewPipeline.denoise`.
            callback_on_step_end_tensor_inputs: see `MultiViewPipeline.denoise`.
            options: further ones of diffusers, those of `SamplingOptions`.

        Returns:
            A `MultiViewOutput`, or, if the option `return_dict` is False, a tuple of its images.

        Raises:
            InputError: arguments that do not fit together; the message says which.
        """
        chosen = SamplingOptions.parse(options)
        prompts = chosen.each(self.view_prompts(chosen.texts(prompt), num_views, fov_deg, K))
        height, width = self.view_size(height, width)
        names = tensor_names(callback_on_step_end, callback_on_step_end_tensor_inputs)
        batch, views = len(prompts), len(prompts[0])
        check_prompts(prompts, negative_prompt, batch)
        check_cameras(K, R, views)
        self.check_sampling(
            num_inference_steps, guidance_scale, generator, batch, output_type, names
        )
        negative = negative_prompt if guidance_scale > 1 else None
        embeds = self.encode_prompt(prompts, negative, chosen)
        geometry = None
        if correspondence_attention:
            geometry = self.panorama_geometry(views, height, width, fov_deg, K, R)
        shape = (batch, views, *self.latent_shape(height, width))
        latents = self.denoise(
            self.prepare_latents(shape, generator, latents),
            embeds,
            geometry,
            num_inference_steps,
            guidance_scale,
            generator,
            callback_on_step_end,
            names,
            options=chosen,
        )
        return self.result(self.decode_latents(latents, output_type), chosen)
