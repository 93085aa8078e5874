"""Posed frames with depth in ScanNet's exported layout (paper, sections 4.2 and 5.2).

<root>/<split>/<scene>/color/N.jpg                    RGB
<root>/<split>/<scene>/depth/N.png                    16 bits, millimeters, 0 and 65535 = none
<root>/<split>/<scene>/pose/N.txt                     camera-to-world [4, 4] in meters
<root>/<split>/<scene>/intrinsic/intrinsic_depth.txt  [3, 3] or [4, 4], for the depth's size
<root>/<split>/<scene>/prompt/N.txt                   caption; the first line counts
<root>/<split>/<scene>/key_frame_0.6.txt              numbers N of the key frames, one per line
<root>/<split>/<scene>/valid_frames.npy               numbers N of the usable frames
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mvdiffusion.data.captions import read_caption
from mvdiffusion.data.splits import check_unchanged
from mvdiffusion.geometry.depth import scale_intrinsics
from mvdiffusion.geometry.matrix_files import read_intrinsics, read_pose
from mvdiffusion.images import read_depth, read_image
from mvdiffusion.manifest import Trajectory
from mvdiffusion.records import InputError

KEY_FRAMES, VALID_FRAMES = "key_frame_0.6.txt", "valid_frames.npy"
INTRINSICS = "intrinsic/intrinsic_depth.txt"  # in pixels of the depth images
_KEY_LINE = re.compile(r"(?:color/)?(\d+)(?:\.jpg)?")
_FIX = "write it with `mvdiffusion data key-frames`"

Cut = Literal["disjoint", "released"]
"""How scenes are cut into sequences, see `ScanNetScenes`."""
_RELEASED_FEWEST = 10  # key frames of a scene that the released code makes sequences of


@dataclass(frozen=True)
class DepthSample:
    """Frames of a scene.

    Attributes:
        sample_id: scene and first frame.
        frames: their numbers in the scene.
        is_key: which are key frames of the sequence, bool [V].
        views: [V, 3, H, W] in −1 … 1; [0, 3, H, W] where they were not asked for.
        depth: [V, H, W] along the optical axis in meters, 0 where there is none.
        prompts: one per frame.
        K: intrinsics [V, 3, 3] in pixels of the H x W images.
        pose: camera-to-world [V, 4, 4] in meters.
    """

    sample_id: str
    frames: list[int]
    is_key: Tensor
    views: Tensor
    depth: Tensor
    prompts: list[str]
    K: Tensor
    pose: Tensor

    @property
    def geometry(self) -> tuple[Trajectory, Tensor]:
        """Cameras and depth, as sample folders hold them."""
        keys = tuple(self.is_key.nonzero().flatten().tolist())
        K, pose = self.K.double().numpy(), self.pose.double().numpy()
        return Trajectory(tuple(self.frames), keys, K, pose), self.depth


class ScanNetScene:
    """One exported scene, whose frames are read when they are asked for."""

    def __init__(
        self, folder: str | Path, height: int, width: int, prompt_prefix: str = ""
    ) -> None:
        """Open a scene.

        Args:
            folder: the scene's folder.
            height, width: of the views in pixels.
            prompt_prefix: put before each caption (the authors' code puts nothing there).

        Raises:
            InputError: intrinsics, key frames or valid frames are missing or malformed.
        """
        self.folder, self.name = Path(folder), Path(folder).name
        self.height, self.width, self.prompt_prefix = height, width, prompt_prefix
        self.K = read_intrinsics(self.folder / INTRINSICS)
        self.valid_frames = read_valid_frames(self.folder / VALID_FRAMES)
        self.key_frames = read_key_frames(self.folder / KEY_FRAMES, self.valid_frames)
        self._poses: dict[int, Tensor] = {}  # of frames read before

    def frames_between(self, first: int, last: int) -> list[int]:
        """Valid frames strictly between two frames."""
        return [frame for frame in self.valid_frames if first < frame < last]

    def load(
        self,
        frames: Sequence[int],
        sample_id: str | None = None,
        prompts: Sequence[str] | None = None,
        keys: Sequence[int] | None = None,
        views: bool = True,
    ) -> DepthSample:
        """Read frames, resized to the scene's `height` and `width`.

        Not as the released code resizes them (docs/released.md).

        Args:
            frames: their numbers.
            sample_id: name of the sample (default: scene and first frame).
            prompts: one per frame, instead of those in files; then no prefix is added.
            keys: numbers of those that count as key frames (default: the scene's key frames).
            views: whether to read the color images; the scene may lack them.

        Raises:
            InputError: a file is missing or broken, or a frame is unusable.
        """
        read = [self._read(frame, views) for frame in frames]
        images, depths, cameras, poses = zip(*read, strict=True)
        texts = (self.folder / "prompt" / f"{frame}.txt" for frame in frames)
        captions = prompts or [self.prompt_prefix + read_caption(path) for path in texts]
        counted = set(self.key_frames if keys is None else keys)
        return DepthSample(
            sample_id or f"{self.name}-{frames[0]:04d}",
            list(frames),
            torch.tensor([frame in counted for frame in frames]),
            torch.cat(images),
            torch.stack(depths),
            list(captions),
            torch.stack(cameras),
            torch.stack(poses),
        )

    def _read(self, frame: int, views: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """View [1 or 0, 3, H, W], depth [H, W], K [3, 3] and pose [4, 4] of a frame."""
        path = self.folder / "depth" / f"{frame}.png"
        size = (self.height, self.width)
        depth = torch.from_numpy(read_depth(path)).float()
        self._check_center(path, depth)
        view = self._read_view(frame, path, depth) if views else torch.empty(0, 3, *size)
        pose = self._pose(frame)
        if not depth.any():
            raise InputError(
                f"{path}: contains no depth; remove this frame from {VALID_FRAMES} and "
                f"{KEY_FRAMES}."
            )
        K = scale_intrinsics(self.K, (depth.shape[0], depth.shape[1]), size)
        return view, resize_depth(depth, *size), K.float(), pose

    def _pose(self, frame: int) -> Tensor:
        """Pose [4, 4] of a frame, which is read and checked once."""
        if frame not in self._poses:
            path = self.folder / "pose" / f"{frame}.txt"
            pose = read_pose(path)
            if pose is None:
                raise InputError(
                    f"{path}: is not a rigid motion, so the frame cannot be used; remove it from "
                    f"{VALID_FRAMES} and {KEY_FRAMES}."
                )
            self._poses[frame] = pose.float()
        return self._poses[frame]

    def _read_view(self, frame: int, path: Path, depth: Tensor) -> Tensor:
        """View [1, 3, H, W] of a frame, which shows the same field as its depth in `path`."""
        view = read_image(self.folder / "color" / f"{frame}.jpg")
        (high, wide), (rows, columns) = view.shape[1:], depth.shape
        if abs(wide * rows / (high * columns) - 1) > 0.03:
            raise InputError(
                f"{path}: {columns} x {rows} pixels, but the color image has {wide} x {high}; "
                "expected equal proportions. Export color and depth of the same field of view."
            )
        size = (self.height, self.width)
        if view.shape[1:] == size:
            return view[None]
        resized = F.interpolate(
            view[None], size, mode="bilinear", antialias=True, align_corners=False
        )
        return resized.clamp(-1, 1)

    def _check_center(self, path: Path, depth: Tensor) -> None:
        """Check that the intrinsics are for the size of the depth."""
        center, columns = self.K[0, 2] * 2 + 1, depth.shape[1]
        if not 0.7 < float(center) / columns < 1.4:
            raise InputError(
                f"{path}: {columns} pixels wide, but the intrinsics' center is at "
                f"{float(self.K[0, 2]):.0f}; expected intrinsics of the depth's size in "
                f"{self.folder / INTRINSICS}."
            )


class ScanNetScenes:
    """A split of ScanNet, or of anything in its layout, as sequences of key frames.

    "disjoint": a scene's key frames are cut into whole sequences of `num_views`, and those left
    over at the end are not used: no frame is in two sequences. "released": as the authors' code
    does, for comparison with their numbers. A scene needs 10 key frames; every `num_views`-th one
    begins a sequence, and the last sequence ends at the last key frame, so that it may overlap the
    one before it; a scene of fewer than `num_views` is filled up with other valid frames, drawn at
    random, but the same ones every time. Either way the first sequences of all scenes come first,
    so that a few samples are of as many scenes.

    Attributes:
        scenes: those with at least `num_views` key frames, whichever way they are cut; training
            draws sequences of its own from them.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        height: int,
        width: int,
        num_views: int,
        num_between: int | None = None,
        prompt_prefix: str = "",
        sequences: Cut = "disjoint",
    ) -> None:
        """Open a split.

        Args:
            root: the folder that holds the split's folder.
            split: its name.
            height, width: of the views in pixels.
            num_views: key frames of a sequence.
            num_between: frames between two key frames, evenly spaced; None means all valid ones.
            prompt_prefix: put before each caption (the authors' code puts nothing there).
            sequences: how scenes are cut.

        Raises:
            InputError: the split or a scene's lists are missing, no scene is long enough, or a
                rendered file has changed.
        """
        check_unchanged(Path(root))
        self.split, self.num_views, self.num_between = split, num_views, num_between
        self.height, self.width, self.prompt_prefix = height, width, prompt_prefix
        folder = Path(root) / split
        found = [
            ScanNetScene(path, height, width, prompt_prefix) for path in _scene_folders(folder)
        ]
        self.scenes = [scene for scene in found if len(scene.key_frames) >= num_views]
        cut = _released if sequences == "released" else _disjoint
        # First the first sequence of every scene, then the second of those that have one, …
        rounds = zip_longest(*([(s, keys) for keys in cut(s, num_views)] for s in found))
        self._sequences = [one for places in rounds for one in places if one is not None]
        if not self._sequences:
            longest = max((len(scene.key_frames) for scene in found), default=0)
            fewest = _RELEASED_FEWEST if sequences == "released" else num_views
            raise InputError(
                f"{folder}: none of {len(found)} scenes has {fewest} key frames (at most "
                f"{longest}); lower num_views or select key frames with more overlap."
            )

    def __len__(self) -> int:
        return len(self._sequences)

    def sample_id(self, index: int) -> str:
        """Return the id of a sequence: its scene and first frame."""
        scene, keys = self._sequences[index]
        return f"{scene.name}-{keys[0]:04d}"

    def frames(self, index: int) -> list[int]:
        """Return the numbers of a sequence's frames, in order."""
        scene, keys = self._sequences[index]
        frames = keys[:1]
        for first, last in pairwise(keys):
            between = scene.frames_between(first, last)
            frames += [*_evenly(between, self.num_between), last]
        return frames

    def load(self, index: int, views: bool = True) -> DepthSample:
        """Read a whole sequence: key frames and the frames between them, in order.

        Args:
            index: of the sequence.
            views: whether to read the color images; the scenes may lack them.

        Raises:
            InputError: a file is missing or broken, or a frame is unusable.
        """
        scene, keys = self._sequences[index]
        return scene.load(self.frames(index), self.sample_id(index), keys=keys, views=views)


def _scene_folders(split: Path) -> list[Path]:
    if not split.is_dir():
        present = sorted(path.name for path in split.parent.glob("*/") if path.is_dir())
        raise InputError(f"{split}: no such split; splits present: {', '.join(present) or 'none'}.")
    return sorted(
        path for path in split.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _disjoint(scene: ScanNetScene, num_views: int) -> list[list[int]]:
    """Key frames of a scene's sequences, none of them in two."""
    keys = scene.key_frames
    return [keys[i : i + num_views] for i in range(0, len(keys) - num_views + 1, num_views)]


def _released(scene: ScanNetScene, num_views: int) -> list[list[int]]:
    """Key frames of a scene's sequences as the authors' code cuts them."""
    keys = scene.key_frames
    if len(keys) < _RELEASED_FEWEST:
        return []
    if len(keys) < num_views:
        others = sorted(set(scene.valid_frames) - set(keys))
        missing = num_views - len(keys)
        if missing > len(others):
            return []
        random = np.random.default_rng(list(scene.name.encode()))
        return [sorted(keys + random.choice(others, missing, replace=False).tolist())]
    starts = (min(i, len(keys) - num_views) for i in range(0, len(keys), num_views))
    return [keys[i : i + num_views] for i in starts]


def _evenly(frames: list[int], count: int | None) -> list[int]:
    if count is None or count >= len(frames):
        return frames
    step = (len(frames) + 1) / (count + 1)  # above 1, so that none is taken twice
    return [frames[int((i + 1) * step + 0.5) - 1] for i in range(count)]


def resize_depth(depth: Tensor, height: int, width: int) -> Tensor:
    """Take the nearest depth for each pixel: [H, W] -> [height, width].

    Args:
        depth: [H, W].
        height, width: wanted, in pixels.
    """
    return F.interpolate(depth[None, None], (height, width), mode="nearest-exact")[0, 0]


def read_valid_frames(path: Path) -> list[int]:
    """Read numbers of frames, in order.

    Raises:
        InputError: the file is missing, or no array of them.
    """
    try:
        frames = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_FIX}.") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not an array of frame numbers ({error}); {_FIX}.") from None
    if frames.ndim != 1 or frames.dtype.kind not in "iu":
        raise InputError(
            f"{path}: found an array {frames.shape} of {frames.dtype}; expected frame numbers "
            f"(N,); {_FIX}."
        )
    return sorted(set(frames.tolist()))


def read_key_frames(path: Path, valid: Collection[int] | None = None) -> list[int]:
    """Read numbers of key frames, in order, which must be among the valid ones, if any are given.

    Raises:
        InputError: the file is missing, malformed, or names another frame.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_FIX}.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); {_FIX}.") from None
    frames, allowed = [], None if valid is None else set(valid)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _KEY_LINE.fullmatch(line.strip())
        if not match:
            raise InputError(f"{path}: line {number} is {line!r}; expected 123 or color/123.jpg.")
        if allowed is not None and int(match[1]) not in allowed:
            raise InputError(
                f"{path}: key frame {match[1]} is not in {VALID_FRAMES}; remove it or add it "
                f"there, or {_FIX.replace('write it', 'write both')}."
            )
        frames.append(int(match[1]))
    return sorted(set(frames))
