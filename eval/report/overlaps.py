"""What neighboring views share: laid on one another, their difference as a map, keypoint matches.

The pairs, the warp and the pixels compared are those of the consistency protocols, and the matches
are those of the protocol `correspondence`: the pictures show what the tables measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from markupsafe import Markup
from PIL import Image

from ..folders.images import jpeg_uri
from ..folders.methods import display_name, rank
from ..folders.samples import SampleFolder
from ..functional.keypoint_matches import find_keypoints, held_matches
from ..functional.psnr import psnr_db
from ..metrics import correspondence, overlap_similarity
from ..metrics.base import Inputs, Step
from ..metrics.controls import needs_neighbors
from ..protocols.plan import with_settings
from ..protocols.protocol import protocols
from ..settings import ScoreSettings
from .contact_sheets import shared_samples, spread

LARGEST_DIFFERENCE = 0.5
"""Difference, of values from 0 to 1, at which the map is brightest: one scale for all methods."""
DRAWN_SIDE = 256
"""Height in pixels of the pictures at most."""
DRAWN_MATCHES = 60
"""Most matches that are drawn, evenly picked of all: more would be one green patch."""
CORRECT, WRONG = (26, 152, 80), (215, 48, 39)
"""Colors of matches in their place and of all others."""
BACKGROUND = 128
NO_MATCHES = {"matches": "", "correct": 0, "all": 0}


def overlap_pictures(
    task: str,
    folders: Mapping[str, SampleFolder],
    settings: ScoreSettings,
    largest: int = DRAWN_SIDE,
) -> list[dict[str, Any]]:
    """Show the first and the last pair of neighboring views of one sample by every method.

    Of a ring, the last pair closes the loop. Nobody picks the sample: it is the first that the most
    methods have.

    Args:
        task: the task.
        folders: its methods.
        settings: with which they are scored.
        largest: height in pixels of the pictures at most.

    Returns:
        An entry per pair: `sample`, `views` (their numbers), `closing`, and `methods`, each with
        its `name`, the pictures `query`, `warped` and `difference`, `psnr`, and `matches`
        with the numbers of those `correct` and of `all`; it is empty if the views are too small.

    Raises:
        InputError: a picture cannot be read, or neighboring views do not overlap.
    """
    usable = {
        name: folders[name]
        for name in sorted(folders, key=rank)
        if not needs_neighbors(_inputs(folders[name], settings))
    }
    shared = shared_samples({name: folder.sample_ids for name, folder in usable.items()})
    if not shared:
        return []
    sample = shared[0]
    shown: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for name, folder in usable.items():
        if sample in folder.sample_ids:
            for views, entry in _pairs(folder, sample, settings, largest).items():
                shown.setdefault(views, []).append({"name": display_name(name), **entry})
    return [
        {"sample": sample, "views": views, "closing": views[0] > views[1], "methods": methods}
        for views, methods in shown.items()
    ]


def _inputs(folder: SampleFolder, settings: ScoreSettings) -> Inputs:
    return Inputs(folder, None, (), settings)


def _pairs(
    folder: SampleFolder, sample: str, settings: ScoreSettings, largest: int
) -> dict[tuple[int, int], dict[str, Any]]:
    """The first and the last compared pair of a sample, by the numbers of their views."""
    inputs = _inputs(folder, settings)
    numbers = _compared_views(folder, sample)
    laid = overlap_similarity.pairs_of(inputs, _step("cross_view_ssim", inputs))
    found = [pair for pair in zip(numbers, laid(sample), strict=True) if pair[1][2].any()]
    ends = dict([*found[:1], *found[-1:]])
    matches = _matches(folder, sample, list(ends), settings, largest)
    return {
        views: _laid(*pair, largest) | matches.get(views, NO_MATCHES)
        for views, pair in ends.items()
    }


def _compared_views(folder: SampleFolder, sample: str) -> list[tuple[int, int]]:
    """Numbers of the views of all compared pairs, in the order of the protocols."""
    if folder.task == "depth":
        return list(correspondence.as_sequences(folder).trajectories[sample].key_pairs)
    return folder.neighbors(sample)


def _step(metric: str, inputs: Inputs) -> Step:
    """The step of a protocol of the task that measures a metric, with its options as set."""
    of_task = (p for p in protocols().values() if inputs.generated.task in p.tasks)
    step = next(step for p in of_task for step in p.steps if step.metric == metric)
    return with_settings(step, inputs)


def _laid(query: np.ndarray, warped: np.ndarray, mask: np.ndarray, largest: int) -> dict[str, Any]:
    """Cut out what two views share, and map their difference.

    Args:
        query, warped: a view and its neighbor warped into it [H, W, 3] in [0, 1].
        mask: the pixels that both see [H, W].
        largest: height in pixels of the pictures at most.
    """
    difference = np.where(mask[..., None], np.abs(query - warped), 0)
    scaled = np.clip(difference.mean(-1) / LARGEST_DIFFERENCE, 0, 1)
    colors = matplotlib.colormaps["magma"](scaled)[..., :3]
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cut = {"query": query, "warped": warped, "difference": colors}
    pictures = {
        name: _uri(np.where(mask[..., None], 255 * pixels, BACKGROUND)[box], largest)
        for name, pixels in cut.items()
    }
    return {**pictures, "psnr": psnr_db(float(np.square(difference[mask]).mean()))}


def _matches(
    folder: SampleFolder,
    sample: str,
    wanted: Sequence[tuple[int, int]],
    settings: ScoreSettings,
    largest: int,
) -> dict[tuple[int, int], dict[str, Any]]:
    """Draw the keypoint matches of some pairs; of none if the views are too small for any."""
    if min(folder.height, folder.width) < correspondence.SMALLEST:
        return {}
    step = _step("keypoint_matches", _inputs(folder, settings))
    drawn = {}
    for pair in correspondence.pairs_of(folder, step)(sample):
        views = pair.query, pair.target
        if views not in wanted:
            continue
        pictures = folder.views(sample, views)
        query, target = (find_keypoints(picture) for picture in pictures)
        expected, seen = pair.seen_points(query.xy)
        rows, errors = held_matches(query, target, np.where(seen[:, None], expected, np.nan))
        correct = errors <= pair.tolerance
        some = spread(range(len(rows)), DRAWN_MATCHES)
        ends = query.xy[rows[some, 0]], target.xy[rows[some, 1]]
        picture = draw_matches(pictures, ends, correct[some], largest)
        counts = {"correct": int(correct.sum()), "all": len(correct)}
        drawn[views] = {"matches": Markup(jpeg_uri(Image.fromarray(picture))), **counts}
    return drawn


def draw_matches(
    views: np.ndarray, ends: tuple[np.ndarray, np.ndarray], correct: np.ndarray, largest: int
) -> np.ndarray:
    """Draw two views side by side, with a line for every match: green if correct, otherwise red.

    Args:
        views: uint8 RGB [2, H, W, 3].
        ends: where the matches lie in either view [M, 2], in pixels (x, y).
        correct: whether each is in its place [M].
        largest: height in pixels of the picture at most.

    Returns:
        The picture uint8 [h, w, 3].
    """
    height, width = views.shape[1:3]
    scale = min(1.0, largest / height)
    size = round(width * scale), round(height * scale)
    left, right = (cv2.resize(view, size, interpolation=cv2.INTER_AREA) for view in views)
    picture = np.concatenate([left, right], axis=1)
    starts, stops = (np.rint(scale * points).astype(int) for points in ends)
    for color, chosen in ((WRONG, ~correct), (CORRECT, correct)):  # what is right lies on top
        for start, stop in zip(starts[chosen], stops[chosen] + [size[0], 0], strict=True):
            cv2.line(picture, start.tolist(), stop.tolist(), color, 1, cv2.LINE_AA)
    return picture


def _uri(pixels: np.ndarray, largest: int) -> Markup:
    image = Image.fromarray(pixels.round().astype(np.uint8))
    image.thumbnail((4 * largest, largest))
    return Markup(jpeg_uri(image, quality=85))
