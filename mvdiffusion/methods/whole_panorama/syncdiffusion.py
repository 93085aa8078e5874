"""Baseline: MultiDiffusion whose windows are drawn to one look by a perceptual distance.

SyncDiffusion (Lee et al. 2023, arXiv 2306.05178), which is not in the paper, as in
`pipelines.synchronized`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mvdiffusion.methods.declaration import Method
from mvdiffusion.methods.whole_panorama.multidiffusion import MultiDiffusionOptions
from mvdiffusion.settings import NonNegative, Share, settings
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch


@settings
class SyncDiffusionOptions(MultiDiffusionOptions):
    """How windows cover the strip, and how they are drawn to one look.

    Attributes:
        weight: of the distance's gradient in the first step, for windows of 64 x 64 latent cells
            (SyncDiffusion's 20); for others it is scaled by their number of cells.
        decay: factor of the weight from step to step (SyncDiffusion's 0.95).
        network: whose perceptual distance it is: "lpips" (SyncDiffusion's) or that of
            EfficientNet-Lite0's "features"; "auto" takes these for views below 256 pixels of
            height, in which the VGG of LPIPS has little to see.
    """

    weight: NonNegative = 20.0
    decay: Share = 0.95
    network: Literal["auto", "features", "lpips"] = "auto"


METHOD = Method(
    "syncdiffusion",
    "SyncDiffusion",
    (Task.PANORAMA,),
    place=120,
    color="#2f6b5c",
    options=SyncDiffusionOptions,
)


def panorama(batch: Batch) -> Tensor:
    """Generate a strip as MultiDiffusion, its windows alike, and cut the views from it."""
    from mvdiffusion.models.perceptual import perceptual_distance
    from mvdiffusion.pipelines.joint import generate_jointly
    from mvdiffusion.pipelines.synchronized import Synchronization

    options = batch.options
    distance = perceptual_distance(options.network, batch.size["height"]).to(batch.noise.device)
    return generate_jointly(
        batch.pipeline,
        batch.prompts,
        batch.noise,
        batch.dataset.fov_deg,
        options.stride,
        **batch.sampling,
        generator=[*batch.generators] or None,
        adjust=Synchronization(batch.pipeline, distance, options.weight, options.decay),
    )
