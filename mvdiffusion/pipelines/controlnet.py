"""Text, an image with a mask, and depth → views, by an inpainting UNet and a ControlNet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import ControlNetModel
from torch import Tensor

from mvdiffusion.models.controlnet import run_with_controlnet
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines.loading import in_precision, readable
from mvdiffusion.pipelines.multiview import MultiViewPipeline
from mvdiffusion.records import InputError


class ControlNetInpaintPipeline(MultiViewPipeline):
    """Paint single views as diffusers' `StableDiffusionControlNetInpaintPipeline` does.

    It loads the folders of that pipeline. Depth comes in as the `image_condition` of `denoise`: one
    control image per view, [B, V, 3, H, W] in 0 … 1 (see `mvdiffusion.models.controlnet`).

    Attributes:
        conditioning_scale: factor of what the ControlNet adds to the UNet.
    """

    conditioning_scale: float = 1.0

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: MultiViewUNet,
        scheduler: Any,
        controlnet: ControlNetModel,
        text_encoder_2: Any = None,
        tokenizer_2: Any = None,
    ) -> None:
        """Hold the parts.

        Raises:
            InputError: they are those of SDXL, beside which no ControlNet is known here.
        """
        if text_encoder_2 is not None or tokenizer_2 is not None:
            raise InputError(
                "Expected a model of one text encoder beside a ControlNet, got two, as SDXL has."
            )
        super().__init__(vae, text_encoder, tokenizer, unet, scheduler)
        self.register_modules(controlnet=controlnet)

    @classmethod
    def input_channels(cls, latent_channels: int) -> int:
        """Input channels of an inpainting UNet."""
        return 2 * latent_channels + 1

    @classmethod
    def _further_parts(cls, folder: str | Path, **options: Any) -> dict[str, Any]:
        """Load the ControlNet of a folder of diffusers' pipeline.

        Args:
            folder: the folder.
            options: passed on to `from_pretrained`.

        Raises:
            InputError: it holds none.
        """
        with readable(Path(folder), "expected a ControlNet in the folder 'controlnet' of it"):
            controlnet = ControlNetModel.from_pretrained(
                Path(folder) / "controlnet", use_safetensors=True, **options
            )
        return {"controlnet": in_precision(controlnet, options).eval()}

    def run_unet(
        self,
        inputs: Tensor,
        t: Tensor,
        prompt_embeds: Tensor,
        geometry: Any,
        image_condition: Tensor | None = None,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Run ControlNet and UNet on views that see nothing of each other.

        Args:
            inputs: noisy latents, mask and latents of the masked image, [B, V, 2 C + 1, h, w].
            t: the timestep.
            prompt_embeds: [B, V, L, D].
            geometry: None.
            image_condition: control images [G, V, 3, H, W], the same for each branch of guidance.
            cross_attention_kwargs: of `SamplingOptions`, without control images alone.
        """
        if image_condition is None:
            return super().run_unet(
                inputs, t, prompt_embeds, geometry, None, cross_attention_kwargs
            )
        controls = image_condition.repeat(len(inputs) // len(image_condition), 1, 1, 1, 1)
        flat, embeds, control = (value.flatten(0, 1) for value in (inputs, prompt_embeds, controls))
        networks = self.controlnet, self.unet.unet
        found = run_with_controlnet(*networks, flat, t, embeds, control, self.conditioning_scale)
        return found.unflatten(0, inputs.shape[:2])
