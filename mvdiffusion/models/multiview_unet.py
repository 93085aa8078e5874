"""One UNet for all views, with correspondence-aware attention after its blocks (paper, fig. 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from diffusers.utils import USE_PEFT_BACKEND, scale_lora_layers, unscale_lora_layers
from torch import Tensor, nn

from mvdiffusion.attention_settings import AttentionSettings
from mvdiffusion.models.attention import (
    CorrespondenceAttention,
    CorrespondenceBlock,
    CrossViewAttention,
)
from mvdiffusion.models.correspondence_geometry import CorrespondenceGeometry, MultiViewGeometry
from mvdiffusion.models.depth_geometry import DepthGeometry
from mvdiffusion.models.image_conditioning import ImageConditioning
from mvdiffusion.models.shared_unet import SharedUNet
from mvdiffusion.settings import parse

SUPPORTED_BLOCKS = {
    "DownBlock2D",
    "CrossAttnDownBlock2D",
    "UNetMidBlock2DCrossAttn",
    "UpBlock2D",
    "CrossAttnUpBlock2D",
}
ATTENTIVE_PARTS = {
    "all": ("down", "mid", "up"),
    "no_middle": ("down", "up"),
    "decoder": ("up",),
}
"""Parts of the UNet whose blocks are followed by attention, by `AttentionSettings.blocks`."""


@dataclass(frozen=True)
class _Call:
    """What all layers of one pass are given."""

    embedding: Tensor  # of the timesteps, [B * V, E]
    text: Tensor  # [B * V, L, D]
    geometry: CorrespondenceGeometry | None
    attention: Mapping[str, Any] | None  # options of the processors of text attention


class MultiViewUNet(SharedUNet, ModelMixin, ConfigMixin):
    """A `UNet2DConditionModel` shared by the views of a sample, plus CAA blocks between them.

    CAA follows the last layer of every down block (before its downsampler; the skip tensors keep
    the state before it), the middle block, and the last layer of every up block (before its
    upsampler). Panoramas have it within the middle block, after the first ResNet; there it is
    attention alone. For depth, residual convolutions follow the attention, and views that are
    known already can be given as an image condition. Views are [B, V, …] at the outside and
    [B * V, …] within.
    """

    _supports_gradient_checkpointing = True
    # What `compile_repeated_blocks` compiles.
    _repeated_blocks: ClassVar[list[str]] = [
        "BasicTransformerBlock",
        "CorrespondenceAttention",
        "CrossViewAttention",
    ]

    @register_to_config
    def __init__(
        self,
        unet_config: dict[str, Any],
        variant: str = "released",
        task: str = "panorama",
        attention: dict[str, Any] | None = None,
    ) -> None:
        """Make a UNet from a `UNet2DConditionModel` configuration and add untrained CAA blocks.

        Args:
            unet_config: configuration of the shared UNet, of any size.
            variant: CAA arithmetic, "released" or "paper".
            task: "panorama" (views of one center) or "depth" (posed views with depth).
            attention: `AttentionSettings` that differ from the defaults, in panoramas alone.

        Raises:
            ValueError: the UNet has parts that the multi-view pass does not know, the task is
                unknown, or it has no such options.
        """
        super().__init__()
        if task not in ("panorama", "depth"):
            raise ValueError(f"Expected `task` 'panorama' or 'depth', got {task!r}.")
        if attention and task == "depth":
            raise ValueError(f"Expected no `attention` for the task 'depth', got {attention}.")
        self.attention = parse(AttentionSettings, attention or {}, "attention")
        self.unet = UNet2DConditionModel.from_config(dict(unet_config))
        _check_supported(self.unet)
        self.gradient_checkpointing = False
        self.view_chunk: int | None = None
        kind = CorrespondenceAttention if task == "panorama" else CorrespondenceBlock
        kind = CrossViewAttention if self.attention.correspondences == "none" else kind
        attentive = ATTENTIVE_PARTS[self.attention.blocks]

        def between(part: str, block: nn.Module) -> nn.Module | None:
            channels = block.resnets[-1].out_channels  # type: ignore[index, union-attr]
            return kind(channels, variant) if part in attentive else None

        self.correspondence_down = _modules(between("down", b) for b in self.unet.down_blocks)
        self.correspondence_mid = between("mid", self.unet.mid_block)
        self.correspondence_up = _modules(between("up", b) for b in self.unet.up_blocks)
        config = self.unet.config
        self.image_conditioning = (
            ImageConditioning(config.out_channels + 1, config.block_out_channels)
            if task == "depth"
            else None
        )

    @classmethod
    def from_unet(
        cls,
        unet: UNet2DConditionModel,
        variant: str = "released",
        task: str = "panorama",
        attention: dict[str, Any] | None = None,
    ) -> MultiViewUNet:
        """Insert untrained CAA blocks into `unet`, which becomes part of the new model.

        Args:
            unet: single-view UNet.
            variant: CAA arithmetic, "released" or "paper".
            task: "panorama" (outpainting too) or "depth", which adds the image condition.
            attention: `AttentionSettings` that differ from the defaults, in panoramas alone.
        """
        config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
        model = cls(config, variant, task, attention)
        for child in model.children():  # without `unet`, which is where and what it should be
            child.to(unet.device, unet.dtype)
        model.unet = unet
        return model

    def correspondence_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that stage 2 trains: CAA blocks and image condition."""
        yield from (value for name, value in self.named_parameters() if name[:5] != "unet.")

    def set_view_chunk(self, view_chunk: int | None) -> None:
        """Run `view_chunk` views at a time through the layers that know no other views.

        It takes less memory and has the same result; attention between the views bounds its own.
        """
        if view_chunk is not None and view_chunk < 1:
            raise ValueError(f"Expected `view_chunk` of at least 1 or None, got {view_chunk}.")
        self.view_chunk = view_chunk

    def prepare_geometry(self, K: Tensor, R: Tensor, height: int, width: int) -> MultiViewGeometry:
        """Gather what CAA needs to know of the cameras; do it once per sampling or batch.

        Args:
            K: intrinsics [G, V, 3, 3] in pixels of the images.
            R: camera-to-world rotations [G, V, 3, 3].
            height, width: of an image in pixels (not latent cells).
        """
        K, R = K.to(self.device), R.to(self.device)
        return MultiViewGeometry(K, R, height, width, self.config["variant"], self.attention)

    def prepare_depth_geometry(self, depth: Tensor, K: Tensor, pose: Tensor) -> DepthGeometry:
        """Gather what CAA needs to know of posed views with depth.

        Args:
            depth: [G, V, H, W] in meters, 0 where there is none.
            K: intrinsics [G, V, 3, 3] in pixels of `depth`.
            pose: camera-to-world transforms [G, V, 4, 4] in meters.
        """
        depth, K, pose = (value.to(self.device) for value in (depth, K, pose))
        return DepthGeometry(depth, K, pose, self.config["variant"])

    def complete_geometry(self, geometry: CorrespondenceGeometry, height: int, width: int) -> None:
        """Compute all that CAA asks of a geometry, which else happens at its first use.

        A compiled pass would be cut into pieces there, as values of tensors decide how many tokens
        there are.

        Args:
            geometry: from `prepare_geometry` or `prepare_depth_geometry`.
            height, width: of the latents in cells.
        """
        if self.attention.correspondences == "none":
            return
        for depth, channels in enumerate(self.unet.config.block_out_channels):
            geometry.tokens(-(-height // 2**depth), -(-width // 2**depth))  # downsamplers round up
            geometry.bands(channels)

    def forward(
        self,
        latents: Tensor,  # [B, V, C, h, w]
        timesteps: Tensor | float,  # scalar, [B] or [B, V]
        prompt_embeds: Tensor,  # [B, V, L, D]
        geometry: CorrespondenceGeometry | None,
        image_condition: Tensor | None = None,  # [B, V, C_out + 1, h, w]
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        return_dict: bool = True,
    ) -> UNet2DConditionOutput | tuple[Tensor]:
        """Predict the noise (or velocity) of all views at once.

        Args:
            latents: noisy latents, and what else the UNet takes with them, [B, V, C, h, w].
            timesteps: one for all, one per sample [B], or one per view [B, V].
            prompt_embeds: text embeddings per view [B, V, L, D].
            geometry: cameras from `prepare_geometry`; None leaves the views independent.
            image_condition: latents of known views or zeros, and a mask (1 = known); depth only.
                Samples without any known view are treated as without a condition.
            cross_attention_kwargs: options of the shared UNet's attention processors; "scale" is
                that of its LoRA.
            return_dict: return a `UNet2DConditionOutput`, otherwise a tuple.

        Returns:
            `sample` [B, V, C_out, h, w].
        """
        options = dict(cross_attention_kwargs or {})
        scale = options.pop("scale", 1.0)
        if USE_PEFT_BACKEND and scale != 1.0:
            scale_lora_layers(self.unet, scale)
        try:
            call = _Call(
                self._embed_time(timesteps, latents),
                prompt_embeds.flatten(0, 1),
                None if latents.shape[1] == 1 else geometry,
                options or None,
            )
            sample = self._denoise(latents, call, self._condition(image_condition))
        finally:
            if USE_PEFT_BACKEND and scale != 1.0:
                unscale_lora_layers(self.unet, scale)
        return UNet2DConditionOutput(sample=sample) if return_dict else (sample,)

    def _denoise(self, latents: Tensor, call: _Call, added: tuple[Any, Any, Any]) -> Tensor:
        """Run all layers on latents [B, V, C, h, w]."""
        down, mid, up = added
        x = self._run(self.unet.conv_in, latents.flatten(0, 1))
        x, skips = self._down(x, call, down)
        x = self._mid(x, call, mid)
        x = self._up(x, skips, call, up)
        x = self._run(
            lambda x: self.unet.conv_out(self.unet.conv_act(self.unet.conv_norm_out(x))), x
        )
        return x.unflatten(0, latents.shape[:2])

    def _condition(self, condition: Tensor | None) -> tuple[Sequence[Any], Any, Sequence[Any]]:
        """What the image condition adds to the blocks' inputs; zero without one."""
        if condition is None:
            none = [0] * len(self.unet.down_blocks)
            return none, 0, none
        if self.image_conditioning is None:
            raise ValueError("Expected no `image_condition`: only the task 'depth' takes one.")
        down, mid, up = self.image_conditioning(condition.flatten(0, 1))
        # Samples of a batch of which nothing is known are as without a condition.
        known = condition[:, :, -1:].flatten(1).any(1).repeat_interleave(condition.shape[1])
        given = known.to(mid.dtype)[:, None, None, None]
        return [x * given for x in down], mid * given, [x * given for x in up]

    def _embed_time(self, timesteps: Tensor | float, latents: Tensor) -> Tensor:
        batch, views = latents.shape[:2]
        steps = torch.as_tensor(timesteps, device=latents.device)
        steps = steps.reshape(*steps.shape, *(1,) * (2 - steps.ndim)).expand(batch, views)
        return self.unet.time_embedding(self.unet.time_proj(steps.flatten()).to(latents.dtype))

    def _down(self, x: Tensor, call: _Call, added: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
        skips = []
        blocks = zip(self.unet.down_blocks, self.correspondence_down, added, strict=True)
        for block, caa, condition in blocks:
            x = x + condition
            skips.append(x)  # with the condition, as in the released code
            for resnet, attention in _layers(block):
                x = self._layer(resnet, attention, x, call)
                skips.append(x)
            x = self._correspond(caa, x, call)
            if block.downsamplers is not None:
                x = self._run(block.downsamplers[0], x)
        return x, skips

    def _mid(self, x: Tensor, call: _Call, condition: Any) -> Tensor:
        block, within = self.unet.mid_block, self.config["task"] == "panorama"
        x = self._run(block.resnets[0], x + condition, call.embedding)
        if within:
            x = self._correspond(self.correspondence_mid, x, call)
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            x = self._attend_to_text(attention, x, call)
            x = self._run(resnet, x, call.embedding)
        return x if within else self._correspond(self.correspondence_mid, x, call)

    def _up(self, x: Tensor, skips: list[Tensor], call: _Call, added: Sequence[Any]) -> Tensor:
        blocks = zip(self.unet.up_blocks, self.correspondence_up, added, strict=True)
        for block, caa, condition in blocks:
            x = x + condition
            for resnet, attention in _layers(block):
                x = torch.cat([x, skips.pop()], 1)
                x = self._layer(resnet, attention, x, call)
            x = self._correspond(caa, x, call)
            if block.upsamplers is not None:
                # Sizes that are not a power of two come back exactly.
                size = skips[-1].shape[-2:]
                x = self._run(partial(block.upsamplers[0], output_size=size), x)
        return x

    def _layer(
        self, resnet: nn.Module, attention: nn.Module | None, x: Tensor, call: _Call
    ) -> Tensor:
        x = self._run(resnet, x, call.embedding)
        return x if attention is None else self._attend_to_text(attention, x, call)

    def _correspond(self, block: nn.Module | None, x: Tensor, call: _Call) -> Tensor:
        if block is None or call.geometry is None:
            return x
        return self._once(block, x, call.geometry)

    def _attend_to_text(self, attention: nn.Module, x: Tensor, call: _Call) -> Tensor:
        def attend(x: Tensor, text: Tensor) -> Tensor:
            found: tuple[Tensor] = attention(
                x,
                encoder_hidden_states=text,
                cross_attention_kwargs=call.attention,
                return_dict=False,
            )
            return found[0]

        return self._run(attend, x, call.text)

    def _run(self, layer: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Call a layer that knows no other views, some views at a time if so configured."""
        if self.view_chunk is None:
            return self._once(layer, *inputs)
        parts = zip(*(value.split(self.view_chunk) for value in inputs), strict=True)
        return torch.cat([self._once(layer, *part) for part in parts])

    def _once(self, module: Callable[..., Any], *inputs: Any) -> Any:
        """Call a layer, with its activations recomputed in the backward pass if so configured."""
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(module, *inputs)
        return module(*inputs)


def extend_input_channels(unet: UNet2DConditionModel, in_channels: int) -> UNet2DConditionModel:
    """Let a UNet take more channels: the new ones start at zero, so that nothing changes yet.

    As Stable Diffusion's own inpainting and depth models were started.

    Raises:
        ValueError: fewer channels than there are.
    """
    old = unet.conv_in
    if in_channels < old.in_channels:
        raise ValueError(f"Expected at least {old.in_channels} channels, got {in_channels}.")
    new = nn.Conv2d(in_channels, old.out_channels, old.kernel_size, padding=old.padding)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)  # type: ignore[union-attr]
    unet.conv_in = new.to(old.weight.device, old.weight.dtype)
    unet.register_to_config(in_channels=in_channels)
    return unet


def _layers(block: nn.Module) -> list[tuple[nn.Module, nn.Module | None]]:
    """Pair every ResNet of a block with its text attention, or None.

    In a list, as `torch.compile` follows no generator.
    """
    attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)  # type: ignore[arg-type]
    return list(zip(block.resnets, attentions, strict=True))  # type: ignore[arg-type]


def _modules(blocks: Iterable[nn.Module | None]) -> nn.ModuleList:
    """List modules, of which some are absent: they keep their number, and have no weights."""
    return nn.ModuleList(blocks)  # type: ignore[arg-type]


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
