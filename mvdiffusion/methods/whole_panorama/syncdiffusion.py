"""Baseline: MultiDiffusion whose windows are drawn to one look by a perceptual distance.

SyncDiffusion (Lee et al. 2023, arXiv 2306.05178), which is not in the paper, with its weight of 20
and decay of 0.95 (`pipelines.synchronized`). The distance is LPIPS, and in the miniature that of
EfficientNet-Lite0's features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch

METHOD = Method("syncdiffusion", "SyncDiffusion", (Task.PANORAMA,), place=120, color="#2f6b5c")


def panorama(batch: Batch) -> Tensor:
    """Generate a strip as MultiDiffusion, its windows alike, and cut the views from it."""
    from mvdiffusion.models.perceptual import perceptual_distance
    from mvdiffusion.pipelines.joint import generate_jointly
    from mvdiffusion.pipelines.synchronized import Synchronization

    distance = perceptual_distance(batch.size["height"]).to(batch.noise.device)
    return generate_jointly(
        batch.pipeline,
        batch.prompts,
        batch.noise,
        batch.dataset.fov_deg,
        **batch.sampling,
        generator=[*batch.generators] or None,
        adjust=Synchronization(batch.pipeline, distance),
    )
