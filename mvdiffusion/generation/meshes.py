"""Generated images, their depth and poses → a colored mesh or point cloud (PLY)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from mvdiffusion.images import read_depth, read_rgb
from mvdiffusion.manifest import read_trajectory
from mvdiffusion.records import InputError, atomic_output

MAX_DEPTH = 10.0  # meters; depth beyond it is not fused
TRUNCATION = 4.0  # voxels to either side of a surface that a measurement tells of


@dataclass(frozen=True)
class PosedImage:
    """One frame.

    Attributes:
        color: RGB [H, W, 3] uint8.
        depth: [H, W] float32, meters along the optical axis, 0 where there is none.
        K: intrinsics [3, 3] in pixels.
        pose: camera-to-world [4, 4] in meters.
    """

    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    K: NDArray[np.float64]
    pose: NDArray[np.float64]


def read_posed_images(sample: Path) -> list[PosedImage]:
    """Read a generated sequence.

    Args:
        sample: folder with cameras.json, <view>.png and depth/<view>.png.

    Raises:
        InputError: something is missing, or sizes differ.
    """
    cameras = read_trajectory(sample)
    frames = []
    for view, (K, pose) in enumerate(zip(cameras.K, cameras.pose, strict=True)):
        color = read_rgb(sample / f"{view}.png")
        depth = read_depth(sample / "depth" / f"{view}.png").astype(np.float32)
        if color.shape[:2] != depth.shape:
            raise InputError(
                f"{sample / f'{view}.png'}: {color.shape[:2]} pixels and its depth "
                f"{depth.shape}; expected one size."
            )
        frames.append(PosedImage(color, depth, K, pose))
    return frames


def world_points(frame: PosedImage) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Lift the pixels that have depth.

    Returns:
        Points [N, 3] in meters in the world, and their colors [N, 3].
    """
    rows, columns = np.nonzero((frame.depth > 0) & (frame.depth <= MAX_DEPTH))
    pixels = np.stack([columns, rows, np.ones_like(rows)])  # centers at integers
    points = np.linalg.inv(frame.K) @ pixels * frame.depth[rows, columns]
    return (frame.pose[:3, :3] @ points + frame.pose[:3, 3:]).T, frame.color[rows, columns]


def write_points(sample: Path, output: Path, voxel_size: float = 0.02) -> int:
    """Write a point cloud with one point, of mean place and color, for each voxel.

    Args:
        sample: see `read_posed_images`.
        output: PLY file.
        voxel_size: edge of a voxel in meters.

    Returns:
        The number of points.

    Raises:
        InputError: a broken sample, one without depth, or a voxel size that is not positive.
    """
    _check_voxel_size(voxel_size)
    parts = [world_points(frame) for frame in read_posed_images(sample)]
    points = np.concatenate([part[0] for part in parts])
    colors = np.concatenate([part[1] for part in parts])
    if not len(points):
        raise InputError(f"{sample}: no depth in any frame; expected some up to {MAX_DEPTH:g} m.")
    cells = np.floor(points / voxel_size).astype(np.int64)
    _, place, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    values = np.concatenate([points, colors], 1)
    sums = [np.bincount(place.ravel(), values[:, column]) for column in range(6)]
    means = np.stack(sums, 1) / counts[:, None]
    _write_ply(means[:, :3], means[:, 3:].round().astype(np.uint8), output)
    return len(means)


def _write_ply(points: NDArray[Any], colors: NDArray[np.uint8], path: Path) -> None:
    kinds = [(axis, "<f4") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.rec.fromarrays([*points.T, *colors.T], dtype=kinds)
    names = [f"property {'uchar' if kind == 'u1' else 'float'} {name}" for name, kind in kinds]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *names]
    with atomic_output(path) as temporary:
        temporary.write_bytes("\n".join([*header, "end_header\n"]).encode() + vertices.tobytes())


def write_mesh(sample: Path, output: Path, voxel_size: float = 0.02) -> int:
    """Fuse the frames into a truncated signed distance function and write its surface.

    Returns:
        The number of triangles.

    Raises:
        InputError: open3d is not installed, a broken sample, no surface, or a voxel size that is
            not positive.
    """
    _check_voxel_size(voxel_size)
    frames = read_posed_images(sample)
    surface = _fuse(frames, voxel_size, _open3d())
    count = len(surface.triangles)
    if not count:
        raise InputError(f"{sample}: no surface found; check its depth or raise --voxel-size.")
    with atomic_output(output) as temporary:
        named = temporary.with_suffix(".ply")  # open3d goes by the name
        try:
            if not _open3d().io.write_triangle_mesh(str(named), surface):
                raise InputError(f"{output}: could not be written; free space there.")
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)
    return count


def _fuse(frames: list[PosedImage], voxel_size: float, open3d: Any) -> Any:
    """Integrate the frames and extract the surface, an `open3d.geometry.TriangleMesh`."""
    core, image = open3d.core, open3d.t.geometry.Image
    grid = open3d.t.geometry.VoxelBlockGrid(
        attr_names=("tsdf", "weight", "color"),
        attr_dtypes=(core.float32,) * 3,
        attr_channels=((1), (1), (3)),
        voxel_size=voxel_size,
        device=core.Device("CPU:0"),
    )
    for frame in tqdm(frames, desc="fusing"):
        depth = image(core.Tensor(np.ascontiguousarray(frame.depth[..., None])))
        color = image(core.Tensor(np.ascontiguousarray(frame.color / np.float32(255))))
        K, pose = core.Tensor(frame.K), core.Tensor(np.linalg.inv(frame.pose))
        reach = {"depth_scale": 1.0, "depth_max": MAX_DEPTH, "trunc_voxel_multiplier": TRUNCATION}
        blocks = grid.compute_unique_block_coordinates(depth, K, pose, **reach)
        grid.integrate(blocks, depth, color, K, K, pose, **reach)
    surface = grid.extract_triangle_mesh(weight_threshold=0.5).to_legacy()
    return surface.compute_vertex_normals()


def _open3d() -> Any:
    try:
        import open3d
    except ImportError as error:  # open3d itself, or a library of the system that it needs
        raise InputError(
            f"--kind mesh: the package open3d could not be imported ({error}); install it in the "
            "project's folder with `pip install -e '.[mesh]'` (on Debian with `apt install "
            "libusb-1.0-0`), or take --kind points."
        ) from None
    return open3d


def _check_voxel_size(voxel_size: float) -> None:
    if not voxel_size > 0:
        raise InputError(f"--voxel-size {voxel_size}: expected meters, more than 0.")
