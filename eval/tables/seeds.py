"""Several training seeds of one method: what they change, apart from the spread between samples.

Scores of one model say nothing of the model that another training would have given: their standard
errors are between samples. Here every training seed takes the place of the first in turn, and each
claim is decided under each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mvdiffusion.records import InputError

from ..claims.claims import Claim, Condition, decide
from ..folders.methods import display_name
from ..folders.samples import TASKS
from ..scoring.score_files import Score, TaskScores, read_score, read_scores
from ..settings import ClaimSettings
from .columns import CONSISTENCY, MAIN, SCALE, measured_columns
from .formatting import count_samples, decimals, number
from .table import Table

NOTE = (
    "Each seed is a training of its own, from the same model and on the same data; captions and "
    "initial noise are the same under all. The standard deviation is between training seeds, the "
    "standard error between samples under one seed (root mean square over the seeds): it says "
    "nothing of other trainings."
)


@dataclass(frozen=True)
class TrainingSeeds:
    """Scores under several training seeds; none of one training, which has no tables of seeds.

    Attributes:
        scores: of all methods by seed, with those of the seed in the place of the same methods'.
        bounds: of the claims.
    """

    scores: Mapping[int, TaskScores]
    bounds: ClaimSettings

    @cached_property
    def claims(self) -> dict[int, list[Claim]]:
        """All claims, decided under each seed."""
        return {seed: decide(scores, self.bounds) for seed, scores in self.scores.items()}

    @cached_property
    def methods(self) -> dict[str, list[str]]:
        """Methods with a score of their own under each seed, by task, in the order of tables."""
        first, *others = [*self.scores.values()] or [{}]
        found = {
            task: [
                method
                for method, score in of_task.items()
                if any(one[task][method].path != score.path for one in others)
            ]
            for task, of_task in first.items()
        }
        return {task: methods for task, methods in found.items() if methods}

    @property
    def tables(self) -> list[Table]:
        """For each task its numbers, and its verdicts."""
        made = []
        for task, methods in self.methods.items():
            made.append(_numbers_table(task, methods, self.scores))
            claims = {
                seed: decide({task: of_seed[task]}, self.bounds)
                for seed, of_seed in self.scores.items()
            }
            made.append(_verdict_table(task, claims))
        return made

    @property
    def remarks(self) -> list[str]:
        """What stands under the claims: whether their verdicts are the same under every seed."""
        if not self.scores:
            return []
        words = [f"claim {number}: {said}" for number, said in verdicts_of(self.claims).items()]
        return [f"Under the training seeds {', '.join(map(str, self.scores))}: {'; '.join(words)}."]

    def numbers(self, metrics: Iterable[str] | None = None) -> dict[str, Any]:
        """Nest the numbers as `{task: {method: {metric: mean, metric_sd: …}}}`.

        Args:
            metrics: those to keep; by default all of the tables.

        Returns:
            Them under `training_seeds`, with the seeds and the verdicts; empty without seeds.
        """
        if not self.scores:
            return {}
        nested: dict[str, Any] = {"seeds": [*self.scores]}
        for task, methods in self.methods.items():
            nested[task] = {method: {} for method in methods}
            for row in _rows(task, methods, self.scores):
                if metrics is None or row["metric"] in metrics:
                    own = {row["metric"]: row["mean"], f"{row['metric']}_sd": row["sd"]}
                    nested[task][row["method"]] |= own
        said = verdicts_of(self.claims)
        nested["claims"] = {f"claim_{number}": words for number, words in said.items()}
        return {"training_seeds": nested}


def read_seeds(
    scores: TaskScores,
    files: Mapping[int, Sequence[str | Path]],
    settings_sha256: Mapping[str, str],
    bounds: ClaimSettings,
) -> TrainingSeeds:
    """Read the scores of training seeds, each beside the scores of all other methods.

    Args:
        scores: of all methods, from `read_scores`.
        files: score files by training seed, each time one per task and method.
        settings_sha256: hash that every file of a task must have.
        bounds: of the claims.

    Raises:
        InputError: one seed alone; a seed lacks a method that another has, or has one without
            scores of its own; or files that `read_scores` refuses.
    """
    by_seed: dict[int, TaskScores] = {}
    named: dict[int, set[tuple[str, str]]] = {}
    for seed, paths in files.items():
        own = [(one.task, one.method) for one in map(read_score, paths)]
        for task, method in own:
            if method not in scores.get(task, {}):
                raise InputError(
                    f"--seed-score {seed}: scores '{method}' of the task '{task}', of which no "
                    "score file is among SCORE.json; give it, too."
                )
        others = [
            one.path
            for task, of_task in scores.items()
            for method, one in of_task.items()
            if (task, method) not in own
        ]
        by_seed[seed], named[seed] = read_scores([*others, *paths], settings_sha256), {*own}
    first = next(iter(named), None)
    if len(named) == 1:
        raise InputError(f"--seed-score: is of the seed {first} alone; expected two or more seeds.")
    for seed, there in named.items():
        if missing := sorted(set().union(*named.values()) - there):
            raise InputError(
                f"--seed-score: has no score of '{'/'.join(missing[0])}' under the seed {seed}, "
                "but under another; give one per seed."
            )
    return TrainingSeeds(by_seed, bounds)


def verdicts_of(claims: Mapping[int, Sequence[Claim]]) -> dict[int, str]:
    """Sum up the verdicts of each claim that was run, by its number."""
    return {
        of_claim[0].number: summed_up([claim.verdict for claim in of_claim])
        for of_claim in zip(*claims.values(), strict=True)
        if any(condition.effect for condition in of_claim[0].conditions)
    }


def summed_up(verdicts: Sequence[str]) -> str:
    """One verdict for all seeds, if there is one; else how often each was found.

    >>> summed_up(["does not hold", "does not hold"])
    'does not hold (all 2 seeds)'
    >>> summed_up(["holds", "undecided", "holds"])
    'holds under 2 of 3 seeds, undecided under 1'
    """
    counts = {verdict: verdicts.count(verdict) for verdict in verdicts}
    if len(counts) == 1:
        return f"{verdicts[0]} (all {len(verdicts)} seeds)"
    (first, count), *others = counts.items()
    rest = "".join(f", {verdict} under {number}" for verdict, number in others)
    return f"{first} under {count} of {len(verdicts)} seeds{rest}"


def _rows(
    task: str, methods: Sequence[str], by_seed: Mapping[int, TaskScores]
) -> list[dict[str, Any]]:
    """Numbers by method and metric, of those that all seeds have."""
    rows = []
    for method in methods:
        scores = [of_seed[task][method] for of_seed in by_seed.values()]
        for metric, title in _metrics(task, scores).items():
            measured = [score.metrics[metric] for score in scores]
            values = np.array([one.value for one in measured], dtype=np.float64)
            errors = [one.se for one in measured]
            known = None if None in errors else np.square(np.array(errors, dtype=np.float64))
            rows.append(
                {
                    "method": method,
                    "metric": metric,
                    "title": title,
                    **{f"seed_{seed}": v for seed, v in zip(by_seed, values.tolist(), strict=True)},
                    "mean": float(values.mean()),
                    "sd": float(values.std(ddof=1)),
                    "se": None if known is None else float(np.sqrt(known.mean())),
                    "num_seeds": len(values),
                }
            )
    return rows


def _metrics(task: str, scores: Sequence[Score]) -> dict[str, str]:
    """Titles of the metrics of the main table and of that of consistency that all scores have."""
    columns = {**MAIN[task], **CONSISTENCY[task]}
    shared = set.intersection(*({*score.metrics} for score in scores))
    return {k: title for k, title in measured_columns(columns, scores).items() if k in shared}


def _numbers_table(task: str, methods: Sequence[str], by_seed: Mapping[int, TaskScores]) -> Table:
    rows, shown = _rows(task, methods, by_seed), []
    for row in rows:
        scale = SCALE.get(row["metric"], 1.0)
        keys = [*(f"seed_{seed}" for seed in by_seed), "mean", "sd", "se"]
        values = {key: None if row[key] is None else row[key] * scale for key in keys}
        digits = decimals([values["sd"], values["se"]])
        shown.append(
            {
                "method": display_name(row["method"]),
                "measure": row["title"],
                **{f"seed {s}": number(values[f"seed_{s}"], None, digits) for s in by_seed},
                "mean of seeds": number(values["mean"], None, digits),
                "standard deviation between seeds": number(values["sd"], None, digits),
                "standard error between samples": number(values["se"], None, digits),
            }
        )
    first = next(iter(by_seed.values()))[task][methods[0]]
    counts = count_samples(first.content["images"], len(first.samples))
    caption = f"{TASKS[task]}: {len(by_seed)} training seeds; {counts}"
    return Table(f"{task}_seeds", caption, pd.DataFrame(rows), pd.DataFrame(shown), (NOTE,))


def _verdict_table(task: str, claims: Mapping[int, Sequence[Claim]]) -> Table:
    rows, shown = [], []
    for of_claim in zip(*claims.values(), strict=True):
        for conditions in zip(*(claim.conditions for claim in of_claim), strict=True):
            if all(condition.effect for condition in conditions):
                row, printed = _condition(of_claim[0], dict(zip(claims, conditions, strict=True)))
                rows.append(row)
                shown.append(printed)
    caption = f"{TASKS[task]}: verdicts under {len(claims)} training seeds; value, verdict"
    note = "Conditions that compare no method with several seeds are the same under all."
    name = f"{task}_seed_verdicts"
    return Table(name, caption, pd.DataFrame(rows), pd.DataFrame(shown), (note,))


def _condition(
    claim: Claim, conditions: Mapping[int, Condition]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A condition under all seeds: its numbers, and the printed line."""
    first = next(iter(conditions.values()))
    values = [one.effect.value for one in conditions.values() if one.effect]
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    digits = decimals([first.numbers["value_se"], spread])
    verdict = summed_up([condition.verdict for condition in conditions.values()])
    row = {"claim": claim.number, "condition": first.text, "unit": first.unit}
    for seed, condition in conditions.items():
        row |= {f"value_{seed}": condition.numbers["value"], f"verdict_{seed}": condition.verdict}
    row |= {"bound": first.bound, "mean": mean, "sd": spread, "verdict": verdict}
    printed = {
        "claim": f"{claim.number}. {claim.title}",
        "measured": first.text,
        **{
            f"seed {seed}": f"{number(one.numbers['value'], None, digits)}, {one.verdict}"
            for seed, one in conditions.items()
        },
        "mean of seeds": number(mean, None, digits),
        "standard deviation between seeds": number(spread, None, digits),
        "bound": number(first.bound, None, digits),
        "unit": first.unit,
        "all seeds": verdict,
    }
    return row, printed
