"""The inputs and outcomes of metrics. Protocols say which metric runs on which images.

A metric is a function from `Inputs` and a `Step` of a protocol to an `Outcome`, registered under
its name by `register`, or by another package (see `plugins`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from mvdiffusion.records import InputError

from ..extractors.base import Extractor, QualityExtractor, SimilarityExtractor
from ..extractors.store import FeatureStore
from ..folders.faults import Faults
from ..folders.samples import SampleFolder
from ..settings import ScoreSettings
from ..statistics import jackknife, mean_and_se, ratio_of_means, set_error
from .measurement import Measurement


@dataclass(frozen=True)
class Step:
    """A metric in a protocol.

    Attributes:
        key: name of its measurement; where there are several, they begin with it.
        metric: name of the metric.
        protocol, version: what it is a step of.
        images: which images are measured; see `crops.select_images`.
        extractors: names of the pretrained extractors that the protocol is defined with.
        stand_in: kind of trained extractor that may take their place, marked in the protocol's
            name.
        options: of the metric.
        changed: marks of the options that settings have changed.
    """

    key: str
    metric: str
    protocol: str
    version: int
    images: Mapping[str, Any]
    extractors: tuple[str, ...] = ()
    stand_in: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    changed: str = ""

    def protocol_with(self, extractor: Extractor | None = None, at: str = "") -> str:
        """Name the protocol, with marks where it differs from the published one.

        Args:
            extractor: what the number is made with; marked if the protocol is not defined with it.
            at: mark of anything else that is not as published.
        """
        name = extractor.identity.name if extractor else None
        stands_in = f"@{name}" if name and name not in self.extractors else ""
        return f"{self.protocol}{self.changed}{at}{stands_in}"


class Detail(NamedTuple):
    """A value of one view or pair of a sample.

    Attributes:
        item: the view ("3") or the pair of views ("3-4").
    """

    metric: str
    sample: str
    item: str
    value: float


def details_of(
    metric: str, samples: Sequence[str], items: Sequence[Sequence[str]], values: Sequence[Any]
) -> tuple[Detail, ...]:
    """Name the values of single views or pairs; those that are not defined are left out.

    Args:
        metric: the measurement whose sample's value they make up.
        samples: names of the S samples.
        items: names of each sample's views or pairs [S][K].
        values: of each sample's views or pairs [S][K], NaN where there is none.
    """
    return tuple(
        Detail(metric, sample_id, item, float(value))
        for sample_id, names, own in zip(samples, items, values, strict=True)
        for item, value in zip(names, own, strict=True)
        if np.isfinite(value)
    )


def names_of_views(folder: SampleFolder) -> list[list[str]]:
    """Name the evaluated views of each sample, for `details_of`."""
    return [[f"{view}" for view in folder.evaluated_views(i)] for i in folder.sample_ids]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a metric.

    Attributes:
        measurements: by name.
        pairs: breakdown by pair of views.
        steps: curves against the steps from view 0; see `accumulation`.
        extractors: descriptions of extractors that the metric loaded itself, by their identity.
        details: values of single views and pairs, which score files do not hold.
    """

    measurements: dict[str, Measurement]
    pairs: tuple[dict[str, Any], ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    extractors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    details: tuple[Detail, ...] = ()

    def spread_over(self, samples: Sequence[str], used: Sequence[str]) -> Outcome:
        """Count the samples that were left out, and give them no value.

        Args:
            samples: all samples.
            used: those that were measured.
        """
        place = {sample_id: number for number, sample_id in enumerate(used)}

        def spread(one: Measurement) -> Measurement:
            values = one.values
            if values is not None and one.values_per == "sample":
                values = tuple(values[place[i]] if i in place else None for i in samples)
            return dataclasses.replace(one, values=values, left_out=len(samples) - len(used))

        found = self.measurements.items()
        return dataclasses.replace(self, measurements={key: spread(one) for key, one in found})

    def repeated_with(self, extractor: Extractor) -> Outcome:
        """Give measurements and curves the name of a further extractor."""
        name = extractor.identity.name
        found = self.measurements.items()
        return Outcome(
            {f"{key}_{name}": dataclasses.replace(one, repeats=key) for key, one in found},
            steps=tuple(
                {**row, "metric": f"{row['metric']}_{name}", "repeats": row["metric"]}
                for row in self.steps
            ),
            details=tuple(one._replace(metric=f"{one.metric}_{name}") for one in self.details),
        )


def merge(outcomes: Sequence[Outcome]) -> Outcome:
    """Put outcomes together.

    Raises:
        InputError: two of them hold a measurement of one name.
    """
    measurements: dict[str, Measurement] = {}
    for outcome in outcomes:
        if double := sorted(measurements.keys() & outcome.measurements.keys()):
            names = {outcome.measurements[double[0]].protocol, measurements[double[0]].protocol}
            raise InputError(
                f"'{double[0]}' is measured twice, by {' and '.join(sorted(names))}; give the "
                "metrics names that no other protocol uses, or run one of them (--protocol)."
            )
        measurements |= outcome.measurements
    return Outcome(
        measurements,
        tuple(row for outcome in outcomes for row in outcome.pairs),
        tuple(row for outcome in outcomes for row in outcome.steps),
        {name: about for outcome in outcomes for name, about in outcome.extractors.items()},
        tuple(one for outcome in outcomes for one in outcome.details),
    )


@dataclass(frozen=True)
class Inputs:
    """The inputs of a metric.

    Attributes:
        generated: the samples to score.
        reference: the same samples' real views.
        extractors: those that serve the metric.
        settings: how to score.
        vae_reconstruction: the real views after the VAE that the methods use.
        store: the store of their features.
        faults: degenerate images among the generated ones.
    """

    generated: SampleFolder
    reference: SampleFolder | None
    extractors: tuple[Extractor, ...]
    settings: ScoreSettings
    vae_reconstruction: SampleFolder | None = None
    store: FeatureStore = field(default_factory=FeatureStore)
    faults: Faults = field(default_factory=Faults)

    @cached_property
    def has_other_reference(self) -> bool:
        """Whether there are real views to compare with, other than the scored images themselves."""
        if self.reference is None:
            return False
        return self.generated.images_sha256() != self.reference.images_sha256()

    @property
    def real(self) -> SampleFolder:
        """The real views, for metrics that are only run with them."""
        assert self.reference is not None
        return self.reference

    def with_consistency(self) -> Inputs | None:
        """The samples whose consistency is defined (see `folders.faults`), None without any."""
        undefined = set(self.faults.undefined)
        if not undefined:
            return self
        kept = tuple(i for i in self.generated.sample_ids if i not in undefined)
        if not kept:
            return None

        def restricted(folder: SampleFolder) -> SampleFolder:
            return dataclasses.replace(folder, sample_ids=kept)

        reference, reconstruction = self.reference, self.vae_reconstruction
        return dataclasses.replace(
            self,
            generated=restricted(self.generated),
            reference=reference and restricted(reference),
            vae_reconstruction=reconstruction and restricted(reconstruction),
        )

    def other_sample(self, sample_id: str) -> str:
        """Another sample, for controls: the next one; after the last, the first.

        Of sequences, whose neighbors may show the same scene, the one half the list away.
        """
        ids = self.generated.sample_ids
        step = max(1, len(ids) // 2) if self.generated.task == "depth" else 1
        return ids[(ids.index(sample_id) + step) % len(ids)]

    def samples(self, what: str) -> Iterator[str]:
        """Go through the sample ids with a progress bar."""
        ids = self.generated.sample_ids
        return iter(tqdm(ids, desc=f"{self.generated.method}: {what}", unit="sample", disable=None))


LEAST_SAMPLES = 4
"""With fewer there is next to nothing to tell an error from."""


def needs_samples(inputs: Inputs) -> str:
    """Say what is missing for Fréchet distances of one image per sample to have errors."""
    enough = len(inputs.generated.sample_ids) >= LEAST_SAMPLES
    return "" if enough else f"at least {LEAST_SAMPLES} samples"


@dataclass(frozen=True)
class Metric:
    """A metric: a function that measures, and its requirements.

    Attributes:
        run: measures; `inputs` holds the images that the step names and the extractors that
            serve it.
        options: names of the options that a step must give.
        uses: what it needs an extractor for: "classes" (logits), "features", "similarity" or
            "quality" (scores of single images).
        compares: whether it needs real views, and their features.
        agreement: whether it measures how far parts of a sample agree, as constant images do
            without being right: samples without consistency are left out.
        reads_prompts: whether it needs the prompts of the images.
        used: says what its options come to with these images, as the size of KID's subsets.
        missing: returns what else an input lacks; empty if nothing.
    """

    name: str
    run: Callable[[Inputs, Step], Outcome]
    options: tuple[str, ...] = ()
    uses: Literal["", "classes", "features", "similarity", "quality"] = ""
    compares: bool = False
    missing: Callable[[Inputs], str] | None = None
    agreement: bool = False
    reads_prompts: bool = False
    used: Callable[[Inputs, Step], dict[str, int]] | None = None

    def takes(self, extractor: Extractor) -> bool:
        """Whether an extractor is of the kind that it uses."""
        if isinstance(extractor, SimilarityExtractor):
            return self.uses == "similarity"
        if isinstance(extractor, QualityExtractor):
            return self.uses == "quality"
        return self.uses == "features" or (self.uses == "classes" and extractor.has_classes)

    def lacks(self, inputs: Inputs) -> str:
        """Return what an input lacks besides an extractor; empty if nothing."""
        if self.compares and not inputs.has_other_reference:
            same = inputs.reference is not None
            return "other real views than these images" if same else "real views (--reference)"
        return self.missing(inputs) if self.missing else ""


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Register a metric under its name.

    Raises:
        ValueError: the name is taken.
    """
    if metric.name in METRICS:
        raise ValueError(f"Expected a new metric name, got '{metric.name}' twice.")
    METRICS[metric.name] = metric


def per_sample(
    values: np.ndarray,
    unit: str,
    better: bool | None,
    step: Step,
    at: str = "",
    by: Extractor | None = None,
) -> Measurement:
    """Make a measurement of one value per sample [S].

    Args:
        better: whether higher is better; None if neither is.
        at: what else was changed in the protocol, to be added to its name.
        by: the extractor.
    """
    value, se = mean_and_se(values)
    return Measurement(
        value, se, unit, better, step.protocol_with(by, at), step.version,
        str(by.identity) if by else None, tuple(values.tolist()), "sample",
    )  # fmt: skip


def by_extractor(inputs: Inputs, measure: Callable[[Any], Outcome]) -> Outcome:
    """Measure with each extractor.

    Args:
        inputs: with the extractors that serve the metric, all of the kind that it uses.
        measure: measures with one of them.

    Returns:
        All that was measured; names tell those of further extractors apart from the first.
    """
    outcomes = [measure(extractor) for extractor in inputs.extractors]
    further = zip(outcomes[1:], inputs.extractors[1:], strict=True)
    return merge([*outcomes[:1], *(outcome.repeated_with(by) for outcome, by in further)])


def beside_real(
    key: str,
    values: np.ndarray,
    real: np.ndarray | None,
    inputs: Inputs,
    step: Step,
    by: Extractor | None = None,
) -> dict[str, Measurement]:
    """Measure what is best where real images have it, neither above nor below.

    Args:
        key: name of the measurement.
        values: of the generated samples [S].
        real: of the same samples' real images [S]; None without any.
        inputs: says how many groups the jackknife has.
        step: what is measured.
        by: the extractor.

    Returns:
        The value, without a better direction; with real images theirs (`<key>_real`), and the
        distance between the two means (`<key>_gap`, lower is better, its error from a jackknife).
    """
    measurements = {key: per_sample(values, "", None, step, by=by)}
    if real is None:
        return measurements

    def statistic(kept: np.ndarray) -> float:
        return float(abs(values[kept].mean() - real[kept].mean()))

    gap, pseudo_values = jackknife(statistic, len(values), inputs.settings.jackknife_groups)
    nothing = np.zeros(len(pseudo_values))
    measurements[f"{key}_real"] = per_sample(real, "", None, step, by=by)
    measurements[f"{key}_gap"] = dataclasses.replace(
        measurements[key],
        value=gap,
        se=set_error(pseudo_values, nothing),
        higher_is_better=False,
        values=tuple(pseudo_values.tolist()),
        values_per="group",
        curvatures=tuple(nothing.tolist()),
    )
    return measurements


def ratio_to_real(
    values: np.ndarray, real: np.ndarray, better: bool | None, step: Step, at: str = ""
) -> Measurement:
    """Make a measurement of the quotient of two means over the same samples [S].

    Args:
        values: of the generated samples [S].
        real: of the same samples' real views [S].
        better: whether higher is better; None if neither is.
        step: what is measured.
        at: what else was changed in the protocol, to be added to its name.

    Raises:
        InputError: the mean over the real views is 0.
    """
    if not real.mean():
        raise InputError(
            f"{step.key}: its mean over the real views is 0, so there is no ratio to it; check "
            "that the images of the reference are not all of one color."
        )
    ratio, se = ratio_of_means(values, real)
    return Measurement(ratio, se, "of real", better, step.protocol_with(at=at), step.version)


def pair_rows(names: Sequence[str], psnr: Sequence[np.ndarray]) -> tuple[dict[str, Any], ...]:
    """Break a consistency down by pair of views: mean over samples, without missing values.

    Args:
        names: of the pairs.
        psnr: of each pair, in dB, its values over the samples that have it [S]; NaN if missing.
    """
    rows = []
    for name, values in zip(names, psnr, strict=True):
        value, se = mean_and_se(values[np.isfinite(values)])
        rows.append({"pair": name, "psnr_db": value, "se": se})
    return tuple(rows)
