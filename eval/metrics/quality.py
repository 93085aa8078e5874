"""Image quality (paper, section 5.1): FID, Inception score and CLIP score of generated views.

The same computation for every task. The folder says which views are evaluated: all views of a
panorama, those not given of an outpainted one, the key frames of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..extractors.base import Extractor, SimilarityExtractor
from ..extractors.store import FeatureSet
from ..folders.samples import SampleFolder
from ..functional.clip_score import clip_score
from ..functional.fid import Moments, frechet_distance, frechet_slopes
from ..functional.inception_score import SplitSums, assign_splits, splits_of
from ..statistics import jackknife, linearize, set_error
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
from .measurement import Measurement

Statistic = Callable[[np.ndarray], float]
"""A number of all samples, given the numbers of those that a jackknife keeps."""

SmoothStatistic = Callable[[Tensor], Tensor]
"""A number [] of all samples, as a differentiable function of the weights of their groups [G]."""


def of_sets(
    statistics: Callable[[Inputs, Step, Any], Mapping[str, Statistic]], better: bool = False
) -> Callable[[Inputs, Step], Outcome]:
    """Make what a metric runs: statistics of all samples with jackknife errors, by each extractor.

    For statistics that are no smooth function of the samples' weights, or that are far from the
    value that equal sets have; see `of_distances`.

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
    nothing = np.zeros(len(pseudo_values))
    return by_group(value, pseudo_values, nothing, "", better, step, extractor)


def of_distances(
    statistics: Callable[[Inputs, Step, Any], Mapping[str, SmoothStatistic]],
) -> Callable[[Inputs, Step], Outcome]:
    """Make what a metric runs: distances between sets with errors, by each extractor.

    Args:
        statistics: given an extractor, the statistics by the name of their measurement.
    """

    def run(inputs: Inputs, step: Step) -> Outcome:
        def measure(extractor: Extractor) -> Outcome:
            groups = int(groups_of_samples(inputs).max()) + 1
            measurements = {}
            for key, statistic in statistics(inputs, step, extractor).items():
                one = linearize(statistic, groups)
                measurements[key] = by_group(
                    float(one.value), one.values, one.curvatures, "", False, step, extractor
                )
            return Outcome(measurements)

        return by_extractor(inputs, measure)

    return run


def by_group(
    value: float,
    values: np.ndarray,
    curvatures: np.ndarray,
    unit: str,
    better: bool,
    step: Step,
    extractor: Extractor,
) -> Measurement:
    """Make a measurement of a whole set, with its error from groups of samples.

    Args:
        values, curvatures: of each group [G], see `statistics.Linearized`.
        better: whether higher is better.
    """
    return Measurement(
        value, set_error(values, curvatures), unit, better, step.protocol_with(extractor),
        step.version, str(extractor.identity), tuple(values.tolist()), "group",
        curvatures=tuple(curvatures.tolist()),
    )  # fmt: skip


def _fid(inputs: Inputs, step: Step, extractor: Extractor) -> dict[str, SmoothStatistic]:
    return {step.key: frechet_statistic(*sides_of(inputs, extractor), groups_of_samples(inputs))}


def _run_clip_score(inputs: Inputs, step: Step) -> Outcome:
    ids, views = inputs.generated.sample_ids, names_of_views(inputs.generated)
    counts = [len(own) for own in views]

    def measure(extractor: SimilarityExtractor) -> Outcome:
        scores = clip_scores(inputs, extractor).split(counts)
        means = np.array([own.mean().item() for own in scores])
        return Outcome(
            {step.key: per_sample(means, "0-100", True, step, by=extractor)},
            details=details_of(step.key, ids, views, [own.tolist() for own in scores]),
        )

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
    return splits_used(inputs, step, num_evaluated(inputs.generated))


def splits_used(inputs: Inputs, step: Step, count: int) -> dict[str, int]:
    """What the splits of an Inception score come to with so many images, for a score file."""
    largest, splits = splits_of(count, step.options["splits"])
    logits = inputs.store.features(inputs.generated, inputs.extractors[0]).rows(
        np.array([0]), "logits"
    )
    return {"images_per_split": largest, "splits": splits, "classes": logits.shape[1]}


def num_evaluated(folder: SampleFolder) -> int:
    """Number of images of a folder whose quality is measured."""
    return sum(len(folder.evaluated_views(sample_id)) for sample_id in folder.sample_ids)


def frechet_statistic(
    preds: FeatureSet, target: FeatureSet, group_of: np.ndarray
) -> SmoothStatistic:
    """Fréchet distance by the weights of groups; memory does not grow with the images.

    Args:
        preds, target: features of generated and of real images.
        group_of: group of each sample [S].
    """
    return lambda weights: _FrechetDistance.apply(weights, (preds, target), group_of)


class _FrechetDistance(torch.autograd.Function):
    """The distance is known by its moments, its slopes by another pass through the features."""

    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, sides: tuple[FeatureSet, FeatureSet], group_of: np.ndarray
    ) -> Tensor:
        ctx.sides, ctx.group_of, ctx.slopes = sides, group_of, None
        ctx.shape = weights.shape
        ctx.moments = [_moments(side, group_of, weights) for side in sides]
        return torch.tensor(frechet_distance(*ctx.moments), dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        if ctx.slopes is None:
            ctx.slopes = torch.zeros(ctx.shape, dtype=torch.float64)
            for side, slopes in zip(ctx.sides, frechet_slopes(*ctx.moments), strict=True):
                of_blocks = zip(_groups(side, ctx.group_of), side.blocks(), strict=True)
                for groups, rows in of_blocks:
                    ctx.slopes.index_add_(0, groups, slopes(rows))
        return gradient * ctx.slopes, None, None


def _moments(features: FeatureSet, group_of: np.ndarray, weights: Tensor) -> Moments:
    if (weights == 1).all():
        return Moments.of(features.blocks())
    return Moments.of(features.blocks(), (weights[own] for own in _groups(features, group_of)))


def _groups(features: FeatureSet, group_of: np.ndarray) -> Iterator[Tensor]:
    """Groups of the images [n] of each block."""
    for images in features.block_images():
        yield torch.from_numpy(group_of[features.sample_of[images]])


def as_computed(value: float, smooth: Tensor) -> Tensor:
    """A number with the derivatives of another that differs from it by rounding alone.

    Sums are rounded in another order by numpy than by torch; published numbers stay as they are.
    """
    return smooth + (value - smooth.detach())


def groups_of_samples(inputs: Inputs) -> np.ndarray:
    """Group that each sample is in [S], for standard errors."""
    count = len(inputs.generated.sample_ids)
    return np.arange(count) % min(inputs.settings.jackknife_groups, count)


def needs_prompts(inputs: Inputs) -> str:
    """Say that prompts are missing, if no sample has any; else each missing one is an error."""
    folder = inputs.generated
    return "" if any(map(folder.has_prompts, folder.sample_ids)) else "prompts of these images"


register(Metric("fid", of_distances(_fid), uses="features", compares=True))
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
