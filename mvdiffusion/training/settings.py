"""Typed training settings: every number of a run, checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mvdiffusion.records import InputError


@dataclass(frozen=True)
class TrainingSettings:
    """How one training run is optimized.

    `batch_size` counts examples per optimizer step over all processes and accumulation steps
    (views in single-view training, panoramas in stage 2), so neither the number of processes nor
    `gradient_accumulation_steps` changes what is learned. `views_per_panorama` views are cut
    from every panorama that is read (single-view training only).
    """

    steps: int
    batch_size: int
    learning_rate: float
    final_learning_rate: float = 0.0
    warmup_steps: int = 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    ema_decay: float = 0.999
    checkpoint_every: int = 500
    validate_every: int = 1000
    log_every: int = 10
    num_workers: int = 2
    views_per_panorama: int = 1

    def __post_init__(self) -> None:
        """Raise `InputError` when a count cannot be divided or is not positive."""
        for name in ("steps", "batch_size", "gradient_accumulation_steps", "views_per_panorama",
                     "checkpoint_every", "validate_every", "log_every"):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; give 1 or more")
        parts = self.gradient_accumulation_steps * self.views_per_panorama
        if self.batch_size % parts:
            raise InputError(
                f"training.batch_size is {self.batch_size}, which cannot be divided by "
                f"gradient_accumulation_steps x views_per_panorama = {parts}"
            )


@dataclass(frozen=True)
class ViewSettings:
    """How panoramas become views: side in pixels, number of views, horizontal field of view."""

    image_size: int
    num_views: int = 8
    fov_deg: float = 90.0
    prompt_prefix: str = "This is one view of a scene. "

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a view in pixels."""
        return self.image_size, self.image_size


@dataclass(frozen=True)
class FrameSettings:
    """How recordings become samples: size in pixels, and key frames that are denoised together.

    `num_between` is the number of frames generated between two key frames, null for all; training
    fills its samples with `num_views` frames in either case. `sequences` is how scenes are cut
    into those that are scored, see `ScanNetScenes`; training draws sequences of its own.
    """

    height: int
    width: int
    num_views: int = 12
    num_between: int | None = None
    prompt_prefix: str = "This is one view of a scene. "
    sequences: Literal["disjoint", "released"] = "disjoint"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return self.height, self.width


@dataclass(frozen=True)
class DiffusionLossSettings:
    """Weights of the diffusion loss.

    `min_snr_gamma` is the clamp of min-SNR weighting (Hang et al. 2023, eq. 8), null for equal
    weights; `caption_dropout` the fraction of captions replaced by the empty one, which
    classifier-free guidance needs.
    """

    min_snr_gamma: float | None = None
    caption_dropout: float = 0.1


@dataclass(frozen=True)
class VaeLossSettings:
    """Weights beside the L1 reconstruction error, whose weight is 1."""

    gradient_weight: float = 1.0
    mse_weight: float = 0.0
    kl_weight: float = 1e-6


@dataclass(frozen=True)
class VaeSettings:
    """Everything that `mvdiffusion.training.vae.train_vae` needs."""

    seed: int
    data: ViewSettings
    model: dict[str, Any]
    training: TrainingSettings
    loss: VaeLossSettings = field(default_factory=VaeLossSettings)
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class TokenizerSettings:
    """The number of tokens of every prompt; the vocabulary follows from the captions."""

    model_max_length: int


@dataclass(frozen=True, kw_only=True)
class DiffusionSettings:
    """What the training of every diffusion model needs."""

    seed: int
    training: TrainingSettings
    loss: DiffusionLossSettings = field(default_factory=DiffusionLossSettings)
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True, kw_only=True)
class ViewStage(DiffusionSettings):
    """Training on views of panoramas: stage 1, and the base model of outpainting."""

    data: ViewSettings


@dataclass(frozen=True, kw_only=True)
class FrameStage(DiffusionSettings):
    """Training on frames of recordings: stage 1 for depth."""

    data: FrameSettings


@dataclass(frozen=True, kw_only=True)
class BaseSettings(ViewStage):
    """Everything that `mvdiffusion.training.base.train_base` needs."""

    tokenizer: TokenizerSettings
    text_encoder: dict[str, Any]
    unet: dict[str, Any]
    scheduler: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class MultiViewSettings(ViewStage):
    """Stage 2 on panoramas."""

    variant: Literal["released", "paper"] = "released"


@dataclass(frozen=True, kw_only=True)
class MultiFrameSettings(FrameStage):
    """Stage 2 on recordings; the paper mixes generation and interpolation samples 1 : 1."""

    variant: Literal["released", "paper"] = "released"
    interpolation_share: float = 0.5

    def __post_init__(self) -> None:
        """Raise `InputError` when the share is none."""
        if not 0 <= self.interpolation_share <= 1:
            raise InputError(
                f"setting 'interpolation_share' is {self.interpolation_share}; give 0 to 1"
            )
