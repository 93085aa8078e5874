"""A tiny world of panoramas whose views agree, and ways to spoil that agreement."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion_eval.cli import main

KINDS = ("kitchen", "library", "attic")
SIZE = 32
SCORE_SETTINGS = json.dumps(
    {"consistency_resolution": SIZE, "inception_splits": 2, "jackknife_groups": 4}
)


def panorama(seed: int, kind: int) -> torch.Tensor:
    """Smooth random panorama [3, 128, 256] in [0, 1], tinted by the kind of room."""
    noise = torch.rand(3, 8, 16, generator=torch.Generator().manual_seed(seed))
    wrapped = torch.cat([noise, noise, noise], -1)[None]  # so that the seam closes
    smooth = interpolate(wrapped, (128, 768), mode="bicubic", align_corners=False)[0, :, :, 256:512]
    tint = torch.full((3, 1, 1), 0.3)
    tint[kind] = 0.9
    return (0.75 * smooth.clamp(0, 1) + 0.25 * tint).clamp(0, 1)


def views_of(seed: int, kind: int, size: int = SIZE) -> np.ndarray:
    """Eight views uint8 [8, size, size, 3] of one panorama."""
    K, R = panorama_cameras(size, size)
    views = equirectangular_to_views(panorama(seed, kind), K, R, size, size)
    return (views.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def write_folder(
    root: Path,
    method: str,
    samples: dict[str, np.ndarray],
    settings_sha256: str = "a" * 64,
    manifest: bool = True,
    given_views: tuple[int, ...] = (),
) -> Path:
    """Write a sample folder as generators do; with given views, one of outpainting."""
    for number, (sample_id, views) in enumerate(samples.items()):
        folder = root / sample_id
        folder.mkdir(parents=True)
        for view, image in enumerate(views):
            Image.fromarray(image).save(folder / f"{view}.png")
        kind = KINDS[number % len(KINDS)]
        lines = [
            f"This is one view of a scene. A {kind}, side {view}." for view in range(len(views))
        ]
        (folder / "prompt.txt").write_text("\n".join(lines) + "\n")
    if manifest:
        count, height, width = next(iter(samples.values())).shape[:3]
        content = {
            "format": 1,
            "task": "panorama",
            "method": method,
            "num_views": count,
            "height": height,
            "width": width,
            "fov_deg": 90.0,
            "yaw_deg": [360 / count * view for view in range(count)],
            "samples": sorted(samples),
            "settings": {},
            "settings_sha256": settings_sha256,
        }
        if given_views:
            content |= {"task": "outpaint", "given_views": list(given_views)}
        (root / "manifest.json").write_text(json.dumps(content))
    return root


def real_samples(count: int) -> dict[str, np.ndarray]:
    """Samples whose views agree."""
    return {f"room{i:03d}": views_of(i, i % len(KINDS)) for i in range(count)}


def independent_samples(count: int) -> dict[str, np.ndarray]:
    """Samples each of whose views comes from another panorama of the same kind of room."""
    made = {}
    for i in range(count):
        pool = [views_of(1000 + 8 * i + view, i % len(KINDS)) for view in range(8)]
        made[f"room{i:03d}"] = np.stack([pool[view][view] for view in range(8)])
    return made


def autoregressive_samples(count: int) -> dict[str, np.ndarray]:
    """Samples that agree from view to view but drift, so that the loop does not close."""
    made = {}
    for i in range(count):
        start, end = views_of(i, i % len(KINDS)), views_of(500 + i, i % len(KINDS))
        weight = np.linspace(0, 1, 8)[:, None, None, None]
        made[f"room{i:03d}"] = ((1 - weight) * start + weight * end).round().astype(np.uint8)
    return made


def outpainted_samples(count: int, made: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same samples with the real view 0."""
    real = real_samples(count)
    return {name: np.concatenate([real[name][:1], made[name][1:]]) for name in made}


def noisy(samples: dict[str, np.ndarray], sigma: float, seed: int = 0) -> dict[str, np.ndarray]:
    """The same samples with a little noise, as a VAE would leave."""
    rng = np.random.default_rng(seed)
    return {
        name: np.clip(views + rng.normal(0, sigma, views.shape), 0, 255).astype(np.uint8)
        for name, views in samples.items()
    }


def score(
    generated: Path,
    output: Path,
    reference: Path | None = None,
    extractors: tuple | list = (),
    vae_reconstruction: Path | None = None,
) -> dict:
    """Score a folder through the command line and read the score file."""
    arguments = ["--generated", str(generated), "--output", str(output)]
    arguments += ["--reference", str(reference)] if reference else []
    if vae_reconstruction:
        arguments += ["--vae-reconstruction", str(vae_reconstruction)]
    arguments += repeated("--extractor", extractors)
    run("score", *arguments, "--settings", SCORE_SETTINGS)
    return json.loads(output.read_text())


def features_of(extractor: Any, views: np.ndarray) -> torch.Tensor:
    """Features [V, D] of views, float64."""
    return extractor.outputs(views)["features"].double()


def repeated(option: str, values: Iterable[object]) -> list[str]:
    """An option once for each value."""
    return [word for value in values for word in (option, str(value))]


def run(*arguments: str) -> None:
    """Run the command; anything but success is an error of the test."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code, arguments
