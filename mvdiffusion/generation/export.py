"""Making sample folders out of real data, and panoramas out of sample folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.generation.sample_folder import SampleFolder, read_manifest, read_views
from mvdiffusion.geometry.panoramas import cut_views, stitch
from mvdiffusion.images import read_image, save_png
from mvdiffusion.outputs import begin
from mvdiffusion.records import (
    InputError,
    atomic_output,
    folder_sha256,
    settings_sha256,
    sha256_file,
)

__all__ = [
    "SampleFolder",
    "cut_equirectangular_files",
    "cut_views",
    "export_sequences",
    "export_split",
    "read_manifest",
    "read_views",
    "stitch",
    "stitch_folder",
]


def export_split(
    dataset: Matterport3DPanoramas,
    output: Path,
    settings_sha256: str,
    settings: Mapping[str, Any],
    num_samples: int | None = None,
    task: str = "panorama",
    given_views: Sequence[int] = (0,),
    *,
    overwrite: bool = False,
) -> None:
    """Write a split's real views as the samples of a method called "real".

    Args:
        dataset: the split.
        output: the sample folder.
        settings_sha256: hash of the settings, kept in the manifest.
        settings: for readers of the manifest.
        num_samples: how many, from the split's start; None means all.
        task: "panorama" or "outpaint".
        given_views: those that outpainting starts from; of no meaning to panoramas.
        overwrite: move samples of other settings aside instead of refusing.

    Raises:
        InputError: the split has fewer samples, or `output` is of other settings.
    """
    made_of = _made_of(dataset, settings, num_samples)
    folder = SampleFolder(
        output, "real", settings_sha256, task, dataset.fov_deg, given_views, made_of,
        overwrite=overwrite,
    )  # fmt: skip
    if folder.is_finished():
        return
    for index in _missing(dataset, folder, num_samples):
        sample = dataset.load(index)
        folder.write_sample(sample.sample_id, sample.views, sample.prompts)
    folder.write_manifest(_ids(dataset, num_samples), settings)


def export_sequences(
    dataset: ScanNetScenes,
    output: Path,
    settings_sha256: str,
    settings: Mapping[str, Any],
    num_samples: int | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a split's real frames, depth and cameras as the samples of a method called "real".

    Args:
        dataset: the split.
        output: the sample folder.
        settings_sha256: hash of the settings, kept in the manifest.
        settings: for readers of the manifest.
        num_samples: how many sequences, from the split's start; None means all.
        overwrite: move samples of other settings aside instead of refusing.

    Raises:
        InputError: the split has fewer sequences, or `output` is of other settings.
    """
    made_of = _made_of(dataset, settings, num_samples)
    folder = SampleFolder(
        output, "real", settings_sha256, "depth", settings=made_of, overwrite=overwrite
    )
    if folder.is_finished():
        return
    for index in _missing(dataset, folder, num_samples):
        sample = dataset.load(index)
        folder.write_sequence(sample, sample.views)
    folder.write_manifest(_ids(dataset, num_samples), settings)


_Split = Matterport3DPanoramas | ScanNetScenes


def _made_of(
    dataset: _Split, settings: Mapping[str, Any], num_samples: int | None
) -> dict[str, Any]:
    """What decides the samples of a split; the split itself stands in by its samples' names."""
    names = settings_sha256({"samples": _ids(dataset, None)})
    return {"data": dict(settings), "num_samples": num_samples, "split": names}


def _ids(dataset: _Split, num_samples: int | None) -> list[str]:
    """Ids of the first samples (default: of all)."""
    count = len(dataset) if num_samples is None else num_samples
    if count > len(dataset):
        raise InputError(f"num_samples: {count} asked for, the split has {len(dataset)}.")
    return [dataset.sample_id(index) for index in range(count)]


def _missing(dataset: _Split, folder: SampleFolder, num_samples: int | None) -> Iterator[int]:
    """Indices of the samples that the folder does not hold yet."""
    for index, name in enumerate(tqdm(_ids(dataset, num_samples), desc="real views")):
        if not folder.has_sample(name):
            yield index


def cut_equirectangular_files(
    files: Sequence[Path],
    output: Path,
    size: int = 512,
    fov_deg: float = 90.0,
    num_views: int = 8,
    *,
    overwrite: bool = False,
) -> None:
    """Cut equirectangular images into the samples of a method called "real".

    Args:
        files: images, twice as wide as high; a sample is called as its file.
        output: the sample folder.
        size: height and width of a view in pixels.
        fov_deg: field of view in degrees.
        num_views: evenly spaced views, the first at the image's middle.
        overwrite: move samples of other settings aside instead of refusing.

    Raises:
        InputError: a file is missing, broken, not 2:1, or two have one name; or `output` is of
            other settings or images.
    """
    names = [path.stem for path in files]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(f"--equirect: several files are called {min(repeated)!r}; rename one.")
    settings = {"size": size, "fov_deg": fov_deg, "num_views": num_views, "files": sorted(names)}
    if missing := [path for path in files if not path.is_file()]:
        raise InputError(f"{missing[0]}: no such file; expected an image there.")
    made_of = {**settings, "files": {path.name: sha256_file(path) for path in files}}
    folder = SampleFolder(
        output, "real", "", fov_deg=fov_deg, settings=made_of, overwrite=overwrite
    )
    if folder.is_finished():
        return
    for path in tqdm(files, desc="cutting views"):
        if not folder.has_sample(path.stem):
            views = cut_views(_read_panorama(path), size, fov_deg, num_views)
            folder.write_sample(path.stem, views, None, {"file": path.name})
    folder.write_manifest(names, settings)


def stitch_folder(
    views: Path, output: Path, height: int = 1024, *, overwrite: bool = False
) -> None:
    """Stitch every sample of a finished folder to `<output>/<sample id>.png`.

    Args:
        views: the sample folder.
        output: folder of the panoramas; finished ones of the same views are kept.
        height: of the panoramas, in pixels.
        overwrite: move panoramas of other views or of another height aside instead of refusing.

    Raises:
        InputError: `views` is not finished, or `output` is of other views or another height.
    """
    manifest = read_manifest(views)
    samples, fov_deg = manifest["samples"], manifest["fov_deg"]
    hashes = {name: folder_sha256(views / name, "[0-9]*.png") for name in samples}
    made_of = {"stitched": hashes, "fov_deg": fov_deg, "height": height}
    begin(output, made_of, overwrite=overwrite)
    for sample_id in tqdm(samples, desc="stitching"):
        path = output / f"{sample_id}.png"
        if not path.is_file():
            panorama, _ = stitch(read_views(views / sample_id), fov_deg, height)
            with atomic_output(path) as temporary:
                save_png(panorama, temporary)


def _read_panorama(path: Path) -> Tensor:
    panorama = read_image(path)
    _, height, width = panorama.shape
    if width != 2 * height:
        raise InputError(
            f"{path}: {width} x {height} pixels; expected an equirectangular image, twice as wide "
            "as high (360° x 180°)."
        )
    return panorama
