"""Distances between sets of images that came after FID: KID, CMMD, Fréchet distances elsewhere.

- `kid`: kernel distance of every feature extractor, a mean over subsets;
- `fd`: Fréchet distance of feature extractors that are no classifiers, always with their name
  (`fd_dinov2-vit-l-14` is known as FD-DINOv2, `fd_clip-vit-b-32` as CLIP-FID); that of classifiers
  is FID and belongs to the paper's protocols;
- `cmmd`: of every similarity extractor's image embeddings.

KID and CMMD do not depend on the number of images as FID does (KID not at all on average).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from eval.feature_store import FeatureSet
from eval.features import Extractor
from eval.metrics.cmmd import SCALE, gaussian_sums
from eval.metrics.kernel_sums import Grouped
from eval.metrics.kid import draw_subsets, polynomial_sums
from eval.protocols import Inputs, Measurement, Outcome, Protocol, register
from eval.quality import (
    collect_features,
    frechet_statistic,
    groups_of_samples,
    metric_key,
    per_group,
)

SUBSETS, SUBSET_SIZE = 100, 1000
"""As torch-fidelity and torchmetrics; with fewer images, one subset of them all."""

Statistic = Callable[[np.ndarray], float]


def _run(inputs: Inputs, protocol: Protocol) -> Outcome:
    if not inputs.has_other_reference:
        return Outcome({})
    collect_features(inputs)
    found: dict[str, Measurement] = {}
    for number, features in enumerate(inputs.feature_extractors):
        sides = _sides(inputs, features)
        kid = _kernel_distance(inputs, *sides)
        key = metric_key("kid", features, number)
        found[key] = per_group(inputs, kid, False, protocol, features)
        if not features.has_classes:
            key = f"fd_{features.identity.name}"
            distance = frechet_statistic(*sides)
            found[key] = per_group(inputs, distance, False, protocol, features)
    for number, similarity in enumerate(inputs.similarity_extractors):
        key = metric_key("cmmd", similarity, number)
        discrepancy = _cmmd(inputs, *_sides(inputs, similarity))
        found[key] = per_group(inputs, discrepancy, False, protocol, similarity)
    return Outcome(found)


def _sides(inputs: Inputs, extractor: Extractor) -> tuple[FeatureSet, FeatureSet]:
    assert inputs.reference is not None
    store = inputs.store
    return store.features(inputs.generated, extractor), store.features(inputs.reference, extractor)


def _kernel_distance(inputs: Inputs, preds: FeatureSet, target: FeatureSet) -> Statistic:
    """KID of the samples kept, on the same subsets without those left out."""
    group_of = groups_of_samples(inputs)
    subsets = draw_subsets(len(preds), len(target), SUBSET_SIZE, SUBSETS, inputs.settings.seed)
    count = int(group_of.max()) + 1

    def grouped(side: FeatureSet, images: np.ndarray) -> Grouped:
        return side.rows(images), torch.from_numpy(group_of[side.sample_of[images]])

    sums = [
        polynomial_sums(grouped(preds, ours), grouped(target, theirs), count)
        for ours, theirs in subsets
    ]

    def distance(kept: np.ndarray) -> float:
        groups = torch.from_numpy(np.unique(group_of[kept]))
        return float(np.mean([each.mmd2(groups, unbiased=True) for each in sums]))

    return distance


def _cmmd(inputs: Inputs, preds: FeatureSet, target: FeatureSet) -> Statistic:
    group_of = groups_of_samples(inputs)

    def blocks(side: FeatureSet) -> Iterator[Grouped]:
        for images in side.block_images():
            yield side.rows(images), torch.from_numpy(group_of[side.sample_of[images]])

    count = int(group_of.max()) + 1
    sums = gaussian_sums(lambda: blocks(preds), lambda: blocks(target), count)

    def discrepancy(kept: np.ndarray) -> float:
        groups = torch.from_numpy(np.unique(group_of[kept]))
        return SCALE * sums.mmd2(groups, unbiased=False)

    return discrepancy


def _missing(inputs: Inputs) -> str:
    lacking = [
        *([] if inputs.extractors else ["an extractor (--evaluators, 'extractors')"]),
        *([] if inputs.reference is not None else ["real views (--reference)"]),
    ]
    return " and ".join(lacking)


register(
    Protocol(
        "modern",
        1,
        ("panorama", "outpaint", "depth"),
        f"KID (unbiased, {SUBSETS} subsets of {SUBSET_SIZE} images), CMMD (Gaussian kernel of "
        "width 10, all pairs, times 1000), Fréchet distances by networks that are no classifiers",
        _missing,
        _run,
        embeds_reference=True,
    )
)
