"""Text, an image with a mask, and depth → views, by an inpainting UNet and a ControlNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from diffusers import ControlNetModel
from torch import Tensor

from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines.loading import in_precision, load_single_view, readable
from mvdiffusion.pipelines.multiview import MultiViewPipeline


class ControlNetInpaintPipeline(MultiViewPipeline):
    """Paint single views as diffusers' `StableDiffusionControlNetInpaintPipeline` does.

    It loads the folders of that pipeline. Depth comes in as the `image_condition` of `denoise`: one
    control image per view, [B, V, 3, H, W] in 0 … 1 (see `mvdiffusion.models.controlnet`).
    """

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: MultiViewUNet,
        scheduler: Any,
        controlnet: ControlNetModel,
    ) -> None:
        """Hold the parts."""
        super().__init__(vae, text_encoder, tokenizer, unet, scheduler)
        self.register_modules(controlnet=controlnet)

    @classmethod
    def input_channels(cls, latent_channels: int) -> int:
        """Input channels of an inpainting UNet."""
        return 2 * latent_channels + 1

    @classmethod
    def from_single_view(
        cls,
        folder: str | Path,
        variant: str = "released",
        ignore_condition: bool = False,
        **options: Any,
    ) -> Self:
        """Load a folder of diffusers' pipeline.

        Args:
            folder: the folder.
            variant, ignore_condition: of no meaning here.
            options: passed on to `from_pretrained`, such as `torch_dtype`; float32 without.

        Raises:
            InputError: the folder's files have changed, or it holds another model.
        """
        base = load_single_view(folder, **options)
        unet = MultiViewUNet.from_unet(base.unet, variant, cls.unet_task)
        with readable(Path(folder), "expected a ControlNet in the folder 'controlnet' of it"):
            controlnet = ControlNetModel.from_pretrained(
                Path(folder) / "controlnet", use_safetensors=True, **options
            )
        made = cls(
            base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler, controlnet.eval()
        )
        loaded: Self = in_precision(made, options)
        return loaded

    def run_unet(
        self,
        inputs: Tensor,
        t: Tensor,
        prompt_embeds: Tensor,
        geometry: Any,
        image_condition: Tensor | None = None,
    ) -> Tensor:
        """Run ControlNet and UNet on views that see nothing of each other.

        Args:
            inputs: noisy latents, mask and latents of the masked image, [B, V, 2 C + 1, h, w].
            t: the timestep.
            prompt_embeds: [B, V, L, D].
            geometry: None.
            image_condition: control images [B, V, 3, H, W].
        """
        if image_condition is None:
            return super().run_unet(inputs, t, prompt_embeds, geometry)
        flat, text = inputs.flatten(0, 1), prompt_embeds.flatten(0, 1)
        seen = flat[:, : self.controlnet.config.in_channels], text, image_condition.flatten(0, 1)
        latents, embeds, control = (value.to(self.controlnet.dtype) for value in seen)
        down, middle = self.controlnet(latents, t, embeds, control, return_dict=False)
        found = self.unet.unet(
            flat,
            t,
            text,
            down_block_additional_residuals=[value.to(flat.dtype) for value in down],
            mid_block_additional_residual=middle.to(flat.dtype),
        )
        sample: Tensor = found.sample.unflatten(0, inputs.shape[:2])
        return sample
