"""Controls for coherence and for seams between cube faces, on real panoramas.

Parts of real panoramas are repeated, mixed, blurred, shifted or made brighter. A measure must tell
each from the real ones, and those that are lowest for one repeated view must not be read as "lower
is better".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdiffusion.geometry.cameras import rotation
from mvdiffusion.records import InputError, provenance, write_json
from mvdiffusion_eval.extractors.base import FeatureExtractor
from mvdiffusion_eval.extractors.pretrained import load_extractor
from mvdiffusion_eval.folders.crops import cube_6, select_images
from mvdiffusion_eval.folders.equirectangular import EquirectangularFolder
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.sampling import area
from mvdiffusion_eval.functional.coherence import cosine_distances, squared_distances
from mvdiffusion_eval.metrics.panoramas.seams import cube_seams

FOV_DEG, BLUR, OFFSET, SHIFT, STRIP = 90.0, 2.0, 16, 4, 5
FRONT, OTHER_SCENE = 2, 1
Images = NDArray[np.uint8]
Compare = Callable[[Tensor], Tensor]
MEASURES: dict[str, tuple[str, Compare]] = {
    "intra_style": ("efficientnet-lite0-style", squared_distances),
    "intra_cosine": ("efficientnet-lite0", cosine_distances),
}


def blurred(images: Images) -> Images:
    """Blur images [N, H, W, 3]."""
    return np.stack([cv2.GaussianBlur(image, (0, 0), BLUR) for image in images])


def brighter(images: Images) -> Images:
    """Add an offset to images [N, H, W, 3]."""
    return np.minimum(images.astype(int) + OFFSET, 255).astype(np.uint8)


def coherence(windows: Images) -> dict[str, Any]:
    """Measure the mean distance of pairs under each control.

    Args:
        windows: of S panoramas, n of each [S, n, H, W, 3].
    """
    samples, count = windows.shape[:2]
    scenes = (np.arange(samples)[:, None] + np.arange(count)) % samples
    found: dict[str, Any] = {}
    for name, (extractor_name, compare) in MEASURES.items():
        extractor: Any = load_extractor(extractor_name)
        real, soft = (features_of(extractor, each) for each in (windows, soften(windows)))
        bright = real.clone()
        bright[:, 1] = features_of(extractor, brighter(windows[:, 1])[:, None])[:, 0]
        controls = {
            "real": real,
            "one view repeated": real[:, :1].expand_as(real),
            "views of different scenes": real[torch.from_numpy(scenes), torch.arange(count)],
            "blurred": soft,
            "constant offset on one view": bright,
        }
        for control, features in controls.items():
            values = [float(compare(own).mean()) for own in features]
            found.setdefault(control, {})[name] = summary(values)
    return found


def soften(windows: Images) -> Images:
    """Blur every window [S, n, H, W, 3]."""
    return np.stack([blurred(own) for own in windows])


def features_of(extractor: FeatureExtractor, windows: Images) -> Tensor:
    """Features [S, n, D] of windows [S, n, H, W, 3]."""
    return torch.stack([extractor.outputs(own)["features"].double() for own in windows])


def seams(faces: Images, soft: Images) -> dict[str, Any]:
    """Measure the edges of cubes under each control.

    Args:
        faces: of real panoramas [S, 6, H, W, 3].
        soft: faces of the same panoramas, blurred as a whole.
    """
    found: dict[str, Any] = {}
    for number, real in enumerate(faces):
        controls = {
            "real": real,
            "blurred panorama": soft[number],
            "each face blurred": blurred(real),
            "constant offset on one face": with_front(real, brighter(real[FRONT : FRONT + 1])[0]),
            "one face shifted by 4 px": with_front(real, np.roll(real[FRONT], SHIFT, 1)),
            "one face of another scene": with_front(real, faces[number - OTHER_SCENE, FRONT]),
            "one view repeated": np.stack([real[FRONT]] * 6),
        }
        for control, cube in controls.items():
            for name, value in cube_seams(cube, STRIP).items():
                found.setdefault(control, {}).setdefault(name, []).append(value)
    return {c: {name: summary(v) for name, v in own.items()} for c, own in found.items()}


def blurred_panoramas(folder: EquirectangularFolder, size: int) -> Images:
    """Cube faces [S, 6, size, size, 3] of panoramas that are blurred all round."""
    R = torch.stack([rotation(*look) for look in cube_6("")])
    cubes, border = [], 4 * int(BLUR)
    for sample_id in folder.sample_ids:
        wide = np.pad(folder.panorama(sample_id), ((0, 0), (border, border), (0, 0)), "wrap")
        cubes.append(area(blurred(wide[None])[0, :, border:-border], FOV_DEG, R, size))
    return np.stack(cubes)


def with_front(faces: Images, front: Images) -> Images:
    """Replace the front face."""
    return np.stack([front if number == FRONT else face for number, face in enumerate(faces)])


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean and standard error over panoramas."""
    return {
        "mean": float(np.mean(values)),
        "se": float(np.std(values, ddof=1) / np.sqrt(len(values))),
    }


def images_of(folder: EquirectangularFolder, spec: Mapping[str, Any]) -> Images:
    """Images that a protocol would measure [S, n, H, W, 3]."""
    chosen = select_images(folder, spec)
    assert chosen is not None
    return np.stack([chosen.views(sample_id) for sample_id in folder.sample_ids])


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every control, and return the report.

    Raises:
        InputError: the folder does not hold equirectangular panoramas.
    """
    cv2.setNumThreads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    folder = open_folder(arguments.panoramas)
    if not isinstance(folder, EquirectangularFolder):
        raise InputError(f"{arguments.panoramas}: expected equirectangular panoramas.")
    size = folder.panorama_size[1]
    crops = {"of": "crops", "fov_deg": FOV_DEG, "size": size}
    around = images_of(folder, {**crops, "directions": "level_8"})[:, ::2]
    return {
        "format": 1,
        "panoramas": len(folder.sample_ids),
        "panorama_size": list(folder.panorama_size),
        "blur_px": BLUR,
        "offset_gray_levels": OFFSET,
        "strip_px": STRIP,
        "four_views": coherence(around),
        "two_windows": coherence(images_of(folder, {"of": "windows"})),
        "cube_seams": seams(
            images_of(folder, {**crops, "directions": "cube_6"}), blurred_panoramas(folder, size)
        ),
        "provenance": provenance(),
    }


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a terminal: the mean over panoramas, and the distance from the real ones."""
    for part in ("four_views", "two_windows", "cube_seams"):
        yield part
        real = report[part]["real"]
        for control, measured in report[part].items():
            values = (
                f"{name} {one['mean']:.3f} ± {one['se']:.3f}, from real "
                f"{one['mean'] - real[name]['mean']:+.3f}"
                for name, one in measured.items()
            )
            yield f"  {control:<30}{'   '.join(values)}"


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--panoramas", type=Path, required=True, help="equirectangular images")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch and OpenCV")
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    return parser.parse_args(words)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    try:
        report = benchmark(arguments)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    print("\n".join(table(report)))
    if arguments.output is not None:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
