"""The paper's method: all views at once, with correspondence-aware attention between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch

METHOD = Method(
    "mvdiffusion",
    "MVDiffusion",
    tuple(Task),
    model="multi-view",
    place=200,
    published="MVDiffusion",
    color="#0b6e99",
)


def panorama(batch: Batch) -> Tensor:
    """Generate all views together (paper, section 4.1)."""
    return batch.panorama()


def outpaint(batch: Batch) -> Tensor:
    """Generate the views beside the given one together (paper, section 4.1 and figure 5)."""
    return batch.outpaint()


def depth(batch: Batch) -> Tensor:
    """Generate the key frames together, then the frames between them (paper, section 4.2)."""
    return batch.depth(key_frames=batch.key_frames)
