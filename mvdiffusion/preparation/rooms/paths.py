"""Ways of a hand-held camera through a furnished room.

No sine or cosine: a path's numbers do not depend on a machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvdiffusion.geometry.depth import overlaps
from mvdiffusion.preparation.rooms.design import Room
from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.render import render_depth

_Numbers = NDArray[np.floating[Any]]  # float64
_Point = tuple[float, float]

WALL_GAP, FURNITURE_GAP = 0.35, 0.2  # meters that the camera always keeps
_EASE = (2.2, 1.7, 1.3, 1.0)  # these multiples of the gaps are tried in turn
_FINE, _SURVEY = 1601, 64  # poses of a plan; at every 64th is measured what one sees
_STEPS, _STEP = 9, (0.45, 0.65)  # straight pieces that the path smooths, their lengths in meters


def walk_poses(room: Room, num_frames: int, loss: float, dice: Dice) -> _Numbers:
    """Walk through a room while turning to one side.

    Args:
        num_frames: at least 2.
        loss: share of the view that goes out of sight from frame to frame: the camera is slow where
            things are near. It stops on the way when the frames are all taken.
        dice: what decides the way.

    Returns:
        Camera-to-world poses [num_frames, 4, 4] in meters, in the world (x, −up, z).
    """
    plan = _plan(room, dice)
    stops = plan[::_SURVEY]
    K = np.asarray([[26.0, 0, 23.5], [0, 26, 15.5], [0, 0, 1]])  # about 85° wide
    depth = np.stack([render_depth(room, K, pose, 32, 48) for pose in stops]).astype(float)
    cameras = torch.from_numpy(np.broadcast_to(K, (len(stops), 3, 3)).copy())
    pairs = torch.arange(len(stops)).unfold(0, 2, 1)  # [S - 1, 2]
    shared = overlaps(
        torch.from_numpy(depth)[pairs], cameras[pairs], torch.from_numpy(stops)[pairs]
    )
    lost = np.concatenate([[0], np.cumsum(1 - shared[:, 0, 1].double().numpy())])
    along = np.interp(np.arange(len(plan)), np.arange(len(stops)) * _SURVEY, lost)
    wanted = np.arange(num_frames) * min(loss, along[-1] / (num_frames - 1))
    return plan[np.searchsorted(along, wanted - 1e-9)]


def _plan(room: Room, dice: Dice) -> _Numbers:
    """Poses [_FINE, 4, 4] close together along a way that is longer than what is walked."""
    x, z = _smooth(np.asarray(_find_way(room, dice))).T
    bob = _smooth(np.asarray([[dice.between(-0.04, 0.04)] for _ in range(14)]))[:, 0]
    # Tangents of half the angles: pitch 0° … −12°.
    tilt = _smooth(np.asarray([[dice.between(-0.105, 0)] for _ in range(7)]))[:, 0]
    up, out = 2 * tilt / (1 + tilt * tilt), (1 - tilt * tilt) / (1 + tilt * tilt)
    cosine, sine = _turn(room.heading, dice)
    poses = np.zeros((_FINE, 4, 4))
    poses[:, 0] = np.stack([cosine, sine * up, sine * out, x], -1)
    poses[:, 1] = np.stack([np.zeros_like(up), out, -up, -(room.eye[1] + bob)], -1)
    poses[:, 2] = np.stack([-sine, cosine * up, cosine * out, z], -1)
    poses[:, 3, 3] = 1
    return poses


def _turn(heading: tuple[float, float], dice: Dice) -> tuple[_Numbers, _Numbers]:
    """Cosines and sines [_FINE] of a yaw that grows unevenly, by about 260° in all."""
    side = 1 if dice.chance(0.5) else -1
    pace = _smooth(np.asarray([[dice.between(0.7, 1.3)] for _ in range(8)]))[:, 0]
    turned = [heading]
    for tangent in (side * 2.27 / (_FINE - 1) * pace[1:]).tolist():
        turned.append(_swerve(turned[-1], tangent))
    cosines, sines = np.asarray(turned).T
    return cosines, sines


def _smooth(values: _Numbers) -> _Numbers:
    """Uniform cubic B-spline [_FINE, D] along control values [M, D], M >= 4."""
    position = np.arange(_FINE) * ((len(values) - 3) / (_FINE - 1))
    cell = np.minimum(position.astype(np.int64), len(values) - 4)
    t = (position - cell)[:, None]
    rest = 1 - t
    return (
        rest * rest * rest * values[cell]
        + (3 * t * t * t - 6 * t * t + 4) * values[cell + 1]
        + (3 * rest * rest * rest - 6 * rest * rest + 4) * values[cell + 2]
        + t * t * t * values[cell + 3]
    ) / 6


def _find_way(room: Room, dice: Dice) -> list[_Point]:
    """Control points of a way that keeps clear; where nothing fits, standing still will do."""
    for ease in _EASE:
        for _ in range(25):
            start = tuple(room.size[i] * dice.between(0.15, 0.85) for i in (0, 2))
            way = _wander(room, (start[0], start[1]), ease, dice)
            if way is not None:
                return way
    return [(room.eye[0], room.eye[2])] * 4


def _wander(room: Room, start: _Point, ease: float, dice: Dice) -> list[_Point] | None:
    """Random steps from `start`, each swerving a little; None where they get stuck."""
    way, toward = [start], (1.0, 0.0)
    if _clearance(room, *start) < ease:
        return None
    for step in range(_STEPS):
        for attempt in range(12):
            bend = 3.0 if step == 0 or attempt > 6 else 0.5
            toward = _swerve(toward, dice.between(-bend, bend))
            length = dice.between(*_STEP)
            x, z = way[-1]
            ahead = [(x + toward[0] * length * k / 6, z + toward[1] * length * k / 6)
                     for k in range(1, 7)]  # fmt: skip
            if all(_clearance(room, *point) >= ease for point in ahead):
                way.append(ahead[-1])
                break
        else:
            return None
    return way


def _swerve(toward: _Point, tangent: float) -> _Point:
    """Turn a direction by twice the arc tangent of `tangent`."""
    square = tangent * tangent
    c, s = (1 - square) / (1 + square), 2 * tangent / (1 + square)
    return toward[0] * c - toward[1] * s, toward[1] * c + toward[0] * s


def _clearance(room: Room, x: float, z: float) -> float:
    """Smallest distance from walls and furniture, in units of the gaps that must be kept."""
    walls = min(x, room.size[0] - x, z, room.size[2] - z) / WALL_GAP
    gaps = [max(x0 - x, x - x1, z0 - z, z - z1) for x0, x1, z0, z1 in room.standing]
    return min(walls, min(gaps, default=9.0) / FURNITURE_GAP)
