"""Windows of a panorama: squares side by side that share no pixel, or one of them drawn at random.

SyncDiffusion (arXiv 2306.05178) evaluates panoramas by them. Of an equirectangular image they are
squares as high as the image, from the left; of views those that look at different parts of a
scene.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .derived import DerivedFolder, inherited, random_of
from .equirectangular import EquirectangularFolder
from .samples import PanoramaFolder, SampleFolder


def disjoint_views(yaw_deg: Sequence[float], fov_deg: float) -> list[int]:
    """Choose views that share no pixel: the first, and every later one that no chosen one overlaps.

    Args:
        yaw_deg: viewing directions.
        fov_deg: horizontal field of view.

    >>> disjoint_views([0, 45, 90, 135, 180, 225, 270, 315], 90)
    [0, 2, 4, 6]
    """
    chosen: list[int] = []
    for view, yaw in enumerate(yaw_deg):
        angles = (abs((yaw - yaw_deg[other] + 180) % 360 - 180) for other in chosen)
        if all(angle > fov_deg - 1e-6 for angle in angles):
            chosen.append(view)
    return chosen


@dataclass(frozen=True)
class ColumnWindows(DerivedFolder):
    """Squares of equirectangular images, as high as the image.

    Attributes:
        drawn: one square per panorama at a random column, instead of all side by side.
    """

    drawn: bool = False

    def columns(self, sample_id: str) -> list[int]:
        """Left column of each window; what is left over at the right belongs to none."""
        width, side = self.source.panorama_size
        if self.drawn:
            return [int(random_of(sample_id).integers(0, width - side))]
        return list(range(0, width - side + 1, side))

    def count(self, sample_id: str) -> int:
        """Windows of a sample."""
        return len(self.columns(sample_id))

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Read the windows of a sample, or some of them: uint8 RGB [V, H, H, 3]."""
        panorama, columns = self.source.panorama(sample_id), self.columns(sample_id)
        chosen = columns if which is None else [columns[window] for window in which]
        return np.stack([panorama[:, left : left + len(panorama)] for left in chosen])

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash the panorama of a sample with the column of each window (64 hex digits each)."""
        panorama = self.source.panorama_digest(sample_id)
        names = [f"{panorama} window {left}" for left in self.columns(sample_id)]
        return [hashlib.sha256(name.encode()).hexdigest() for name in names]

    def arrangement(self) -> dict[str, Any]:
        """Size of the panoramas, and which windows of them."""
        cut_from = list(self.source.panorama_size)
        return {"of": "windows", "drawn": self.drawn, "cut_from": cut_from}


@dataclass(frozen=True)
class ViewWindows(SampleFolder):
    """Views that share no pixel.

    Attributes:
        source: all views.
        drawn: one of them per sample, drawn at random among those that were not given.
    """

    source: PanoramaFolder
    drawn: bool = False

    def chosen(self, sample_id: str) -> list[int]:
        """Numbers of the views that are windows."""
        views = disjoint_views(self.source.yaw_deg, self.source.fov_deg)
        if not self.drawn:
            return views
        made = [view for view in views if view not in self.source.given_views]
        return [made[random_of(sample_id).integers(0, len(made))]]

    def count(self, sample_id: str) -> int:
        """Windows of a sample."""
        return len(self.chosen(sample_id))

    def evaluated_views(self, sample_id: str) -> list[int]:
        """All of them; a given view, too, belongs to the scene."""
        return list(range(self.count(sample_id)))

    def prompt_path(self, sample_id: str) -> Path:
        """Name the file of a sample's prompts."""
        return self.source.prompt_path(sample_id)

    def view_paths(self, sample_id: str) -> list[Path]:
        """List the files of the chosen views."""
        paths = self.source.view_paths(sample_id)
        return [paths[view] for view in self.chosen(sample_id)]

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Read the chosen views, or some of them: uint8 RGB [V, H, W, 3]."""
        chosen = self.chosen(sample_id)
        return self.source.views(
            sample_id, chosen if which is None else [chosen[window] for window in which]
        )

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash what each view is read from: as views of their own, so that features are shared."""
        digests = self.source.view_digests(sample_id)
        return [digests[view] for view in self.chosen(sample_id)]

    def prompts(self, sample_id: str) -> list[str]:
        """Prompts of the chosen views."""
        own = self.source.prompts(sample_id)
        return [own[view] for view in self.chosen(sample_id)]

    def arrangement(self) -> dict[str, Any]:
        """Cameras of all views, and which of them are windows."""
        return {**self.source.arrangement(), "of": "windows", "drawn": self.drawn}


def windows(folder: PanoramaFolder, drawn: bool) -> SampleFolder | None:
    """See panoramas as windows.

    Args:
        folder: equirectangular panoramas, or level views.
        drawn: one window per panorama, drawn at random, instead of all side by side.

    Returns:
        The windows as samples; None if one is to be drawn among none.
    """
    if isinstance(folder, EquirectangularFolder):
        side = folder.panorama_size[1]
        return ColumnWindows(**inherited(folder, side, side), drawn=drawn)
    made = set(disjoint_views(folder.yaw_deg, folder.fov_deg)) - set(folder.given_views)
    if drawn and not made:
        return None
    return ViewWindows(**inherited(folder, folder.height, folder.width), drawn=drawn)
