"""Making sample folders out of real data, and panoramas out of sample folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.generation.sample_folder import SampleFolder, read_views, split_manifest
from mvdiffusion.geometry.cameras import even_yaws, level_rotations
from mvdiffusion.geometry.panoramas import cut_views, stitch
from mvdiffusion.images import is_whole_png, read_image, save_png
from mvdiffusion.manifest import Manifest, read_manifest
from mvdiffusion.outputs import begin, end
from mvdiffusion.records import InputError, atomic_output, folder_sha256, sha256_file
from mvdiffusion.records import settings_sha256 as hash_of
from mvdiffusion.tasks import Task


def export_split(
    dataset: Matterport3DPanoramas | ScanNetScenes,
    task: Task,
    output: Path,
    settings: Mapping[str, Any],
    num_samples: int | None = None,
    settings_sha256: str | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a split's real images as the samples of a method called "real".

    Args:
        dataset: the split.
        task: what the images are for.
        output: the sample folder.
        settings: settings of the dataset, for readers of the manifest.
        num_samples: how many, from the split's start; None means all.
        settings_sha256: hash of everything that decides the images (default: of what is known).
        overwrite: move samples of other settings aside instead of refusing.

    Raises:
        InputError: the split has fewer samples, or `output` is of other settings.
    """
    manifest = split_manifest(task, "real", dataset, num_samples, settings_sha256)
    # The split itself stands in by its samples' names.
    names = hash_of({"samples": [dataset.sample_id(index) for index in range(len(dataset))]})
    made_of = {"data": dict(settings), "num_samples": num_samples, "split": names}
    folder = SampleFolder(output, manifest, made_of, overwrite=overwrite)
    if folder.is_finished():
        return
    for index, name in enumerate(tqdm(manifest.samples, desc="real views")):
        if not folder.has_sample(name):
            sample = dataset.load(index)
            folder.write_sample(name, sample.views, sample.prompts, geometry=sample.geometry)
    folder.write_manifest()


def cut_equirectangular_files(
    files: Sequence[Path],
    output: Path,
    size: int = 512,
    fov_deg: float = 90.0,
    num_views: int = 8,
    method: str = "real",
    prompts: Path | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Cut equirectangular images into the samples of a method.

    Args:
        files: images, twice as wide as high; a sample is called as its file.
        output: the sample folder.
        size: height and width of a view in pixels.
        fov_deg: field of view in degrees.
        num_views: evenly spaced views, the first at the image's middle.
        method: name of what made the images.
        prompts: folder of a text file `<sample>.txt` for each: one prompt, or one per line and
            view; None leaves them out.
        overwrite: move samples of other settings aside instead of refusing.

    Raises:
        InputError: a file is missing, broken, not 2:1, or two have one name; prompts are missing or
            too many; or `output` is of other settings or images.
    """
    names = [path.stem for path in files]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(f"several files are called {min(repeated)!r}; rename one.")
    if missing := [path for path in files if not path.is_file()]:
        raise InputError(f"{missing[0]}: no such file; expected an image there.")
    hashes = {path.name: sha256_file(path) for path in files}
    settings: dict[str, Any] = {"size": size, "fov_deg": fov_deg, "num_views": num_views}
    settings["files"] = hashes
    texts = {name: _prompts_of(prompts, name, num_views) for name in names} if prompts else {}
    if texts:
        settings["prompts"] = texts
    yaw_deg = even_yaws(num_views)
    manifest = Manifest(Task.PANORAMA, method, size, size, tuple(names), None, fov_deg, yaw_deg)
    folder = SampleFolder(output, manifest, settings, overwrite=overwrite)
    if folder.is_finished():
        return
    R = level_rotations(yaw_deg)
    for path in tqdm(files, desc="cutting views"):
        if not folder.has_sample(path.stem):
            views = cut_views(_read_panorama(path), fov_deg, R, size, size)
            folder.write_sample(path.stem, views, texts.get(path.stem), {"file": path.name})
    folder.write_manifest()


def stitch_folder(
    views: Path, output: Path, height: int = 1024, *, overwrite: bool = False
) -> None:
    """Stitch every sample of a finished folder to `<output>/<sample id>.png`.

    Args:
        views: the sample folder.
        output: folder of the panoramas; finished ones of the same views are kept.
        height: height of the panoramas in pixels.
        overwrite: move panoramas of other views or of another height aside instead of refusing.

    Raises:
        InputError: `views` is not finished, or `output` is of other views or another height.
    """
    manifest = read_manifest(views)
    if manifest.task == Task.DEPTH:
        raise InputError(f"{views}: holds sequences; expected views of panoramas.")
    samples, fov_deg = manifest.samples, manifest.fov_deg
    hashes = {name: folder_sha256(views / name, "[0-9]*.png") for name in samples}
    made_of = {"stitched": hashes, "fov_deg": fov_deg, "height": height}
    begin(output, made_of, overwrite=overwrite)
    for sample_id in tqdm(samples, desc="stitching"):
        path = output / f"{sample_id}.png"
        if not is_whole_png(path):
            panorama, _ = stitch(read_views(views / sample_id), fov_deg, height)
            with atomic_output(path) as temporary:
                save_png(panorama, temporary)
    end(output)


def _prompts_of(folder: Path, name: str, num_views: int) -> list[str]:
    """Read the prompts of a panorama's views; blank lines are passed over."""
    path = folder / f"{name}.txt"
    expected = f"expected one prompt, or {num_views}, one per line and view"
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: could not be read as UTF-8 ({why}); {expected}.") from None
    found = [line for line in lines if line]
    if len(found) not in (1, num_views):
        raise InputError(f"{path}: found {len(found)} prompts; {expected}.")
    return found * (num_views // len(found))


def _read_panorama(path: Path) -> Tensor:
    panorama = read_image(path)
    _, height, width = panorama.shape
    if width != 2 * height:
        raise InputError(
            f"{path}: {width} x {height} pixels; expected an equirectangular image, twice as wide "
            "as high (360° x 180°)."
        )
    return panorama
