"""`score`: scores one folder and returns the content of a score file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mvdiffusion.records import InputError
from mvdiffusion.settings import Device

from .extractors.base import Extractor
from .extractors.networks import compute_on
from .extractors.pretrained import default_extractors, load_extractor
from .extractors.store import BATCH, FeatureStore
from .folders.opening import open_folder
from .folders.samples import SampleFolder
from .metrics.base import Detail, Inputs
from .scoring.score import matching_reference, score_inputs
from .settings import ScoreSettings


def score(
    generated: str | Path,
    reference: str | Path | None = None,
    *,
    vae_reconstruction: str | Path | None = None,
    extractors: Sequence[str | Path] = (),
    protocols: Sequence[str] = (),
    settings: ScoreSettings | None = None,
    fov_deg: float | None = None,
    yaw_deg: Sequence[float] | None = None,
    view_size: int = 512,
    panorama_height: int | None = None,
    cache: str | Path | None = None,
    samples: Sequence[str] | None = None,
    limit: int | None = None,
    views: str | None = None,
    prompts: str | None = None,
    reference_views: str | None = None,
    method: str | None = None,
    device: Device = "auto",
    batch_size: int = BATCH,
    details: list[Detail] | None = None,
    part: tuple[int, int] = (0, 1),
) -> dict[str, Any]:
    """Score a folder of images, as `mvdiffusion-eval score` does.

    Args:
        generated: folder to score, in any layout that `mvdiffusion_eval.folders.layouts` knows.
        reference: real views of the same samples; they add FID and ratios. A folder written by the
            authors' released code also contains them: give it as both.
        vae_reconstruction: the real views after VAE reconstruction; outpainting compares the given
            view with it.
        extractors: feature extractors: names of pretrained ones, or folders that
            `mvdiffusion-eval train-extractor` wrote. They add FID, Inception score and CLIP score
            and replace those of the settings. Without any, the named protocols load the extractors
            that they are defined with; where none is named either, it is EfficientNet-Lite0, for
            the protocol "offline", if the optional package of its weights is installed.
        protocols: names of the protocols to run, in place of those of the settings; without any,
            all protocols whose requirements are met.
        settings: how to score.
        fov_deg: horizontal field of view in degrees; by default that of the manifest, or 90.
        yaw_deg: directions of the views in degrees to the right; by default those of the manifest,
            or evenly spaced.
        view_size: height and width in pixels of views cut from equirectangular images.
        panorama_height: height in pixels to which equirectangular images are resized first, as
            PanFusion's evaluation does: real ones by area means, generated ones by bilinear
            samples.
        cache: folder of the feature cache, with which later runs compute only new features.
        samples: ids of the samples to score; by default all.
        limit: score only the first so many of them, in the order of their ids; the score file says
            so and is no result.
        views: pattern of the names of the images, for a folder in no known layout, such as
            "{room}/{id}_{yaw}.png"; see `mvdiffusion_eval.folders.patterns`.
        prompts: pattern of the names of the files of prompts, such as "text/{id}.txt".
        reference_views: pattern of the names of the real images.
        method: name of the method; by default that of the manifest, or the folder's name.
        device: where feature extractors compute: "auto" (a GPU if there is one), "cpu", "cuda",
            "cuda:1" or "mps".
        batch_size: images per pass of a feature extractor.
        details: list that gets the values of single views and pairs, which the result does not
            hold.
        part: number of this process, from 0, and how many share the work. One of several only
            brings the features of its samples into `cache`, and returns nothing.

    Returns:
        The content of a score file: the numbers with their provenance, and `warnings`.

    Raises:
        InputError: a folder cannot be read or does not fit the others, or a protocol's needs are
            not met.

    Example:
        `mvdiffusion_eval.score("my_views", "real_views", protocols=["paper-consistency-pano"])`
    """
    compute_on(device)
    settings = settings or ScoreSettings()
    settings = dataclasses.replace(settings, protocols=tuple(protocols) or settings.protocols)
    cameras: dict[str, Any] = {
        **{"fov_deg": fov_deg, "yaw_deg": yaw_deg},
        **{"view_size": view_size, "panorama_height": panorama_height},
    }
    folder = open_folder(generated, **cameras, views=views, prompts=prompts)
    if method is not None:
        folder = dataclasses.replace(folder, method=method)
    if samples is not None:
        folder = restricted(folder, samples)
    count = len(folder.sample_ids)
    if limit is not None and limit < count:
        folder = restricted(folder, sorted(folder.sample_ids)[: at_least_one(limit, "--limit")])
    real = None
    if reference:
        real = open_folder(reference, **cameras, real=True, views=reference_views)
    elif reference_views is not None:
        raise InputError("--reference-views: names files of real views; give --reference, too.")
    reconstructed = open_folder(vae_reconstruction, **cameras) if vae_reconstruction else None
    if reconstructed and folder.task != "outpaint":
        raise InputError(
            "--vae-reconstruction: only outpainting is compared with it, but the task of "
            f"{folder.root} is '{folder.task}'; leave the option out."
        )
    inputs = Inputs(
        folder,
        matching_reference(folder, real) if real else None,
        _load(extractors or settings.extractors, settings),
        settings,
        matching_reference(folder, reconstructed) if reconstructed else None,
        FeatureStore(cache, at_least_one(batch_size, "--batch-size")),
    )
    limited = len(folder.sample_ids) < count
    return score_inputs(inputs, real, count if limited else None, details, part)


def at_least_one(number: int, option: str) -> int:
    """Check a count.

    Raises:
        InputError: it is below one.
    """
    if number < 1:
        raise InputError(f"{option}: {number}; expected a whole number, at least 1.")
    return number


def _load(named: Sequence[str | Path], settings: ScoreSettings) -> tuple[Extractor, ...]:
    """Load the extractors that are named; where no protocol is named either, the default one."""
    if named or settings.protocols:
        return tuple(map(load_extractor, named))
    return default_extractors()


def restricted(folder: SampleFolder, samples: Sequence[str]) -> SampleFolder:
    """Restrict a folder to some of its samples, in its own order.

    Raises:
        InputError: the folder does not contain all of them.
    """
    if missing := sorted(set(samples) - set(folder.sample_ids)):
        raise InputError(
            f"{folder.root}: {len(missing)} of the requested samples are missing (first: "
            f"{missing[0]}); request only samples that the folder contains."
        )
    kept = tuple(sample_id for sample_id in folder.sample_ids if sample_id in set(samples))
    return dataclasses.replace(folder, sample_ids=kept)
