"""Posed frames with depth in ScanNet's exported layout (paper, sections 4.2 and 5.2).

<root>/<split>/<scene>/color/N.jpg                    RGB
<root>/<split>/<scene>/depth/N.png                    16 bits, millimetres, 0 = none
<root>/<split>/<scene>/pose/N.txt                     camera-to-world [4, 4] in metres
<root>/<split>/<scene>/intrinsic/intrinsic_depth.txt  [3, 3] or [4, 4], for the depth's size
<root>/<split>/<scene>/prompt/N.txt                   caption; the first line counts
<root>/<split>/<scene>/key_frame_0.6.txt              numbers N of the key frames, one per line
<root>/<split>/<scene>/valid_frames.npy               numbers N of the usable frames
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.data.images import read_depth, read_image
from mvdiffusion.data.matterport3d import PROMPT_PREFIX, read_caption
from mvdiffusion.geometry.depth import scale_intrinsics
from mvdiffusion.records import InputError

KEY_FRAMES, VALID_FRAMES = "key_frame_0.6.txt", "valid_frames.npy"
_KEY_LINE = re.compile(r"(?:color/)?(\d+)(?:\.jpg)?")
_MEND = "write it with `mvdiffusion data key-frames`"


@dataclass(frozen=True)
class DepthSample:
    """Frames of a scene.

    Attributes:
        sample_id: scene and first frame.
        frames: their numbers in the scene.
        is_key: which are key frames, bool [V].
        views: [V, 3, H, W] in −1 … 1.
        depth: [V, H, W] along the optical axis in metres, 0 where there is none.
        prompts: one per frame.
        K: intrinsics [V, 3, 3] in pixels of the H x W images.
        pose: camera-to-world [V, 4, 4] in metres.
    """

    sample_id: str
    frames: list[int]
    is_key: Tensor
    views: Tensor
    depth: Tensor
    prompts: list[str]
    K: Tensor
    pose: Tensor


class ScanNetScene:
    """One exported scene, whose frames are read when they are asked for."""

    def __init__(
        self, folder: str | Path, height: int, width: int, prompt_prefix: str = PROMPT_PREFIX
    ) -> None:
        """Open a scene.

        Args:
            folder: the scene's folder.
            height: of the views in pixels.
            width: of the views in pixels.
            prompt_prefix: put before each caption (as released).

        Raises:
            InputError: intrinsics, key frames or valid frames are missing or malformed.
        """
        self.folder, self.name = Path(folder), Path(folder).name
        self.height, self.width, self.prompt_prefix = height, width, prompt_prefix
        self.K = read_intrinsics(self.folder)  # of the depth images
        self.valid_frames = _read_valid_frames(self.folder / VALID_FRAMES)
        self.key_frames = _read_key_frames(self.folder / KEY_FRAMES, self.valid_frames)

    def frames_between(self, first: int, last: int) -> list[int]:
        """Valid frames strictly between two frames."""
        return [frame for frame in self.valid_frames if first < frame < last]

    def load(
        self,
        frames: Sequence[int],
        sample_id: str | None = None,
        prompts: Sequence[str] | None = None,
    ) -> DepthSample:
        """Read frames, resized to the scene's `height` and `width`.

        Args:
            frames: their numbers.
            sample_id: name of the sample (default: scene and first frame).
            prompts: one per frame, instead of those in files; then no prefix is added.

        Raises:
            InputError: a file is missing or broken, or a frame is unusable.
        """
        read = [self._read(frame) for frame in frames]
        views, depths, cameras, poses = (torch.stack(part) for part in zip(*read, strict=True))
        captions = list(prompts) if prompts is not None else [self._prompt(n) for n in frames]
        keys = set(self.key_frames)
        return DepthSample(
            sample_id or f"{self.name}-{frames[0]:04d}",
            list(frames),
            torch.tensor([frame in keys for frame in frames]),
            views,
            depths,
            captions,
            cameras,
            poses,
        )

    def _read(self, frame: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """View [3, H, W], depth [H, W], K [3, 3] and pose [4, 4] of a frame."""
        path = self.folder / "depth" / f"{frame}.png"
        view, depth = read_image(self.folder / "color" / f"{frame}.jpg"), read_depth(path)
        self._check_sizes(path, view, depth)
        pose = read_pose(self.folder / "pose" / f"{frame}.txt")
        if pose is None:
            raise InputError(
                f"{self.folder / 'pose' / f'{frame}.txt'}: not a rigid motion; this frame cannot "
                f"be used. Take it out of {VALID_FRAMES} and {KEY_FRAMES}."
            )
        if not depth.any():
            raise InputError(
                f"{path}: no depth at all; take this frame out of {VALID_FRAMES} and {KEY_FRAMES}."
            )
        size = (self.height, self.width)
        K = scale_intrinsics(self.K, (depth.shape[0], depth.shape[1]), size)
        if view.shape[1:] != size:
            view = F.interpolate(
                view[None], size, mode="bilinear", antialias=True, align_corners=False
            )[0].clamp(-1, 1)
        return view, resize_depth(depth, *size), K.float(), pose.float()

    def _check_sizes(self, path: Path, view: Tensor, depth: Tensor) -> None:
        """Check that colour and depth show the same field, whatever their sizes."""
        (high, wide), (rows, columns) = view.shape[1:], depth.shape
        if abs(wide * rows / (high * columns) - 1) > 0.03:
            raise InputError(
                f"{path}: {columns} x {rows} pixels, but the colour image has {wide} x {high}; "
                "expected equal proportions. Export colour and depth of the same field of view."
            )
        centre = self.K[0, 2] * 2 + 1
        if not 0.7 < float(centre) / columns < 1.4:
            raise InputError(
                f"{path}: {columns} pixels wide, but the intrinsics' centre is at "
                f"{float(self.K[0, 2]):.0f}; expected intrinsics of the depth's size in "
                f"{self.folder / 'intrinsic/intrinsic_depth.txt'}."
            )

    def _prompt(self, frame: int) -> str:
        return self.prompt_prefix + read_caption(self.folder / "prompt" / f"{frame}.txt")


class ScanNetScenes:
    """A split of ScanNet, or of anything in its layout, as sequences of key frames.

    A scene's key frames are cut into sequences of `num_views`. If at least half a sequence is left
    over, one more ends at the last key frame and overlaps the one before it (as released); fewer
    key frames at the end are not used. The first sequences of all scenes come first, so that a few
    samples are of as many scenes.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        height: int,
        width: int,
        num_views: int,
        num_between: int | None = None,
        prompt_prefix: str = PROMPT_PREFIX,
    ) -> None:
        """Open a split.

        Args:
            root: the folder that holds the split's folder.
            split: its name.
            height: of the views in pixels.
            width: of the views in pixels.
            num_views: key frames of a sequence.
            num_between: frames between two key frames, evenly spaced; None means all valid ones.
            prompt_prefix: put before each caption (as released).

        Raises:
            InputError: the split or a scene's lists are missing, or no scene is long enough.
        """
        self.split, self.num_views, self.num_between = split, num_views, num_between
        folder = Path(root) / split
        if not folder.is_dir():
            present = sorted(path.name for path in Path(root).glob("*/") if path.is_dir())
            raise InputError(
                f"{folder}: no such split; splits present: {', '.join(present) or 'none'}."
            )
        found = [
            ScanNetScene(path, height, width, prompt_prefix)
            for path in sorted(folder.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        ]
        self.scenes = [scene for scene in found if len(scene.key_frames) >= num_views]
        if not self.scenes:
            longest = max((len(scene.key_frames) for scene in found), default=0)
            raise InputError(
                f"{folder}: none of {len(found)} scenes has {num_views} key frames (at most "
                f"{longest}); lower num_views or select key frames with more overlap."
            )
        # First the first sequence of every scene: a few samples are then of as many scenes.
        self._starts = [
            (scene, start)
            for _, scene, start in sorted(
                (
                    (place, scene, start)
                    for scene in self.scenes
                    for place, start in enumerate(_starts(len(scene.key_frames), num_views))
                ),
                key=lambda found: found[0],
            )
        ]

    def __len__(self) -> int:
        return len(self._starts)

    def sample_id(self, index: int) -> str:
        """Return the id of a sequence: its scene and first frame."""
        scene, start = self._starts[index]
        return f"{scene.name}-{scene.key_frames[start]:04d}"

    def frames(self, index: int) -> list[int]:
        """Return the numbers of a sequence's frames, in order."""
        scene, start = self._starts[index]
        keys = scene.key_frames[start : start + self.num_views]
        frames = keys[:1]
        for first, last in pairwise(keys):
            between = scene.frames_between(first, last)
            frames += [*_evenly(between, self.num_between), last]
        return frames

    def load(self, index: int) -> DepthSample:
        """Read a whole sequence: key frames and the frames between them, in order.

        Raises:
            InputError: a file is missing or broken, or a frame is unusable.
        """
        return self._starts[index][0].load(self.frames(index), self.sample_id(index))


def _starts(num_keys: int, num_views: int) -> list[int]:
    whole, left = divmod(num_keys, num_views)
    starts = [num_views * i for i in range(whole)]
    return [*starts, num_keys - num_views] if 2 * left >= num_views else starts


def _evenly(frames: list[int], count: int | None) -> list[int]:
    if count is None or count >= len(frames):
        return frames
    step = (len(frames) + 1) / (count + 1)  # above 1, so that none is taken twice
    return [frames[int((i + 1) * step + 0.5) - 1] for i in range(count)]


def resize_depth(depth: Tensor, height: int, width: int) -> Tensor:
    """Take the nearest depth for each pixel: [H, W] -> [height, width]."""
    return F.interpolate(depth[None, None], (height, width), mode="nearest-exact")[0, 0]


def read_intrinsics(folder: Path) -> Tensor:
    """Read a scene's intrinsics [3, 3] (float64) in pixels of its depth images.

    Raises:
        InputError: the file is missing, not [3, 3] or [4, 4], or no intrinsics.
    """
    path = folder / "intrinsic" / "intrinsic_depth.txt"
    K = torch.from_numpy(_read_matrix(path, (3, 4)))[:3, :3]
    if not K.isfinite().all() or K[0, 0] <= 0 or K[1, 1] <= 0 or K[2].tolist() != [0, 0, 1]:
        raise InputError(f"{path}: found {K.tolist()}; expected [[fx, 0, cx], [0, fy, cy], ...].")
    return K


def read_pose(path: Path) -> Tensor | None:
    """Read a camera-to-world pose [4, 4] (float64); None if it is no rigid motion (or not finite).

    Raises:
        InputError: the file is missing or not [4, 4].
    """
    pose = torch.from_numpy(_read_matrix(path, (4,)))
    if not pose.isfinite().all() or pose[3].tolist() != [0, 0, 0, 1]:
        return None
    R = pose[:3, :3]
    rigid = torch.allclose(R @ R.T, torch.eye(3, dtype=R.dtype), atol=1e-2)
    return pose if rigid and torch.linalg.det(R) > 0 else None


def _read_matrix(path: Path, sizes: tuple[int, ...]) -> np.ndarray:
    shapes = " or ".join(f"{size} x {size}" for size in sizes)
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
        matrix = np.asarray([[float(value) for value in row] for row in rows])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected {shapes} numbers there.") from None
    except ValueError as error:  # not text, not a number, or rows of different lengths
        raise InputError(f"{path}: {error}; expected {shapes} numbers.") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) not in sizes:
        raise InputError(f"{path}: found an array {matrix.shape}; expected {shapes} numbers.")
    return matrix


def _read_valid_frames(path: Path) -> list[int]:
    try:
        frames = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_MEND}.") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not an array of frame numbers ({error}); {_MEND}.") from None
    if frames.ndim != 1 or frames.dtype.kind not in "iu":
        raise InputError(
            f"{path}: found an array {frames.shape} of {frames.dtype}; expected frame numbers "
            f"(N,); {_MEND}."
        )
    return sorted(set(frames.tolist()))


def _read_key_frames(path: Path, valid: list[int]) -> list[int]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_MEND}.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); {_MEND}.") from None
    frames = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _KEY_LINE.fullmatch(line.strip())
        if not match:
            raise InputError(f"{path}: line {number} is {line!r}; expected 123 or color/123.jpg.")
        if int(match[1]) not in set(valid):
            raise InputError(
                f"{path}: key frame {match[1]} is not in {VALID_FRAMES}; take it out or add it "
                f"there, or {_MEND.replace('write it', 'write both')}."
            )
        frames.append(int(match[1]))
    return sorted(set(frames))
