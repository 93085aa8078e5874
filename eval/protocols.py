"""Named, versioned protocols: what is measured on what. Numbers of two protocols never mix.

A protocol is a function from `Inputs` to `Measurement`s, registered under its name. Its version
goes up whenever its numbers change; both are stored with every number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tqdm import tqdm

from eval.features import Extractor, FeatureExtractor, SimilarityExtractor
from eval.folders import SampleFolder
from eval.settings import suggest
from mvdiffusion.records import InputError


@dataclass(frozen=True)
class ScoreSettings:
    """How to score.

    Attributes:
        protocols: names of the protocols to run; empty for all whose needs are met.
        extractors: pretrained extractors by name, beside the evaluators given as folders.
        consistency_resolution: height in pixels at which neighbouring views are compared.
        inception_splits: splits of the Inception score.
        jackknife_groups: groups of the jackknife behind the standard errors of FID and IS.
        seed: of the Inception score's shuffle.
    """

    protocols: tuple = ()
    extractors: tuple = ()
    consistency_resolution: int = 1024
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
    """What a protocol may look at: generated samples, the same samples' real views, extractors."""

    generated: SampleFolder
    reference: SampleFolder | None
    extractors: tuple[Extractor, ...]
    settings: ScoreSettings

    @property
    def feature_extractors(self) -> list[FeatureExtractor]:
        """Extractors that serve FID and Inception score."""
        return [e for e in self.extractors if isinstance(e, FeatureExtractor)]

    @property
    def similarity_extractors(self) -> list[SimilarityExtractor]:
        """Extractors that serve the CLIP score."""
        return [e for e in self.extractors if isinstance(e, SimilarityExtractor)]

    @cached_property
    def has_other_reference(self) -> bool:
        """Whether there are real views to compare with, other than the scored images themselves."""
        if self.reference is None:
            return False
        return self.generated.images_sha256() != self.reference.images_sha256()

    def samples(self, what: str) -> Iterator[str]:
        """Go through the sample ids with a progress bar."""
        ids = self.generated.sample_ids
        return iter(tqdm(ids, desc=f"{self.generated.method}: {what}", unit="sample", disable=None))


@dataclass(frozen=True)
class Outcome:
    """What a protocol found: measurements by name, and its breakdown by pair of views."""

    measurements: dict[str, Measurement]
    pairs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Protocol:
    """A named, versioned way to measure.

    Attributes:
        missing: says what an input lacks for this protocol, or nothing.
    """

    name: str
    version: int
    description: str
    missing: Callable[[Inputs], str]
    run: Callable[[Inputs, Protocol], Outcome]


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
    """Pick the protocols that the settings name, or all whose needs the input meets.

    Raises:
        InputError: an unknown name, or a named protocol whose needs are not met.
    """
    names = inputs.settings.protocols
    for name in names:
        if name not in PROTOCOLS:
            raise InputError(f"protocols: unknown '{name}'{suggest(name, PROTOCOLS)}")
        if missing := PROTOCOLS[name].missing(inputs):
            raise InputError(f"protocol '{name}' needs {missing}.")
    return [
        p for p in PROTOCOLS.values() if (p.name in names or not names) and not p.missing(inputs)
    ]
