"""Views damaged on purpose: what a metric of consistency must tell apart from the original ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Views = np.ndarray
"""uint8 RGB [V, H, W, 3] of one sample, in order."""


@dataclass(frozen=True)
class Scene:
    """What damages are made from.

    Attributes:
        views: of a sample.
        others: of another sample, as many.
        focal: focal length in pixels.
        moved: pixels by which views are moved: the tolerance of `correspondence` twice.
        rng: random numbers of the sample.
    """

    views: Views
    others: Views
    focal: float
    moved: int
    rng: np.random.Generator


def every_second(scene: Scene, change: Callable[[Views], Views]) -> Views:
    """Change views 1, 3, 5, … so that no pair of neighbors is left as it was."""
    changed = scene.views.copy()
    changed[1::2] = change(scene.views[1::2])
    return changed


def blurred(scene: Scene) -> Views:
    """Gaussian blur of all views; its standard deviation is 3 px of 512, and as much of others."""
    sigma = 3 * scene.views.shape[1] / 512
    return np.stack([cv2.GaussianBlur(view, (0, 0), sigma) for view in scene.views])


def darker(scene: Scene) -> Views:
    """Another exposure: every second view 15 % darker."""
    return every_second(scene, lambda views: (views * 0.85).round().astype(np.uint8))


def shifted(scene: Scene) -> Views:
    """Every second view moved to the right."""
    return every_second(scene, lambda views: np.roll(views, scene.moved, axis=2))


def turned(scene: Scene, degrees: float = 1.5) -> Views:
    """Every second view taken 1.5 degrees beside where it is said to be."""
    height, width = scene.views.shape[1:3]
    K = np.array([[scene.focal, 0, (width - 1) / 2], [0, scene.focal, (height - 1) / 2], [0, 0, 1]])
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    H = K @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.linalg.inv(K)
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP

    def turn(views: Views) -> Views:
        border = cv2.BORDER_REFLECT  # a strip of 1.5 degrees, which one side does not know
        return np.stack(
            [
                cv2.warpPerspective(view, H, (width, height), flags=flags, borderMode=border)
                for view in views
            ]
        )

    return every_second(scene, turn)


def mirrored(scene: Scene) -> Views:
    """Every second view mirrored."""
    return every_second(scene, lambda views: views[:, :, ::-1])


def of_another_scene(scene: Scene) -> Views:
    """Every second view that of another sample."""
    changed = scene.views.copy()
    changed[1::2] = scene.others[1::2]
    return changed


def repeated(scene: Scene) -> Views:
    """The first view everywhere."""
    return np.repeat(scene.views[:1], len(scene.views), axis=0)


def shuffled(scene: Scene) -> Views:
    """All views in another order, in which no neighbors of eight were neighbors before."""
    count = len(scene.views)
    step = 3 if count % 3 else 2
    return scene.views[(step * np.arange(count) + count // 2) % count]


def noise(scene: Scene) -> Views:
    """Noise that is new in every pixel of every view."""
    return scene.rng.integers(0, 256, scene.views.shape, np.uint8)


def faded(scene: Scene) -> Views:
    """A twentieth of the contrast around middle gray: nearly one color, and not quite."""
    return (128 + (scene.views.astype(np.float32) - 128) / 20).round().astype(np.uint8)


def gray(scene: Scene) -> Views:
    """One color."""
    return np.full_like(scene.views, 128)


REAL = "real"
CONTROLS: dict[str, Callable[[Scene], Views]] = {
    REAL: lambda scene: scene.views,
    "blurred": blurred,
    "every second darker": darker,
    "every second moved": shifted,
    "every second turned": turned,
    "every second mirrored": mirrored,
    "every second of another scene": of_another_scene,
    "first view repeated": repeated,
    "order shuffled": shuffled,
    "noise": noise,
    "faded": faded,
    "gray": gray,
}
"""Damages by name, the views as they are first."""
