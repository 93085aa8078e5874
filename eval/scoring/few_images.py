"""Sentences about metrics that a small set of images makes meaningless, or another metric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any


def limited_note(limited: Mapping[str, int]) -> str:
    """Say that a score is of a part of its samples.

    Args:
        limited: how many were scored (`to`), of how many (`of`).
    """
    return (
        f"only the first {limited['to']} of {limited['of']} samples were scored (--limit): a quick "
        "look, no result to report."
    )


def few_images(
    protocols: Mapping[str, Mapping[str, Any]], metrics: Collection[str] | None = None
) -> list[str]:
    """Say which Inception scores are capped, and which KID has smaller subsets than its protocol.

    Args:
        protocols: what a score file says of them.
        metrics: those to speak of, by default all.
    """
    steps = (step for protocol in protocols.values() for step in protocol["metrics"].items())
    return [
        sentence
        for key, step in steps
        if metrics is None or key in metrics
        for sentence in _of_step(key, step)
    ]


def _of_step(key: str, step: Mapping[str, Any]) -> Iterator[str]:
    used = step.get("used", {})
    if used.get("images_per_split", 0) < used.get("classes", 0):
        yield (
            f"{key}: its {used['splits']} splits have at most {used['images_per_split']} images, "
            f"so it cannot exceed {used['images_per_split']} (of {used['classes']} classes); "
            "compare it only with scores of the same number of images."
        )
    if used.get("subset_size", 0) < step.get("subset_size", 0):
        sets = "one subset" if used["subsets"] == 1 else f"{used['subsets']} subsets"
        yield (
            f"{key}: is of {sets} of {used['subset_size']} images, not of {step['subsets']} of "
            f"{step['subset_size']} as in its protocol, because there are fewer images."
        )
