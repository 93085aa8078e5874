"""How far choices that papers leave open move the numbers of panoramas, on real panoramas.

Three sets are made of a folder of panoramas: `real`, each turned about the vertical; `blurry`, the
same out of focus; and `other`, other scenes and turns with noise. Both of the latter are scored
against the first, by EfficientNet-Lite0, in every variant of a metric. What matters is how far a
variant moves a number from that of the metric's own choice, and whether it changes the order of the
two sets.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mvdiffusion import efficientnet_lite
from mvdiffusion.images import read_rgb
from mvdiffusion.records import InputError, provenance, write_json
from mvdiffusion_eval.extractors.base import Extractor, FeatureExtractor, Identity
from mvdiffusion_eval.extractors.inception import antialiased_bilinear, tf1_bilinear
from mvdiffusion_eval.extractors.pretrained import load_efficientnet
from mvdiffusion_eval.extractors.store import FeatureSet, FeatureStore
from mvdiffusion_eval.folders.crops import (
    CropFolder,
    Direction,
    Directions,
    crop,
    cube_6,
    level_8,
    panoramas,
    tangent_18,
)
from mvdiffusion_eval.folders.cubes import DOWN, UP
from mvdiffusion_eval.folders.equirectangular import EquirectangularFolder
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import SampleFolder
from mvdiffusion_eval.functional.precision_recall import Blocks, covered, radii
from mvdiffusion_eval.metrics.panoramas.faces import (
    AROUND,
    NUM_FACES,
    PLANES,
    POLES,
    bound_of_planes,
    pooled,
)
from mvdiffusion_eval.metrics.quality import frechet_statistic

METHODS = ("blurry", "other")
BLUR, NOISE = 2.5, 8.0  # pixels, gray levels: standard deviations
SHRUNK = 4  # times that panoramas shrink where that is compared: at 2, both ways are equal
SHIFT = 8  # scenes between `real` and `other`: every half and quarter has the same ones in both
Values = dict[str, float]
Seen = Callable[[EquirectangularFolder], SampleFolder]


@dataclass(frozen=True)
class World:
    """The three sets, with where their features are kept.

    Attributes:
        folders: by name: `real` and the methods.
        scratch: folder for more of them.
    """

    folders: Mapping[str, EquirectangularFolder]
    scratch: Path
    store: FeatureStore
    extractor: Extractor

    def compared(
        self,
        see: Seen,
        measure: Callable[[FeatureSet, FeatureSet], float],
        by: Extractor | None = None,
        **others: EquirectangularFolder,
    ) -> Values:
        """Measure every method against the real set.

        Args:
            see: the images that are measured.
            measure: takes features of generated and of real images.
            by: the extractor, if it is another.
            others: folders in place of those of the same names.
        """
        folders = {**self.folders, **others}
        made = {
            name: self.store.features(see(folder), by or self.extractor)
            for name, folder in folders.items()
        }
        return {name: measure(made[name], made["real"]) for name in METHODS}


def fid(preds: FeatureSet, target: FeatureSet) -> float:
    """Fréchet distance of all images."""
    return float(frechet_statistic(preds, target, one_group(preds))(torch.ones(1).double()))


def one_group(features: FeatureSet) -> NDArray[np.int64]:
    """The group of each sample, where all are in one."""
    return np.zeros(int(features.sample_of.max()) + 1, dtype=np.int64)


def make_world(source: Path, scratch: Path, count: int, height: int, seed: int) -> World:
    """Write the three sets of panoramas, and open them.

    Args:
        source: folder of equirectangular images.
        scratch: an empty folder.
        count: panoramas per set.
        height: of the panoramas in pixels.
        seed: of turns and noise.
    """
    files = sorted(path for path in source.iterdir() if path.suffix in (".png", ".jpg"))
    if not files:
        raise InputError(f"{source}: contains no panoramas; expected equirectangular images.")
    random = np.random.default_rng(seed)
    for number in range(count):
        first, second = (files[n % len(files)] for n in (number, (number + SHIFT) % count))
        real, other = (_turned(path, height, random) for path in (first, second))
        noise = random.normal(0, NOISE, other.shape)
        made = {"real": real, "blurry": _blurred(real), "other": other + noise}
        for name, pixels in made.items():
            _write(scratch / name / f"{number:03d}.png", pixels)
    folders = {name: _open(scratch / name) for name in ("real", *METHODS)}
    return World(folders, scratch, FeatureStore(), load_efficientnet())


def _turned(path: Path, height: int, random: np.random.Generator) -> NDArray[np.float64]:
    pixels = cv2.resize(read_rgb(path), (2 * height, height), interpolation=cv2.INTER_AREA)
    return np.roll(pixels, random.integers(2 * height), 1).astype(np.float64)


def _blurred(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Out of focus, without a seam."""
    wide = np.concatenate([pixels[:, -32:], pixels, pixels[:, :32]], 1)
    return cv2.GaussianBlur(wide, (0, 0), BLUR)[:, 32:-32]


def _write(path: Path, pixels: NDArray[Any], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(path, **options)


def _open(root: Path, **options: Any) -> EquirectangularFolder:
    folder = open_folder(root, **options)
    assert isinstance(folder, EquirectangularFolder)
    return folder


def fid_clip(world: World) -> dict[str, Values]:
    """Share of the rows that FIDclip leaves out at each end."""
    return {
        f"{100 * share:g} % at each end": world.compared(
            partial(panoramas, without_poles=share), fid
        )
        for share in (0.125, 0.0, 0.1, 0.15)
    }


def cut(directions: Directions, size: int, fov_deg: float = 90, **how: Any) -> Seen:
    """See panoramas as crops, as `crop` does."""
    return lambda folder: crop(folder, directions, fov_deg, size, **how)


class _Turned(CropFolder):
    """Cube faces whose upper and lower one are turned by a quarter, as Matterport3D's."""

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> NDArray[np.uint8]:
        views = super().views(sample_id).copy()
        views[UP], views[DOWN] = np.rot90(views[UP]), np.rot90(views[DOWN], -1)
        return views if which is None else views[list(which)]

    def view_digests(self, sample_id: str) -> list[str]:
        return [digest[::-1] for digest in super().view_digests(sample_id)]


def cube_faces(world: World, faces: Sequence[int]) -> dict[str, Values]:
    """Size, sampling and turn of the faces behind FIDpole and FIDequ."""

    def turned(folder: EquirectangularFolder) -> CropFolder:
        return _Turned(**vars(crop(folder, cube_6, 90, 256, "py360convert", 299)))

    ways: dict[str, Seen] = {
        "256 px": cut(cube_6, 256, sampling="py360convert", resized_to=299),
        "512 px": cut(cube_6, 512, sampling="py360convert"),
        "256 px, means of areas": cut(cube_6, 256),
        "up and down turned by a quarter": turned,
    }

    def measure(preds: FeatureSet, target: FeatureSet) -> float:
        distance = pooled(preds, target, one_group(preds), faces, NUM_FACES)
        return float(distance(torch.ones(1).double()))

    return {name: world.compared(see, measure) for name, see in ways.items()}


def tangent(world: World) -> dict[str, Values]:
    """Field of view and summing up of TangentFID's planes."""

    def planes(preds: FeatureSet, target: FeatureSet) -> NDArray[np.float64]:
        each = [_every(side, len(PLANES)) for side in (preds, target)]
        return np.array([fid(*pair) for pair in zip(*each, strict=True)])

    def bound(preds: FeatureSet, target: FeatureSet) -> float:
        return float(bound_of_planes(torch.from_numpy(planes(preds, target)), 1))

    def plain_bound(preds: FeatureSet, target: FeatureSet) -> float:
        found = planes(preds, target)
        return float(found.mean() + 1.96 * found.std() / len(found) ** 0.5)

    found = {
        f"{fov} degrees": world.compared(cut(tangent_18, 192, fov), bound) for fov in (80, 60, 90)
    }
    usual = cut(tangent_18, 192, 80)
    found["no weights"] = world.compared(usual, plain_bound)
    found["mean alone, no weights"] = world.compared(
        usual, lambda *sides: float(planes(*sides).mean())
    )
    return found


def _every(features: FeatureSet, count: int) -> Iterator[FeatureSet]:
    """Each of the `count` images of every sample."""
    for place in range(count):
        chosen = slice(place, None, count)
        yield dataclasses.replace(
            features, keys=features.keys[chosen], sample_of=features.sample_of[chosen]
        )


def crops(world: World) -> dict[str, Values]:
    """Sampling of eight level crops, and where they look."""
    ways = ("area", "panfusion")
    found = {way: world.compared(cut(level_8, 299, sampling=way), fid) for way in ways}
    for seed in range(2):
        name = f"random azimuths, seed {seed}"
        found[name] = world.compared(cut(partial(_random_azimuths, seed=seed), 299), fid)
    return found


def _random_azimuths(sample_id: str, seed: int) -> tuple[Direction, ...]:
    random = np.random.default_rng([seed, *sample_id.encode()])
    return tuple((float(yaw), 0.0) for yaw in random.uniform(-180, 180, 8))


def neighbors(world: World, measure: Callable[..., float]) -> dict[str, Values]:
    """Number of neighbors of precision or recall, on eight level crops."""
    seen = cut(level_8, 299)
    return {f"k = {k}": world.compared(seen, partial(measure, k=k)) for k in (3, 5)}


def _share(one: FeatureSet, other: FeatureSet, k: int) -> float:
    """Share of the images of one set that lie among those of the other."""
    images, manifold = _ungrouped(one), _ungrouped(other)
    return covered(images, manifold, radii(manifold, 1, k)).share(None)


def _recalled(preds: FeatureSet, target: FeatureSet, k: int) -> float:
    return _share(target, preds, k)


def _ungrouped(features: FeatureSet) -> Blocks:
    return lambda: (
        (block, torch.zeros(len(block), dtype=torch.long)) for block in features.blocks()
    )


def whole(world: World) -> dict[str, Values]:
    """Resize, compression, number and detour of whole panoramas."""
    found = {"Pillow bicubic": world.compared(panoramas, fid)}
    for name, resize in (("antialiased", antialiased_bilinear), ("aliasing", tf1_bilinear)):
        by = _resized_by(name, resize)
        found[f"bilinear, {name}"] = world.compared(panoramas, fid, by)
    for quality in (95, 75):
        stored = {name: _as_jpeg(world, name, quality) for name in METHODS}
        found[f"generated as JPEG {quality}"] = world.compared(panoramas, fid, **stored)
    for share in (2, 4):
        found[f"1/{share} of the samples"] = world.compared(partial(_fewer, share=share), fid)
    cubes = {name: _through_cubes(world, name) for name in METHODS}
    found["generated as six faces"] = world.compared(panoramas, fid, **cubes)
    return found


def reference_resize(world: World) -> dict[str, Values]:
    """Resizing to a quarter of the rows: real ones by area means, or as generated ones."""
    rows = world.folders["real"].panorama_size[1] // SHRUNK

    def opened(real: bool) -> dict[str, EquirectangularFolder]:
        made = {name: _open(world.scratch / name, panorama_height=rows) for name in METHODS}
        own = _open(world.scratch / "real", panorama_height=rows, real=real)
        return {**made, "real": own}

    ways = {"real ones by area means": True, "all by bilinear samples": False}
    return {name: world.compared(panoramas, fid, **opened(real)) for name, real in ways.items()}


def _resized_by(name: str, resize: Callable[[torch.Tensor, int], torch.Tensor]) -> FeatureExtractor:
    """EfficientNet-Lite0 behind another resize."""
    network = efficientnet_lite.load_efficientnet_lite0().eval()

    def extract(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = efficientnet_lite.normalize(resize(images, efficientnet_lite.IMAGE_SIZE))
        features = network.forward_features(pixels).mean((2, 3))  # type: ignore[operator]
        return features, features[:, :0]

    about = {"kind": "features", "resize": name}
    return FeatureExtractor(Identity(f"efficientnet-{name}", "0" * 64), about, extract, False)


def _as_jpeg(world: World, name: str, quality: int) -> EquirectangularFolder:
    root = world.scratch / f"{name}-{quality}"
    for path in sorted((world.scratch / name).iterdir()):
        _write(root / f"{path.stem}.jpg", read_rgb(path), quality=quality)
    return _open(root)


def _fewer(folder: EquirectangularFolder, share: int) -> SampleFolder:
    return panoramas(dataclasses.replace(folder, sample_ids=folder.sample_ids[::share]))


def _through_cubes(world: World, name: str) -> EquirectangularFolder:
    """Cut faces half as high as the panoramas, and make panoramas of them again."""
    folder, root = world.folders[name], world.scratch / f"{name}-cubes"
    size = folder.panorama_size[1] // 2
    for sample_id in folder.sample_ids:
        faces = crop(folder, cube_6, 90, size).views(sample_id)
        for face, pixels in zip("ULFRBD", faces, strict=True):
            _write(root / sample_id / f"{face}.png", pixels)
    return _open(root)


PARTS: dict[str, Callable[[World], dict[str, Values]]] = {
    "FIDclip": fid_clip,
    "FIDpole": lambda world: cube_faces(world, POLES),
    "FIDequ": lambda world: cube_faces(world, AROUND),
    "FID of whole panoramas": whole,
    "FID of whole panoramas, resized": reference_resize,
    "FID of 8 level crops": crops,
    "precision of 8 level crops": lambda world: neighbors(world, _share),
    "recall of 8 level crops": lambda world: neighbors(world, _recalled),
    "TangentFID": tangent,
}
"""Variants by metric; the first of each is the suite's own choice."""


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure and print variants of the metrics, and write the report after each metric."""
    cv2.setNumThreads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        about = {key: getattr(arguments, key) for key in ("count", "height", "seed")}
        world = make_world(arguments.panoramas, Path(name), **about)
        made = {"blur_px": BLUR, "noise": NOISE, "extractor": str(world.extractor.identity)}
        found: list[dict[str, Any]] = []
        report = {"format": 1, **about, **made, "rows": found, "provenance": provenance()}
        for part in arguments.parts:
            variants = PARTS[part](world)
            found += [{"metric": part, "choice": name, **v} for name, v in variants.items()]
            print("\n".join(table_rows(found)[-len(variants) :]), flush=True)
            if arguments.output is not None:
                write_json(arguments.output, report)
    return report


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of a Markdown table: values of both sets, and how far they are from a metric's first.

    Args:
        rows: of the report.
    """
    lines, first = [], rows[0]
    for row in rows:
        is_first = row is rows[0] or row["metric"] != first["metric"]
        first = row if is_first else first
        numbers = [f"{row[method]:.3g}" for method in METHODS]
        changes = ["" if is_first else _change(row[method], first[method]) for method in METHODS]
        name = row["metric"] if is_first else ""
        lines.append(f"| {name} | {row['choice']} | {' | '.join([*numbers, *changes])} |")
    return lines


def _change(value: float, own: float) -> str:
    return f"{100 * (value / own - 1):+.0f} %" if own else ""


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--panoramas", type=Path, required=True, help="equirectangular images")
    parser.add_argument("--count", type=int, default=20, help="panoramas per set")
    parser.add_argument("--height", type=int, default=512, help="of the panoramas in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of turns and noise")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch and OpenCV")
    parser.add_argument("--folder", type=Path, default=None, help="for what is made")
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], help="metrics")
    return parser.parse_args(words)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    try:
        benchmark(arguments)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
