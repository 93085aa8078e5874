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

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.data.scannet import DepthSample
from mvdiffusion.geometry.panoramas import stitch
from mvdiffusion.images import read_image, save_depth, save_png
from mvdiffusion.outputs import already_made, begin
from mvdiffusion.records import InputError, atomic_output, provenance, read_json, write_json
from mvdiffusion.records import settings_sha256 as hash_of
from mvdiffusion.tasks import Task

_MANIFEST = "manifest.json"


class SampleFolder:
    """A folder that one run fills with samples; started again, it keeps the finished ones."""

    def __init__(
        self,
        root: Path,
        method: str,
        settings_sha256: str,
        task: str = "panorama",
        fov_deg: float = 90.0,
        given_views: Sequence[int] = (),
        settings: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        """Open or create the folder (see `mvdiffusion.outputs`).

        Args:
            root: the folder.
            method: name of what makes the samples.
            settings_sha256: hash of everything that decides the images, for the manifest; ""
                means that `settings` is everything.
            task: "panorama", "outpaint" or "depth".
            fov_deg: horizontal field of view of a panorama's views, which are evenly spaced.
            given_views: those that outpainting starts from.
            settings: what decides the images, by name.
            overwrite: move samples of other settings aside instead of refusing.

        Raises:
            InputError: the folder holds samples of other settings, or other files.
        """
        self.root, self.method, self.task, self.fov_deg = root, method, Task(task), fov_deg
        self.given_views = list(given_views)
        made_of = {"task": task, "method": method, "settings": dict(settings or {})}
        if settings_sha256:
            made_of["settings_sha256"] = settings_sha256
        self.settings_sha256 = settings_sha256 or hash_of(made_of)
        begin(root, made_of, overwrite=overwrite)

    def is_finished(self) -> bool:
        """Tell whether all samples are there; if so, say it to the user."""
        if not (self.root / _MANIFEST).is_file():
            return False
        finished = all(map(self.has_sample, read_manifest(self.root)["samples"]))
        if finished:
            already_made(self.root)
        return finished

    def has_sample(self, sample_id: str) -> bool:
        """Tell whether a sample is finished."""
        return (self.root / sample_id).is_dir()

    def write_sample(
        self,
        sample_id: str,
        views: Tensor,
        prompts: Sequence[str] | None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the views of a panorama, whole or not at all.

        Args:
            sample_id: name of its directory.
            views: [V, 3, H, W] in −1 … 1, evenly spaced.
            prompts: one per view; None if there are none.
            record: what made it (seed, …), for sample.json.

        Raises:
            InputError: the disk refuses.
        """
        if self.task == "depth":
            raise ValueError("Expected `write_sequence` for the task depth.")
        views = views.detach().float().cpu()
        panorama, _ = stitch(views, self.fov_deg)
        with atomic_output(self.root / sample_id) as folder:
            _write_views(folder, views, prompts, {"sample_id": sample_id, **(record or {})})
            save_png(panorama, folder / "panorama.png")

    def write_sequence(
        self, sample: DepthSample, views: Tensor, record: Mapping[str, Any] | None = None
    ) -> None:
        """Write views with the depth and cameras that they were made for, whole or not at all.

        Args:
            sample: frames in order; its own views are not used.
            views: [V, 3, H, W] in −1 … 1, one for each frame.
            record: what made it (seed, …), for sample.json.

        Raises:
            InputError: the disk refuses.
        """
        if self.task != "depth" or len(views) != len(sample.frames):
            raise ValueError(
                f"Expected the task depth and {len(sample.frames)} views, got {self.task} and "
                f"{len(views)}."
            )
        views = views.detach().float().cpu()
        cameras = {
            "frames": sample.frames,
            "key_frames": sample.is_key.nonzero()[:, 0].tolist(),
            "K": sample.K.double().tolist(),
            "pose": sample.pose.double().tolist(),
        }
        entries = {"sample_id": sample.sample_id, **(record or {})}
        with atomic_output(self.root / sample.sample_id) as folder:
            _write_views(folder, views, sample.prompts, entries)
            (folder / "depth").mkdir()
            for index, depth in enumerate(sample.depth):
                save_depth(depth, folder / "depth" / f"{index}.png")
            write_json(folder / "cameras.json", cameras)

    def write_manifest(self, sample_ids: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Declare the folder finished.

        Args:
            sample_ids: the samples it holds.
            settings: what made them, for readers.

        Raises:
            InputError: a sample is missing.
        """
        for sample_id in sample_ids:
            if not self.has_sample(sample_id):
                raise InputError(f"{self.root / sample_id}: this sample is missing; run again.")
        views = read_views(self.root / sorted(sample_ids)[0])
        manifest = {
            "format": 1,
            "task": self.task,
            "method": self.method,
            "height": views.shape[-2],
            "width": views.shape[-1],
            "samples": sorted(sample_ids),
            "settings": dict(settings),
            "settings_sha256": self.settings_sha256,
            "provenance": provenance(),
        }
        if self.task != "depth":
            yaw_deg = [360.0 / len(views) * view for view in range(len(views))]
            manifest |= {"num_views": len(views), "fov_deg": self.fov_deg, "yaw_deg": yaw_deg}
        if self.task == "outpaint":
            manifest["given_views"] = self.given_views
        write_json(self.root / _MANIFEST, manifest)


def _write_views(
    folder: Path, views: Tensor, prompts: Sequence[str] | None, entries: Mapping[str, Any]
) -> None:
    folder.mkdir()
    for index, view in enumerate(views):
        save_png(view, folder / f"{index}.png")
    if prompts is not None:
        lines = (" ".join(prompt.split()) for prompt in prompts)
        (folder / "prompt.txt").write_text("".join(f"{line}\n" for line in lines))
    write_json(folder / "sample.json", entries)


def read_manifest(root: Path) -> dict[str, Any]:
    """Read a finished folder's manifest.

    Raises:
        InputError: it is missing, broken or of another format.
    """
    manifest = read_json(root / _MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != 1:
        raise InputError(f"{root / _MANIFEST}: expected a manifest with format 1; generate again.")
    return manifest


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
