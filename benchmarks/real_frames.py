"""Real RGB-D frames under the paper's protocol, and what keeps them from agreeing."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import mvdiffusion_eval
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.generation.export import export_split
from mvdiffusion.preparation.custom.check import CheckSettings, survey
from mvdiffusion.preparation.custom.importing import import_folder
from mvdiffusion.records import read_json
from mvdiffusion.tasks import Task
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import SequenceFolder
from mvdiffusion_eval.functional.depth_psnr import (
    Camera,
    SharedPixels,
    sample_shared,
    shared_pixels,
)
from mvdiffusion_eval.functional.psnr import psnr_db
from mvdiffusion_eval.settings import ScoreSettings

HEIGHT, WIDTH, OVERLAP = 192, 256, 0.65  # as the paper has them
OVERLAPS = (0.8, 0.9)
THRESHOLDS = (0.5, 0.1, 0.05, 0.02)  # meters; the paper's first
SHIFTS = np.arange(-6, 6.5)  # pixels by which a frame is moved over the other
FOCAL_RATIOS = (1.0, 0.95, 0.9, 0.85)  # focal length of the color camera over the depth camera's
BLUR = 2.0  # pixels, standard deviation


def measure_frames(source: Path, scratch: Path, split: str) -> dict[str, Any]:
    """PSNR of consecutive frames of a folder's recordings, in dB.

    Args:
        source: RGB-D recordings; only read.
        scratch: a folder for what is made.
        split: name of the split that is made.
    """
    frames, counts = key_frames(source, scratch / "frames", split, OVERLAP)
    rows: dict[str, Any] = {
        "key_frames": _protocol(frames, "cross_view_psnr"),
        "consecutive_frames": _protocol(frames, "consecutive_psnr"),
        "key_frames_of_overlap": {
            str(overlap): _protocol(
                key_frames(source, scratch / f"overlap-{overlap}", split, overlap)[0],
                "cross_view_psnr",
            )
            for overlap in OVERLAPS
        },
        "depths_apart_at_most": {
            f"{meters} m": _protocol(frames, "cross_view_psnr", meters) for meters in THRESHOLDS
        },
    }
    by_focal = {
        ratio: registered(frames, scratch / f"focal-{ratio}", ratio) for ratio in FOCAL_RATIOS
    }
    found = {ratio: _protocol(by_focal[ratio], "cross_view_psnr") for ratio in by_focal}
    best = max(found, key=lambda ratio: found[ratio])
    rows["key_frames_by_color_focal"] = {str(ratio): found[ratio] for ratio in found}
    rows["key_frames_treated"], moved = explain(frames)
    rows[f"key_frames_treated_at_focal_{best}"], moved_then = explain(by_focal[best])
    record = read_json(scratch / "frames" / "data" / f"import_{split}.json")
    return {
        "key_frames": counts,
        "source_sha256": record["source_sha256"],
        "moved_by_pixels": {"as_they_are": moved, f"at_focal_{best}": moved_then},
        "compared_share": _protocol(frames, "compared_share"),
        "psnr_db": rows,
    }


def registered(folder: Path, target: Path, ratio: float) -> Path:
    """Write the same frames with colors moved to where the depth camera sees them.

    Both cameras are taken to look the same way from the same place, the color camera with a focal
    length of `ratio`, at most 1, times the depth camera's, so that it sees all the other does.
    """
    shutil.copytree(folder, target)
    for sample in target.glob("*/"):
        K = np.asarray(read_json(sample / "cameras.json")["K"])[0]
        center = K[:2, 2:]
        matrix = np.hstack([ratio * np.eye(2), (1 - ratio) * center])
        for path in sample.glob("*.png"):
            image = np.asarray(cv2.imread(str(path)))
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            cv2.imwrite(str(path), cv2.warpAffine(image, matrix, image.shape[1::-1], flags=flags))
    return target


def explain(folder: Path) -> tuple[dict[str, float], float]:
    """Mean PSNR of consecutive key frames after one of their differences was taken away.

    Also the mean of how far, in pixels, frames were moved to fit best.

    All numbers are of the same pixels: those that stay inside both frames however they are moved.
    """
    found: dict[str, list[float]] = {}
    lengths = []
    for images, cameras in _pairs(folder):
        shared = _inner(shared_pixels(*cameras, THRESHOLDS[0]))
        if not len(shared.xy):
            continue
        values, shift = _treatments(images, shared)
        lengths.append(float(np.hypot(*shift)))
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return means, float(np.mean(lengths))


def _treatments(
    images: tuple[NDArray, NDArray], shared: SharedPixels
) -> tuple[dict[str, float], tuple[float, float]]:
    query, target = images
    there = query[shared.mask]
    plain = sample_shared(target, shared)
    moves = {shift: _moved(target, shared, shift) for shift in _shifts()}
    shift = max(moves, key=lambda tried: _psnr(there, moves[tried]))
    best = moves[shift]
    blurred = [cv2.GaussianBlur(image, (0, 0), BLUR) for image in images]
    smooth = sample_shared(blurred[1], shared)
    values = {
        "as_they_are": _psnr(there, plain),
        "same_brightness": _psnr(there, _fitted(plain, there)),
        "moved_to_fit": _psnr(there, best),
        "blurred": _psnr(blurred[0][shared.mask], smooth),
        "moved_and_same_brightness": _psnr(there, _fitted(best, there)),
    }
    return values, shift


def _psnr(preds: NDArray, target: NDArray) -> float:
    return psnr_db(float(np.square(preds - target).mean()))


def _fitted(values: NDArray, to: NDArray) -> NDArray:
    """Colors [N, 3] with the gain and offset per channel that come closest to others."""
    mean, goal = values.mean(0), to.mean(0)
    spread = np.square(values - mean).mean(0)
    gain = ((values - mean) * (to - goal)).mean(0) / np.maximum(spread, 1e-12)
    return goal + gain * (values - mean)


def _shifts() -> Iterator[tuple[float, float]]:
    return ((float(x), float(y)) for x in SHIFTS for y in SHIFTS)


def _moved(target: NDArray, shared: SharedPixels, shift: Sequence[float]) -> NDArray:
    return sample_shared(target, dataclasses.replace(shared, xy=shared.xy + np.asarray(shift)))


def _inner(shared: SharedPixels) -> SharedPixels:
    """Those of the shared pixels that no shift takes out of the target."""
    reach = np.abs(SHIFTS).max()
    last = np.array([WIDTH - 1, HEIGHT - 1])
    stays = ((shared.xy >= reach) & (shared.xy <= last - reach)).all(1)
    mask = shared.mask.copy()
    mask[shared.mask] = stays
    return SharedPixels(mask, shared.xy[stays])


def _pairs(folder: Path) -> Iterator[tuple[tuple[NDArray, NDArray], tuple[Camera, Camera]]]:
    """Images in [0, 1] and cameras of consecutive key frames."""
    opened = open_folder(folder)
    assert isinstance(opened, SequenceFolder)
    for sample_id in opened.sample_ids:
        views, depth = opened.views(sample_id) / 255, opened.depth(sample_id)
        known = opened.trajectories[sample_id]
        cameras = [Camera(*each) for each in zip(depth, known.K, known.pose, strict=True)]
        for i, j in known.key_pairs:
            yield (views[i], views[j]), (cameras[i], cameras[j])


def key_frames(
    source: Path, scratch: Path, split: str, overlap: float
) -> tuple[Path, dict[str, int]]:
    """Write the real frames as a sample folder: one sample of all key frames per recording."""
    settings = CheckSettings(caption="a place", overlap=overlap)
    counts = import_folder(survey(source, settings), scratch / "data", split)
    shortest = min(counts.values())
    dataset = ScanNetScenes(scratch / "data", split, HEIGHT, WIDTH, shortest)
    export_split(dataset, Task.DEPTH, scratch / "frames", {})
    return scratch / "frames", counts


def _protocol(folder: Path, metric: str, max_difference: float = THRESHOLDS[0]) -> float:
    """One of the numbers that the suite finds under its protocols for sequences."""
    settings = ScoreSettings(max_depth_difference=max_difference)
    name = "interpolation" if metric == "consecutive_psnr" else "paper-consistency-depth"
    metrics = mvdiffusion_eval.score(folder, protocols=[name], settings=settings)["metrics"]
    return float(metrics[metric]["value"])
