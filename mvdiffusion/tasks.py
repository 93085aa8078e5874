"""The paper's tasks: what they are called, and what their samples consist of."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


class Task(StrEnum):
    """A task, which is also the text of its name."""

    PANORAMA = "panorama"
    OUTPAINT = "outpaint"
    DEPTH = "depth"

    @property
    def label(self) -> str:
        """Name in tables and reports."""
        return _LABELS[self]

    @property
    def layout(self) -> Literal["views", "frames"]:
        """What a sample consists of, which is also a section of `data` in configurations.

        "views" turn about one point (data in Matterport3D's layout); "frames" form a sequence with
        depth and poses (data in ScanNet's layout).
        """
        return "frames" if self is Task.DEPTH else "views"


_LABELS = {
    Task.PANORAMA: "Panorama from text",
    Task.OUTPAINT: "Panorama from text and one image",
    Task.DEPTH: "Images from depth",
}

GIVEN_VIEWS = (0,)
"""Views that outpainting starts from, as in the paper."""

CHECKPOINT_TASKS = (*Task, "single_view_depth")
"""What the authors' released checkpoints were trained for."""
