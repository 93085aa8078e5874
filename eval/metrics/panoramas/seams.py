"""Seams of whole panoramas: equirectangular images, or views stitched to one; and of cube faces.

Of views, only the rows that cover the full circle are used; the protocol's name then has a mark.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from mvdiffusion.geometry import panoramas as geometry
from mvdiffusion.geometry.cameras import intrinsics, level_rotations, rotation
from mvdiffusion.images import read_rgb
from mvdiffusion.records import InputError

from ...folders.crops import cube_6
from ...folders.equirectangular import EquirectangularFolder
from ...folders.samples import PanoramaFolder, SampleFolder
from ...functional.seam import (
    cube_edges,
    discontinuity_score,
    edge_step,
    edge_steps,
    strip_sobel,
    strip_ssim,
    worst_step,
)
from ..base import Inputs, Metric, Outcome, Step, beside_real, per_sample, register
from ..measurement import Measurement
from ..panorama_consistency import as_panoramas

METRICS: dict[str, tuple[Callable[[np.ndarray], float], bool | None]] = {
    "discontinuity_score": (discontinuity_score, False),
    "edge_step": (edge_step, False),
    "worst_step": (worst_step, None),
}
"""Metrics, and whether more is better: edges of the scene raise the worst step, noise lowers it."""
STITCHED = "panorama.png"
"""Written beside the views by our generators, or by methods that stitch differently."""


def _run(inputs: Inputs, step: Step) -> Outcome:
    folder = as_panoramas(inputs.generated)
    at = "" if isinstance(folder, EquirectangularFolder) else "@band"
    read, rows = panorama_reader(folder), []
    for sample_id in inputs.samples("seams of panoramas"):
        panorama = read(sample_id)
        rows.append([metric(panorama) for metric, _ in METRICS.values()])
    scores = np.array(rows).T  # [metrics, S]
    measurements = {
        name: per_sample(of_samples, "", better, step, at)
        for (name, (_, better)), of_samples in zip(METRICS.items(), scores, strict=True)
    }
    return Outcome(measurements)


def panorama_reader(folder: PanoramaFolder) -> Callable[[str], np.ndarray]:
    """A function that returns the panorama [H, W, 3] in [0, 1] of a sample, RGB.

    Equirectangular images are taken as they are. For views it is `panorama.png`, if every sample
    has one, else the views are blended as the generators do; rows not seen all round are cut off.
    """
    if isinstance(folder, EquirectangularFolder):
        return lambda sample_id: folder.panorama(sample_id) / 255
    if all((folder.root / i / STITCHED).exists() for i in folder.sample_ids):
        return lambda sample_id: _read_stitched(folder, sample_id)
    return lambda sample_id: _band(folder, _stitched(folder, sample_id))


def _read_stitched(folder: PanoramaFolder, sample_id: str) -> np.ndarray:
    path = folder.root / sample_id / STITCHED
    panorama = read_rgb(path)
    height, width = panorama.shape[:2]
    if width != 2 * height:
        raise InputError(
            f"{path}: is {width}×{height} pixels; expected the whole sphere, twice as wide as "
            "high; write the panorama in this format, or delete the file so that the views are "
            "stitched."
        )
    return _band(folder, panorama / 255)


def _stitched(folder: PanoramaFolder, sample_id: str) -> np.ndarray:
    """Blend the views of a sample to a panorama [H, 2 H, 3] in [0, 1] of their resolution."""
    views = torch.from_numpy(folder.views(sample_id)).permute(0, 3, 1, 2) / 255
    panorama, _ = geometry.stitch(views, folder.fov_deg, R=level_rotations(folder.yaw_deg))
    rounded = (255 * panorama.clamp(0, 1)).round().permute(1, 2, 0)  # as in a file of its own
    return rounded.double().numpy() / 255


def _band(folder: PanoramaFolder, panorama: np.ndarray) -> np.ndarray:
    """Rows of a panorama that the views see all round."""
    height = len(panorama)
    latitude = np.abs(0.5 - (np.arange(height) + 0.5) / height) * 180
    return panorama[latitude < seen_latitude(folder) - 180 / height]  # a pixel less: interpolated


def seen_latitude(folder: PanoramaFolder) -> float:
    """Degrees above and below the horizon up to which level views see all round; 0 if they do not.

    >>> from pathlib import Path
    >>> yaws = tuple(45.0 * view for view in range(8))
    >>> eight = PanoramaFolder(Path(), "panorama", "", (), 512, 512, None, 90.0, yaws)
    >>> round(seen_latitude(eight), 1)
    42.7
    """
    yaw = np.sort(np.mod(folder.yaw_deg, 360))
    between = np.radians(np.diff(yaw, append=yaw[0] + 360).max() / 2)
    if between >= math.radians(folder.fov_deg / 2):
        return 0.0
    focal = float(intrinsics(folder.fov_deg, folder.height, folder.width)[0, 0])
    return math.degrees(math.atan(folder.height / 2 / focal * math.cos(between)))


def _missing(inputs: Inputs) -> str:
    folder = as_panoramas(inputs.generated)
    whole = isinstance(folder, EquirectangularFolder) or seen_latitude(folder) > 0
    return "" if whole else "views that cover the full circle, or equirectangular panoramas"


def _run_cube(inputs: Inputs, step: Step) -> Outcome:
    def rows(folder: SampleFolder) -> dict[str, np.ndarray]:
        ids = inputs.samples(f"seams between cube faces of {folder.method}")
        found = [cube_seams(folder.views(i), step.options["strip"]) for i in ids]
        return {name: np.array([row[name] for row in found]) for name in found[0]}

    real = rows(inputs.real) if inputs.has_other_reference else {}
    measurements: dict[str, Measurement] = {}
    for name, values in rows(inputs.generated).items():
        measurements |= beside_real(name, values, real.get(name), inputs, step)
    return Outcome(measurements)


def cube_seams(faces: np.ndarray, width: int) -> dict[str, float]:
    """Seam-SSIM and Seam-Sobel of a cube (JoPano, arXiv 2512.06885), and the step across its edges.

    Means over the twelve edges; see `functional.seam`.

    Args:
        faces: uint8 [6, S, S, 3] in the order of the directions `cube_6`.
        width: of the strips on either side of an edge, in pixels.
    """
    R = torch.stack([rotation(*look) for look in cube_6("")]).numpy()
    pairs = (edge.strips(faces, width) for edge in cube_edges(R))
    strips = [(first / 255, second / 255) for first, second in pairs]
    return {
        "seam_ssim": float(np.mean([strip_ssim(*pair) for pair in strips])),
        "seam_sobel": float(np.mean([strip_sobel(*pair) for pair in strips])),
        "seam_step": edge_steps(strips),
    }


register(Metric("cube_seams", _run_cube, options=("strip",), agreement=True))
register(Metric("seams", _run, missing=_missing, agreement=True))
