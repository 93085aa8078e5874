"""Image quality (paper, section 5.1): FID, Inception score and CLIP score of what was generated.

The same computation for every task; which views are judged is the folder's to say: all views of a
panorama, those not given of an outpainted one, the key frames of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from eval.features import Extractor, FeatureExtractor, SimilarityExtractor
from eval.metrics.fid import frechet_distance
from eval.metrics.inception_score import assign_splits, inception_score
from eval.protocols import Inputs, Measurement, Outcome, Protocol, per_sample, register
from eval.samples import SampleFolder
from eval.statistics import jackknife, mean_and_se


def _run_image_quality(inputs: Inputs, protocol: Protocol) -> Outcome:
    measurements: dict[str, Measurement] = {}
    for number, features in enumerate(inputs.feature_extractors):
        found = _distribution_metrics(inputs, features, protocol)
        measurements |= {_key(name, features, number): found[name] for name in found}
    for number, similarity in enumerate(inputs.similarity_extractors):
        name = _key("clip_score", similarity, number)
        measurements[name] = _similarity(inputs, similarity, protocol)
    return Outcome(measurements)


def _key(metric: str, extractor: Extractor, number: int) -> str:
    """Only further extractors of a kind need telling apart."""
    return metric if number == 0 else f"{metric}_{extractor.identity.name}"


def _variant(extractor: Extractor) -> str:
    """The paper's protocol is the paper's only with pretrained extractors; say so in its name."""
    name = extractor.identity.name
    return f"@{name}" if name.startswith("miniature-") else ""


def _similarity(inputs: Inputs, extractor: SimilarityExtractor, protocol: Protocol) -> Measurement:
    folder, scores = inputs.generated, []
    for sample_id in inputs.samples(f"CLIP score by {extractor.identity.name}"):
        judged, prompts = folder.judged(sample_id), folder.prompts(sample_id)
        own = [prompts[view] for view in judged]
        scores.append(extractor(folder.views(sample_id, judged), own).mean().item())
    by = str(extractor.identity)
    return per_sample(np.array(scores), "0-100", True, protocol, _variant(extractor), by)


def _distribution_metrics(
    inputs: Inputs, extractor: FeatureExtractor, protocol: Protocol
) -> dict[str, Measurement]:
    features, logits = _extract(inputs, inputs.generated, extractor)
    counts = [len(part) for part in logits]
    splits = assign_splits(sum(counts), inputs.settings.inception_splits, inputs.settings.seed)
    split_of = splits.split(counts)

    def score(kept: np.ndarray) -> float:
        return inception_score(_joined(logits, kept), _joined(split_of, kept))

    found = {"inception_score": _per_group(inputs, score, True, protocol, extractor)}
    if inputs.has_other_reference and inputs.reference is not None:
        target, _ = _extract(inputs, inputs.reference, extractor)

        def distance(kept: np.ndarray) -> float:
            return frechet_distance(_joined(features, kept), _joined(target, kept))

        found["fid"] = _per_group(inputs, distance, False, protocol, extractor)
    return found


def _extract(
    inputs: Inputs, folder: SampleFolder, extractor: FeatureExtractor
) -> tuple[list[Tensor], list[Tensor]]:
    """Features [V, D] and logits [V, classes] of each sample, one at a time on any machine."""
    what = f"features of {folder.method} by {extractor.identity.name}"
    pairs = [
        extractor(folder.views(sample_id, folder.judged(sample_id)))
        for sample_id in inputs.samples(what)
    ]
    features, logits = zip(*pairs, strict=True)
    return list(features), list(logits)


def _joined(parts: Sequence[Tensor], kept: np.ndarray) -> Tensor:
    return torch.cat([parts[sample] for sample in kept])


def _per_group(
    inputs: Inputs,
    statistic: Callable[[np.ndarray], float],
    better: bool,
    protocol: Protocol,
    extractor: Extractor,
) -> Measurement:
    count = len(inputs.generated.sample_ids)
    value, pseudo_values = jackknife(statistic, count, inputs.settings.jackknife_groups)
    return Measurement(
        value, mean_and_se(pseudo_values)[1], "", better, protocol.name + _variant(extractor),
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
