"""Whether depth and poses of a recording agree, and what would make them agree.

The depth of one frame, carried into another by the poses, is compared with the depth there. Where
the two differ, scales of the poses and conventions of their axes are tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mvdiffusion.geometry.homography import pixel_grid

TOLERANCE = 0.03
"""Relative difference of depth; sensors and their poses reach about 0.01."""
_PAIRS, _SHARE = 40, 0.3  # pairs judged at most; overlap that they must have
_TURNED = 0.7  # overlap of pairs, by their rotation alone, from which on they lie close enough
_FEWEST = 3  # pairs
_CLEARLY = 1.5  # ratio of differences
_EXACT = 0.004  # relative difference below which depth agrees as well as can be told
_RANGE, _STEP = 2000.0, 1.15  # scales that are tried: to this factor, in these steps
_EXACT_SCALE = 0.05  # relative error that an estimated scale may have
_KNOWN_COUNTS = (1, 100, 1000, 4000, 5000, 6553.5, 10000)  # per meter, of tools (TUM, Replica, …)
_FLIP = torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))


@dataclass(frozen=True)
class Agreement:
    """How well depth and poses agree.

    Attributes:
        difference: relative difference of depth, median of pixels and then of pairs of frames;
            None if no two frames overlap.
        scale: by which the positions have to be multiplied to fit clearly better; None if none
            does.
        inverted: the poses have to be inverted to fit.
        flipped: the y and z axes of the cameras have to be turned round to fit.
        distances: depth fits as distances from the camera, instead of along its z axis.
    """

    difference: float | None
    scale: float | None = None
    inverted: bool = False
    flipped: bool = False
    distances: bool = False

    @property
    def explained(self) -> bool:
        """Whether it is known what would make depth and poses agree."""
        return self.scale is not None or self.inverted or self.flipped or self.distances


@dataclass(frozen=True)
class _Pairs:
    """Points of frames, ready to be carried into others by motions of any scale."""

    depth: Tensor  # of the other frames [P, H, W]
    K: Tensor  # of the other frames [P, 3, 3]
    points: Tensor  # in the axes of the other cameras, without their motion [P, 3, N]
    motion: Tensor  # [P, 3, 1]
    known: Tensor  # bool [P, N]

    def differences(self, scale: float) -> tuple[Tensor, Tensor]:
        """Median relative difference of depth per pair, and the share of points in view [P]."""
        height, width = self.depth.shape[-2:]
        projected = self.K @ (self.points + scale * self.motion)
        z = projected[:, 2]
        x, y = (projected[:, :2] / z.clamp(min=1e-6)[:, None]).round().unbind(1)
        seen = self.known & (z > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
        there = self.depth.flatten(1).gather(1, place)
        relative = (z - there).abs() / there.clamp(min=1e-6)
        relative = torch.where(seen & (there > 0), relative, torch.nan)
        return relative.nanmedian(1).values, seen.sum(1) / self.known.sum(1).clamp(min=1)

    def difference(self, scale: float) -> float:
        """Median of the pairs; pairs that do not overlap differ infinitely."""
        found, shares = self.differences(scale)
        ruled_out = (shares < _SHARE) | found.isnan()
        return float(torch.where(ruled_out, torch.inf, found).median())


def agreement(depth: Tensor, K: Tensor, pose: Tensor) -> Agreement:
    """Compare depth and poses of a recording.

    Args:
        depth: [F, H, W] in meters, 0 where there is none.
        K: intrinsics [F, 3, 3] in pixels.
        pose: camera-to-world [F, 4, 4] in meters, x right, y down, z forward.
    """
    K, pose = K.double(), pose.double()
    chosen = _choose_pairs(depth, K, pose)
    if not len(chosen):
        return Agreement(None)
    pairs = _pairs(depth, K, pose, chosen)
    found, shares = pairs.differences(1.0)
    overlapping = found[(shares >= _SHARE) & ~found.isnan()]
    difference = float(overlapping.median()) if len(overlapping) else None
    if len(chosen) < _FEWEST:
        return Agreement(difference)
    now = pairs.difference(1.0)
    scale = _better_scale(pairs, now)
    along_rays = _pairs(_as_z(depth, K), K, pose, chosen).difference(1.0)
    reached = now if scale is None else pairs.difference(scale)
    if along_rays <= TOLERANCE and reached >= _CLEARLY * max(along_rays, _EXACT):
        return Agreement(difference, distances=True)
    if scale is not None:
        return Agreement(difference, scale)
    if difference is None or difference <= TOLERANCE:
        return Agreement(difference)
    return _other_axes(depth, K, pose, chosen, difference)


def _choose_pairs(depth: Tensor, K: Tensor, pose: Tensor) -> Tensor:
    """Pairs of frames [P, 2], as far apart as their rotations leave them overlapping.

    Neighbors agree under any pose. Positions do not count, as their scale may be wrong.
    """
    step = len(depth) // 2
    while step:
        starts = torch.arange(len(depth) - step)
        starts = starts[:: math.ceil(len(starts) / _PAIRS)]
        chosen = torch.stack([starts, starts + step], 1)
        _, shares = _pairs(depth, K, pose, chosen).differences(0.0)
        if float(shares.median()) >= _TURNED or step == 1:
            return chosen
        step //= 2
    return torch.empty(0, 2, dtype=torch.long)


def _pairs(depth: Tensor, K: Tensor, pose: Tensor, chosen: Tensor) -> _Pairs:
    first, second = chosen.unbind(1)
    motion = torch.linalg.inv(pose[second]) @ pose[first]
    height, width = depth.shape[-2:]
    every = torch.zeros(height, width, dtype=torch.bool)
    every[::2, ::2] = True  # every fourth pixel is enough
    every = every.flatten()
    z = depth[first].double().flatten(1)[:, every]
    pixels = pixel_grid(height, width).to(z)[:, every]
    points = torch.linalg.inv(K[first]) @ pixels * z[:, None]
    return _Pairs(
        depth[second].double(), K[second], motion[:, :3, :3] @ points, motion[:, :3, 3:], z > 0
    )


def _as_z(depth: Tensor, K: Tensor) -> Tensor:
    """Depth along the cameras' z axes, if `depth` [F, H, W] holds distances from the cameras."""
    rays = torch.linalg.inv(K) @ pixel_grid(*depth.shape[-2:]).to(K)
    return depth / rays.norm(dim=1).view(depth.shape)


def _better_scale(pairs: _Pairs, now: float) -> float | None:
    """The scale at which depth and poses agree clearly better than now, and than at others."""
    steps = math.ceil(math.log(_RANGE) / math.log(_STEP))
    scales = [_STEP**step for step in range(-steps, steps + 1)]
    best = min(scales, key=pairs.difference)
    finer = [best * _STEP ** (step / 8) for step in range(-7, 8)]
    best = min(finer, key=pairs.difference)
    least = max(pairs.difference(best), _EXACT)
    # On a flat wall many scales agree: the agreement must be worse on both sides.
    around = min(pairs.difference(best / _CLEARLY), pairs.difference(best * _CLEARLY))
    clear = least <= TOLERANCE and min(now, around) >= _CLEARLY * least
    return best if clear else None


def _other_axes(depth: Tensor, K: Tensor, pose: Tensor, chosen: Tensor, now: float) -> Agreement:
    """The convention of axes under which depth and poses agree, at whatever scale."""
    fits = [Agreement(now)]
    least = min(now / _CLEARLY, TOLERANCE)
    for inverted, flipped in ((False, True), (True, False), (True, True)):
        other = torch.linalg.inv(pose) if inverted else pose
        pairs = _pairs(depth, K, other @ _FLIP if flipped else other, chosen)
        scale = _better_scale(pairs, math.inf)
        if (difference := pairs.difference(1.0 if scale is None else scale)) < least:
            least = difference
            unit = None if scale is None or abs(math.log(scale)) < math.log(1.1) else scale
            fits.append(Agreement(now, unit, inverted, flipped))
    return fits[-1]


def advice(found: Agreement, axes: str, scale: float, unit: float) -> str:
    """Say what to do about depth and poses that contradict each other.

    Args:
        axes: that the cameras have in the files, if they are right.
        scale: meters per unit of the poses, with which they were read.
        unit: meters per count of depth, with which it was read.
    """
    said = []
    if found.inverted:
        said.append("Invert the poses: they fit as world-to-camera, and must be camera-to-world.")
    if found.flipped:
        fitting = "y down, z forward" if "y up" in axes else "y up, z backward"
        said.append(
            f"Negate the second and third column of the poses: they fit as {fitting}, and must be "
            f"{axes}."
        )
    if found.distances:
        said.append(
            "Divide the depth of each pixel (x, y) by the length of inv(K) (x, y, 1): it fits as "
            "the distance from the camera, and must be that along the camera's z axis."
        )
    if found.scale is not None:
        said.append(
            f"Give --scale {round_number(scale * found.scale):g} if the depth is in meters, or "
            f"--depth-unit {_in_words(unit / found.scale)} if the poses are."
        )
    if not found.explained:
        said.append(f"Check that poses are camera-to-world, {axes}, each of its own frame.")
    return " ".join(said)


def round_number(value: float) -> float:
    """Three digits, or a round number that is nearer than such an estimate can tell."""
    power = 10.0 ** math.floor(math.log10(value))
    near = (power * digit for digit in (1, 2, 2.5, 4, 5, 10))
    return next(
        (each for each in near if abs(value / each - 1) < _EXACT_SCALE), float(f"{value:.3g}")
    )


def _in_words(unit: float) -> str:
    """Meters per count, as a fraction if a tool is known to write it."""
    for counts in _KNOWN_COUNTS:
        if abs(unit * counts - 1) < _EXACT_SCALE:
            return f"1/{counts:g}" if counts != 1 else "1"
    return f"{round_number(unit):g}"
