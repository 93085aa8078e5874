"""SyncDiffusion (Lee et al. 2023): joint denoising whose windows are drawn to one look.

Before each step, every window's latents go down the gradient of a perceptual distance between the
clean image that the model foresees of it and the one that it foresees of the anchor, the window in
the middle (algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.pipelines.multiview import MultiViewPipeline
from mvdiffusion.records import InputError

# Samplers that start a step from latents which they have kept: a change between steps is lost.
FORGETFUL = (
    "DPMSolverSinglestepScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "UniPCMultistepScheduler",
)
PAPER_CELLS = 64 * 64  # of a window, for which the paper's weight was chosen


@dataclass
class Synchronization:
    """What `joint.denoise_jointly` is to do with the windows before each step of one sampling.

    Attributes:
        pipeline: the model; its gradients go to latents, never to weights.
        distance: perceptual distance [N] of images [N, 3, H, W] in −1 … 1.
        weight: of the gradient in the first step, for windows of 64 × 64 latent cells. The
            distance is a mean over the image, so that the gradient at a cell is the smaller, the
            more cells there are; for other windows the weight is scaled by their number.
        decay: factor of the weight from step to step.

    Raises:
        InputError: the pipeline's sampler would lose the change.
    """

    pipeline: MultiViewPipeline
    distance: Callable[[Tensor, Tensor], Tensor]
    weight: float
    decay: float
    _step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Refuse samplers that would lose the change."""
        name = type(self.pipeline.scheduler).__name__
        if name in FORGETFUL:
            raise InputError(
                f"setting 'scheduler' is '{name}'; expected one that starts each step from the "
                "latents it is given, such as DDIMScheduler, for SyncDiffusion changes them"
            )

    def __call__(self, windows: Tensor, t: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Draw windows to the anchor.

        Args:
            windows: latents [B, n, C, h, w] before a step.
            t: the step's timestep.
            prompt_embeds: of the windows' prompts, [B or 2 B, n, L, D].

        Returns:
            The windows, the anchor as it was.
        """
        weight = self.weight * self.decay**self._step * windows[0, 0, 0].numel() / PAPER_CELLS
        self._step += 1
        if weight == 0:
            return windows
        # Where a sampler's latents are scaled, the step is that of the latents which the UNet sees.
        scale = self.pipeline.scheduler.scale_model_input(torch.ones((), device=t.device), t)
        middle = windows.shape[1] // 2
        drawn = []
        with torch.no_grad():
            anchor = self.foresee(windows[:, middle], t, prompt_embeds[:, middle])
        for index, (window, embeds) in enumerate(
            zip(windows.unbind(1), prompt_embeds.unbind(1), strict=True)
        ):
            if index != middle:  # one at a time, for memory
                gradient = self.gradient(window, t, embeds, anchor)
                window = window - weight * gradient / scale**2
            drawn.append(window)
        return torch.stack(drawn, 1)

    def gradient(self, window: Tensor, t: Tensor, embeds: Tensor, anchor: Tensor) -> Tensor:
        """Gradient [B, C, h, w] of each sample's distance by the latents of one window.

        Args:
            window: latents [B, C, h, w].
            t: timestep.
            embeds: of the window's prompts [B or 2 B, L, D].
            anchor: clean images [B, 3, H, W] in −1 … 1 that the anchor becomes.
        """
        with torch.enable_grad():
            latents = window.detach().requires_grad_()
            distance = self.distance(self.foresee(latents, t, embeds), anchor)
            (gradient,) = torch.autograd.grad(distance.sum(), latents)
        found: Tensor = gradient
        return found

    def foresee(self, window: Tensor, t: Tensor, embeds: Tensor) -> Tensor:
        """Clean images [B, 3, H, W] in −1 … 1 that a window is to become.

        Args:
            window: latents [B, C, h, w].
            t: timestep.
            embeds: of the window's prompts [B or 2 B, L, D].
        """
        vae, scheduler = self.pipeline.vae, self.pipeline.scheduler
        prediction = self.pipeline.predict(window[:, None], t, embeds[:, None])[:, 0]
        clean = clean_latents(scheduler, window, prediction, t)
        images: Tensor = vae.decode(clean.to(vae.dtype) / vae.config.scaling_factor).sample
        return images.float().clamp(-1, 1)


def clean_latents(scheduler: Any, latents: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
    """Clean latents that a UNet's prediction means, whatever the sampler.

    Args:
        scheduler: the sampler, whose steps are set.
        latents: noisy latents, as the sampler holds them.
        prediction: what the UNet said of them.
        t: timestep.
    """
    seen = scheduler.scale_model_input(latents, t)
    scale = scheduler.scale_model_input(torch.ones((), device=latents.device), t)
    # What the UNet sees is √ᾱ of the clean latents and √(1 − ᾱ) of noise. Samplers that hold
    # clean latents plus σ of noise divide by √(1 + σ²).
    signal = scale if scale < 1 else scheduler.alphas_cumprod[int(t)].to(latents).sqrt()
    noise = (1 - signal**2).clamp(min=0).sqrt()
    if scheduler.config.prediction_type == "v_prediction":
        return signal * seen - noise * prediction
    return (seen - noise * prediction) / signal
