"""Named, versioned protocols: what is measured on what. Numbers of two protocols never mix.

A protocol is a function from `Inputs` to `Measurement`s, registered under its name. Its version
goes up whenever its numbers change; both are stored with every number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from tqdm import tqdm

from eval.feature_store import FeatureStore
from eval.features import Extractor, FeatureExtractor, SimilarityExtractor
from eval.samples import SampleFolder
from eval.settings import suggest
from eval.statistics import mean_and_se, ratio_of_means
from mvdiffusion.records import InputError


@dataclass(frozen=True)
class ScoreSettings:
    """How to score.

    Attributes:
        protocols: names of the protocols to run; empty for all whose needs are met.
        extractors: pretrained extractors by name, beside the evaluators given as folders.
        consistency_resolution: height in pixels at which neighbouring views of a panorama are
            compared.
        max_depth_difference: metres by which depths of one point may differ between two frames
            before it counts as hidden in one of them.
        lpips: network of the perceptual distance between views (alex, vgg or squeeze); none if
            empty.
        inception_splits: splits of the Inception score.
        jackknife_groups: groups of the jackknife behind the standard errors of FID and IS.
        seed: of the Inception score's shuffle.
    """

    protocols: tuple = ()
    extractors: tuple = ()
    consistency_resolution: int = 1024
    max_depth_difference: float = 0.5
    lpips: str = ""
    inception_splits: int = 10
    jackknife_groups: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Measurement:
    """One number with what it takes to read it.

    Attributes:
        values: the numbers behind it, one per sample or per jackknife group (`values_per`), in
            the order of the samples; differences between methods are taken pairwise from them.
    """

    value: float
    se: float | None
    unit: str
    higher_is_better: bool | None
    protocol: str
    version: int
    extractor: str | None = None
    values: tuple[float, ...] | None = None
    values_per: str | None = None


@dataclass(frozen=True)
class Inputs:
    """What a protocol may look at.

    Attributes:
        generated: the samples to score.
        reference: the same samples' real views.
        extractors: what FID, Inception score and CLIP score are taken with.
        settings: how to score.
        codec: the real views through the autoencoder that the methods use.
        store: where their features are kept.
    """

    generated: SampleFolder
    reference: SampleFolder | None
    extractors: tuple[Extractor, ...]
    settings: ScoreSettings
    codec: SampleFolder | None = None
    store: FeatureStore = field(default_factory=FeatureStore)

    @property
    def feature_extractors(self) -> list[FeatureExtractor]:
        """Extractors that serve FID, KID and Inception score."""
        return [e for e in self.extractors if isinstance(e, FeatureExtractor)]

    @property
    def similarity_extractors(self) -> list[SimilarityExtractor]:
        """Extractors that serve CLIP score and CMMD."""
        return [e for e in self.extractors if isinstance(e, SimilarityExtractor)]

    @cached_property
    def has_other_reference(self) -> bool:
        """Whether there are real views to compare with, other than the scored images themselves."""
        if self.reference is None:
            return False
        return self.generated.images_sha256() != self.reference.images_sha256()

    def next_sample(self, sample_id: str) -> str:
        """Another sample, for controls: the next one, the first after the last."""
        ids = self.generated.sample_ids
        return ids[(ids.index(sample_id) + 1) % len(ids)]

    def far_sample(self, sample_id: str) -> str:
        """Another sample, half of them on: neighbouring sequences may be of the same scene."""
        ids = self.generated.sample_ids
        return ids[(ids.index(sample_id) + max(1, len(ids) // 2)) % len(ids)]

    def samples(self, what: str) -> Iterator[str]:
        """Go through the sample ids with a progress bar."""
        ids = self.generated.sample_ids
        return iter(tqdm(ids, desc=f"{self.generated.method}: {what}", unit="sample", disable=None))


@dataclass(frozen=True)
class Outcome:
    """What a protocol found.

    Attributes:
        measurements: by name.
        pairs: breakdown by pair of views.
        steps: curves against the steps from view 0; see `accumulation`.
    """

    measurements: dict[str, Measurement]
    pairs: tuple[dict[str, Any], ...] = ()
    steps: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Protocol:
    """A named, versioned way to measure.

    Attributes:
        tasks: the tasks it is for.
        missing: says what an input lacks for this protocol, or nothing.
        embeds_reference: whether it compares embeddings of real images by a CLIP, too.
    """

    name: str
    version: int
    tasks: tuple[str, ...]
    description: str
    missing: Callable[[Inputs], str]
    run: Callable[[Inputs, Protocol], Outcome]
    embeds_reference: bool = False


PROTOCOLS: dict[str, Protocol] = {}


def register(protocol: Protocol) -> None:
    """Make a protocol known under its name.

    Raises:
        ValueError: the name is taken.
    """
    if protocol.name in PROTOCOLS:
        raise ValueError(f"Expected a new protocol name, got '{protocol.name}' twice.")
    PROTOCOLS[protocol.name] = protocol


def select(inputs: Inputs) -> list[Protocol]:
    """Pick the task's protocols that the settings name, or all whose needs the input meets.

    One list of names may serve several tasks: protocols of other tasks are passed over.

    Raises:
        InputError: an unknown name, none of the task's protocols, or one whose needs are not met.
    """
    names, task = inputs.settings.protocols, inputs.generated.task
    for name in names:
        if name not in PROTOCOLS:
            raise InputError(f"protocols: unknown '{name}'{suggest(name, PROTOCOLS)}")
        if task in PROTOCOLS[name].tasks and (missing := PROTOCOLS[name].missing(inputs)):
            raise InputError(f"protocol '{name}' needs {missing}.")
    known = [protocol for protocol in PROTOCOLS.values() if task in protocol.tasks]
    chosen = [p for p in known if (p.name in names or not names) and not p.missing(inputs)]
    if not chosen and not names:
        lacks = "; ".join(f"'{p.name}' needs {p.missing(inputs)}" for p in known)
        raise InputError(f"{inputs.generated.root}: no protocol can run on it: {lacks}.")
    if not chosen:
        raise InputError(
            f"protocols: none of {list(names)} is for the task '{task}'; "
            f"known for it: {', '.join(p.name for p in known)}."
        )
    return chosen


def per_sample(
    values: np.ndarray,
    unit: str,
    better: bool | None,
    protocol: Protocol,
    at: str = "",
    by: str | None = None,
) -> Measurement:
    """Make a measurement of one value per sample [S].

    Args:
        at: what the paper's protocol was changed in, to be added to its name.
        by: the extractor.
    """
    value, se = mean_and_se(values)
    return Measurement(
        value, se, unit, better, protocol.name + at, protocol.version, by,
        tuple(values.tolist()), "sample",
    )  # fmt: skip


def ratio_to_real(
    values: np.ndarray, real: np.ndarray, better: bool | None, protocol: Protocol, at: str = ""
) -> Measurement:
    """Make a measurement of the quotient of two means over the same samples [S]."""
    ratio, se = ratio_of_means(values, real)
    return Measurement(ratio, se, "of real", better, protocol.name + at, protocol.version)


def pair_rows(names: Sequence[str], psnr: Sequence[np.ndarray]) -> tuple[dict[str, Any], ...]:
    """Break a consistency down by pair of views: mean over samples, without missing values."""
    rows = []
    for name, values in zip(names, psnr, strict=True):
        value, se = mean_and_se(values[np.isfinite(values)])
        rows.append({"pair": name, "psnr_db": value, "se": se})
    return tuple(rows)
