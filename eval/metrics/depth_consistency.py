"""Consistency of sequences with depth (paper, section 5.3 and table 3): key frames, in-betweens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mvdiffusion.records import InputError

from ..folders.samples import SampleFolder, SequenceFolder
from ..functional.depth_psnr import Camera, depth_psnr, shared_pixels
from .base import (
    Inputs,
    Metric,
    Outcome,
    Step,
    details_of,
    pair_rows,
    per_sample,
    ratio_to_real,
    register,
)

OPTIONS = ("height", "max_depth_difference")
Pairs = Sequence[tuple[int, int]]


def _run_consistency(inputs: Inputs, step: Step) -> Outcome:
    at, what = size_note(inputs, step), "consecutive key frames"
    psnr, shares = _psnr_of(inputs, step, inputs.generated, "key_pairs", what)
    means = _means(psnr)
    measurements = {
        step.key: per_sample(means, "dB", True, step, at),
        f"{step.key}_worst": per_sample(
            np.array([np.nanmin(row) for row in psnr]), "dB", True, step, at
        ),
        "compared_share": per_sample(_means(shares), "of pixels", None, step, at),
    }
    if inputs.reference is not None:
        real = means
        if inputs.has_other_reference:
            real = _means(_psnr_of(inputs, step, inputs.reference, "key_pairs", what)[0])
        measurements[f"{step.key}_ratio"] = ratio_to_real(means, real, True, step, at)
    longest = max(len(row) for row in psnr)
    by_pair = [np.array([row[i] for row in psnr if i < len(row)]) for i in range(longest)]
    folder = as_sequences(inputs.generated)
    frames = [
        [f"{i}-{j}" for i, j in folder.trajectories[name].key_pairs] for name in folder.sample_ids
    ]
    return Outcome(
        measurements,
        pair_rows([f"{i}-{i + 1}" for i in range(longest)], by_pair),
        details=details_of(step.key, folder.sample_ids, frames, psnr),
    )


def _run_interpolation(inputs: Inputs, step: Step) -> Outcome:
    at, folder = size_note(inputs, step), inputs.generated
    keys = _means(_psnr_of(inputs, step, folder, "key_pairs", "consecutive key frames")[0])
    between, _ = _psnr_of(
        inputs, step, folder, "between_pairs", "in-between frames against key frames"
    )
    consecutive, _ = _psnr_of(inputs, step, folder, "consecutive_pairs", "consecutive frames")
    # A frame's two pairs follow one another; the worse one shows whether it ignores one key frame.
    worse = [np.fmin(row[0::2], row[1::2]) for row in between]
    parts = {
        "between_to_key_psnr": _means(between),
        "between_to_worse_key_psnr": _means(worse),
        "between_minus_key_psnr": _means(between) - keys,
        "consecutive_psnr": _means(consecutive),
    }
    return Outcome({name: per_sample(parts[name], "dB", True, step, at) for name in parts})


def _means(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of each sample's pairs [S]; pairs that share no pixel count for nothing."""
    return np.array([np.nanmean(row) for row in rows])


def other_scene_psnr(inputs: Inputs, step: Step) -> np.ndarray:
    """PSNR [S] of key frames against another sample's, warped by their own depth and cameras."""
    what = "other-scene control"
    return _means(_psnr_of(inputs, step, inputs.generated, "key_pairs", what, other=True)[0])


def size_note(inputs: Inputs, step: Step) -> str:
    """Frames are compared at their own size; another than the protocol's shows in its name."""
    height = inputs.generated.height
    return "" if height == step.options["height"] else f"@{height}"


def as_sequences(folder: SampleFolder) -> SequenceFolder:
    """Narrow a folder to one of sequences; protocols are only run on their own tasks."""
    assert isinstance(folder, SequenceFolder)
    return folder


def _psnr_of(
    inputs: Inputs,
    step: Step,
    folder: SampleFolder,
    kind: str,
    what: str,
    other: bool = False,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """PSNR [pairs] of every sample, NaN where frames share no pixel, and share of pixels compared.

    The pairs are those of a property of `Trajectory`. With `other`, the target's image is another
    sample's at the same place in its sequence.
    """
    sequences, rows = as_sequences(folder), []
    for sample_id in inputs.samples(f"{what} of {folder.method}"):
        pairs = getattr(sequences.trajectories[sample_id], kind)
        source = sequences.views(sample_id) / 255
        target = source
        if other:
            target = _key_frames_like(sequences, inputs.other_sample(sample_id), sample_id) / 255
        cameras = cameras_of(sequences, sample_id)
        rows.append(_pair_psnr(source, target, cameras, pairs, step))
        if not np.isfinite(rows[-1][0]).any():
            raise InputError(
                f"{sequences.root / sample_id}: no two of the compared frames ({what}) share a "
                "pixel; check cameras.json and the depth maps."
            )
    return [psnr for psnr, _ in rows], [share for _, share in rows]


def cameras_of(folder: SequenceFolder, sample_id: str) -> list[Camera]:
    """Read what a sample's frames need to be compared, in order.

    Raises:
        InputError: a depth map cannot be read.
    """
    trajectory = folder.trajectories[sample_id]
    frames = zip(folder.depth(sample_id), trajectory.K, trajectory.pose, strict=True)
    return [Camera(*frame) for frame in frames]


def _key_frames_like(folder: SequenceFolder, source: str, sample_id: str) -> np.ndarray:
    """Key frames of `source` where `sample_id` has its own, going round if there are fewer."""
    others = folder.views(source, folder.evaluated_views(source))
    keys = folder.evaluated_views(sample_id)
    views = np.zeros((folder.count(sample_id), *others.shape[1:]), np.uint8)
    views[keys] = others[np.arange(len(keys)) % len(others)]
    return views


def _pair_psnr(
    source: np.ndarray,
    target: np.ndarray,
    cameras: Sequence[Camera],
    pairs: Pairs,
    step: Step,
) -> tuple[np.ndarray, np.ndarray]:
    psnr, share = [], []
    for i, j in pairs:
        shared = shared_pixels(cameras[i], cameras[j], step.options["max_depth_difference"])
        psnr.append(depth_psnr(source[i], target[j], shared))
        share.append(shared.mask.mean())
    return np.array(psnr), np.array(share)


def needs_pairs(inputs: Inputs) -> str:
    """Say what is missing for key frames to be compared."""
    trajectories = as_sequences(inputs.generated).trajectories.values()
    enough = all(trajectory.key_pairs for trajectory in trajectories)
    return "" if enough else "at least two key frames in every sample"


def _needs_between(inputs: Inputs) -> str:
    trajectories = as_sequences(inputs.generated).trajectories.values()
    enough = all(trajectory.between_pairs for trajectory in trajectories)
    return "" if enough else "frames between key frames in every sample"


register(Metric("key_frame_psnr", _run_consistency, OPTIONS, missing=needs_pairs, agreement=True))
register(
    Metric("between_psnr", _run_interpolation, OPTIONS, missing=_needs_between, agreement=True)
)
