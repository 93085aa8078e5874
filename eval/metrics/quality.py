"""Image quality (paper, section 5.1): FID, Inception score and CLIP score of generated views.

The same computation for every task. The folder says which views are evaluated: all views of a
panorama, those not given of an outpainted one, the key frames of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..extractors.base import Extractor, SimilarityExtractor
from ..extractors.store import FeatureSet
from ..folders.samples import SampleFolder
from ..functional.clip_score import clip_score
from ..functional.fid import Moments, frechet_distance
from ..functional.inception_score import SplitSums, assign_splits, splits_of
from ..statistics import jackknife, mean_and_se
from .base import Inputs, Metric, Outcome, Step, by_extractor, per_sample, register
from .measurement import Measurement

Statistic = Callable[[np.ndarray], float]
"""A number of all samples, given the numbers of those that a jackknife keeps."""

FEW_IMAGES = 4096
"""Up to here, and up to twice as many images as features, the moments of what a jackknife keeps
are gathered anew, which is exact for singular covariances too. Beyond, groups are taken off the
whole."""


def of_sets(
    statistics: Callable[[Inputs, Step, Any], Mapping[str, Statistic]], better: bool = False
) -> Callable[[Inputs, Step], Outcome]:
    """Make what a metric runs: statistics of all samples with jackknife errors, by each extractor.

    Args:
        statistics: given an extractor, the statistics by the name of their measurement.
        better: whether higher is better.
    """

    def run(inputs: Inputs, step: Step) -> Outcome:
        def measure(extractor: Extractor) -> Outcome:
            found = statistics(inputs, step, extractor).items()
            return Outcome(
                {k: _per_group(inputs, one, better, step, extractor) for k, one in found}
            )

        return by_extractor(inputs, measure)

    return run


def _per_group(
    inputs: Inputs, statistic: Statistic, better: bool, step: Step, extractor: Extractor
) -> Measurement:
    count = len(inputs.generated.sample_ids)
    value, pseudo_values = jackknife(statistic, count, inputs.settings.jackknife_groups)
    return Measurement(
        value, mean_and_se(pseudo_values)[1], "", better, step.protocol_with(extractor),
        step.version, str(extractor.identity), tuple(pseudo_values.tolist()), "group",
    )  # fmt: skip


def _fid(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    return {step.key: frechet_statistic(*sides_of(inputs, extractor))}


def _run_clip_score(inputs: Inputs, step: Step) -> Outcome:
    counts = [len(inputs.generated.evaluated_views(i)) for i in inputs.generated.sample_ids]

    def measure(extractor: SimilarityExtractor) -> Outcome:
        scores = clip_scores(inputs, extractor).split(counts)
        means = np.array([own.mean().item() for own in scores])
        return Outcome({step.key: per_sample(means, "0-100", True, step, by=extractor)})

    return by_extractor(inputs, measure)


def clip_scores(inputs: Inputs, extractor: SimilarityExtractor) -> torch.Tensor:
    """CLIP score [N] of every evaluated view with its own prompt, in the order of the samples.

    Raises:
        InputError: prompts are missing.
    """
    folder, prompts = inputs.generated, []
    for sample_id in folder.sample_ids:
        own = folder.prompts(sample_id)
        prompts += [own[view] for view in folder.evaluated_views(sample_id)]
    images = inputs.store.features(folder, extractor)
    texts = inputs.store.texts(extractor, prompts)
    pairs = zip(images.blocks(), texts.blocks(), strict=True)
    return torch.cat([clip_score(image, text) for image, text in pairs])


def sides_of(inputs: Inputs, extractor: Extractor) -> tuple[FeatureSet, FeatureSet]:
    """Features of generated and of real images.

    Args:
        inputs: generated views and the same samples' real ones.
        extractor: makes the features.
    """
    store = inputs.store
    return store.features(inputs.generated, extractor), store.features(inputs.real, extractor)


def _inception_score(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, Statistic]:
    preds = inputs.store.features(inputs.generated, extractor)
    return {step.key: inception_statistic(inputs, step, preds)}


def inception_statistic(inputs: Inputs, step: Step, preds: FeatureSet) -> Statistic:
    """Inception score of the samples kept, for a jackknife.

    Args:
        inputs: what the images are of.
        step: with the option "splits".
        preds: classes of the images, which may be some of each sample.
    """
    splits = step.options["splits"]
    split_of = assign_splits(len(preds), splits, inputs.settings.seed)
    sample_groups = groups_of_samples(inputs)
    sums = SplitSums(int(sample_groups.max()) + 1, splits)
    for images in preds.block_images():
        groups = torch.from_numpy(sample_groups[preds.sample_of[images]])
        sums.add(preds.rows(images, "logits"), groups, split_of[images])
    return lambda kept: sums.score(torch.from_numpy(np.unique(sample_groups[kept])))


def _inception_splits(inputs: Inputs, step: Step) -> dict[str, int]:
    largest, splits = splits_of(num_evaluated(inputs.generated), step.options["splits"])
    logits = inputs.store.features(inputs.generated, inputs.extractors[0]).rows(
        np.array([0]), "logits"
    )
    return {"images_per_split": largest, "splits": splits, "classes": logits.shape[1]}


def num_evaluated(folder: SampleFolder) -> int:
    """Number of images of a folder whose quality is measured."""
    return sum(len(folder.evaluated_views(sample_id)) for sample_id in folder.sample_ids)


def frechet_statistic(preds: FeatureSet, target: FeatureSet) -> Statistic:
    """Fréchet distance of the samples kept, for a jackknife; memory does not grow with them.

    Args:
        preds, target: features of generated and of real images.

    Returns:
        The distance, given the numbers of the samples kept.
    """
    sides = [(features, Moments.of(features.blocks())) for features in (preds, target)]
    return lambda kept: frechet_distance(*(_moments(*side, kept) for side in sides))


def _moments(features: FeatureSet, whole: Moments, kept: np.ndarray) -> Moments:
    left_out = np.setdiff1d(features.sample_of, kept)
    if not len(left_out):
        return whole
    if whole.count <= max(FEW_IMAGES, 2 * len(whole.mean)):
        return Moments.of(features.blocks(kept))
    return whole.without(Moments.of(features.blocks(left_out)))


def groups_of_samples(inputs: Inputs) -> np.ndarray:
    """Group of the jackknife that each sample is in [S]."""
    count = len(inputs.generated.sample_ids)
    return np.arange(count) % min(inputs.settings.jackknife_groups, count)


def needs_prompts(inputs: Inputs) -> str:
    """Say that prompts are missing, if no sample has any; else each missing one is an error."""
    folder = inputs.generated
    return "" if any(map(folder.has_prompts, folder.sample_ids)) else "prompts of these images"


register(Metric("fid", of_sets(_fid), uses="features", compares=True))
register(
    Metric(
        "inception_score",
        of_sets(_inception_score, better=True),
        ("splits",),
        uses="classes",
        used=_inception_splits,
    )
)
register(
    Metric(
        "clip_score", _run_clip_score, uses="similarity", missing=needs_prompts, reads_prompts=True
    )
)
