"""Image quality without a reference: means over the views of each sample of scores of images."""

from __future__ import annotations

import numpy as np
import torch

from mvdiffusion.records import InputError

from ..extractors.base import QualityExtractor
from ..functional.natural_scenes.niqe import SMALLEST
from .base import Inputs, Metric, Outcome, Step, by_extractor, per_sample, register


def _run(inputs: Inputs, step: Step) -> Outcome:
    """Measure; samples with an image that has no score are left out, and counted."""

    def measure(extractor: QualityExtractor) -> Outcome:
        means = _means(inputs, extractor)
        defined = np.isfinite(means).all(1)
        ids = inputs.generated.sample_ids
        if not defined.any():
            raise InputError(
                f"{inputs.generated.root}: every sample has an image with too little content for "
                f"'{step.key}', which is undefined for constant images; check the images, or leave "
                f"the protocol '{step.protocol}' out."
            )
        used = [sample_id for sample_id, is_defined in zip(ids, defined, strict=True) if is_defined]
        names = [f"{step.key}_{name}" if name else step.key for name in extractor.scores]
        how = (extractor.unit, extractor.better, step)
        columns = zip(names, means[defined].T, strict=True)
        outcome = Outcome({k: per_sample(v, *how, by=extractor) for k, v in columns})
        return outcome if defined.all() else outcome.spread_over(ids, used)

    return by_extractor(inputs, measure)


def _means(inputs: Inputs, extractor: QualityExtractor) -> np.ndarray:
    """Means of the scores [S, K]; NaN of samples with a view that has none."""
    scores = inputs.store.features(inputs.generated, extractor)
    values = torch.cat(list(scores.blocks())).numpy()
    counts = np.bincount(scores.sample_of, minlength=len(inputs.generated.sample_ids))
    sums = np.stack([np.bincount(scores.sample_of, column) for column in values.T], axis=1)
    return sums / counts[:, None]


def _needs_large_images(inputs: Inputs) -> str:
    large = min(inputs.generated.height, inputs.generated.width) >= SMALLEST
    return "" if large else f"images of at least {SMALLEST} × {SMALLEST} pixels"


register(Metric("image_quality", _run, uses="quality", missing=_needs_large_images))
