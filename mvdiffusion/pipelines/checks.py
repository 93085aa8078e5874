"""What the pipelines refuse, each with one sentence: the argument, what was found and expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import RIGID_TOLERANCE, is_pinhole, is_rigid, rotation_error
from mvdiffusion.records import InputError

Generators = torch.Generator | list[torch.Generator] | None
Prompts = str | Sequence[str] | Sequence[Sequence[str]]


def per_view_prompts(prompt: Prompts, num_views: int | None, batch: int = 1) -> list[list[str]]:
    """Bring the accepted forms of prompts into [B][V].

    Args:
        prompt: one text for all views; or one per view; or a list of those lists.
        num_views: number of views; None: as many as prompts, which are then not one text.
        batch: how many samples share the prompts of one, unless there is a list for each.

    Raises:
        InputError: no prompts, or samples with different or wrong numbers of them.
    """
    if num_views is not None and num_views < 1:
        raise InputError(f"Expected `num_views` of 1 or more, got {num_views}.")
    if isinstance(prompt, str):
        return [[prompt] * (num_views or 1)] * batch
    if prompt and all(isinstance(text, str) for text in prompt):
        prompts = [list(map(str, prompt))] * batch
    else:
        prompts = [list(texts) for texts in prompt]
    counts = [len(texts) for texts in prompts]
    if not prompts or 0 in counts:
        raise InputError("Expected at least one `prompt` per sample, got none.")
    if len(set(counts)) > 1:
        raise InputError(f"Expected the same number of prompts per sample, got {counts}.")
    if num_views not in (None, counts[0]):
        raise InputError(
            f"Expected {num_views} views' `prompt`, got {counts[0]}; for several samples give a "
            "list of such lists, one for each sample."
        )
    return prompts


def check_prompts(
    prompts: Sequence[Sequence[str]], negative_prompt: str | Sequence[str], batch: int
) -> None:
    """Refuse prompts [B][V] or negative prompts [V] of other numbers than the samples' or views'.

    Raises:
        InputError: other numbers of prompts than of samples or views.
    """
    if len(prompts) != batch:
        raise InputError(f"Expected `prompt` for {batch} samples, got it for {len(prompts)}.")
    views = len(prompts[0])
    if not isinstance(negative_prompt, str) and len(negative_prompt) != views:
        raise InputError(
            f"Expected one `negative_prompt` or {views}, one per view, got {len(negative_prompt)}."
        )


def check_overlap(num_views: int, fov_deg: float) -> None:
    """Refuse a number of views that nobody stated and that leaves evenly spaced views apart.

    Two prompts that were meant for two panoramas, or a forgotten line among eight.

    Args:
        num_views: number of prompts.
        fov_deg: horizontal field of view in degrees.

    Raises:
        InputError: no view overlaps its neighbors.
    """
    if num_views * fov_deg <= 360:
        raise InputError(
            f"Expected prompts for views that overlap, got {num_views}: as many evenly spaced "
            f"views of {fov_deg:g}° share no pixel. Give more prompts, or state the number, too, "
            "if that is meant (`num_views`, --num-views); prompts of several "
            "panoramas are a list for each."
        )


def most_steps(scheduler: Any) -> int:
    """Most denoising steps of a sampler: those of its schedule.

    Less where steps are moved up by an offset, as in Stable Diffusion, since the first of so many
    would begin beyond the schedule's end.
    """
    config = scheduler.config
    offset = config.get("steps_offset", 0) if config.get("timestep_spacing") == "leading" else 0
    return int(config.num_train_timesteps - offset)


def check_numbers(num_inference_steps: int, guidance_scale: float, scheduler: Any) -> None:
    """Refuse steps that the sampler's schedule does not have, and a guidance that is no number.

    Args:
        num_inference_steps: denoising steps.
        guidance_scale: scale of classifier-free guidance.
        scheduler: the sampler.

    Raises:
        InputError: naming the argument, what was expected and what was got.
    """
    most = most_steps(scheduler)
    if not 1 <= num_inference_steps <= most:
        raise InputError(
            f"Expected `num_inference_steps` in 1 … {most}, the steps of the model's schedule, got "
            f"{num_inference_steps}."
        )
    if not math.isfinite(guidance_scale):
        raise InputError(f"Expected a finite `guidance_scale`, got {guidance_scale}.")


def check_size(height: int, width: int, factor: int) -> None:
    """Refuse images of sides in pixels that a latent cell's, `factor`, does not divide.

    Raises:
        InputError: a side is no multiple of `factor`.
    """
    if height < factor or width < factor or height % factor or width % factor:
        raise InputError(
            f"Expected `height` and `width` divisible by {factor}, got {height} x {width}."
        )


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape.

    Raises:
        InputError: naming the tensor, its shape and the one expected.
    """
    if tuple(tensor.shape) != shape:
        raise InputError(f"Expected `{name}` of shape {shape}, got {tuple(tensor.shape)}.")


def check_cameras(K: Tensor | None, R: Tensor | None, views: int) -> None:
    """Refuse cameras K, R [V, 3, 3] that are incomplete or no cameras.

    Raises:
        InputError: one of the two alone, another shape, or no pinhole camera or rotation.
    """
    if K is None and R is None:
        return
    if K is None or R is None:
        raise InputError(f"Expected `K` and `R` together, got only `{'R' if K is None else 'K'}`.")
    check_shape("K", K, (views, 3, 3))
    check_shape("R", R, (views, 3, 3))
    check_intrinsics(K)
    _check_rotations("R", R[None])


def check_intrinsics(K: Tensor) -> None:
    """Refuse intrinsics [..., 3, 3] without positive focal lengths or with another last row."""
    if not is_pinhole(K).all():
        raise InputError(
            "Expected finite intrinsics `K` with positive focal lengths and last row (0, 0, 1), "
            f"got {K.reshape(-1, 3, 3)[0].tolist()} first."
        )


def check_poses(pose: Tensor) -> None:
    """Refuse poses [B, V, 4, 4] that are not finite or not rigid (singular, scaled, mirrored)."""
    if (view := _first_view(~pose.isfinite().all(-1).all(-1))) is not None:
        raise InputError(f"Expected finite `pose`s, got an infinite or NaN one in view {view}.")
    _check_rotations("pose", pose[..., :3, :3])
    if (view := _first_view(~is_rigid(pose))) is not None:
        raise InputError(
            "Expected camera-to-world `pose`s with last row (0, 0, 0, 1), got "
            f"{pose[0, view, 3].tolist()} in view {view}."
        )


def _check_rotations(name: str, R: Tensor) -> None:
    """Refuse matrices [B, V, 3, 3] that are no rotations."""
    error = rotation_error(R)
    wrong = ~(error <= RIGID_TOLERANCE)
    if (view := _first_view(wrong)) is not None:
        sample = int(wrong[:, view].int().argmax())
        raise InputError(
            f"Expected rotations in `{name}`, orthonormal and of determinant 1, got an error of "
            f"{error[sample, view].item():.3g} and determinant "
            f"{torch.linalg.det(R[sample, view].double()).item():.3g} in view {view}."
        )


def _first_view(wrong: Tensor) -> int | None:
    """Return the first of the views [B, V] that is wrong in any sample."""
    views = wrong.any(0).nonzero()
    return int(views[0]) if len(views) else None


def check_depth(depth: Tensor) -> None:
    """Refuse depth [B, V, H, W] in meters with impossible values, or a view without any."""
    pixels = depth.flatten(2)
    for wrong, found in (
        ((~pixels.isfinite()).any(-1), "infinite or NaN"),
        ((pixels < 0).any(-1), "negative"),
        ((pixels == 0).all(-1), "nothing but 0"),
    ):
        if (view := _first_view(wrong)) is not None:
            raise InputError(
                "Expected `depth` in meters, finite and positive where measured and 0 elsewhere, "
                f"got {found} in view {view}."
            )


def check_embeds(prompt_embeds: Tensor, batch: int) -> None:
    """Refuse a callback's embeddings of another number of samples than there are latents.

    Raises:
        InputError: naming both numbers.
    """
    if len(prompt_embeds) not in (batch, 2 * batch):
        raise InputError(
            f"Expected a callback's `prompt_embeds` of {batch} or {2 * batch} samples, got "
            f"{len(prompt_embeds)}: a callback such as SDCFGCutoffCallback, which keeps the last "
            "of them alone, fits one sample at a time."
        )


def check_finite(name: str, values: Tensor, dtype: torch.dtype) -> None:
    """Refuse what a network made of NaN or infinite numbers, which would become black images.

    Args:
        name: what it is, in the plural.
        values: the tensor.
        dtype: in which the network computes.

    Raises:
        InputError: naming the likely cause.
    """
    if values.isfinite().all():
        return
    cause = "the model's weights are damaged; convert or download the model again"
    if dtype == torch.float16:
        cause = f"float16 overflows; use bfloat16 or float32. If they do not help, {cause}"
    raise InputError(f"Expected finite {name}, got NaN or infinite ones: probably {cause}.")


def check_given_views(given_views: Sequence[int], views: int) -> None:
    """Refuse places of given views that are out of range, repeated, none or all of them.

    Raises:
        InputError: naming the wrong place.
    """
    for view in given_views:
        if not isinstance(view, int) or not 0 <= view < views:
            raise InputError(f"Expected `given_views` in 0 … {views - 1}, got {view}.")
    if len(set(given_views)) != len(given_views):
        raise InputError(f"Expected different `given_views`, got {list(given_views)}.")
    if not 0 < len(given_views) < views:
        raise InputError(
            f"Expected 1 … {views - 1} of {views} views in `given_views`, got {len(given_views)}."
        )


def check_given_images(images: Tensor, count: int, height: int, width: int) -> None:
    """Refuse given images [B, n, 3, H, W] of another number or size than the given views'.

    Raises:
        InputError: naming the number or size.
    """
    if images.shape[1] != count:
        raise InputError(
            f"Expected one `image` per view of `given_views` ({count}), got {images.shape[1]}."
        )
    if images.shape[-2:] != (height, width):
        raise InputError(
            f"Expected `image` of {height} x {width} pixels (height x width), got "
            f"{images.shape[-2]} x {images.shape[-1]}; crop and resize it to the views' field."
        )


def check_key_frames(key_frames: Sequence[int], views: int, num_views: int | None) -> None:
    """Refuse key frames that do not increase from the first view to the last one.

    Args:
        key_frames: indices of views.
        views: number of views of the sequence.
        num_views: most views to denoise together, if there is a bound.

    Raises:
        InputError: they do not increase, leave out an end, or `num_views` is too small.
    """
    found: Any = list(key_frames)
    if not found or min(found) < 0 or max(found) >= views:
        raise InputError(f"Expected `key_frames` in 0 … {views - 1}, got {found}.")
    if any(second <= first for first, second in pairwise(found)):
        raise InputError(f"Expected increasing `key_frames`, got {found}.")
    if found[0] != 0 or found[-1] != views - 1:
        raise InputError(
            f"Expected the first and the last view (0 and {views - 1}) among `key_frames`, since "
            f"only views between two key frames can be interpolated, got {found}."
        )
    smallest = 1 if len(found) == views else 3
    if num_views is not None and num_views < smallest:
        raise InputError(f"Expected `num_views` of {smallest} or more at once, got {num_views}.")
