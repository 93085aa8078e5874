"""Real panoramas under the paper's protocol, cut, stored and warped in several ways."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import mvdiffusion_eval
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.generation.export import cut_equirectangular_files, export_split
from mvdiffusion.preparation.custom.check import CheckSettings, Survey, survey
from mvdiffusion.preparation.custom.importing import import_folder
from mvdiffusion.records import read_json
from mvdiffusion.tasks import Task
from mvdiffusion_eval.folders.images import resize_views
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.functional.cross_view_psnr import neighbor_overlaps
from mvdiffusion_eval.functional.psnr import psnr_db
from mvdiffusion_eval.settings import ScoreSettings

FOV_DEG, YAWS = 90.0, tuple(range(0, 360, 45))
PAPER_SIZE, GENERATED_SIZE = 1024, 512  # where views are compared; what the paper generates
TURN = 22.5  # of the views, so that none of them is a face of the cube
QUALITIES = (95, 75)
FILTERS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


def measure_panoramas(source: Path, scratch: Path, split: str) -> dict[str, Any]:
    """PSNR of the overlaps of a folder's panoramas, in dB.

    Args:
        source: equirectangular images or cube faces; only read.
        scratch: a folder for what is made.
        split: name of the split that is made.
    """
    found = survey(source, CheckSettings(caption="a place"))
    root = scratch / "data"
    import_folder(found, root, split)
    folders = {size: scratch / f"faces-{size}" for size in (PAPER_SIZE, GENERATED_SIZE)}
    for size, folder in folders.items():
        dataset = Matterport3DPanoramas(root, split, image_size=size)
        export_split(dataset, Task.PANORAMA, folder, {})
    turned = {size: scratch / f"turned-{size}" for size in folders}
    for size, folder in turned.items():
        _export_turned(Matterport3DPanoramas(root, split, image_size=size), folder)
    own = folders[GENERATED_SIZE]
    rows: dict[str, Any] = {
        "cut_at_1024": protocol(folders[PAPER_SIZE]),
        "cut_at_512_enlarged": protocol(own),
        "turned_by_22.5": {f"cut_at_{size}": protocol(turned[size]) for size in turned},
        "views_as_jpeg": {
            f"quality_{quality}": protocol(_stored(own, scratch / f"jpeg-{quality}", quality))
            for quality in QUALITIES
        },
        "filter_of_the_warp": {
            f"cut_at_{size}": {name: warped_psnr(turned[size], name) for name in FILTERS}
            for size in turned
        },
    }
    if found.kind == "panoramas":
        rows |= _of_equirectangular(found, scratch)
    return {"panoramas": _names(found), **_origin(root, split), "psnr_db": rows}


def protocol(folder: Path, size: int = PAPER_SIZE) -> dict[str, float]:
    """What the suite finds under `paper-consistency-pano`, and the mean of each panorama."""
    settings = ScoreSettings(consistency_resolution=size)
    content = mvdiffusion_eval.score(
        folder, protocols=["paper-consistency-pano"], settings=settings
    )
    metrics = content["metrics"]
    means = metrics["cross_view_psnr"]
    found = {"all_pairs": means["value"]}
    for part in ("non_closing", "closing", "worst"):
        found[part] = metrics[f"cross_view_psnr_{part}"]["value"]
    return found | dict(zip(content["images"]["samples"], means["values"], strict=True))


def warped_psnr(folder: Path, name: str) -> dict[str, float]:
    """The protocol's mean over pairs of each panorama, with another filter of the warp.

    Views are compared where all filters have the pixels they need.
    """
    overlaps = neighbor_overlaps(FOV_DEG, YAWS, PAPER_SIZE, PAPER_SIZE)
    opened = open_folder(folder)
    means = {}
    for sample_id in opened.sample_ids:
        views, values = resize_views(opened.views(sample_id), PAPER_SIZE, PAPER_SIZE), []
        for pair in overlaps:
            mask = cv2.erode(pair.mask.view(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
            warped = _warp(views[pair.target], pair.H, FILTERS[name])
            error = np.square(views[pair.query][mask] - warped[mask], dtype=np.float64)
            values.append(psnr_db(float(error.mean())))
        means[sample_id] = float(np.mean(values))
    return means


def _warp(image: NDArray[np.float32], H: NDArray, interpolation: int) -> NDArray[np.float32]:
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(image, H, image.shape[1::-1], flags=flags))


def _export_turned(dataset: Matterport3DPanoramas, folder: Path) -> None:
    """Write views that start between two faces of the cube."""
    for index in range(len(dataset)):
        views = dataset.views(index, TURN, range(dataset.num_views))
        pixels = (views * 127.5 + 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        _write(folder / dataset.sample_id(index), pixels, lambda image: image)


def _stored(folder: Path, target: Path, quality: int) -> Path:
    """Write the same views as JPEG would leave them."""
    opened = open_folder(folder)
    for sample_id in opened.sample_ids:
        views = opened.views(sample_id)
        _write(target / sample_id, views, lambda image: _through_jpeg(image, quality))
    return target


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def _write(
    folder: Path, views: NDArray[np.uint8], treat: Callable[[Image.Image], Image.Image]
) -> None:
    folder.mkdir(parents=True)
    for number, view in enumerate(views):
        treat(Image.fromarray(view)).save(folder / f"{number}.png", compress_level=1)


def _of_equirectangular(found: Survey, scratch: Path) -> dict[str, Any]:
    """Cut from the photographs themselves: at their own resolution, and at twice that."""
    rows: dict[str, dict[str, float]] = {"not_enlarged": {}, "twice_enlarged": {}}
    for panorama in found.panoramas:
        path, size = panorama.images[0].path, panorama.face_size
        for name, times in (("not_enlarged", 1), ("twice_enlarged", 2)):
            folder = scratch / f"{name}-{path.stem}"
            cut_equirectangular_files([path], folder, size * times)
            rows[name][path.stem] = protocol(folder, size * times)["all_pairs"]
            shutil.rmtree(folder)
    return {"from_the_photograph": rows}


def _names(found: Survey) -> list[str]:
    return sorted(panorama.id for panorama in found.panoramas)


def _origin(root: Path, split: str) -> Mapping[str, Any]:
    record = read_json(root / f"import_{split}.json")
    return {"kind": record["kind"], "source_sha256": record["source_sha256"]}
