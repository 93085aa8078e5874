"""Typed training settings: every number of a run, checked before anything is computed."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from mvdiffusion.records import InputError

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class TrainingSettings:
    """How one training run is optimised.

    `batch_size` counts examples per optimiser step over all processes and accumulation steps
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


@dataclass(frozen=True)
class BaseSettings:
    """Everything that `mvdiffusion.training.base.train_base` needs."""

    seed: int
    data: ViewSettings
    tokenizer: TokenizerSettings
    text_encoder: dict[str, Any]
    unet: dict[str, Any]
    scheduler: dict[str, Any]
    training: TrainingSettings
    loss: DiffusionLossSettings = field(default_factory=DiffusionLossSettings)
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class SingleViewSettings:
    """Everything that `mvdiffusion.training.single_view.train_stage1` needs."""

    seed: int
    data: ViewSettings
    training: TrainingSettings
    loss: DiffusionLossSettings = field(default_factory=DiffusionLossSettings)
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class MultiViewSettings:
    """Everything that `mvdiffusion.training.multiview.train_stage2` needs."""

    seed: int
    data: ViewSettings
    training: TrainingSettings
    loss: DiffusionLossSettings = field(default_factory=DiffusionLossSettings)
    variant: Literal["released", "paper"] = "released"
    device: Literal["auto", "cpu", "cuda"] = "auto"


def parse(settings_class: type[Settings], values: Mapping[str, Any], where: str = "") -> Settings:
    """Build a settings dataclass from plain JSON or YAML values.

    Raises:
        InputError: naming the key, when it is unknown, missing or of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"setting '{where}' is {values!r}; expected a mapping of keys to values")
    hints = typing.get_type_hints(settings_class)
    for key in values:
        if key not in hints:
            raise InputError(_unknown_key(f"{where}.{key}".lstrip("."), key, list(hints)))
    for item in dataclasses.fields(settings_class):  # type: ignore[arg-type]
        has_default = (item.default, item.default_factory) != (dataclasses.MISSING,) * 2
        if item.name not in values and not has_default:
            raise InputError(f"setting '{where}.{item.name}' is missing; add it".replace("'.", "'"))
    parsed = {key: _value(hints[key], values[key], f"{where}.{key}".lstrip(".")) for key in values}
    return settings_class(**parsed)


def _unknown_key(path: str, key: str, known: list[str]) -> str:
    close = get_close_matches(key, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
    return f"unknown setting '{path}'; {hint}"


def _value(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return parse(typing.cast(type, kind), value, path)
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in options:
            return None
        return _value(options[0], value, path)
    if origin is Literal:
        if value not in options:
            raise InputError(f"setting '{path}' is {value!r}; expected one of {list(options)}")
        return value
    return _plain(origin or kind, value, path)


def _plain(kind: type, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) is (kind is bool) and isinstance(value, kind):
        return value
    raise InputError(f"setting '{path}' is {value!r}; expected a value of type {kind.__name__}")
