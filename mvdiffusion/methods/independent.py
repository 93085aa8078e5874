"""Baseline: every view by itself, with the single-view model; the paper's "SD (Perspective)"."""

from __future__ import annotations

from torch import Tensor

from mvdiffusion.methods.base import Batch


def panorama(batch: Batch) -> Tensor:
    """Generate every view from its own prompt."""
    return batch.panorama(correspondence_attention=False)


def outpaint(batch: Batch) -> Tensor:
    """Generate every view from its own prompt; the given one is returned, but no view sees it."""
    return batch.outpaint(correspondence_attention=False)


def depth(batch: Batch) -> Tensor:
    """Generate every frame from its own prompt and depth."""
    return batch.depth(correspondence_attention=False)
