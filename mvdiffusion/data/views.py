"""Sample folders: what every method writes and the evaluation scores.

<folder>/<sample id>/0.png … <V-1>.png   views, RGB
<folder>/<sample id>/prompt.txt          one line per view
<folder>/<sample id>/panorama.png        the views stitched, to look at
<folder>/<sample id>/sample.json         what made the sample (seed, …)
<folder>/manifest.json                   cameras, samples, settings, provenance; written last
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.equirectangular import equirectangular_to_views, views_to_equirectangular
from mvdiffusion.records import (
    InputError,
    atomic_output,
    provenance,
    read_json,
    remove,
    settings_sha256,
    write_json,
)

_RUN, _MANIFEST = ".run.json", "manifest.json"


class SampleFolder:
    """A folder that one run fills with samples; started again, it keeps the finished ones."""

    def __init__(
        self, root: Path, method: str, settings_sha256: str, fov_deg: float = 90.0
    ) -> None:
        """Open or create the folder. Samples that another run left there are deleted.

        Args:
            root: the folder.
            method: name of what makes the samples.
            settings_sha256: hash of everything that decides the images.
            fov_deg: horizontal field of view of the views, which are evenly spaced.

        Raises:
            InputError: the folder holds files that no run of this kind wrote.
        """
        self.root, self.method = root, method
        self.settings_sha256, self.fov_deg = settings_sha256, fov_deg
        run = {"method": method, "settings_sha256": settings_sha256}
        if (root / _RUN).is_file():
            if read_json(root / _RUN) == run:
                return
            print(f"{root}: other settings; starting anew", file=sys.stderr)
            # The mark goes last, so that a kill while deleting is mended by the next start.
            for path in (path for path in root.iterdir() if path.name != _RUN):
                remove(path)
        elif root.is_dir() and any(root.iterdir()):
            raise InputError(f"{root}: holds other files; expected an empty or new output folder.")
        write_json(root / _RUN, run)

    def has_sample(self, sample_id: str) -> bool:
        """Tell whether a sample is finished."""
        return (self.root / sample_id).is_dir()

    def complete_samples(self) -> list[str]:
        """List the finished samples."""
        found = (path.name for path in self.root.iterdir() if path.is_dir())
        return sorted(name for name in found if not name.startswith("."))

    def write_sample(
        self,
        sample_id: str,
        views: Tensor,
        prompts: Sequence[str] | None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one sample, whole or not at all.

        Args:
            sample_id: name of its directory.
            views: [V, 3, H, W] in −1 … 1.
            prompts: one per view; None if there are none.
            record: what made it (seed, …), for sample.json.

        Raises:
            InputError: the disk refuses.
        """
        views = views.detach().float().cpu()
        panorama, _ = stitch(views, self.fov_deg)
        with atomic_output(self.root / sample_id) as folder:
            folder.mkdir()
            for index, view in enumerate(views):
                _save_png(view, folder / f"{index}.png")
            _save_png(panorama, folder / "panorama.png")
            if prompts is not None:
                lines = (" ".join(prompt.split()) for prompt in prompts)
                (folder / "prompt.txt").write_text("".join(f"{line}\n" for line in lines))
            write_json(folder / "sample.json", {"sample_id": sample_id, **(record or {})})

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
        num_views, _, height, width = views.shape
        manifest = {
            "format": 1,
            "task": "panorama",
            "method": self.method,
            "num_views": num_views,
            "height": height,
            "width": width,
            "fov_deg": self.fov_deg,
            "yaw_deg": [360.0 / num_views * view for view in range(num_views)],
            "samples": sorted(sample_ids),
            "settings": dict(settings),
            "settings_sha256": self.settings_sha256,
            "provenance": provenance(),
        }
        write_json(self.root / _MANIFEST, manifest)


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
    views = [_read_image(sample / f"{view}.png") for view in range(count)]
    if not views:
        raise InputError(f"{sample}: no views; expected 0.png, 1.png, …")
    for index, view in enumerate(views):
        if view.shape != views[0].shape:
            found, expected = tuple(view.shape[1:]), tuple(views[0].shape[1:])
            raise InputError(f"{sample / f'{index}.png'}: {found} pixels; expected {expected}.")
    return torch.stack(views)


def export_split(
    dataset: Matterport3DPanoramas,
    output: Path,
    settings_sha256: str,
    settings: Mapping[str, Any],
    num_samples: int | None = None,
) -> None:
    """Write a split's real views as the samples of a method called "real".

    Args:
        dataset: the split.
        output: the sample folder.
        settings_sha256: hash of the settings, kept in the manifest.
        settings: for readers of the manifest.
        num_samples: how many, from the split's start; None means all.

    Raises:
        InputError: the split has fewer samples.
    """
    count = len(dataset) if num_samples is None else num_samples
    if count > len(dataset):
        raise InputError(f"num_samples: {count} asked for, the split has {len(dataset)}.")
    folder = SampleFolder(output, "real", settings_sha256, dataset.fov_deg)
    for index in tqdm(range(count), desc="real views"):
        if not folder.has_sample(dataset.sample_id(index)):
            sample = dataset.load(index)
            folder.write_sample(sample.sample_id, sample.views, sample.prompts)
    folder.write_manifest([dataset.sample_id(i) for i in range(count)], settings)


def cut_equirectangular_files(
    files: Sequence[Path],
    output: Path,
    size: int = 512,
    fov_deg: float = 90.0,
    num_views: int = 8,
) -> None:
    """Cut equirectangular images into the samples of a method called "real".

    Args:
        files: images, twice as wide as high; a sample is called as its file.
        output: the sample folder.
        size: height and width of a view in pixels.
        fov_deg: field of view in degrees.
        num_views: evenly spaced views, the first at the image's middle.

    Raises:
        InputError: a file is missing, broken, not 2:1, or two have one name.
    """
    names = [path.stem for path in files]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(f"--equirect: several files are called {min(repeated)!r}; rename one.")
    settings = {"size": size, "fov_deg": fov_deg, "num_views": num_views, "files": sorted(names)}
    folder = SampleFolder(output, "real", settings_sha256(settings), fov_deg)
    for path in tqdm(files, desc="cutting views"):
        if not folder.has_sample(path.stem):
            views = cut_views(_read_panorama(path), size, fov_deg, num_views)
            folder.write_sample(path.stem, views, None, {"file": path.name})
    folder.write_manifest(names, settings)


def cut_views(panorama: Tensor, size: int, fov_deg: float, num_views: int) -> Tensor:
    """Cut evenly spaced views out of an equirectangular image, without aliasing.

    Args:
        panorama: [C, H, W] in −1 … 1, W = 2 H.
        size: height and width of a view in pixels.
        fov_deg: field of view in degrees.
        num_views: number of views.

    Returns:
        Views [V, C, size, size] in −1 … 1.
    """
    focal = 0.5 * size / math.tan(math.radians(fov_deg) / 2)
    factor = math.ceil(panorama.shape[-1] / (2 * math.pi) / focal)  # samples per pixel and axis
    K, R = panorama_cameras(size * factor, size * factor, num_views, fov_deg)
    views = []
    for view in range(num_views):  # one by one, for memory
        camera = K[view : view + 1], R[view : view + 1]
        fine = equirectangular_to_views(panorama, *camera, size * factor, size * factor)
        views.append(F.avg_pool2d(fine, factor)[0])
    return torch.stack(views).clamp(-1, 1)


def stitch(views: Tensor, fov_deg: float, height: int | None = None) -> tuple[Tensor, Tensor]:
    """Blend evenly spaced views into an equirectangular panorama.

    Args:
        views: [V, C, H, W] in −1 … 1.
        fov_deg: their horizontal field of view in degrees.
        height: of the panorama, in pixels (default: what keeps the views' resolution).

    Returns:
        The panorama [C, height, 2 height] in −1 … 1 and the coverage mask [height, 2 height];
        uncovered pixels are grey.
    """
    K, R = panorama_cameras(views.shape[-2], views.shape[-1], len(views), fov_deg)
    height = height or round(math.pi * float(K[0, 0, 0]))
    panorama, covered = views_to_equirectangular(views, K, R, height, 2 * height)
    return panorama.clamp(-1, 1), covered


def stitch_folder(views: Path, output: Path, height: int = 1024) -> None:
    """Stitch every sample of a finished folder to `<output>/<sample id>.png`.

    Args:
        views: the sample folder.
        output: folder of the panoramas; finished ones are kept.
        height: of the panoramas, in pixels.
    """
    manifest = read_manifest(views)
    for sample_id in tqdm(manifest["samples"], desc="stitching"):
        path = output / f"{sample_id}.png"
        if not path.is_file():
            panorama, _ = stitch(read_views(views / sample_id), manifest["fov_deg"], height)
            with atomic_output(path) as temporary:
                _save_png(panorama, temporary)


def _save_png(image: Tensor, path: Path) -> None:
    pixels = ((image + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    with open(path, "wb") as file:
        Image.fromarray(pixels).save(file, "PNG")


def _read_image(path: Path) -> Tensor:
    """Read an image file as [3, H, W] in −1 … 1."""
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected an image there.") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a whole image ({error}); expected PNG or JPEG.") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def _read_panorama(path: Path) -> Tensor:
    panorama = _read_image(path)
    _, height, width = panorama.shape
    if width != 2 * height:
        raise InputError(
            f"{path}: {width} x {height} pixels; expected an equirectangular image, twice as wide "
            "as high (360° x 180°)."
        )
    return panorama
