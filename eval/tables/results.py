"""Tables and numbers from score files; equal scores give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mvdiffusion.records import InputError

from ..claims.claims import Claim, Condition, claim_numbers
from ..claims.leads import doubted
from ..folders.methods import display_name
from ..folders.samples import TASKS
from ..scoring.score_files import Score, common_samples, compared_scores, pairs_of
from ..statistics import mean_and_se, ratio_of_means
from .best import BEST_NOTE, best_methods
from .columns import (
    ABLATION_COSTS,
    ABLATIONS,
    CONSISTENCY,
    CONTROLS,
    DISTANCES,
    FAULTS,
    MAIN,
    SCALE,
    UNPUBLISHED,
    fault_counts,
    measured_columns,
    shown_faults,
)
from .formatting import column_notes, count_samples, decimals, number
from .published import beside_published, published_table
from .table import Table

HEADLINE = ("cross_view_psnr", *FAULTS)
FIRST_DISTANCE = ("fid", "efficientnet_fid")
"""Of the method itself, the first that was measured is a headline number, too."""
ENERGY_RATIO = "gradient_energy_to_vae_reconstruction"
ABLATED = "mvdiffusion"
"""The method of which an ablation changes one thing."""
DIFFERENCE = "cross_view_psnr_difference"


def make_tables(
    scores: Mapping[str, Mapping[str, Score]],
    claims: Sequence[Claim],
    remarks: Sequence[str],
    training_logs: Mapping[str, str] | None = None,
) -> list[Table]:
    """Make the tables of each task, then those of the claims and of published numbers.

    Args:
        scores: comparable scores by task and method, from `scores.read_scores`.
        claims: their verdicts, from `claims.decide`.
        remarks: sentences to print under the claims, from `claims.remarks`.
        training_logs: logs of the trainings of methods, by `<task>/<method>`.

    Raises:
        InputError: a file is no log of a training.
    """
    costs = {name: training_cost(Path(log)) for name, log in (training_logs or {}).items()}
    tables = [table for task in scores for table in _task_tables(task, scores[task], costs)]
    return [*tables, _claim_table(claims, remarks), published_table()]


def main_table(task: str, scores: Sequence[Score], without: Collection[str] = ()) -> Table:
    """Make the main table of a task: image quality and consistency, a line per method.

    Args:
        task: the task.
        scores: of its methods, comparable.
        without: metrics to leave out.
    """
    what = "key frames" if task == "depth" else "views"
    caption = f"{TASKS[task]}: image quality and consistency of {what}"
    columns = {metric: title for metric, title in MAIN[task].items() if metric not in without}
    return _metric_table(f"{task}_main", caption, columns, scores)


def measured_tables(task: str, scores: Sequence[Score]) -> list[Table]:
    """Make the tables of a task whose lines are methods: main, distances, consistency.

    Args:
        task: the task.
        scores: of its methods, comparable.
    """
    pairs = f"{TASKS[task]}: consistency in detail"
    others = f"{TASKS[task]}: further measures of image quality"
    return [
        main_table(task, scores),
        _metric_table(f"{task}_distances", others, DISTANCES, scores),
        _metric_table(f"{task}_consistency", pairs, CONSISTENCY[task], scores),
    ]


def training_cost(log: Path) -> dict[str, float]:
    """Read from a training log what a model took: its trained parameters, and seconds per step.

    Raises:
        InputError: the file is missing, or is no log of a training.
    """
    try:
        last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
        parameters, seconds = last["parameters"], last["seconds"] / last["step"]
    except (OSError, ValueError, LookupError, TypeError, ZeroDivisionError) as error:
        raise InputError(
            f"{log}: no log of a training ({error!r}); expected the metrics.jsonl of `mvdiffusion "
            "train`, whose last line has step, seconds and parameters."
        ) from None
    return dict(zip(ABLATION_COSTS, (parameters, seconds), strict=True))


def _task_tables(
    task: str, scores: Mapping[str, Score], costs: Mapping[str, Mapping[str, float]]
) -> list[Table]:
    compared = compared_scores(scores.values())
    measured = measured_tables(task, compared)
    ablated = [one for one in scores.values() if one.is_ablation or one.method == ABLATED]
    others_too = [one for one in scores.values() if not one.is_ablation]
    return [
        *measured,
        *([_ablation_table(task, ablated, costs)] if len(others_too) < len(scores) else []),
        _control_table(task, others_too or list(scores.values())),
        beside_published(task, main_table(task, compared, UNPUBLISHED)),
    ]


def _metric_table(
    name: str, caption: str, columns: Mapping[str, str], scores: Sequence[Score]
) -> Table:
    """Table of the columns that were measured for any method, and of further extractors'."""
    shown = measured_columns(columns, scores)
    rows = [_row(score, shown) for score in scores]
    counts = count_samples(scores[0].content["images"], len(scores[0].samples))
    about = f"{caption}; {counts}; ± standard error between samples"
    not_believed = doubted(scores)
    best = {
        (row, column)
        for column, metric in enumerate(shown, 1)  # behind that of the names
        for winners in [best_methods(metric, scores, not_believed)]
        for row, score in enumerate(scores)
        if score.method in winners
    }
    notes = (*column_notes(shown, scores), *([BEST_NOTE] if best else []))
    made = _table(name, about, rows, shown, notes, shown_faults(scores))
    return replace(made, best=frozenset(best))


def _row(
    score: Score, columns: Iterable[str], samples: Sequence[str] | None = None
) -> dict[str, Any]:
    """A line of numbers and what made them; on some samples, without what is of all."""
    images, row = score.content["images"], dict[str, Any](method=score.method)
    used = {metric: score.metrics[metric] for metric in columns if metric in score.metrics}
    for metric in columns:
        row[metric], row[f"{metric}_se"] = None, None
        if metric in used:
            row[metric], row[f"{metric}_se"] = used[metric].value, used[metric].se
            if samples is not None:
                pair = _mean_of(score.values(metric, samples))
                row[metric], row[f"{metric}_se"] = pair
    row |= {key: count for key, count in fault_counts(score).items() if count}
    row["num_samples"] = images["num_samples"] if samples is None else len(samples)
    if samples is None:
        row["num_images"] = images["num_images"]
    row["protocols"] = _join(one.versioned_protocol for one in used.values())
    if samples is None:
        row["extractors"] = _join(one.extractor for one in used.values() if one.extractor)
    return row


def _mean_of(values: np.ndarray) -> tuple[float | None, float | None]:
    """Mean of the values of samples that are not left out, and its standard error."""
    there = values[np.isfinite(values)]
    return mean_and_se(there) if len(there) else (None, None)


def _ablation_table(
    task: str, scores: Sequence[Score], costs: Mapping[str, Mapping[str, float]]
) -> Table:
    """The method and what is left of it without one of its parts, with paired differences."""
    shown = measured_columns(ABLATIONS, scores)
    reference = next((score for score in scores if score.method == ABLATED), None)
    rows = []
    for score in scores:
        row = _row(score, shown)
        if reference and score is not reference:
            pairs = pairs_of(score, reference, "cross_view_psnr")
            row |= {DIFFERENCE: pairs.difference, f"{DIFFERENCE}_se": pairs.se}
        rows.append(row | dict(costs.get(f"{task}/{score.method}", {})))
    known = {key: title for key, title in ABLATION_COSTS.items() if any(key in r for r in rows)}
    counts = count_samples(scores[0].content["images"], len(scores[0].samples))
    caption = f"{TASKS[task]}: ablations; {counts}; ± standard error between samples"
    notes = (
        f"Each line trains attention of its own with one thing of {display_name(ABLATED)} changed. "
        "Differences are of the same samples. Seconds are those of this run's machine, with "
        "whatever ran beside the training. The paper has no table of ablations.",
        *column_notes(shown, scores),
    )
    columns = {**shown, DIFFERENCE: "difference of all pairs (dB)", **known}
    return _table(f"{task}_ablations", caption, rows, columns, notes, shown_faults(scores))


def _control_table(task: str, scores: Sequence[Score]) -> Table:
    """All methods on their common samples: controls may cover fewer."""
    samples = common_samples(scores)
    rows = [_row(score, CONTROLS, samples) for score in scores]
    columns = dict(CONTROLS)
    if "vae_reconstruction" in {score.method for score in scores}:
        reconstruction = next(score for score in scores if score.method == "vae_reconstruction")
        ceiling = reconstruction.values("gradient_energy", samples)
        for row, score in zip(rows, scores, strict=True):
            pair = ratio_of_means(score.values("gradient_energy", samples), ceiling)
            row[ENERGY_RATIO], row[f"{ENERGY_RATIO}_se"] = pair
        columns[ENERGY_RATIO] = "gradient energy / VAE reconstruction"
    counts = count_samples(scores[0].content["images"], len(samples))
    caption = f"{TASKS[task]}: controls; {counts}; ± standard error between samples"
    notes = column_notes(CONTROLS, scores)
    return _table(f"{task}_controls", caption, rows, columns, notes, shown_faults(scores))


def _claim_table(claims: Sequence[Claim], remarks: Sequence[str]) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "claim": claim.number,
            "title": claim.title,
            "claim_verdict": claim.verdict,
            "condition": condition.text,
            **condition.numbers,
            "unit": condition.unit,
            "verdict": condition.verdict,
            "remark": condition.remark or None,
        }
        for claim in claims
        for condition in claim.conditions
    ]
    printed = [line for claim in printed_claims(claims) for line in claim["conditions"]]
    caption = "Claims about the method, decided by 95 % intervals; value ± standard error"
    note = (
        "A condition holds if the 95 % interval of its value (Student's t) lies above its bound, "
        "does not hold if it lies below, and is undecided otherwise. A negative bound is a margin: "
        "a loss that is certain but inside the margin is said. The effect size is the mean of the "
        "paired differences over their standard deviation between samples; levels and statistics "
        "of the whole set have none."
    )
    return Table("claims", caption, pd.DataFrame(rows), pd.DataFrame(printed), (note, *remarks))


def printed_claims(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """Print claims: number, title, verdict, and conditions as lines of the table of claims."""
    return [
        {
            "number": claim.number,
            "title": claim.title,
            "verdict": claim.verdict,
            "conditions": [_printed(claim, condition) for condition in claim.conditions],
        }
        for claim in claims
    ]


def _printed(claim: Claim, condition: Condition) -> dict[str, Any]:
    """A line of the table of claims."""
    numbers = condition.numbers
    digits = decimals([numbers["value_se"]])
    low, high = (number(numbers[end], None, digits) for end in ("value_low", "value_high"))
    return {
        "claim": f"{claim.number}. {claim.title}",
        "measured": condition.text,
        "value": number(numbers["value"], numbers["value_se"], digits),
        "95 % interval": "–" if numbers["value_low"] is None else f"{low} to {high}",
        "effect size": number(numbers["effect_size"]),
        "bound": number(numbers["bound"], None, digits),
        "unit": condition.unit,
        "verdict": "; ".join(filter(None, (condition.verdict, condition.remark))),
    }


def _table(
    name: str,
    caption: str,
    rows: Sequence[dict[str, Any]],
    columns: Mapping[str, str],
    notes: tuple[str, ...],
    counted: Mapping[str, str],
) -> Table:
    shown = pd.DataFrame({"method": [display_name(row["method"]) for row in rows]})
    for metric, title in columns.items():
        scale = SCALE.get(metric, 1.0)
        pairs = [(_scaled(row, metric, scale), _scaled(row, f"{metric}_se", scale)) for row in rows]
        digits = decimals([se for _, se in pairs])
        shown[title] = [number(value, se, digits) for value, se in pairs]
    for key, title in counted.items():
        shown[title] = [str(row.get(key, 0)) for row in rows]
    return Table(name, caption, pd.DataFrame(list(rows)), shown, notes)


def _scaled(row: Mapping[str, Any], key: str, scale: float) -> float | None:
    return None if row.get(key) is None else row[key] * scale


def _join(names: Any) -> str:
    return "; ".join(sorted(set(names)))


def headline_of(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what is worth a column of `dvc metrics show`: ten to twenty numbers, and the verdicts.

    These are the PSNR of every method, the Fréchet distance of MVDiffusion, and faults where there
    are any. All other numbers are in `numbers.json`.

    Args:
        numbers: from `numbers_of`.
    """
    chosen: dict[str, Any] = {}
    for task in (task for task in TASKS if task in numbers):
        chosen[task] = {
            method: {name: own[name] for name in HEADLINE if name in own}
            for method, own in numbers[task].items()
        }
        own = numbers[task].get(ABLATED, {})
        distance = next((name for name in FIRST_DISTANCE if name in own), None)
        if distance:
            chosen[task][ABLATED][distance] = own[distance]
    return {**chosen, "claims": numbers["claims"]}


def numbers_of(
    scores: Mapping[str, Mapping[str, Score]], claims: Sequence[Claim]
) -> dict[str, Any]:
    """Nest every number as `{task: {method: {metric: value}}}`, verdicts under `claims`."""
    nested: dict[str, Any] = {
        task: {method: _numbers(score) for method, score in methods.items()}
        for task, methods in scores.items()
    }
    nested["claims"] = {f"claim_{claim.number}": claim.verdict for claim in claims}
    nested["claim_conditions"] = claim_numbers(claims)
    return nested


def _numbers(score: Score) -> dict[str, Any]:
    numbers: dict[str, Any] = {"num_samples": score.content["images"]["num_samples"]}
    numbers |= {key: count for key, count in fault_counts(score).items() if count}
    for metric, measurement in score.metrics.items():
        numbers[metric], numbers[f"{metric}_se"] = measurement.value, measurement.se
    return numbers
