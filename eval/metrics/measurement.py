"""A measured number with its unit, error and provenance, as in score files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ARROWS = {True: " ↑", False: " ↓", None: ""}
"""By whether more is better."""


@dataclass(frozen=True)
class Measurement:
    """A measured number with its unit, error and provenance.

    Attributes:
        extractor: feature extractor that it was made with, if any, and the hash of its weights.
        values: the numbers behind it, one per sample or per group of samples (`values_per`), in
            the order of the samples; differences between methods are taken pairwise from them.
            None for a sample that is left out.
        curvatures: of each group, with the values of a whole set; see `statistics.Linearized`.
        repeats: the measurement of a protocol's first extractor that this one repeats with a
            further extractor; its own name is then that name, `_` and the name of the extractor.
        left_out: number of samples that do not count because they have no consistency, see
            `folders.faults`, or an image without a score; a method with some is incomplete.
    """

    value: float
    se: float | None
    unit: str
    higher_is_better: bool | None
    protocol: str
    version: int
    extractor: str | None = None
    values: Sequence[float | None] | None = None
    values_per: str | None = None
    repeats: str | None = None
    left_out: int = 0
    curvatures: Sequence[float] | None = None

    @property
    def versioned_protocol(self) -> str:
        """Name and version of the protocol, printed."""
        return f"{self.protocol} v{self.version}"

    @property
    def made_by(self) -> str:
        """Protocol and feature extractor, printed."""
        by = f", extractor {self.extractor}" if self.extractor else ""
        return f"{self.versioned_protocol}{by}"
