"""Image quality without a reference: means over the views of each sample of scores of images."""

from __future__ import annotations

import numpy as np
import torch

from mvdiffusion.records import InputError

from ..extractors.base import QualityExtractor
from ..functional.natural_scenes.niqe import SMALLEST
from .base import (
    Inputs,
    Metric,
    Outcome,
    Step,
    by_extractor,
    details_of,
    names_of_views,
    per_sample,
    register,
)


def _run(inputs: Inputs, step: Step) -> Outcome:
    """Measure; samples with an image that has no score are left out, and counted."""

    def measure(extractor: QualityExtractor) -> Outcome:
        means, single = _means(inputs, extractor)
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
        views = names_of_views(inputs.generated)
        details = [
            one
            for n, own in zip(names, single, strict=True)
            for one in details_of(n, ids, views, own)
        ]
        measured = {k: per_sample(v, *how, by=extractor) for k, v in columns}
        outcome = Outcome(measured, details=tuple(details))
        return outcome if defined.all() else outcome.spread_over(ids, used)

    return by_extractor(inputs, measure)


def _means(
    inputs: Inputs, extractor: QualityExtractor
) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """Means of the scores [S, K], NaN of samples with a view that has none; and those of the views
    of each sample [K][S][V]."""
    scores = inputs.store.features(inputs.generated, extractor)
    values = torch.cat(list(scores.blocks())).numpy()
    counts = np.bincount(scores.sample_of, minlength=len(inputs.generated.sample_ids))
    sums = np.stack([np.bincount(scores.sample_of, column) for column in values.T], axis=1)
    single = [np.split(column, np.cumsum(counts)[:-1]) for column in values.T]
    return sums / counts[:, None], single


def _needs_large_images(inputs: Inputs) -> str:
    large = min(inputs.generated.height, inputs.generated.width) >= SMALLEST
    return "" if large else f"images of at least {SMALLEST} × {SMALLEST} pixels"


register(Metric("image_quality", _run, uses="quality", missing=_needs_large_images))
