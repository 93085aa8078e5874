"""Outpainting: is the given view kept, and do the others resemble it?

`panorama_consistency` measures its overlaps. The given view passes through the autoencoder like any
other view, so it cannot be better than the VAE reconstruction of the real view; `given_view_kept`
leaves this loss out.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..extractors.base import SimilarityExtractor
from ..folders.samples import PanoramaFolder, SampleFolder
from ..functional.clip_score import clip_image_score
from ..functional.psnr import image_psnr
from .base import Inputs, Metric, Outcome, Step, by_extractor, per_sample, register
from .panorama_consistency import as_panoramas


def _run_given_view(inputs: Inputs, step: Step) -> Outcome:
    return Outcome({step.key: per_sample(_given_psnr(inputs, inputs.real), "dB", True, step)})


def _run_kept(inputs: Inputs, step: Step) -> Outcome:
    assert inputs.vae_reconstruction is not None
    psnr = _given_psnr(inputs, inputs.vae_reconstruction)
    return Outcome({step.key: per_sample(psnr, "dB", True, step)})


def _given_psnr(inputs: Inputs, target: SampleFolder) -> np.ndarray:
    """PSNR [S] of the given views against another folder's, pooled over them."""
    folder = as_panoramas(inputs.generated)

    def given(source: SampleFolder, sample_id: str) -> np.ndarray:
        return source.views(sample_id, folder.given_views) / 255

    ids = inputs.samples(f"given view against {target.method}")
    return np.array([image_psnr(given(folder, i), given(target, i)) for i in ids])


def _run_clip_i(inputs: Inputs, step: Step) -> Outcome:
    is_real = inputs.reference is not None
    given = only_given(inputs.real if is_real else inputs.generated)
    at = "" if is_real else "@generated-view"

    def measure(extractor: SimilarityExtractor) -> Outcome:
        views, targets = (inputs.store.features(f, extractor) for f in (inputs.generated, given))
        scores = []
        for sample in range(len(inputs.generated.sample_ids)):
            own, shown = (f.rows(np.flatnonzero(f.sample_of == sample)) for f in (views, targets))
            scores.append(clip_image_score(own[:, None], shown).mean().item())
        measured = per_sample(np.array(scores), "0-100", True, step, at, extractor)
        return Outcome({step.key: measured})

    return by_extractor(inputs, measure)


def only_given(folder: SampleFolder) -> PanoramaFolder:
    """See the given views of each sample as those that are evaluated."""
    source = as_panoramas(folder)
    others = tuple(v for v in range(source.num_views) if v not in source.given_views)
    return dataclasses.replace(source, given_views=others)


def _needs_given_views(inputs: Inputs) -> str:
    has_both = 0 < len(as_panoramas(inputs.generated).given_views) < inputs.generated.count("")
    return "" if has_both else "a given view beside generated ones (a manifest names it)"


def _needs_vae_reconstruction(inputs: Inputs) -> str:
    missing = "real views after VAE reconstruction (--vae-reconstruction)"
    return "" if inputs.vae_reconstruction else missing


register(Metric("given_view_psnr", _run_given_view, compares=True))
register(Metric("clip_i", _run_clip_i, uses="similarity", missing=_needs_given_views))
register(Metric("given_view_kept", _run_kept, missing=_needs_vae_reconstruction))
