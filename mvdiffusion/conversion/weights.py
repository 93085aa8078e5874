"""The authors' checkpoints: which of their weights is which of ours.

pano.ckpt, pano_outpaint.ckpt, depth_gen.ckpt and depth_single_view.ckpt are Lightning checkpoints
whose `state_dict` holds the multi-view model (`mv_base_model`), the VAE and the text encoder. This
is the one place that knows their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from mvdiffusion.records import InputError, listed

WRAPPERS = re.compile(r"\b(?:module|_orig_mod)\.")  # of parallel and of compiled modules
IGNORED = {
    r"\.pe\.freq_bands$": "frequencies of the position code, which are computed",
    r"^text_encoder\..*position_ids$": "an index, no weight",
}
# Rules are tried in order, and all that match are applied.
CORRESPONDENCE = [
    (r"^cp_blocks_encoder\.", "correspondence_down."),
    (r"^cp_blocks_mid\.", "correspondence_mid."),
    (r"^cp_blocks_decoder\.", "correspondence_up."),
    (r"\.attn1\.transformer\.", ".attention.transformer."),  # depth: a block around the attention
    (r"\.transformer\.(?:attn1\.)?", "."),
    (r"\.resnet\.bn([12])\.", r".norm\1."),
    (r"\.resnet\.conv([12])\.", r".conv\1."),
    (r"^condition_conv_in\.", "image_conditioning.conv_in."),
    (r"^condition_downblocks\.", "image_conditioning.down."),
    (r"^condition_upblocks\.", "image_conditioning.up."),
]
OTHER_BASE = "If the file is whole, pass as --base the model that it was trained from."
MULTI_VIEW = ("unet.", "correspondence_", "image_conditioning.")
VAE_ATTENTION = [
    (r"(\.attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(\.attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(\.attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(\.attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
]


@dataclass
class ReleasedWeights:
    """A checkpoint's tensors under this project's names.

    Attributes:
        unet: for `MultiViewUNet` (`unet.…`, `correspondence_…`, `image_conditioning.…`).
        vae: for `AutoencoderKL`.
        text_encoder: for `CLIPTextModel`, without the prefix `text_model.`.
        ignored: keys that are of no use, by reason.
        unknown: keys that nothing is known about.
    """

    unet: dict[str, Tensor] = field(default_factory=dict)
    vae: dict[str, Tensor] = field(default_factory=dict)
    text_encoder: dict[str, Tensor] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def in_channels(self) -> int:
        """Input channels of the UNet.

        Raises:
            InputError: there is no UNet.
        """
        if "unet.conv_in.weight" not in self.unet:
            raise InputError(
                "no UNet among the checkpoint's weights (no `mv_base_model.unet.conv_in.weight`); "
                "expected pano.ckpt, pano_outpaint.ckpt, depth_gen.ckpt or depth_single_view.ckpt."
            )
        return int(self.unet["unet.conv_in.weight"].shape[1])

    @property
    def task(self) -> str:
        """What the checkpoint was trained for, one of `CHECKPOINT_TASKS`.

        Raises:
            InputError: none of them.
        """
        multi_view = any(key.startswith("correspondence_") for key in self.unet)
        known = {
            (4, True): "panorama",
            (9, True): "outpaint",
            (5, True): "depth",
            (5, False): "single_view_depth",
        }
        if (task := known.get((self.in_channels, multi_view))) is None:
            raise InputError(
                f"the checkpoint's UNet has {self.in_channels} input channels and "
                f"{'' if multi_view else 'no '}attention between views; expected 4 (panorama), "
                "9 (outpaint) or 5 (depth) with, or 5 without (single-view depth)."
            )
        return task


def rename_released(key: str) -> str:
    """Name one of the multi-view model's weights as `MultiViewUNet` does.

    Args:
        key: a key of the checkpoint, with or without `mv_base_model.`.
    """
    return _rename(key.removeprefix("mv_base_model."), CORRESPONDENCE)


def sort_weights(state_dict: Mapping[str, Tensor]) -> ReleasedWeights:
    """Sort and rename a checkpoint's tensors; none of them is lost silently.

    Raises:
        InputError: two keys mean the same weight, or a weight is not finite.
    """
    made = ReleasedWeights()
    broken = []
    for original, value in state_dict.items():
        key = WRAPPERS.sub("", original)
        reasons = (reason for pattern, reason in IGNORED.items() if re.search(pattern, key))
        if reason := next(reasons, None):
            made.ignored.setdefault(reason, []).append(original)
            continue
        part, name = _place(key, made)
        if part is None:
            made.unknown.append(original)
        elif name in part:
            raise InputError(f"{original}: the checkpoint holds this weight twice.")
        else:
            part[name] = value
            if not value.isfinite().all():
                broken.append(original)
    if broken:
        raise InputError(
            f"NaN or infinite numbers in {len(broken)} of {len(state_dict)} weights "
            f"({listed(broken)}), which make black images; download the checkpoint again, or take "
            "an earlier one of the training."
        )
    return made


def _place(key: str, weights: ReleasedWeights) -> tuple[dict[str, Tensor] | None, str]:
    """Find the part that a key without wrappers belongs to, and its name there."""
    if key.startswith("vae."):
        return weights.vae, _rename(key.removeprefix("vae."), VAE_ATTENTION)
    if key.startswith("text_encoder."):
        # Some versions of transformers have this prefix, some have not; see `load_weights`.
        return weights.text_encoder, key.removeprefix("text_encoder.").removeprefix("text_model.")
    name = rename_released(key)
    return (weights.unet if name.startswith(MULTI_VIEW) else None), name


def _rename(key: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Give a module its weights, in the module's type; the module may be on the meta device.

    Args:
        module: a module with float parameters.
        weights: all of its state by name; a prefix `text_model.` that only one side has is nothing.
        what: name of the module for messages.

    Raises:
        InputError: weights are missing, have another shape, or are more than the module has.
    """
    own = module.state_dict()
    prefix = "text_model." if any(key.startswith("text_model.") for key in own) else ""
    named = {prefix + key: value for key, value in weights.items()}
    if missing := sorted(set(own) - set(named)):
        raise InputError(
            f"the checkpoint lacks {len(missing)} of the {len(own)} weights of {what} "
            f"({listed(missing)}); expected all of them. {OTHER_BASE}"
        )
    if extra := sorted(set(named) - set(own)):
        raise InputError(
            f"the checkpoint has {len(extra)} weights that {what} has no place for "
            f"({listed(extra)}). {OTHER_BASE}"
        )
    for key, value in own.items():
        if named[key].shape != value.shape:
            raise InputError(
                f"{what}: {key} is {tuple(named[key].shape)} in the checkpoint and "
                f"{tuple(value.shape)} by the base model's configuration. {OTHER_BASE}"
            )
    converted = {key: named[key].to(value.dtype) for key, value in own.items()}
    module.load_state_dict(converted, assign=True)
