"""Folders of images that are derived from the panoramas of another folder when they are read."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.records import InputError

from .equirectangular import EquirectangularFolder
from .samples import SampleFolder

Direction = tuple[float, float]
"""Yaw to the right and pitch up, in degrees."""
Directions = Callable[[str], tuple[Direction, ...]]
"""Directions of the crops of a sample, by its id."""


@dataclass(frozen=True)
class DerivedFolder(SampleFolder):
    """Other images of the panoramas of a folder; all of them are evaluated.

    Attributes:
        source: the panoramas.
        directions: where the images of each sample look; None if each is a whole panorama.
    """

    source: EquirectangularFolder
    directions: Directions | None = None

    def evaluated_views(self, sample_id: str) -> list[int]:
        """All of them."""
        return list(range(self.count(sample_id)))

    def check_images(self, sample_id: str) -> None:
        """Check the header of a sample's panorama."""
        self.source.check_images(sample_id)

    def view_paths(self, sample_id: str) -> list[Path]:
        """Name the panorama of a sample."""
        return self.source.view_paths(sample_id)

    def prompt_path(self, sample_id: str) -> Path:
        """Name the file of a sample's prompts."""
        return self.source.prompt_path(sample_id)

    def has_prompts(self, sample_id: str) -> bool:
        """Whether a sample has prompts for these images: of the whole, or of equal directions."""
        if not self.source.has_prompts(sample_id):
            return False
        try:
            return self._prompts(sample_id) is not None
        except InputError:  # for whoever asks for the prompts themselves
            return True

    def prompts(self, sample_id: str) -> list[str]:
        """Prompts of a sample, one per image: that of the whole, or those of equal views."""
        found = self._prompts(sample_id)
        if found is None:
            raise InputError(
                f"{self.prompt_path(sample_id)}: found one prompt for each of the "
                f"{self.source.num_views} views; expected one line, the prompt of the whole "
                "panorama."
            )
        return found

    def _prompts(self, sample_id: str) -> list[str] | None:
        own = self.source.prompts(sample_id)
        level = tuple((yaw, 0.0) for yaw in self.source.yaw_deg)
        if self.directions and self.directions(sample_id) == level:
            return own
        return own[:1] * self.count(sample_id) if len(set(own)) == 1 else None


@dataclass(frozen=True)
class WholeFolder(DerivedFolder):
    """Panoramas as they are or without their poles, one image per sample.

    Attributes:
        without_poles: share of the rows that is left out above, and as much below.
    """

    without_poles: float = 0.0

    def count(self, sample_id: str) -> int:
        """One."""
        return 1

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Read the panorama of a sample: uint8 RGB [1, height, width, 3]."""
        rows = self.source.panorama(sample_id)
        out = (len(rows) - self.height) // 2
        panorama = rows[None, out : out + self.height]
        return panorama if which is None else panorama[list(which)]

    def arrangement(self) -> dict[str, Any]:
        """Size of the panoramas, and what is left out of them."""
        size = {"of": "panoramas", "panorama_size": list(self.source.panorama_size)}
        return size | ({"without_poles": self.without_poles} if self.without_poles else {})

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash the panorama of a sample (64 hex digits)."""
        digest = self.source.panorama_digest(sample_id)
        if not self.without_poles:
            return [digest]
        return [hashlib.sha256(f"{digest} middle {self.height}".encode()).hexdigest()]


def random_of(sample_id: str) -> np.random.Generator:
    """Random numbers of a sample, the same for every method, side and run."""
    seed = int.from_bytes(hashlib.sha256(sample_id.encode()).digest(), "big")
    return np.random.default_rng(seed)


def inherited(folder: SampleFolder, height: int, width: int) -> dict[str, Any]:
    """What a derived folder has in common with its source, for its constructor.

    Args:
        folder: the source.
        height, width: of the derived images in pixels.
    """
    values = {f.name: getattr(folder, f.name) for f in dataclasses.fields(SampleFolder)}
    return values | {"height": height, "width": width, "source": folder}
