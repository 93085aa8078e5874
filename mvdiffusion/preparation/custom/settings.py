"""Settings of the check of a user's folder, and the kinds of folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mvdiffusion.settings import InnerShare, settings

Kind = Literal[
    "panoramas",
    "faces",
    "rgbd",
    "frames",
    "poses",
    "replica",
    "tum",
    "mvsnet",
    "transforms",
    "colmap",
    "matterport3d",
]


@settings
class CheckSettings:
    """Settings of a check.

    Attributes:
        kind: of the folder; None to recognize it.
        caption: for all images.
        captions: file or folder of captions.
        overlap: share of pixels that consecutive key frames are to share, 0 … 1.
        scale: meters per unit of a recording's poses.
        depth_unit: meters per count of a recording's depth images; None means what its files say,
            or what its layout says.
        accept_poses: take a recording whose depth and poses contradict each other.
    """

    kind: Kind | None = None
    caption: str | None = None
    captions: Path | None = None
    overlap: InnerShare = 0.65
    scale: Annotated[float, Field(gt=0, lt=1e6)] = 1.0
    depth_unit: Annotated[float, Field(gt=0, lt=1e3)] | None = None
    accept_poses: bool = False
