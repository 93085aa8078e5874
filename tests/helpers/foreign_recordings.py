"""Writes one recording byte for byte as the tools of others lay it out.

The recording is a walk into an empty room, whose depth, poses and K have closed forms.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 12
HEIGHT, WIDTH, FOCAL = 48, 64, 50.0
PLANES = ((0, -1.6), (0, 1.4), (1, 0.7), (1, -1.1), (2, 4.0))
"""Walls, floor, ceiling and the far wall: axis and place along it, in meters."""
_GL = np.diag([1.0, -1, -1, 1])


def pose(frame: int) -> np.ndarray:
    """Camera-to-world [4, 4]: steps forward and to the right, turning a little to the right."""
    angle = math.radians(2.0 * frame)
    made = np.eye(4)
    made[0, [0, 2]] = math.cos(angle), math.sin(angle)
    made[2, [0, 2]] = -math.sin(angle), math.cos(angle)
    made[:3, 3] = 0.04 * frame, 0, 0.08 * frame
    return made


def intrinsics(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """K [3, 3] of an image that shows the same field of view, or a little less."""
    focal = FOCAL * width / WIDTH
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def points(frame: int, width: int = WIDTH, height: int = HEIGHT) -> tuple[np.ndarray, np.ndarray]:
    """Points of the room [H, W, 3] that a frame's pixels see, and their depth [H, W] in meters."""
    columns, lines = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([columns, lines, np.ones_like(lines)], -1)
    rays = rays @ np.linalg.inv(intrinsics(width, height)).T @ pose(frame)[:3, :3].T
    origin = pose(frame)[:3, 3]
    with np.errstate(divide="ignore"):
        hits = np.stack([(place - origin[axis]) / rays[..., axis] for axis, place in PLANES])
    along = np.where(hits > 0, hits, np.inf).min(0)  # rays have a depth of 1
    return origin + rays * along[..., None], along


def color(frame: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Picture [H, W, 3] of the room, whose walls are painted in slow waves."""
    found, _ = points(frame, width, height)
    waves = np.sin(found @ np.array([[1.3, 0.7, 0.4], [0.5, 1.1, 0.9], [0.9, 0.3, 1.2]]).T)
    return np.round(127.5 + 120 * waves).astype(np.uint8)


def depth(frame: int) -> np.ndarray:
    """Depth [H, W] in meters."""
    return points(frame)[1]


def png(path: Path, frame: int, per_meter: float, suffix: str = ".png") -> None:
    """Write depth as 16-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(depth(frame) * per_meter).astype(np.uint16)).save(
        path.with_name(path.name + suffix)
    )


def picture(path: Path, frame: int) -> None:
    """Write the color of a frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(color(frame)).save(path, quality=95)


def rows(matrix: np.ndarray) -> str:
    return "".join(" ".join(f"{value:.9f}" for value in row) + "\n" for row in matrix)


def tum(root: Path) -> None:
    """TUM RGB-D: images named by their times, 30 a second; poses at other times, 200 a second.

    Zeros at the end of a fraction are left out, as printing a number does.
    """
    begin, lines = 1305031452.9, ["# ground truth trajectory", "# timestamp tx ty tz qx qy qz qw"]
    for frame in range(COUNT):
        time = begin + frame / 30
        picture(root / "rgb" / f"{round(time, 6)!r}.png", frame)
        png(root / "depth" / f"{time + 0.004:.6f}", frame, 5000)
        half = math.radians(2.0 * frame) / 2
        q = f"0 {math.sin(half):.9f} 0 {math.cos(half):.9f}"
        x, y, z = pose(frame)[:3, 3]
        lines.append(f"{time - 0.002:.4f} {x:.6f} {y:.6f} {z:.6f} {q}")
        lines.append(f"{time + 0.015:.4f} 9 9 9 0 0 0 1")
    (root / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    (root / "calibration.txt").write_text(f"{FOCAL} {FOCAL} {(WIDTH - 1) / 2} {(HEIGHT - 1) / 2}\n")


def scannet_cpp(root: Path) -> None:
    """ScanNet's C++ reader: one folder, depth as big-endian PGM, cameras in _info.txt."""
    root.mkdir(parents=True, exist_ok=True)
    for frame in range(COUNT):
        picture(root / f"frame-{frame:06d}.color.jpg", frame)
        counts = np.round(depth(frame) * 1000).astype(">u2").tobytes()
        header = f"P5\n{WIDTH} {HEIGHT}\n65535\n".encode()
        (root / f"frame-{frame:06d}.depth.pgm").write_bytes(header + counts)
        (root / f"frame-{frame:06d}.pose.txt").write_text(rows(pose(frame)))
    K = f"{FOCAL} 0 {(WIDTH - 1) / 2} 0 0 {FOCAL} {(HEIGHT - 1) / 2} 0 0 0 1 0 0 0 0 1 "
    (root / "_info.txt").write_text(
        "m_versionNumber = 4\nm_sensorName = StructureSensor\nm_colorWidth = 1296\n"
        f"m_colorHeight = 968\nm_depthWidth = {WIDTH}\nm_depthHeight = {HEIGHT}\n"
        "m_depthShift = 1000\nm_calibrationColorIntrinsic = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 \n"
        f"m_calibrationDepthIntrinsic = {K}\nm_frames.size = {COUNT}\n"
    )


def tsdf_fusion(root: Path) -> None:
    """7-Scenes and tsdf-fusion-python: PNG depth, K in the folder above."""
    for frame in range(COUNT):
        picture(root / f"frame-{frame:06d}.color.jpg", frame)
        png(root / f"frame-{frame:06d}.depth", frame, 1000)
        (root / f"frame-{frame:06d}.pose.txt").write_text(rows(pose(frame)))
    (root.parent / "camera-intrinsics.txt").write_text(rows(intrinsics()))


def frames_25k(root: Path) -> None:
    """scannet_frames_25k: every hundredth frame, intrinsics beside the folders."""
    for frame in range(COUNT):
        name = f"{100 * frame:06d}"
        picture(root / "color" / f"{name}.jpg", frame)
        png(root / "depth" / name, frame, 1000)
        (root / "pose").mkdir(exist_ok=True)
        (root / "pose" / f"{name}.txt").write_text(rows(pose(frame)))
    K = np.eye(4)
    K[:3, :3] = intrinsics()
    (root / "intrinsics_depth.txt").write_text(rows(K))
    (root / "intrinsics_color.txt").write_text(rows(np.eye(4)))


def replica(root: Path) -> None:
    """Replica as NICE-SLAM rendered it: K and the unit of depth in the folder above."""
    lines = []
    for frame in range(COUNT):
        picture(root / "results" / f"frame{frame:06d}.jpg", frame)
        png(root / "results" / f"depth{frame:06d}", frame, 6553.5)
        lines.append(" ".join(f"{value:.18e}" for value in pose(frame).ravel()))
    (root / "traj.txt").write_text("\n".join(lines) + "\n")
    K = {"fx": FOCAL, "fy": FOCAL, "cx": (WIDTH - 1) / 2, "cy": (HEIGHT - 1) / 2}
    camera = {"w": WIDTH, "h": HEIGHT, **K, "scale": 6553.5}
    (root.parent / "cam_params.json").write_text(json.dumps({"camera": camera}))


def deep_video_mvs(root: Path) -> None:
    for frame in range(COUNT):
        picture(root / "images" / f"{frame:05d}.png", frame)
        png(root / "depth" / f"{frame:05d}", frame, 1000)
    poses = (pose(frame).reshape(1, 16) for frame in range(COUNT))
    (root / "poses.txt").write_text("".join(map(rows, poses)))
    (root / "K.txt").write_text(rows(intrinsics()))


def mvsnet(root: Path) -> None:
    """DTU and BlendedMVS: world-to-camera, PFM whose lowest row is the first."""
    (root / "cams").mkdir(parents=True)
    (root / "depths").mkdir()
    for frame in range(COUNT):
        picture(root / "images" / f"{frame:08d}.jpg", frame)
        header = f"Pf\n{WIDTH} {HEIGHT}\n-1.000000\n".encode()
        pixels = depth(frame)[::-1].astype("<f4").tobytes()
        (root / "depths" / f"{frame:08d}.pfm").write_bytes(header + pixels)
        outer, inner = rows(np.linalg.inv(pose(frame))), rows(intrinsics())
        text = f"extrinsic\n{outer}\nintrinsic\n{inner}\n0.5 0.01\n"
        (root / "cams" / f"{frame:08d}_cam.txt").write_text(text)


def _matrix(frame: int) -> list[list[float]]:
    """Camera-to-world with x right, y up, z backward."""
    return (pose(frame) @ _GL).tolist()


def nerfcapture(root: Path) -> None:
    """NeRFCapture with SplaTAM's script: 65535 is 10 m, depth_path."""
    frames = []
    for frame in range(COUNT):
        picture(root / "rgb" / f"{frame}.png", frame)
        png(root / "depth" / f"{frame}", frame, 65535 / 10)
        names = {"file_path": f"rgb/{frame}.png", "depth_path": f"depth/{frame}.png"}
        frames.append({**names, "transform_matrix": _matrix(frame)})
    meta = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH}
    meta |= {"h": HEIGHT, "integer_depth_scale": 10 / 65535, "frames": frames}
    (root / "transforms.json").write_text(json.dumps(meta))


def nerfstudio_windows(root: Path) -> None:
    """nerfstudio on Windows: backslashes, a byte order mark, COLMAP's model in colmap/sparse/0."""
    frames = []
    for frame in range(COUNT):
        picture(root / "images" / f"frame_{frame + 1:05d}.jpg", frame)
        png(root / "depth" / f"frame_{frame + 1:05d}", frame, 1000)
        frames.append(
            {
                "file_path": f"images\\frame_{frame + 1:05d}.jpg",
                "depth_file_path": f"depth\\frame_{frame + 1:05d}.png",
                "transform_matrix": _matrix(frame),
                "colmap_im_id": frame + 1,
            }
        )
    meta = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2}
    meta |= {"cy": HEIGHT / 2, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    meta |= {"camera_model": "OPENCV", "frames": frames[::-1], "applied_transform": _matrix(0)[:3]}
    (root / "transforms.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(meta).encode())
    (root / "colmap/sparse/0").mkdir(parents=True)
    (root / "colmap/sparse/0/cameras.bin").write_bytes(struct.pack("<Q", 0))


def instant_ngp(root: Path) -> None:
    """instant-ngp: an angle of view, no center, no size, names without suffix; depth as TIFF."""
    frames = []
    for frame in range(COUNT):
        picture(root / "images" / f"{frame:04d}.jpg", frame)
        (root / "depth").mkdir(exist_ok=True)
        meters = Image.fromarray(depth(frame).astype(np.float32))
        meters.save(root / "depth" / f"{frame:04d}.tiff")
        names = {"file_path": f"./images/{frame:04d}", "depth_path": f"./depth/{frame:04d}"}
        frames.append({**names, "sharpness": 30.5, "transform_matrix": _matrix(frame)})
    angle = 2 * math.atan(WIDTH / 2 / FOCAL)
    meta = {"camera_angle_x": angle, "aabb_scale": 4, "integer_depth_scale": 1.0, "frames": frames}
    (root / "transforms.json").write_text(json.dumps(meta, indent=2))


def npy_depth(root: Path) -> None:
    """Frames named by time in seconds, nerfstudio's keys, depth as .npy in meters."""
    frames = []
    for frame in range(COUNT):
        name = f"{1659.95 + 0.01 * frame:.6g}"  # 1659.95 … 1660, 1660.01: digits change
        picture(root / "images" / f"{name}.png", frame)
        (root / "depth").mkdir(exist_ok=True)
        np.save(root / "depth" / f"{name}.npy", depth(frame)[..., None].astype(np.float32))
        names = {"file_path": f"images/{name}", "depth_file_path": f"depth/{name}"}
        frames.append({**names, "transform_matrix": _matrix(frame)})
    meta = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "depth_unit_scale_factor": 1}
    (root / "transforms.json").write_text(json.dumps(meta | {"frames": frames[::-1]}))


def colmap(root: Path) -> None:
    """A text model and depth named as COLMAP names its own: image.jpg.png."""
    sparse = root / "colmap/sparse/0"
    sparse.mkdir(parents=True)
    K = f"{FOCAL} {FOCAL} {WIDTH / 2} {HEIGHT / 2}"
    (sparse / "cameras.txt").write_text(f"1 PINHOLE {WIDTH} {HEIGHT} {K}\n")
    (sparse / "points3D.txt").touch()
    lines = []
    for frame in range(COUNT):
        picture(root / "images" / f"{frame}.jpg", frame)
        png(root / "depth" / f"{frame}.jpg", frame, 1000)
        half = math.radians(2.0 * frame) / 2  # the inverse turns the other way
        t = np.linalg.inv(pose(frame))[:3, 3]
        numbers = (math.cos(half), 0, -math.sin(half), 0, *t.tolist())
        lines.append(f"{frame + 1} {' '.join(map(repr, numbers))} 1 {frame}.jpg\n\n")
    (sparse / "images.txt").write_text("".join(lines))


WRITERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "tum": (tum, "tum"),
    "scannet_cpp": (scannet_cpp, "frames"),
    "tsdf_fusion": (tsdf_fusion, "frames"),
    "frames_25k": (frames_25k, "rgbd"),
    "replica": (replica, "replica"),
    "deep_video_mvs": (deep_video_mvs, "poses"),
    "mvsnet": (mvsnet, "mvsnet"),
    "nerfcapture": (nerfcapture, "transforms"),
    "nerfstudio_windows": (nerfstudio_windows, "transforms"),
    "instant_ngp": (instant_ngp, "transforms"),
    "npy_depth": (npy_depth, "transforms"),
    "colmap": (colmap, "colmap"),
}
"""How each tool writes the recording, and the kind that it has to be recognized as."""
