"""The two tables of a comparison: every metric by method, and differences from a baseline."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from ..claims.leads import doubted
from ..folders.methods import display_name
from ..folders.samples import TASKS
from ..metrics.measurement import ARROWS
from ..scoring.score_files import Score, pairs_of
from ..statistics import (
    CONFIDENCE,
    SIGNIFICANCE,
    holm,
    sign_flip_test,
    student_interval,
    t_test,
)
from .best import BEST_NOTE, Doubted, best_methods
from .columns import CONSISTENCY, MAIN, fault_counts, shown_faults
from .formatting import count_samples, decimals, notes_on_images, number, with_interval
from .table import Table

COUNTS = ("num_samples", "num_images")
PERCENT = f"{100 * CONFIDENCE:.0f} %"
INTERVALS = (
    "Intervals are Student's t intervals between samples, never between views: from the values "
    "per sample; for metrics of the whole set, from groups of samples; for ratios, by "
    "linearization."
)


def comparison_table(scores: Sequence[Score], notes: Sequence[str] = ()) -> Table:
    """A line per metric, a column per method; numbers of two protocols never share a line.

    Args:
        scores: of all methods, comparable.
        notes: that come first under the table.
    """
    metrics = measured_metrics(scores)
    rows = [
        score.row(metric) | {key: score.content["images"][key] for key in COUNTS}
        for metric in metrics
        for score in scores
        if metric in score.metrics
    ]
    not_believed, best = doubted(scores), set[tuple[int, int]]()
    lines = [
        [title, "", *(str(fault_counts(score)[key]) for score in scores)]
        for key, title in shown_faults(scores).items()
    ]
    for metric in metrics:
        own = {row["method"]: row for row in rows if row["metric"] == metric}
        digits = decimals([row["se"] for row in own.values()])
        any_row = next(iter(own.values()))
        cells = [with_interval(own.get(score.method), "value", digits) for score in scores]
        lines.append([_title(any_row), any_row["unit"], *cells])
        winners = best_methods(metric, scores, not_believed)
        best |= {(len(lines) - 1, 2 + i) for i, s in enumerate(scores) if s.method in winners}
    columns = ["metric", "unit", *(display_name(score.method) for score in scores)]
    about = _about(scores)
    return Table(
        "comparison",
        f"{about}: every metric with its {PERCENT} confidence interval",
        pd.DataFrame(rows),
        pd.DataFrame(lines, columns=columns),
        (
            *notes,
            *([BEST_NOTE] if best else []),
            INTERVALS,
            *_protocol_notes(rows),
            *notes_on_images(metrics, scores),
        ),
        best=frozenset(best),
    )


def measured_metrics(scores: Sequence[Score]) -> list[str]:
    """Metrics that any method has, those of the task's other tables first."""
    found = sorted({metric for score in scores for metric in score.metrics})
    task = scores[0].task
    known = [metric for metric in {**MAIN[task], **CONSISTENCY[task]} if metric in found]
    return [*known, *(metric for metric in found if metric not in known)]


def difference_table(scores: Sequence[Score], baseline: Score, notes: Sequence[str] = ()) -> Table:
    """Differences from the baseline on the same samples: interval, p-value, Holm's, and verdict.

    Args:
        scores: of all methods, comparable.
        baseline: the one that the others are compared with.
        notes: that come first under the table.
    """
    others = [score for score in scores if score.method != baseline.method]
    metrics = measured_metrics(scores)
    not_believed = doubted(scores)
    rows = [
        row for metric in metrics for row in _differences(metric, others, baseline, not_believed)
    ]
    paired = {row["metric"] for row in rows}
    alone = [metric for metric in metrics if metric not in paired]
    left_out = (
        (f"Not paired, because there are no values per sample: {', '.join(alone)}.",)
        if alone
        else ()
    )
    columns = ["metric", "method", "difference", "p", "p (Holm)", "verdict"]
    return Table(
        "differences",
        f"{_about(scores)}: paired differences, method − {display_name(baseline.method)}, with "
        f"{PERCENT} confidence intervals",
        pd.DataFrame(rows, columns=None if rows else columns),
        pd.DataFrame([_line(row) for row in rows], columns=columns),
        (
            *notes,
            *_test_notes(len(baseline.samples), len(others)),
            *left_out,
            *notes_on_images(metrics, scores),
        ),
    )


def _differences(
    metric: str, others: Sequence[Score], baseline: Score, not_believed: Doubted
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for score in others:
        try:
            pairs = pairs_of(score, baseline, metric)
        except KeyError:
            continue  # not measured for both, or nothing to pair
        measured, count = score.metrics[metric], len(pairs.differences)
        low, high = student_interval(pairs.difference, pairs.se, count) or (None, None)
        if pairs.of_sets:
            test = t_test(pairs.difference, pairs.se, count)
        else:
            test = sign_flip_test(pairs.differences)
        rows.append(
            {
                "metric": metric,
                "method": score.method,
                "baseline": baseline.method,
                "difference": pairs.difference,
                "se": pairs.se,
                "low": low,
                "high": high,
                "p_value": test.p_value if test else None,
                "p_holm": None,
                "test": test.method if test else None,
                "num_pairs": count,
                "pairs_of": measured.values_per,
                "unit": measured.unit,
                "higher_is_better": measured.higher_is_better,
                "protocol": measured.protocol,
            }
        )
    tested = [row for row in rows if row["p_value"] is not None]
    for row, adjusted in zip(tested, holm([r["p_value"] for r in tested]), strict=True):
        row["p_holm"] = adjusted
    incomplete = {score.method for score in (*others, baseline) if score.left_out(metric)}
    doubtful = {(who, whom) for who, whom, of in not_believed if of == metric}
    return [{**row, "verdict": _verdict(row, incomplete, doubtful)} for row in rows]


def _verdict(
    row: Mapping[str, Any],
    incomplete: Collection[str],
    doubtful: Collection[tuple[str, str]],
) -> str:
    """Say which is better; never that a method is which leaves samples out, and of a doubtful lead
    that it is doubtful."""
    if row["p_holm"] is None or row["p_holm"] >= SIGNIFICANCE:
        return "undecided"
    if row["higher_is_better"] is None:
        return "higher" if row["difference"] > 0 else "lower"
    verdict = "better" if (row["difference"] > 0) == row["higher_is_better"] else "worse"
    pair = row["method"], row["baseline"]
    winner, loser = pair if verdict == "better" else pair[::-1]
    if winner in incomplete:
        return "incomplete"
    return f"{verdict}, doubtful" if (winner, loser) in doubtful else verdict


def _line(row: Mapping[str, Any]) -> list[str]:
    cell = with_interval(row, "difference", decimals([row["se"]]))
    p_values = [number(row[key], None, 4) for key in ("p_value", "p_holm")]
    return [_title(row), display_name(row["method"]), cell, *p_values, row["verdict"]]


def _title(row: Mapping[str, Any]) -> str:
    return row["metric"] + ARROWS[row["higher_is_better"]]


def _about(scores: Sequence[Score]) -> str:
    images = scores[0].content["images"]
    return f"{TASKS[scores[0].task]}; {count_samples(images, images['num_samples'])}"


def _test_notes(num_samples: int, num_compared: int) -> tuple[str, ...]:
    least = num_compared * 2.0 ** (1 - num_samples)  # two of all patterns of signs, and Holm's
    cannot = (
        f"{num_samples} samples are too few to show a difference between {num_compared} methods "
        f"and the baseline by sign flips: p (Holm) is at least {min(least, 1.0):g}.",
    )
    return (
        "p: probability of a difference at least this large if the methods did not differ; by "
        "sign flips of the differences per sample, and for metrics of the whole set by Student's "
        "t of groups of samples.",
        "p (Holm): p corrected, for each metric, for the number of methods compared with the "
        f"baseline; a verdict is given where it is below {SIGNIFICANCE}. There is no correction "
        "for the number of metrics.",
        *(cannot if least >= SIGNIFICANCE else ()),
    )


def _protocol_notes(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    made: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        by = f", extractor {row['extractor']}" if row["extractor"] else ""
        metrics = made.setdefault((f"{row['protocol']} v{row['version']}", by), [])
        if row["metric"] not in metrics:
            metrics.append(row["metric"])
    return tuple(f"Protocol {name}{by}: {', '.join(of)}." for (name, by), of in made.items())
