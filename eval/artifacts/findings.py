"""Findings of a verification: what agrees, what differs, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["agrees", "differs", "unverified", "note"]


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        part: part of the artifact, as "images".
        verdict: "agrees"; "differs", so that the artifact is not what it says; "unverified", as
            something is missing here; or "note", which decides nothing.
        what: a sentence with what was found.
    """

    part: str
    verdict: Verdict
    what: str


@dataclass(frozen=True)
class Verification:
    """The findings about an artifact, in the order in which they were made."""

    findings: tuple[Finding, ...]

    @property
    def agrees(self) -> bool:
        """Whether nothing that could be checked differs."""
        return not self.of("differs")

    @property
    def is_complete(self) -> bool:
        """Whether everything could be checked."""
        return not self.of("unverified")

    def of(self, verdict: Verdict) -> list[Finding]:
        """List the findings of a verdict."""
        return [finding for finding in self.findings if finding.verdict == verdict]
