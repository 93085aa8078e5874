"""Sample folders: what every method writes and the evaluation scores.

<folder>/<sample id>/0.png … <V-1>.png   views, RGB
<folder>/<sample id>/prompt.txt          one line per view
<folder>/<sample id>/sample.json         what made the sample (seed, …)
<folder>/<sample id>/panorama.png        (panorama, outpaint) the views stitched, to look at
<folder>/<sample id>/depth/<view>.png    (depth) 16 bits, millimeters, 0 = none
<folder>/<sample id>/cameras.json        (depth) frames, key frames, K and pose of the views
<folder>/manifest.json                   task, samples, settings, provenance; written last
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import filterfalse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.geometry.panoramas import stitch
from mvdiffusion.images import is_whole_png, read_image, save_png
from mvdiffusion.manifest import (
    CAMERAS,
    MANIFEST,
    Manifest,
    Trajectory,
    read_trajectory,
    write_geometry,
    write_manifest,
)
from mvdiffusion.outputs import (
    already_made,
    begin,
    begin_part,
    end,
    end_part,
    keep_other_files,
)
from mvdiffusion.records import InputError, atomic_output, read_json, settings_sha256, write_json
from mvdiffusion.tasks import GIVEN_VIEWS, Task


def sample_seed(seed: int, sample_id: str) -> int:
    """Seed of one sample: depends on nothing but the run's seed and the sample's name.

    Args:
        seed: seed of the run.
        sample_id: name of the sample.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()[:7], "big")


def split_manifest(
    task: Task,
    method: str,
    dataset: Matterport3DPanoramas | ScanNetScenes,
    num_samples: int | None = None,
    settings_sha256: str | None = None,
) -> Manifest:
    """Describe the folder of a split's samples before there is any.

    Args:
        task: the task.
        method: name of what makes the images.
        dataset: the split.
        num_samples: how many of its samples, from its start; None means all.
        settings_sha256: hash of everything that decides the images, if somebody has it.

    Raises:
        InputError: the split has fewer samples.
    """
    count = len(dataset) if num_samples is None else num_samples
    if count > len(dataset):
        raise InputError(f"num_samples: {count} asked for, the split has {len(dataset)}.")
    samples = tuple(dataset.sample_id(index) for index in range(count))
    cameras: dict[str, Any] = {}
    if isinstance(dataset, Matterport3DPanoramas):
        given = GIVEN_VIEWS if task == Task.OUTPAINT else ()
        yaws = even_yaws(dataset.num_views)
        cameras = {"fov_deg": dataset.fov_deg, "yaw_deg": yaws, "given_views": given}
    return Manifest(
        task, method, dataset.height, dataset.width, samples, settings_sha256, **cameras
    )


def identity(
    task: Task, method: str, settings: Mapping[str, Any], settings_sha256: str | None = None
) -> dict[str, Any]:
    """Gather what decides the images of a folder, for `mvdiffusion.outputs`.

    Args:
        task: task of the images.
        method: name of the method that makes them.
        settings: settings of the method.
        settings_sha256: hash of all that decides the images, if known.
    """
    identity = {"task": task.value, "method": method, "settings": dict(settings)}
    if settings_sha256 is not None:
        identity["settings_sha256"] = settings_sha256
    return identity


class SampleFolder:
    """A folder that one run fills with samples; started again, it keeps the finished ones."""

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Open or create the folder (see `mvdiffusion.outputs`).

        Args:
            root: the folder.
            manifest: what it shall hold; without a hash of the settings, `settings` are all that
                decides the images.
            settings: what decides the images, by name.
            overwrite: move samples of other settings aside instead of refusing.
            part: number of this process, from 0, and how many fill the folder. If that is several,
                none of them writes the manifest: that is for one alone, when they have ended.

        Raises:
            InputError: the folder holds samples of other settings, or other files.
        """
        made_of = identity(manifest.task, manifest.method, settings, manifest.settings_sha256)
        self.part, self.is_whole = part, part[1] == 1
        if self.is_whole:
            begin(root, made_of, overwrite=overwrite)
        else:
            begin_part(root, made_of, part, overwrite=overwrite)
        stamp = manifest.settings_sha256 or settings_sha256(made_of)
        self.root, self.settings = root, settings
        self.manifest = replace(manifest, settings_sha256=stamp)
        self._whole: set[str] = set()  # samples that have been looked at

    def is_finished(self) -> bool:
        """Tell whether all samples are there; if so, say it to the user."""
        if not (self.root / MANIFEST).is_file():
            return False
        finished = all(map(self.has_sample, self.manifest.samples))
        if finished:
            already_made(self.root)
            self.end()
        return finished

    def end(self) -> None:
        """Let other processes have the folder."""
        if self.is_whole:
            end(self.root)
        else:
            end_part(self.root, self.part)

    def has_sample(self, sample_id: str) -> bool:
        """Tell whether a sample is finished, and none of its files damaged."""
        sample = self.root / sample_id
        if not sample.is_dir():
            return False
        if sample_id not in self._whole:
            if broken := next(filterfalse(_is_whole, self._files(sample)), None):
                print(f"{broken}: is damaged or missing; the sample is made again", file=sys.stderr)
            else:
                self._whole.add(sample_id)
        return sample_id in self._whole

    def _files(self, sample: Path) -> Iterator[Path]:
        """The files that make a sample, and those that came with it."""
        count = len(self.manifest.yaw_deg)
        if self.manifest.task == Task.DEPTH:
            yield sample / CAMERAS
            count = len(read_trajectory(sample).frames)
            yield from (sample / "depth" / f"{view}.png" for view in range(count))
        yield from (sample / f"{view}.png" for view in range(count))
        extra = (sample / name for name in ("panorama.png", "prompt.txt"))
        yield from (path for path in extra if path.exists())
        yield sample / "sample.json"

    def write_sample(
        self,
        sample_id: str,
        views: Tensor,
        prompts: Sequence[str] | None,
        record: Mapping[str, Any] | None = None,
        geometry: tuple[Trajectory, Tensor] | None = None,
    ) -> None:
        """Write a sample whole or not at all.

        Args:
            sample_id: its name.
            views: [V, 3, H, W] in −1 … 1.
            prompts: one per view; None if there are none.
            record: what made it (seed, …), for sample.json.
            geometry: cameras of a sequence and its depth [V, H, W] in meters.

        Raises:
            InputError: the disk refuses, or views are NaN or infinite.
            ValueError: views of another size or number than the folder's, or a sequence without
                geometry.
        """
        self._check(sample_id, views, geometry)
        views = views.detach().float().cpu()
        with atomic_output(self.root / sample_id) as folder:
            folder.mkdir()
            for index, view in enumerate(views):
                save_png(view, folder / f"{index}.png")
            if prompts is not None:
                lines = (" ".join(prompt.split()) for prompt in prompts)
                (folder / "prompt.txt").write_text("".join(f"{line}\n" for line in lines))
            write_json(folder / "sample.json", {"sample_id": sample_id, **(record or {})})
            if geometry:
                write_geometry(folder, *geometry)
            else:
                panorama, _ = stitch(read_views(folder), self.manifest.fov_deg)  # as others would
                save_png(panorama, folder / "panorama.png")
            keep_other_files(self.root / sample_id, folder, ())  # of a damaged one
        self._whole.add(sample_id)

    def _check(
        self, sample_id: str, views: Tensor, geometry: tuple[Trajectory, Tensor] | None
    ) -> None:
        task, size = self.manifest.task, (self.manifest.height, self.manifest.width)
        if (geometry is not None) != (task == Task.DEPTH):
            raise ValueError(f"Expected geometry for the task depth alone; the task is {task}.")
        count = len(geometry[0].frames) if geometry else len(self.manifest.yaw_deg)
        if (len(views), *views.shape[-2:]) != (count, *size):
            raise ValueError(f"Expected {count} views of {size}, got {tuple(views.shape)}.")
        if not views.isfinite().all():  # would be black, and kept as finished
            raise InputError(
                f"{self.root / sample_id}: the method '{self.manifest.method}' made NaN or "
                "infinite pixels; expected finite ones. Nothing was kept of this sample."
            )

    def write_manifest(self, **more: object) -> None:
        """Declare the folder finished.

        Raises:
            InputError: a sample is missing.
        """
        for sample_id in self.manifest.samples:
            if not self.has_sample(sample_id):
                raise InputError(f"{self.root / sample_id}: this sample is missing; run again.")
        write_manifest(self.root, self.manifest, self.settings, **more)
        end(self.root)


def _is_whole(path: Path) -> bool:
    """Tell whether a file of a sample was written to its end."""
    if path.suffix == ".png":
        return is_whole_png(path)
    try:
        return bool(read_json(path) if path.suffix == ".json" else path.read_text("utf-8"))
    except (InputError, OSError, UnicodeDecodeError):
        return False


def read_views(sample: Path) -> Tensor:
    """Read a sample's views [V, 3, H, W] in −1 … 1.

    Raises:
        InputError: there are none, or one is broken or of another size.
    """
    count = sum(1 for path in sample.glob("*.png") if path.stem.isdigit())
    views = [read_image(sample / f"{view}.png") for view in range(count)]
    if not views:
        raise InputError(f"{sample}: no views; expected 0.png, 1.png, …")
    for index, view in enumerate(views):
        if view.shape != views[0].shape:
            found, expected = tuple(view.shape[1:]), tuple(views[0].shape[1:])
            raise InputError(f"{sample / f'{index}.png'}: {found} pixels; expected {expected}.")
    return torch.stack(views)
