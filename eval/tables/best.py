"""Which numbers of a table are the best, and may be printed bold."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..claims.effects import difference_between
from ..folders.methods import shown_as
from ..scoring.score_files import Score

BEST_NOTE = (
    "Bold: the best method, with all whose difference from it, paired by samples, has a 95 % "
    "interval that includes 0; none where that is so of all, or where the lead is doubtful. Real "
    "views, upper bounds, controls, incomplete methods, and those with constant or repeated images "
    "are never bold."
)

Doubted = Collection[tuple[str, str, str]]
"""Leads that are not believed: who, over whom, in what; see `claims.leads.doubted`."""


def best_methods(metric: str, scores: Sequence[Score], doubted: Doubted) -> set[str]:
    """Find the methods that are best in a metric, with those that cannot be told from the best.

    Args:
        metric: name of the measurement.
        scores: of all methods, comparable.
        doubted: see `Doubted`.

    Returns:
        Their names; none if the metric has no better direction, if fewer than two methods compete,
        if none can be told from the best, or if the best is doubted: then it is not known who is.
    """
    ranked = [s for s in scores if metric in s.metrics and _competes(s, metric)]
    if len(ranked) < 2 or (direction := ranked[0].metrics[metric].higher_is_better) is None:
        return set()
    sign = 1 if direction else -1
    lead = max(ranked, key=lambda score: sign * score.metrics[metric].value)
    best = {s.method for s in ranked if s is lead or _ties(s, lead, metric)}
    doubtful = {method for method, _, of in doubted if of == metric}
    if len(best) == len(ranked) or lead.method in doubtful:
        return set()
    return best - doubtful


def _competes(score: Score, metric: str) -> bool:
    """Whether a method may be the best at all."""
    is_method = shown_as(score.method).role in ("method", "ablation") and not score.is_real
    spoilt = score.left_out(metric) or score.faults.flat or score.faults.repeated
    return is_method and not spoilt


def _ties(score: Score, lead: Score, metric: str) -> bool:
    """Whether a method cannot be told from the leading one."""
    try:
        interval = difference_between(score, lead, metric).interval
    except KeyError:  # quotients have no values that could be paired
        both = score.interval(metric), lead.interval(metric)
        if both[0] is None or both[1] is None:
            return score.metrics[metric].value == lead.metrics[metric].value
        return both[0][0] <= both[1][1] and both[1][0] <= both[0][1]
    return interval is None or interval[0] <= 0 <= interval[1]
