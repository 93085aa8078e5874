"""Leads in consistency that may come from blur, which raises the PSNR of overlaps."""

from __future__ import annotations

from collections.abc import Sequence

from ..folders.methods import REAL
from ..scoring.score_files import Score
from ..settings import ClaimSettings
from .effects import difference_between, ratio_between


def leads_by_blur(scores: Sequence[Score]) -> list[str]:
    """Find methods that are certainly more consistent than others, and much smoother.

    Blur raises the PSNR of overlaps. As in claim 4, the limit is the share of gradient energy
    `ClaimSettings.gradient_energy_band`. Real views are not blurred, whatever others add to them.

    Returns:
        A sentence per such method.
    """
    limit, warnings = ClaimSettings().gradient_energy_band, []
    for score in (score for score in scores if score.method != REAL.name):
        shares = {
            other.method: share
            for other in scores
            if other is not score and _is_above(score, other, "cross_view_psnr")
            for share in [_energy_share(score, other)]
            if share < limit
        }
        if shares:
            found = ", ".join(f"{share:.2f} of that of {name}" for name, share in shares.items())
            warnings.append(
                f"{score.method}: is more consistent than {' and '.join(shares)}, but its gradient "
                f"energy is only {found}: blur raises the PSNR of overlaps, so its lead may come "
                "from blur."
            )
    return warnings


def _is_above(score: Score, other: Score, metric: str) -> bool:
    try:
        gain = difference_between(score, other, metric)
    except KeyError:
        return False
    return gain.interval is not None and gain.interval[0] > 0


def _energy_share(score: Score, other: Score) -> float:
    """Gradient energy over that of another method; 1 where there is nothing to compare."""
    metric = "gradient_energy"
    if not all(metric in each.metrics and each.metrics[metric].value for each in (score, other)):
        return 1.0
    return ratio_between(score, other, metric).value
