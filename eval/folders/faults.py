"""Degenerate images: constant, nearly constant and repeated ones, which win without being right.

NaN weights and overflowing float16 decode to black images, and black views agree perfectly. A view
is constant if no color channel varies. Two neighboring views that are both constant have nothing
to compare: their sample has no consistency. Next to a view with content, a constant one costs
consistency as it should, so that sample keeps its number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mvdiffusion.records import settings_sha256

from .samples import SampleFolder

FLAT = 1.0
"""Standard deviation in gray levels, of the channel that varies most, below which a view counts as
constant: less than rounding to bytes can hide."""

THREADS = 8


@dataclass(frozen=True)
class Faults:
    """Degenerate images of a folder.

    Attributes:
        num_images: images looked at.
        constant: images of exactly one color.
        near_constant: other images that vary by less than `FLAT`.
        repeated: images with content that are pixel for pixel those of another sample or view.
        repeated_samples: samples all of whose images are those of an earlier sample.
        undefined: samples in which neighboring views are constant.
        first_flat: sample and view of the first constant or nearly constant image.
        first_repeated: sample and view of the first repeated image.
        pixels_sha256: hash of the pixels of all images, however their files hold them.
    """

    num_images: int = 0
    constant: int = 0
    near_constant: int = 0
    repeated: int = 0
    repeated_samples: int = 0
    undefined: tuple[str, ...] = ()
    first_flat: str = ""
    first_repeated: str = ""
    pixels_sha256: str = ""

    @property
    def flat(self) -> int:
        """Constant and nearly constant images."""
        return self.constant + self.near_constant


def variation(views: np.ndarray) -> np.ndarray:
    """Standard deviation [V] of the channel that varies most of views, uint8 [V, H, W, C].

    Exact, and without a copy in floats: of how often each level occurs.

    >>> red = np.zeros((1, 4, 4, 3), np.uint8)
    >>> red[..., 0] = 255
    >>> variation(red).tolist()
    [0.0]
    """
    return np.array([max(map(_deviation, np.moveaxis(view, -1, 0))) for view in views])


def _deviation(channel: np.ndarray) -> float:
    counts, levels = np.bincount(channel.ravel(), minlength=256), np.arange(256)
    mean = counts @ levels / channel.size
    return float(np.sqrt(counts @ np.square(levels - mean) / channel.size))


def pixel_digests(views: np.ndarray) -> list[str]:
    """Hash the pixels of each of some views [V, H, W, C] (64 hex digits each)."""
    size = f"{views.shape[1:]}".encode()
    return [hashlib.sha256(size + view.tobytes()).hexdigest() for view in views]


def find_faults(folder: SampleFolder, samples: Sequence[str] | None = None) -> Faults:
    """Look for degenerate images.

    Args:
        folder: generated or real images.
        samples: the samples to look at; by default all.

    Raises:
        InputError: an image cannot be read.
    """
    ids = folder.sample_ids if samples is None else samples
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda sample_id: _looked_at(folder.views(sample_id)), ids))
    spreads, digests = [s for s, _ in found], [d for _, d in found]
    names = [f"{i}/{view}" for i, own in zip(ids, digests, strict=True) for view in range(len(own))]
    flat = np.concatenate(spreads) < FLAT
    constant = np.concatenate(spreads) == 0
    repeated = ~flat
    repeated[np.unique(np.concatenate(digests), return_index=True)[1]] = False  # the first of each
    whole = [tuple(d) for d, s in zip(digests, spreads, strict=True) if (s >= FLAT).any()]
    undefined = (i for i, s in zip(ids, spreads, strict=True) if _agree_trivially(folder, i, s))
    firsts = [
        next((n for n, b in zip(names, bad, strict=True) if b), "") for bad in (flat, repeated)
    ]
    return Faults(
        num_images=len(names),
        constant=int(constant.sum()),
        near_constant=int((flat & ~constant).sum()),
        repeated=int(repeated.sum()),
        repeated_samples=len(whole) - len(set(whole)),
        undefined=tuple(undefined),
        first_flat=firsts[0],
        first_repeated=firsts[1],
        pixels_sha256=settings_sha256(dict(zip(ids, digests, strict=True))),
    )


def _looked_at(views: np.ndarray) -> tuple[np.ndarray, list[str]]:
    return variation(views), pixel_digests(views)


def _agree_trivially(folder: SampleFolder, sample_id: str, spreads: np.ndarray) -> bool:
    """Whether neighboring views of a sample are constant, both."""
    return any(max(spreads[i], spreads[j]) < FLAT for i, j in folder.neighbors(sample_id))
