"""Image quality (paper, section 5.1): FID, Inception score and CLIP score of what was generated.

The same computation for every task; which views are judged is the folder's to say: all views of a
panorama, those not given of an outpainted one, the key frames of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from eval.feature_store import FeatureSet
from eval.features import Extractor, FeatureExtractor, SimilarityExtractor
from eval.metrics.clip_score import clip_score
from eval.metrics.fid import Moments, frechet_distance_of
from eval.metrics.inception_score import SplitSums, assign_splits
from eval.protocols import Inputs, Measurement, Outcome, Protocol, per_sample, register, select
from eval.statistics import jackknife, mean_and_se

FEW_IMAGES = 4096
"""Up to here, and up to twice as many images as features, the moments of what a jackknife keeps
are gathered anew, which is exact for singular covariances too. Beyond, groups are taken off the
whole."""


def _run_image_quality(inputs: Inputs, protocol: Protocol) -> Outcome:
    measurements: dict[str, Measurement] = {}
    collect_features(inputs)
    classifiers = [e for e in inputs.feature_extractors if e.has_classes]
    for number, features in enumerate(classifiers):
        found = _distribution_metrics(inputs, features, protocol)
        measurements |= {metric_key(name, features, number): found[name] for name in found}
    for number, similarity in enumerate(inputs.similarity_extractors):
        name = metric_key("clip_score", similarity, number)
        measurements[name] = _similarity(inputs, similarity, protocol)
    return Outcome(measurements)


def collect_features(inputs: Inputs) -> None:
    """Run the extractors over generated and real views, each image decoded once for all of them.

    Real views go through a CLIP only if a protocol of this run compares embeddings of images.
    """
    inputs.store.add(inputs.generated, inputs.extractors)
    if inputs.has_other_reference and inputs.reference is not None:
        embedded = any(protocol.embeds_reference for protocol in select(inputs))
        needed = inputs.extractors if embedded else inputs.feature_extractors
        inputs.store.add(inputs.reference, needed)


def metric_key(metric: str, extractor: Extractor, number: int) -> str:
    """Name a metric by the extractor of that number; only further ones of a kind are told apart."""
    return metric if number == 0 else f"{metric}_{extractor.identity.name}"


def variant(extractor: Extractor) -> str:
    """Addition to a protocol's name: it is the paper's only with pretrained extractors."""
    name = extractor.identity.name
    return f"@{name}" if name.startswith("miniature-") else ""


def _similarity(inputs: Inputs, extractor: SimilarityExtractor, protocol: Protocol) -> Measurement:
    folder = inputs.generated
    prompts = []
    for sample_id in folder.sample_ids:
        own = folder.prompts(sample_id)
        prompts += [own[view] for view in folder.judged(sample_id)]
    images = inputs.store.features(folder, extractor)
    texts = inputs.store.texts(extractor, prompts)
    pairs = zip(images.blocks(), texts.blocks(), strict=True)
    scores = torch.cat([clip_score(image, text) for image, text in pairs])
    _, counts = np.unique(images.sample_of, return_counts=True)
    means = np.array([own.mean().item() for own in scores.split(counts.tolist())])
    by = str(extractor.identity)
    return per_sample(means, "0-100", True, protocol, variant(extractor), by)


def _distribution_metrics(
    inputs: Inputs, extractor: FeatureExtractor, protocol: Protocol
) -> dict[str, Measurement]:
    preds = inputs.store.features(inputs.generated, extractor)
    score = _inception_score(inputs, preds)
    found = {"inception_score": per_group(inputs, score, True, protocol, extractor)}
    if inputs.has_other_reference and inputs.reference is not None:
        target = inputs.store.features(inputs.reference, extractor)
        distance = frechet_statistic(preds, target)
        found["fid"] = per_group(inputs, distance, False, protocol, extractor)
    return found


def _inception_score(inputs: Inputs, preds: FeatureSet) -> Callable[[np.ndarray], float]:
    settings = inputs.settings
    split_of = assign_splits(len(preds), settings.inception_splits, settings.seed)
    sample_groups = groups_of_samples(inputs)
    sums = SplitSums(int(sample_groups.max()) + 1, settings.inception_splits)
    for images in preds.block_images():
        groups = torch.from_numpy(sample_groups[preds.sample_of[images]])
        sums.add(preds.rows(images, "logits"), groups, split_of[images])
    return lambda kept: sums.score(torch.from_numpy(np.unique(sample_groups[kept])))


def frechet_statistic(preds: FeatureSet, target: FeatureSet) -> Callable[[np.ndarray], float]:
    """Fréchet distance of the samples kept, for a jackknife; memory does not grow with them."""
    sides = [(features, Moments.of(features.blocks())) for features in (preds, target)]
    return lambda kept: frechet_distance_of(*(_moments(*side, kept) for side in sides))


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


def per_group(
    inputs: Inputs,
    statistic: Callable[[np.ndarray], float],
    better: bool,
    protocol: Protocol,
    extractor: Extractor,
) -> Measurement:
    """Make a measurement of a statistic of all samples, with its jackknife standard error."""
    count = len(inputs.generated.sample_ids)
    value, pseudo_values = jackknife(statistic, count, inputs.settings.jackknife_groups)
    return Measurement(
        value, mean_and_se(pseudo_values)[1], "", better, protocol.name + variant(extractor),
        protocol.version, str(extractor.identity), tuple(pseudo_values.tolist()), "group",
    )  # fmt: skip


for _name, _task, _judged in (
    ("paper-pano", "panorama", "the views"),
    ("outpaint-quality", "outpaint", "the views that were not given"),
    ("paper-depth", "depth", "the key frames"),
):
    register(
        Protocol(
            _name,
            1,
            (_task,),
            f"FID, Inception score and CLIP score of {_judged}, CLIP with each view's own prompt",
            lambda inputs: "" if inputs.extractors else "an extractor (--evaluators, 'extractors')",
            _run_image_quality,
        )
    )
