"""Joint denoising of a level panorama by overlapping windows: MultiDiffusion (Bar-Tal et al. 2023).

Its windows are crops of one flat picture, and the overlap of two perspective views is none: it is
a homography. What is flat and close to both is a level strip, a cylinder cut open
(`geometry.cylinder`): one row of latent cells for each of a view's, and once around as many columns
as the scale in the middle of a view asks for. A window has the size of a view, which the model
knows, and shows its own part of the circle as if it were a perspective image. Of 90° views that is
an arc of 2 radians, 115°. So straight lines beside the horizon come out bent in the views that are
cut from the strip, and at its sides a view is no sharper than the strip, which has half as many
pixels there. In height nothing is lost: the strip covers the views' whole field.

A window has the prompt of the view whose direction is nearest to its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.cylinder import strip_columns, strip_to_views
from mvdiffusion.models.closing import closed_convolutions
from mvdiffusion.pipelines.checks import Generators
from mvdiffusion.pipelines.multiview import MultiViewPipeline
from mvdiffusion.records import InputError

Adjust = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Changes windows [B, n, C, h, w] before a step, given its timestep and the prompts' embeddings."""


@dataclass(frozen=True)
class Windows:
    """Windows of a strip of latents.

    Attributes:
        columns: columns of the strip that each of n windows shows, [n, w].
        width: columns of the strip.
    """

    columns: Tensor
    width: int

    @classmethod
    def level(cls, window: int, width: int, stride: int, closed: bool = True) -> Windows:
        """Place windows of `window` columns evenly along a strip of `width` columns.

        Args:
            window: columns of a window.
            width: columns of the strip.
            stride: columns from a window's start to the next one's.
            closed: let windows cross the strip's ends, which closes the circle.

        Raises:
            InputError: a window is wider than the strip.
        """
        if window > width:
            raise InputError(
                f"Expected windows no wider than the panorama's {width} columns of latents, got "
                f"{window}: the views' field of view is too wide."
            )
        last = width - window
        starts = range(0, width, stride) if closed else sorted({*range(0, last, stride), last})
        return cls((torch.tensor([*starts])[:, None] + torch.arange(window)) % width, width)

    @property
    def yaw_deg(self) -> list[float]:
        """Directions of the windows' middles in degrees; the strip's middle is 0."""
        middles = self.columns[:, 0] + self.columns.shape[1] / 2
        return [360 * column / self.width - 180 for column in middles.tolist()]

    def cut(self, strip: Tensor) -> Tensor:
        """Cut windows [B, n, C, h, w] out of a strip [B, 1, C, h, W]."""
        return strip[:, 0][..., self.columns.to(strip.device)].movedim(-2, 1)

    def average(self, windows: Tensor) -> Tensor:
        """Average windows [B, n, C, h, w] where they overlap, to a strip [B, 1, C, h, W]."""
        total = windows.new_zeros(*windows[:, 0].shape[:-1], self.width)
        for window, columns in zip(windows.unbind(1), self.columns.to(windows.device), strict=True):
            total[..., columns] += window  # in order, as sums on a GPU depend on it
        count = torch.bincount(self.columns.flatten(), minlength=self.width).to(total)
        return (total / count)[:, None]


def nearest_prompts(prompts: Sequence[str], yaw_deg: Sequence[float]) -> list[str]:
    """Choose for each direction the prompt of the view that looks there, or almost.

    Args:
        prompts: of views that are evenly spaced about the vertical.
        yaw_deg: directions in degrees.
    """
    step = 360 / len(prompts)
    return [prompts[math.floor(yaw / step + 0.5) % len(prompts)] for yaw in yaw_deg]


def denoise_jointly(
    pipeline: MultiViewPipeline,
    noise: Tensor,
    prompts: Sequence[Sequence[str]],
    windows: Windows,
    num_inference_steps: int,
    guidance_scale: float,
    negative_prompt: str = "",
    generator: Generators = None,
    adjust: Adjust | None = None,
) -> Tensor:
    """Denoise a strip of latents: each step follows the average of the windows' predictions.

    MultiDiffusion averages the windows after their steps (equation 5). As a step of every sampler
    here is affine in latents and predictions, a step by averages is the same, needs one state of a
    multistep sampler, and keeps the variance of noise that a sampler adds.

    Args:
        pipeline: a model, whose attention between views is left out.
        noise: of unit variance [B, C, h, W].
        prompts: by sample and window [B][n].
        windows: where they stand.
        num_inference_steps: denoising steps.
        guidance_scale: classifier-free guidance; 1 or less switches it off.
        negative_prompt: text of the unconditional branch.
        generator: one per sample, for samplers that add noise.
        adjust: changes the windows before each step.

    Returns:
        Latents [B, C, h, W].
    """
    embeds = pipeline.encode_prompt(prompts, negative_prompt if guidance_scale > 1 else None)

    def predict(strip: Tensor, t: Tensor, embeds: Tensor) -> tuple[Tensor, Tensor]:
        views = windows.cut(strip)
        if adjust is not None:
            views = adjust(views, t, embeds)
            strip = windows.average(views)
        return strip, windows.average(pipeline.predict(views, t, embeds))

    start = noise[:, None].to(torch.float32)
    return pipeline.run_sampler(
        predict, start, embeds, num_inference_steps, guidance_scale, generator
    )[:, 0]


def decode_strip(pipeline: MultiViewPipeline, latents: Tensor, closed: bool = True) -> Tensor:
    """Decode a strip of latents [B, C, h, W] to pixels [B, 3, H, W'] in 0 … 1.

    Args:
        pipeline: the model with the VAE.
        latents: of the strip.
        closed: let the VAE look across the strip's ends.
    """
    with closed_convolutions(pipeline.vae, closed):
        images: Tensor = pipeline.decode_latents(latents[:, None])[:, 0]
    return images


@torch.no_grad()
def generate_jointly(
    pipeline: MultiViewPipeline,
    prompts: Sequence[Sequence[str]],
    noise: Tensor,
    fov_deg: float,
    stride: float,
    num_inference_steps: int,
    guidance_scale: float,
    negative_prompt: str = "",
    closed: bool = True,
    generator: Generators = None,
    adjust: Adjust | None = None,
) -> Tensor:
    """Generate level panoramas as strips, and cut them into views.

    Args:
        pipeline: a model, whose attention between views is left out.
        prompts: by sample and view [B][V].
        noise: of the views [B, V, C, h, w]; its first columns become the strip's.
        fov_deg: horizontal field of view of the views in degrees.
        stride: from a window's start to the next one's, as a share of its width.
        closed: close the circle (loop closure).
        num_inference_steps, guidance_scale, negative_prompt: see `denoise_jointly`.
        generator, adjust: see `denoise_jointly`.

    Returns:
        Views [B, V, 3, H, W] in 0 … 1.

    Raises:
        InputError: the views do not cover the circle, or see too much of it.
    """
    views, height, width = noise.shape[1], *noise.shape[-2:]
    step = max(1, int(stride * width))
    columns = strip_columns(width, fov_deg, step)
    row = noise.movedim(1, -2).flatten(-2)
    if columns > row.shape[-1]:
        raise InputError(
            f"Expected views that cover the circle, got {views} of {fov_deg:g}°: a panorama that "
            "is denoised jointly closes; ask for more views."
        )
    windows = Windows.level(width, columns, step, closed)
    chosen = [nearest_prompts(texts, windows.yaw_deg) for texts in prompts]
    latents = denoise_jointly(
        pipeline,
        row[..., :columns],
        chosen,
        windows,
        num_inference_steps,
        guidance_scale,
        negative_prompt,
        generator,
        adjust,
    )
    size = height * pipeline.vae_scale_factor, width * pipeline.vae_scale_factor
    K, R = panorama_cameras(*size, views, fov_deg)
    top = math.tan(math.radians(fov_deg) / 2) * height / width
    strips = decode_strip(pipeline, latents, closed)
    return torch.stack([strip_to_views(strip, top, K, R, *size) for strip in strips]).clamp(0, 1)
