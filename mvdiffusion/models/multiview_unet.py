"""One UNet for all views, with correspondence-aware attention after its blocks (paper, fig. 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

from mvdiffusion.models.attention import CorrespondenceAttention
from mvdiffusion.models.correspondence_geometry import MultiViewGeometry

SUPPORTED_BLOCKS = {
    "DownBlock2D",
    "CrossAttnDownBlock2D",
    "UNetMidBlock2DCrossAttn",
    "UpBlock2D",
    "CrossAttnUpBlock2D",
}


class MultiViewUNet(ModelMixin, ConfigMixin):
    """A `UNet2DConditionModel` shared by the views of a sample, plus CAA blocks between them.

    CAA follows the last layer of every down block (before its downsampler; the skip tensors keep
    the state before it), the first ResNet of the middle block, and the last layer of every up
    block (before its upsampler).
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(self, unet_config: dict[str, Any], variant: str = "released") -> None:
        """Make a UNet from a `UNet2DConditionModel` configuration and add untrained CAA blocks.

        Args:
            unet_config: configuration of the shared UNet, of any size.
            variant: CAA arithmetic, "released" or "paper".

        Raises:
            ValueError: the UNet has parts that the multi-view pass does not know.
        """
        super().__init__()
        self.unet = UNet2DConditionModel.from_config(dict(unet_config))
        _check_supported(self.unet)
        self.gradient_checkpointing = False

        def attention(block: nn.Module) -> CorrespondenceAttention:
            return CorrespondenceAttention(block.resnets[-1].out_channels, variant)  # type: ignore[index, union-attr]

        self.correspondence_down = nn.ModuleList(map(attention, self.unet.down_blocks))
        self.correspondence_mid = attention(self.unet.mid_block)
        self.correspondence_up = nn.ModuleList(map(attention, self.unet.up_blocks))

    @classmethod
    def from_unet(cls, unet: UNet2DConditionModel, variant: str = "released") -> MultiViewUNet:
        """Insert untrained CAA blocks into `unet`, which becomes part of the new model."""
        config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
        model = cls(config, variant)
        model.unet = unet
        return model.to(unet.device, unet.dtype)

    def correspondence_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that stage 2 trains: those of the CAA blocks."""
        for blocks in (self.correspondence_down, self.correspondence_mid, self.correspondence_up):
            yield from blocks.parameters()

    def prepare_geometry(self, K: Tensor, R: Tensor, height: int, width: int) -> MultiViewGeometry:
        """Gather what CAA needs to know of the cameras; do it once per sampling or batch.

        Args:
            K: intrinsics [G, V, 3, 3] in pixels of the images.
            R: camera-to-world rotations [G, V, 3, 3].
            height: image height in pixels (not latent cells).
            width: image width in pixels.
        """
        variant = self.config["variant"]
        return MultiViewGeometry(K.to(self.device), R.to(self.device), height, width, variant)

    def forward(
        self,
        latents: Tensor,  # [B, V, C, h, w]
        timesteps: Tensor | float,  # scalar, [B] or [B, V]
        prompt_embeds: Tensor,  # [B, V, L, D]
        geometry: MultiViewGeometry | None,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """Predict the noise (or velocity) of all views at once.

        Args:
            latents: noisy latents [B, V, C, h, w].
            timesteps: one for all, one per sample [B], or one per view [B, V].
            prompt_embeds: text embeddings per view [B, V, L, D].
            geometry: cameras from `prepare_geometry`; None leaves the views independent.
            return_dict: return a `UNet2DConditionOutput`, otherwise a tuple.

        Returns:
            `sample` [B, V, C_out, h, w].
        """
        batch, views = latents.shape[:2]
        if views == 1:
            geometry = None
        embedding = self._embed_time(timesteps, latents)
        text = prompt_embeds.flatten(0, 1)
        x = self.unet.conv_in(latents.flatten(0, 1))
        x, skips = self._down(x, embedding, text, geometry)
        x = self._mid(x, embedding, text, geometry)
        x = self._up(x, skips, embedding, text, geometry)
        x = self.unet.conv_out(self.unet.conv_act(self.unet.conv_norm_out(x)))
        sample = x.unflatten(0, (batch, views))
        return UNet2DConditionOutput(sample=sample) if return_dict else (sample,)

    def _embed_time(self, timesteps: Tensor | float, latents: Tensor) -> Tensor:
        batch, views = latents.shape[:2]
        steps = torch.as_tensor(timesteps, device=latents.device)
        steps = steps.reshape(*steps.shape, *(1,) * (2 - steps.ndim)).expand(batch, views)
        return self.unet.time_embedding(self.unet.time_proj(steps.flatten()).to(latents.dtype))

    def _down(
        self, x: Tensor, embedding: Tensor, text: Tensor, geometry: MultiViewGeometry | None
    ) -> tuple[Tensor, list[Tensor]]:
        skips = [x]
        for block, caa in zip(self.unet.down_blocks, self.correspondence_down, strict=True):
            for resnet, attention in _layers(block):
                x = self._layer(resnet, attention, x, embedding, text)
                skips.append(x)
            x = self._correspond(caa, x, geometry)
            if block.downsamplers is not None:
                x = block.downsamplers[0](x)
                skips.append(x)
        return x, skips

    def _mid(
        self, x: Tensor, embedding: Tensor, text: Tensor, geometry: MultiViewGeometry | None
    ) -> Tensor:
        block = self.unet.mid_block
        x = self._run(block.resnets[0], x, embedding)
        x = self._correspond(self.correspondence_mid, x, geometry)
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            x = self._attend_to_text(attention, x, text)
            x = self._run(resnet, x, embedding)
        return x

    def _up(
        self,
        x: Tensor,
        skips: list[Tensor],
        embedding: Tensor,
        text: Tensor,
        geometry: MultiViewGeometry | None,
    ) -> Tensor:
        for block, caa in zip(self.unet.up_blocks, self.correspondence_up, strict=True):
            for resnet, attention in _layers(block):
                x = torch.cat([x, skips.pop()], 1)
                x = self._layer(resnet, attention, x, embedding, text)
            x = self._correspond(caa, x, geometry)
            if block.upsamplers is not None:
                # Sizes that are not a power of two come back exactly.
                x = block.upsamplers[0](x, skips[-1].shape[-2:])
        return x

    def _layer(
        self,
        resnet: nn.Module,
        attention: nn.Module | None,
        x: Tensor,
        embedding: Tensor,
        text: Tensor,
    ) -> Tensor:
        x = self._run(resnet, x, embedding)
        return x if attention is None else self._attend_to_text(attention, x, text)

    def _correspond(
        self, block: nn.Module, x: Tensor, geometry: MultiViewGeometry | None
    ) -> Tensor:
        return x if geometry is None else self._run(block, x, geometry)

    def _attend_to_text(self, attention: nn.Module, x: Tensor, text: Tensor) -> Tensor:
        return self._run(partial(attention, encoder_hidden_states=text, return_dict=False), x)[0]

    def _run(self, module: Callable[..., Any], *inputs: Any) -> Any:
        """Call a layer, with its activations recomputed in the backward pass if so configured."""
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(module, *inputs)
        return module(*inputs)


def _layers(block: nn.Module) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """Pair every ResNet of a block with its text attention, or None."""
    attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)  # type: ignore[arg-type]
    yield from zip(block.resnets, attentions, strict=True)  # type: ignore[arg-type]


def _check_supported(unet: UNet2DConditionModel) -> None:
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    unknown = sorted({type(block).__name__ for block in blocks} - SUPPORTED_BLOCKS)
    extras = [
        key
        for key in ("class_embed_type", "addition_embed_type", "encoder_hid_dim_type")
        if unet.config.get(key) is not None
    ]
    if unknown or extras:
        raise ValueError(
            f"The multi-view UNet does not know {', '.join(unknown + extras)}; expected a UNet of "
            "the Stable Diffusion 1 or 2 family."
        )
