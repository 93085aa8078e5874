"""Baseline: overlapping windows of a level panorama, denoised together by their average.

MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113), which is not in the paper: nothing is
trained beside the single-view model. What it can do for perspective views stands in
`pipelines.joint`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.settings import InnerShare, settings
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch


@settings
class MultiDiffusionOptions:
    """How windows cover the strip.

    Attributes:
        stride: from a window's start to the next one's, as a share of its width, at least a latent
            cell: SyncDiffusion's 16 of 64 cells. MultiDiffusion's 8 of 64 costs twice as much.
    """

    stride: InnerShare = 1 / 4


METHOD = Method(
    "multidiffusion",
    "MultiDiffusion",
    (Task.PANORAMA,),
    place=110,
    color="#5b8c3a",
    options=MultiDiffusionOptions,
)


def panorama(batch: Batch) -> Tensor:
    """Generate a closed strip from the prompts of all views, and cut the views from it."""
    from mvdiffusion.pipelines.joint import generate_jointly

    return generate_jointly(
        batch.pipeline,
        batch.prompts,
        batch.noise,
        batch.dataset.fov_deg,
        batch.options.stride,
        **batch.sampling,
        generator=[*batch.generators] or None,
    )
