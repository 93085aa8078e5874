"""Sanity checks of cameras and order: whether views agree better if they were taken otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.geometry.depth import MAX_DEPTH_DIFFERENCE
from mvdiffusion.geometry.view_cutting import pad_faces
from mvdiffusion.manifest import MANIFEST

from ..folders.cubes import DOWN, FRONT, LEFT, RIGHT, UP, CubeFolder
from ..folders.equirectangular import EquirectangularFolder
from ..folders.images import resize_views
from ..folders.samples import PanoramaFolder, SampleFolder, SequenceFolder
from ..functional.cross_view_psnr import Overlap, cross_view_psnr, neighbor_overlaps
from ..functional.depth_psnr import depth_psnr, shared_pixels
from ..metrics.base import Inputs
from ..metrics.depth_consistency import cameras_of

EXAMINED = 8
"""Number of samples whose pixels are compared."""

ORDER_GAIN_DB, ORDER_FLOOR_DB = 6.0, 15.0
"""Another order or field of view is right if its PSNR is higher by the gain and above the floor."""

ORDER_HEIGHT = 64
"""Height in pixels at which they are compared; alignment is visible at any size."""

OTHER_FOVS = range(45, 125, 5)
"""Horizontal fields of view in degrees that are tried."""

STEP_GAIN = 0.6
"""A face of a cube is turned wrongly if the steps at its edges shrink to less than this share."""


def wrong_order(inputs: Inputs) -> str:
    """Find views that agree much better in another order than in that of their numbers."""
    folder = inputs.generated
    order = (
        _better_order_of_frames(folder)
        if isinstance(folder, SequenceFolder)
        else _better_order_of_views(folder)
    )
    if not order:
        return ""
    return (
        f"the views in {folder.root} agree much better in the order {order} than in the order of "
        "their numbers; number them in the order in which the camera turns, to the right."
    )


def _better_order_of_views(folder: SampleFolder) -> str:
    """Each view's best right-hand neighbor, where the cameras are evenly spaced."""
    overlaps = ring(folder, ORDER_HEIGHT, round(ORDER_HEIGHT * folder.width / folder.height))
    if not isinstance(folder, PanoramaFolder) or not overlaps:
        return ""
    turns = np.diff([*folder.yaw_deg, folder.yaw_deg[0]]) % 360
    if not np.allclose(turns, turns[0]):
        return ""
    count = folder.num_views
    psnr = np.full((count, count), -1e3)  # [view, its right-hand neighbor]
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    every = [dataclasses.replace(overlaps[0], query=i, target=j) for i, j in pairs]
    views = [resize_views(folder.views(i), *overlaps[0].mask.shape) for i in examined(folder)]
    psnr[tuple(np.transpose(pairs))] = np.mean([cross_view_psnr(v, every) for v in views], 0)
    view, follower = linear_sum_assignment(-psnr)
    best, given = psnr[view, follower].mean(), psnr[view, (view + 1) % count].mean()
    if best < max(given + ORDER_GAIN_DB, ORDER_FLOOR_DB):
        return ""
    order = [0]
    while (following := int(follower[order[-1]])) not in order:
        order.append(following)
    return ", ".join(map(str, order))


def _better_order_of_frames(folder: SequenceFolder) -> str:
    """Compare the images as they are and in reverse order, with the cameras unchanged."""
    psnr = []  # of the images as they are, and last to first
    for sample_id in examined(folder):
        frames, views = cameras_of(folder, sample_id), folder.views(sample_id) / 255
        for i, j in folder.trajectories[sample_id].key_pairs:
            shared = shared_pixels(frames[i], frames[j], MAX_DEPTH_DIFFERENCE)
            if shared.mask.any():
                orders = (views, views[::-1])
                psnr.append([depth_psnr(images[i], images[j], shared) for images in orders])
    if not psnr:
        return ""
    given, turned = np.mean(psnr, 0)
    return "last to first" if turned >= max(given + ORDER_GAIN_DB, ORDER_FLOOR_DB) else ""


def wrong_field_of_view(inputs: Inputs) -> str:
    """Find views that agree much better if another field of view is assumed."""
    folder = inputs.generated
    if not isinstance(folder, PanoramaFolder) or isinstance(folder, EquirectangularFolder):
        return ""
    size = (ORDER_HEIGHT, round(ORDER_HEIGHT * folder.width / folder.height))
    views = [resize_views(folder.views(i), *size) for i in examined(folder)]
    psnr = {}
    for fov_deg in (folder.fov_deg, *OTHER_FOVS):
        if overlaps := ring(dataclasses.replace(folder, fov_deg=fov_deg), *size):
            psnr[fov_deg] = float(np.mean([cross_view_psnr(v, overlaps) for v in views]))
    best = max(psnr, key=psnr.__getitem__, default=folder.fov_deg)
    given = psnr.get(folder.fov_deg, np.inf)
    if psnr.get(best, 0.0) < max(given + ORDER_GAIN_DB, ORDER_FLOOR_DB):
        return ""
    return (
        f"the views in {folder.root} agree much better at a field of view of {best:g}° than at "
        f"the {folder.fov_deg:g}° that were taken for theirs; state it in manifest.json, or by "
        "--fov-deg where there is none."
    )


def odd_spacing(inputs: Inputs) -> str:
    """Find views taken to be even by no whole number of degrees, as seven of eight would be."""
    folder = inputs.generated
    if not isinstance(folder, PanoramaFolder) or (folder.root / MANIFEST).is_file():
        return ""
    count = folder.num_views
    if 360 % count == 0 or tuple(folder.yaw_deg) != even_yaws(count):
        return ""
    return (
        f"the {count} views in {folder.root} were taken to be evenly spaced, by {360 / count:g}°, "
        "as nothing states their directions; if a view is missing in every sample, state those of "
        "the others by --yaw."
    )


def turned_faces(inputs: Inputs) -> str:
    """Find cubes whose upper or lower face continues its neighbors much better if it is turned."""
    found = []
    for folder in filter(None, (inputs.generated, inputs.reference)):
        if not isinstance(folder, CubeFolder):
            continue
        cubes = [folder.read_faces(sample_id) for sample_id in examined(folder)]
        for name, face in (("up", UP), ("down", DOWN)):
            steps = [np.mean([edge_step(cube, face, turn) for cube in cubes]) for turn in range(4)]
            if min(steps) < STEP_GAIN * steps[0]:
                found.append(
                    f"the faces '{name}' in {folder.root} continue their neighbors much better "
                    f"turned by {90 * int(np.argmin(steps))}° (counterclockwise): by their names, "
                    f"up and down are taken to be {folder.turn}; turn them, or name them otherwise"
                )
    return "; ".join(found)


def swapped_faces(inputs: Inputs) -> str:
    """Find cubes whose front continues much better with left and right swapped."""
    found = []
    for folder in filter(None, (inputs.generated, inputs.reference)):
        if not isinstance(folder, CubeFolder):
            continue
        cubes = [folder.read_faces(sample_id) for sample_id in examined(folder)]
        swapped = [list(cube) for cube in cubes]
        for cube in swapped:
            cube[LEFT], cube[RIGHT] = cube[RIGHT], cube[LEFT]
        given, other = (
            np.mean([edge_step(c, FRONT, 0) for c in each]) for each in (cubes, swapped)
        )
        if other < STEP_GAIN * given:
            found.append(
                f"the faces 'front' in {folder.root} continue much better with 'left' and 'right' "
                "swapped: either these are, or all faces are mirrored, as seen from outside the "
                "cube; expected faces as seen from inside"
            )
    return "; ".join(found)


def edge_step(faces: Sequence[np.ndarray], face: int, turn: int) -> float:
    """Mean difference in gray levels over the edges of a face of a cube that is turned.

    Args:
        faces: six RGB faces [S, S, 3] in Matterport3D's order and turns.
        face: its number.
        turn: quarters of a circle, counterclockwise.
    """
    turned = list(faces)
    turned[face] = np.ascontiguousarray(np.rot90(faces[face], turn))
    edge = pad_faces(turned)[face, ..., :3].astype(float)
    steps = [np.abs(np.diff(np.rot90(edge, side)[:2, 1:-1], axis=0)).mean() for side in range(4)]
    return float(np.mean(steps))


def ring(folder: SampleFolder, height: int, width: int) -> list[Overlap]:
    """Neighbors of a ring of views; none if there is no ring."""
    if not isinstance(folder, PanoramaFolder) or folder.num_views < 3:
        return []
    try:
        return neighbor_overlaps(folder.fov_deg, folder.yaw_deg, height, width)
    except ValueError:
        return []


def examined(folder: SampleFolder) -> list[str]:
    """A few samples, spread over the folder."""
    ids = folder.sample_ids
    return [ids[n] for n in np.unique(np.linspace(0, len(ids) - 1, EXAMINED).round().astype(int))]
