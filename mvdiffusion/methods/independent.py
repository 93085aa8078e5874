"""Baseline: every view by itself, with the single-view model of stage 1.

It is "SD (Perspective)" as the paper's appendix B.2 describes it; see also `independent_base`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch

METHOD = Method(
    "independent",
    "Independent views",
    tuple(Task),
    place=60,
    published="SD (Perspective)",
    color="#8a5fb0",
)


def panorama(batch: Batch) -> Tensor:
    """Generate every view from its own prompt."""
    return batch.panorama(correspondence_attention=False)


def outpaint(batch: Batch) -> Tensor:
    """Generate every view from its own prompt; the given one is returned, but no view sees it."""
    return batch.outpaint(correspondence_attention=False)


def depth(batch: Batch) -> Tensor:
    """Generate every frame from its own prompt and depth."""
    return batch.depth(correspondence_attention=False)
