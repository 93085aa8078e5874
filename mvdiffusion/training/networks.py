"""Options of the networks that are trained from scratch, checked as their own classes need them."""

from __future__ import annotations

from math import log1p
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from mvdiffusion.settings import STRICT, Count, mistake

Width = Annotated[int, Field(ge=1, le=8192)]
Layers = Annotated[int, Field(ge=1, le=64)]
Channels = Annotated[list[Width], Field(min_length=1, max_length=8)]
Beta = Annotated[float, Field(ge=0.0001, lt=1)]
HEAD_CHANNELS = 32  # of the attention between views, as in mvdiffusion/models/attention.py


class _Autoencoder(TypedDict, total=False):
    """Options of `mvdiffusion.models.patch_autoencoder`.

    Attributes:
        block_out_channels: channels by level; each further level halves the size.
        layers_per_block: residual layers of the encoder.
        decoder_channels: channels of the decoder (default: the last of block_out_channels).
        decoder_layers: residual layers of the decoder (default: layers_per_block).
        latent_channels: channels of the latents.
        norm_num_groups: groups of the normalization.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    block_out_channels: Channels
    layers_per_block: Layers
    decoder_channels: Width
    decoder_layers: Layers
    latent_channels: Width
    norm_num_groups: Count


def _divides_last(options: _Autoencoder) -> _Autoencoder:
    """Refuse groups of the normalization that do not divide the channels that are normalized."""
    groups = options.get("norm_num_groups", 4)  # 4: as in the autoencoder itself
    last = options.get("block_out_channels", [128])[-1]
    for channels in (last, options.get("decoder_channels", last)):
        if channels % groups:
            raise mistake("norm_num_groups", groups, f"a divisor of the last channels, {channels}")
    return options


AutoencoderOptions = Annotated[_Autoencoder, AfterValidator(_divides_last)]


class _TextEncoder(TypedDict, total=False):
    """Options of `transformers.CLIPTextConfig`.

    Attributes:
        hidden_size: width.
        intermediate_size: width inside the MLPs.
        num_hidden_layers: number of layers.
        num_attention_heads: number of heads.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    hidden_size: Width
    intermediate_size: Width
    num_hidden_layers: Layers
    num_attention_heads: Count


def _divides_width(options: _TextEncoder) -> _TextEncoder:
    """Refuse a text encoder whose width cannot be divided between its heads."""
    width, heads = options.get("hidden_size", 512), options.get("num_attention_heads", 8)
    if width % heads:  # 512 and 8: as in CLIPTextConfig itself
        raise mistake("hidden_size", width, f"a multiple of the {heads} heads")
    return options


TextEncoderOptions = Annotated[_TextEncoder, AfterValidator(_divides_width)]


class _UNet(TypedDict, total=False):
    """Options of `diffusers.UNet2DConditionModel`.

    Attributes:
        block_out_channels: channels by level.
        layers_per_block: residual layers.
        down_block_types: type of block by level.
        attention_head_dim: heads by level (the name is diffusers').
        norm_num_groups: groups of the normalization.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    block_out_channels: Channels
    layers_per_block: Layers
    down_block_types: Annotated[
        list[Literal["DownBlock2D", "CrossAttnDownBlock2D"]], Field(min_length=1)
    ]
    attention_head_dim: list[Count]
    norm_num_groups: Count


def _describes_levels(options: _UNet) -> _UNet:
    """Refuse lists of other lengths than the channels', and channels that cannot be divided."""
    channels = options.get("block_out_channels", [320, 640, 1280, 1280])  # as in the UNet itself
    groups = options.get("norm_num_groups", 32)
    for each in channels:
        if each % HEAD_CHANNELS:
            parts = f"multiples of {HEAD_CHANNELS}, the channels of a head of the attention"
            raise mistake("block_out_channels", channels, parts)
        if each % groups:
            raise mistake("norm_num_groups", groups, f"a divisor of all channels, {channels}")
    for name, default in {"down_block_types": [""] * 4, "attention_head_dim": channels}.items():
        by_level: Any = options.get(name, default)
        if len(by_level) != len(channels):
            raise mistake(name, by_level, f"as many entries as channels, {len(channels)}")
    return options


UNetOptions = Annotated[_UNet, AfterValidator(_describes_levels)]


class _Scheduler(TypedDict, total=False):
    """Options of `diffusers.DDIMScheduler`.

    Attributes:
        num_train_timesteps: number of timesteps.
        beta_schedule: noise schedule.
        beta_start: first beta.
        beta_end: last beta.
        prediction_type: what the UNet predicts.
        rescale_betas_zero_snr: whether the last timestep has no signal.
        timestep_spacing: how sampling picks timesteps.
    """

    __pydantic_config__ = STRICT  # type: ignore[misc]

    num_train_timesteps: Annotated[int, Field(ge=10, le=10_000)]
    beta_schedule: Literal["linear", "scaled_linear"]
    beta_start: Beta
    beta_end: Beta
    prediction_type: Literal["epsilon", "v_prediction"]
    rescale_betas_zero_snr: bool
    timestep_spacing: Literal["leading", "linspace", "trailing"]


LEAST_LOG_SIGNAL = -12.0  # of the product of all 1 − beta; Stable Diffusion's is −5.4


def _has_signal(options: _Scheduler) -> _Scheduler:
    """Refuse to predict noise from noise alone, which sampling would divide by its signal, 0."""
    kind = options.get("prediction_type", "epsilon")  # as in the scheduler itself
    if options.get("rescale_betas_zero_snr") and kind == "epsilon":
        expected = "'v_prediction', as rescale_betas_zero_snr leaves no image in the last timestep"
        raise mistake("prediction_type", kind, expected)
    steps = options.get("num_train_timesteps", 1000)
    first, last = options.get("beta_start", 0.0001), options.get("beta_end", 0.02)
    if first >= last:
        raise mistake("beta_start", first, f"less than beta_end = {last:g}")
    power = 2.0 if options.get("beta_schedule") == "scaled_linear" else 1.0
    low, high = first ** (1 / power), last ** (1 / power)
    betas = ((low + (high - low) * step / (steps - 1)) ** power for step in range(steps))
    if sum(log1p(-beta) for beta in betas) < LEAST_LOG_SIGNAL:
        nothing = f"with {steps} timesteps, nothing of an image is left long before the last"
        raise mistake("beta_end", last, f"less noise: {nothing}")
    return options


SchedulerOptions = Annotated[_Scheduler, AfterValidator(_has_signal)]
