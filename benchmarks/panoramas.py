"""Views cut out of cube faces: this project's way against the released code's.

The released way, written anew: per view all six faces are warped by OpenCV at their full size, the
pictures are added up, and the sum is resized to the view. Which faces lie behind the camera is not
asked before warping, so that their mirror images must be cleared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.geometry.cameras import intrinsics, panorama_cameras
from mvdiffusion.geometry.cubemap import cube_to_views, face_rotations
from mvdiffusion.geometry.view_cutting import fast_cube_to_views, pad_faces
from mvdiffusion.images import read_face
from mvdiffusion.preparation.rooms.design import design_room
from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.render import render_faces

NAME, VIEWS, FOV_DEG, JPEG_QUALITY = "room", 8, 90.0, 92
UP, DOWN = 0, 5
YAW_STEP = 37  # degrees between runs: training turns panoramas at random
CHECKED_VIEWS, CHECK_YAW, CHECK_SAMPLES = [0, 3], 13.0, 4


def write_panorama(root: Path, size: int) -> list[NDArray[np.uint8]]:
    """Render a room in Matterport3D's layout; returns its faces as they read back from JPEG."""
    room = design_room(Dice(1))
    images, captions = root / NAME / "matterport_skybox_images", root / NAME / "blip3"
    images.mkdir(parents=True)
    captions.mkdir()
    for degrees in range(0, 360, 45):
        (captions / f"{NAME}_{degrees}.txt").write_text("a room\n")
    paths = [images / f"{NAME}_skybox{face}_sami.jpg" for face in range(6)]
    for path, pixels in zip(paths, render_faces(room, size)[0], strict=True):
        Image.fromarray(pixels).save(path, quality=JPEG_QUALITY)
    np.save(root / "test.npy", np.asarray([[str(path.relative_to(root)) for path in paths]]))
    return [read_face(path) for path in paths]


def released_views(
    faces: list[NDArray[np.uint8]], yaw_deg: float, size: int, skip_behind: bool
) -> Tensor:
    """Cut views [V, 3, size, size] in −1 … 1 by adding up warps of whole faces.

    Args:
        faces: six RGB faces [S, S, 3].
        yaw_deg: direction of view 0.
        size: of the views in pixels.
        skip_behind: leave out sides that lie behind the camera, instead of clearing their warps.
    """
    side = len(faces[0])
    K = intrinsics(FOV_DEG, side, side).double().numpy()
    axes = face_rotations().double().numpy()
    _, R = panorama_cameras(side, side, VIEWS, FOV_DEG, yaw_deg)
    views = []
    for turn in R.double().numpy():
        combined = np.zeros((side, side, 3), np.uint8)
        for index, face in enumerate(faces):
            local = turn.T @ axes[index]
            behind = local[2, 2] < 0 and index not in (UP, DOWN)
            if behind and skip_behind:
                continue
            warped = cv2.warpPerspective(face, K @ local @ np.linalg.inv(K), (side, side))
            _clear_mirror_image(warped, index, behind)
            combined += warped
        views.append(cv2.resize(combined, (size, size)))
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2) / 127.5 - 1


def _clear_mirror_image(warped: NDArray[np.uint8], index: int, behind: bool) -> None:
    middle = len(warped) // 2
    if behind:
        warped[:] = 0
    elif index == UP:
        warped[middle:] = 0
    elif index == DOWN:
        warped[:middle] = 0


def our_views(faces: list[NDArray[np.uint8]], yaw_deg: float, size: int) -> Tensor:
    """Cut the same views as `Matterport3DPanoramas` does."""
    K, R = panorama_cameras(size, size, VIEWS, FOV_DEG, yaw_deg)
    return fast_cube_to_views(pad_faces(faces), K, R, size, max(1, round(len(faces[0]) / size)))


def measure_views(root: Path, face_size: int, size: int, repeats: int) -> dict[str, Any]:
    """Seconds per panorama of all ways, in turns; ratios; distance from the exact views."""
    faces = write_panorama(root, face_size)
    panoramas = Matterport3DPanoramas(root, "test", image_size=size)
    paths = sorted(root.glob("*/*/*.jpg"))

    def released_from_files(yaw: float, skip_behind: bool) -> Tensor:
        read = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
        return released_views(read, yaw, size, skip_behind)

    ways: dict[str, Callable[[float], Tensor]] = {
        "ours": lambda yaw: our_views(faces, yaw, size),
        "six_faces": lambda yaw: released_views(faces, yaw, size, False),
        "faces_in_front": lambda yaw: released_views(faces, yaw, size, True),
        "ours_from_jpeg": lambda yaw: panoramas.load(0, yaw).views,
        "six_faces_from_jpeg": lambda yaw: released_from_files(yaw, False),
        "faces_in_front_from_jpeg": lambda yaw: released_from_files(yaw, True),
    }
    seconds = _alternate(ways, repeats)
    return {
        "seconds": seconds,
        "ours_is_faster": {
            way: seconds[way] / seconds["ours_from_jpeg" if way.endswith("jpeg") else "ours"]
            for way in ways
            if not way.startswith("ours")
        },
        "gray_levels_from_exact": _errors(faces, size, [*ways][:3], ways),
    }


def _alternate(ways: dict[str, Callable[[float], Tensor]], repeats: int) -> dict[str, float]:
    """Medians of runs in turns, after one that does not count; every run at another yaw."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for run in range(repeats + 1):
        for way, cut in ways.items():
            before = time.perf_counter()
            cut(run * YAW_STEP % 360)
            found[way].append(time.perf_counter() - before)
    return {way: statistics.median(times[1:]) for way, times in found.items()}


def _errors(
    faces: list[NDArray[np.uint8]],
    size: int,
    names: list[str],
    ways: dict[str, Callable[[float], Tensor]],
) -> dict[str, float]:
    """Mean distance of ways from finely sampled float views, in 0 … 255."""
    fine = size * CHECK_SAMPLES
    K, R = panorama_cameras(fine, fine, VIEWS, FOV_DEG, CHECK_YAW)
    pixels = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float()
    views = cube_to_views(pixels, K[CHECKED_VIEWS], R[CHECKED_VIEWS], fine, fine)
    exact = F.avg_pool2d(views, CHECK_SAMPLES)
    return {
        name: float((ways[name](CHECK_YAW)[CHECKED_VIEWS] * 127.5 + 127.5 - exact).abs().mean())
        for name in names
    }
