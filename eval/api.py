"""The one obvious call: a folder in, the content of a score file out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .folders.opening import open_folder
from .metrics.base import ScoreSettings
from .scoring.score import score_folder


def score(
    generated: str | Path,
    reference: str | Path | None = None,
    *,
    codec: str | Path | None = None,
    evaluators: Sequence[str | Path] = (),
    extractors: Sequence[str] = (),
    protocols: Sequence[str] = (),
    settings: ScoreSettings | None = None,
    fov_deg: float = 90.0,
    yaw_deg: Sequence[float] | None = None,
    view_size: int = 512,
    cache: str | Path | None = None,
) -> dict[str, Any]:
    """Score a folder of images, as `mvdiffusion-eval score` does.

    Args:
        generated: folder to score, in any layout that `mvdiffusion_eval.folders.layouts` knows.
        reference: real views of the same samples: adds FID and ratios. A folder that the authors'
            released code wrote holds them too: name it twice.
        codec: real views through the codec (outpainting): is the given view kept?
        evaluators: folders made by `mvdiffusion-eval evaluator`: adds FID, IS, CLIP score.
        extractors: pretrained extractors by name, the same; instead of the settings' if any. With
            neither, protocols that are named load those that they are defined with.
        protocols: names of the protocols to run, instead of the settings' if any; else all whose
            needs are met.
        settings: how to score.
        fov_deg: horizontal field of view of a folder without manifest.
        yaw_deg: directions of its views in degrees to the right; default evenly spaced.
        view_size: height and width in pixels of views cut out of equirectangular images.
        cache: folder that keeps features between runs: a new method, protocol or extractor then
            costs only what is new.

    Returns:
        The content of a score file: numbers with what made them, and `warnings`.

    Raises:
        InputError: a folder cannot be read or does not fit the others, or a protocol's needs are
            not met.

    Example:
        `mvdiffusion_eval.score("my_views", "real_views", protocols=["paper-consistency-pano"])`
    """
    settings = settings or ScoreSettings()
    settings = dataclasses.replace(
        settings,
        protocols=tuple(protocols) or settings.protocols,
        extractors=tuple(extractors) or settings.extractors,
    )
    cameras: dict[str, Any] = {"fov_deg": fov_deg, "yaw_deg": yaw_deg, "view_size": view_size}
    folder = open_folder(generated, **cameras)
    real = open_folder(reference, **cameras, real=True) if reference else None
    decoded = open_folder(codec, **cameras) if codec else None
    for each in filter(None, (folder, real)):
        each.check_prompts()
    return score_folder(folder, real, evaluators, settings, decoded, cache)
