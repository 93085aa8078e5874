"""Text and some given views → the other views of a panorama (paper, section 4.1 and figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvdiffusion.pipelines.checks import (
    Generators,
    Prompts,
    check_cameras,
    check_given_images,
    check_given_views,
    check_prompts,
)
from mvdiffusion.pipelines.multiview import StepCallback
from mvdiffusion.pipelines.options import SamplingOptions, tensor_names
from mvdiffusion.pipelines.panorama import PanoramaCameras
from mvdiffusion.records import InputError

GivenImages = Image.Image | Sequence[Image.Image] | Sequence[Sequence[Image.Image]] | Tensor


class MVDiffusionOutpaintPipeline(PanoramaCameras):
    """Denoise the views of panoramas together, some of which are given.

    The UNet sees, beside the noisy latents, a mask (0 = given view, 1 = to generate) and the
    latents of the masked image, in which views to generate are mid-gray, as in Stable Diffusion's
    inpainting.
    """

    @classmethod
    def input_channels(cls, latent_channels: int) -> int:
        """Input channels of this task's UNet."""
        return 2 * latent_channels + 1

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompts | None,
        image: GivenImages,
        given_views: Sequence[int] = (0,),
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
        keep_given: bool = True,
        generator: Generators = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        **options: Any,
    ) -> Any:
        """Generate the missing views of panoramas.

        Args:
            prompt: one text for all views; or one per view, given ones too; or a list of those
                lists, one for each panorama; None with the option `prompt_embeds`.
            image: the given views: an image or a list of them (one panorama), a list of such lists
                (several), or a tensor [n, 3, H, W] or [B, n, 3, H, W] in −1 … 1.
            given_views: places of those n images among the views, in their order.
            keep_given: return the given views as they are (through the VAE); False returns how
                the model repaints them.

        The other arguments are those of `MVDiffusionPanoramaPipeline`.

        Raises:
            InputError: arguments that do not fit together; the message says which.
        """
        given = given_images(image)
        chosen = SamplingOptions.parse(options)
        prompts = self.view_prompts(chosen.texts(prompt), num_views, fov_deg, K, len(given))
        check_prompts(prompts, negative_prompt, len(given))
        prompts, given = chosen.each(prompts), chosen.each(given)
        height, width = self.view_size(height, width)
        names = tensor_names(callback_on_step_end, callback_on_step_end_tensor_inputs)
        batch, views = len(prompts), len(prompts[0])
        check_given_views(given_views, views)
        check_given_images(given, len(given_views), height, width)
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
        masked = self.masked_image(given, given_views, views)
        latents = self.denoise(
            self.prepare_latents(shape, generator, latents),
            embeds,
            geometry,
            num_inference_steps,
            guidance_scale,
            generator,
            callback_on_step_end,
            names,
            extra_channels=masked,
            options=chosen,
        )
        if keep_given:
            latents[:, list(given_views)] = masked[:, list(given_views), 1:]
        return self.result(self.decode_latents(latents, output_type), chosen)

    def masked_image(self, given: Tensor, given_views: Sequence[int], views: int) -> Tensor:
        """Make the input channels that tell what is given: mask and latents of the masked image.

        Args:
            given: the n given views [B, n, 3, H, W] in −1 … 1.
            given_views: their places.
            views: number V of all views.

        Returns:
            [B, V, 1 + C, h, w], float32.
        """
        gray = self.encode_views(torch.zeros_like(given[:1, :1])).float()
        latents = gray.repeat(len(given), views, 1, 1, 1)
        mask = torch.ones_like(latents[:, :, :1])
        latents[:, list(given_views)] = self.encode_views(given).float()
        mask[:, list(given_views)] = 0
        return torch.cat([mask, latents], 2)


def given_images(image: GivenImages) -> Tensor:
    """Bring the accepted forms of given views into [B, n, 3, H, W] in −1 … 1.

    Raises:
        InputError: not images, or not of one size, or a tensor of another shape or range.
    """
    if not isinstance(image, Tensor):
        return _from_pil(image)
    if image.ndim not in (4, 5) or image.shape[-3] != 3:
        raise InputError(
            "Expected an `image` tensor of shape (n, 3, H, W) or (B, n, 3, H, W), got "
            f"{tuple(image.shape)}."
        )
    # A little more than 1 is what resizing leaves; 255 is another range.
    if not image.isfinite().all() or image.abs().max() > 1.5:
        raise InputError(
            f"Expected an `image` tensor in −1 … 1, got values up to {image.abs().max().item():g}."
        )
    return image[None] if image.ndim == 4 else image


def _from_pil(image: Any) -> Tensor:
    samples = [[image]] if isinstance(image, Image.Image) else image
    if _are_images(samples):
        samples = [samples]
    images = [one for sample in samples for one in sample]
    if not _are_images(images):
        raise InputError("Expected `image` as PIL images or a tensor, got something else or none.")
    sizes = sorted({one.size for one in images})
    counts = sorted({len(sample) for sample in samples})
    if len(sizes) > 1 or len(counts) > 1:
        raise InputError(
            "Expected the same number of `image`s of one size for every sample, got numbers "
            f"{counts} and sizes {sizes}."
        )
    pixels = np.stack([np.asarray(one.convert("RGB")) for one in images])
    views = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    return views.unflatten(0, (-1, counts[0]))


def _are_images(found: Any) -> bool:
    return bool(found) and all(isinstance(one, Image.Image) for one in found)
