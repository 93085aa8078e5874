"""The scores of a study: preferences, strengths and ranks of methods, agreement of raters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mvdiffusion.records import InputError, listed, provenance, sha256_file

from ..folders.methods import display_name
from ..tables.formatting import number
from ..tables.table import Table
from .answers import Judgment, Key, Rater, read_key, read_raters
from .bradley_terry import (
    FEW_RATERS,
    Judgments,
    agreement,
    fit,
    groups,
    is_separated,
    preference_interval,
    reach,
    regularized,
    strength_covariances,
)

CATCH_SHARE = 0.75
"""Least share of right answers to catch trials with which a rater counts."""

EQUAL = 1e-9
"""Difference of strengths below which two methods have one rank."""

PREFERENCE_COLUMNS = (
    *("question_number", "question", "method", "other", "share", "low", "high"),
    *("preferred", "no_difference", "other_preferred"),
)
STRENGTH_COLUMNS = (
    *("question_number", "question", "method", "strength", "low", "high"),
    *("rank", "best_rank", "last_rank"),
)


@dataclass(frozen=True)
class StudyScore:
    """The scores of a study.

    Attributes:
        content: what `study-score` writes as JSON.
        tables: preferences, strengths and raters.
    """

    content: dict[str, Any]
    tables: tuple[Table, ...]


def score_study(
    key_file: Path, answer_files: Sequence[Path], catch_share: float = CATCH_SHARE
) -> StudyScore:
    """Score the answers of a study.

    Args:
        key_file: that was written beside the page.
        answer_files: that raters exported.
        catch_share: raters with a smaller share of right answers to catch trials are excluded, and
            named.

    Raises:
        InputError: a file is damaged or of another study, a rater has two different files, or no
            answers remain.
    """
    key = read_key(key_file)
    everybody, notes = read_raters(answer_files, key)
    raters = [rater for rater in everybody if _is_attentive(rater, catch_share)]
    judgments = [judgment for rater in raters for judgment in rater.judgments]
    if not judgments:
        raise InputError(
            f"study-score: no answers about methods remain of {len(everybody)} raters, of whom "
            f"{len(everybody) - len(raters)} are excluded by the catch trials; give more answers."
        )
    excluded = [rater.code for rater in everybody if rater not in raters]
    if excluded:
        notes.append(
            f"Excluded, as less than {catch_share:.0%} of their answers to catch trials are right: "
            f"{listed(excluded, len(excluded))}."
        )
    if len(raters) < FEW_RATERS:
        notes.append(
            f"{len(raters)} raters: intervals are about these raters and other samples; from "
            f"{FEW_RATERS} raters on they are about other raters, too."
        )
    questions = [
        _question(position, text, [j for j in judgments if j.question == position], key)
        for position, text in enumerate(key.questions)
    ]
    notes += [note for question in questions for note in question["notes"]]
    rows = [_rater_row(rater, rater in raters) for rater in everybody]
    content = {
        "format": 1,
        "study": key.study,
        "key_sha256": sha256_file(key_file),
        "methods": list(key.methods),
        "catch_share": catch_share,
        "questions": questions,
        "raters": rows,
        "notes": notes,
        "provenance": provenance(),
    }
    return StudyScore(content, _tables(questions, rows, notes))


def _is_attentive(rater: Rater, catch_share: float) -> bool:
    return not rater.caught or sum(rater.caught) / len(rater.caught) >= catch_share


def _rater_row(rater: Rater, is_counted: bool) -> dict[str, Any]:
    return {
        "rater": rater.code,
        "answers": len(rater.judgments),
        "no_difference": len(rater.judgments) - rater.preferences,
        "left_share": rater.on_left / rater.preferences if rater.preferences else None,
        "catch_right": sum(rater.caught),
        "catch_answers": len(rater.caught),
        "median_seconds": float(np.median(rater.seconds)) if rater.seconds else None,
        "counted": is_counted,
    }


def arrays_of(judgments: Iterable[Judgment], num_methods: int) -> Judgments:
    """Put judgments of one question into arrays.

    Args:
        judgments: of one question.
        num_methods: M.
    """
    every = list(judgments)
    pairs = np.array([judgment.pair for judgment in every], np.int64).reshape(-1, 2)
    won = np.array([judgment.won for judgment in every], np.float64)
    raters, samples = (
        np.unique([getattr(judgment, name) for judgment in every], return_inverse=True)[1]
        for name in ("rater", "sample")
    )
    return Judgments(pairs[:, 0], pairs[:, 1], won, raters, samples, num_methods)


def _question(position: int, text: str, judgments: Sequence[Judgment], key: Key) -> dict[str, Any]:
    """Score the answers to one question."""
    answers = arrays_of(judgments, len(key.methods))
    strengths, notes = _strengths(answers, key.methods)
    return {
        "question": text,
        "answers": len(judgments),
        "preferences": _preferences(answers, key.methods),
        "strengths": strengths,
        "krippendorff_alpha": agreement(_ratings(judgments)) if judgments else None,
        "notes": [f"Question {position + 1}: {note}" for note in notes],
    }


def _preferences(answers: Judgments, methods: Sequence[str]) -> list[dict[str, Any]]:
    """How often each method was preferred to each other one; pairs without answers are left out."""
    rows = []
    for first, second in combinations(range(len(methods)), 2):
        of_pair = answers.of_pair(first, second)
        if len(of_pair.won):
            rows.append(
                {
                    "method": methods[first],
                    "other": methods[second],
                    "share": float(of_pair.won.mean()),
                    "interval": preference_interval(of_pair),
                    "preferred": int((of_pair.won == 1).sum()),
                    "no_difference": int((of_pair.won == 0.5).sum()),
                    "other_preferred": int((of_pair.won == 0).sum()),
                }
            )
    return rows


def _strengths(
    answers: Judgments, methods: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Strengths and ranks, the best first, if comparisons connect all methods; notes on them."""
    wins = answers.wins
    parts = groups(wins)
    if len(parts) > 1:
        named = " | ".join(", ".join(methods[method] for method in part) for part in parts)
        return [], [f"nothing connects these groups of methods, so they have no ranks: {named}."]
    notes = []
    if is_separated(wins):
        wins = regularized(wins)
        notes.append(
            "a method, or several together, won everything against the others, which makes "
            "strengths infinite; half a preference each way is added to every pair."
        )
    strength = fit(wins)
    covariances = strength_covariances(answers, wins, strength)
    unit, rows = np.eye(len(methods)), []
    for method in np.argsort(-strength, kind="stable"):
        value = float(strength[method])
        half = reach(answers, covariances, unit[method] - 1 / len(methods))  # of the mean 0
        leads = [
            (float(strength[method] - each), reach(answers, covariances, unit[method] - other))
            for each, other in zip(strength, unit, strict=True)
        ]
        above = sum(lead < -(wide or np.inf) for lead, wide in leads)
        below = sum(lead > (wide or np.inf) for lead, wide in leads)
        rows.append(
            {
                "method": methods[method],
                "strength": value,
                "interval": None if half is None else [value - half, value + half],
                "rank": 1 + sum(lead < -EQUAL for lead, _ in leads),
                "ranks": [1 + above, len(methods) - below],
            }
        )
    return rows, notes


def _ratings(judgments: Sequence[Judgment]) -> np.ndarray:
    """Each rater's rating of each comparison [raters, comparisons]; NaN if unanswered."""
    raters = sorted({judgment.rater for judgment in judgments})
    units = sorted({judgment.comparison for judgment in judgments})
    ratings = np.full((len(raters), len(units)), np.nan)
    for one in judgments:
        ratings[raters.index(one.rater), units.index(one.comparison)] = one.rating
    return ratings


def _tables(
    questions: Sequence[Mapping[str, Any]],
    raters: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> tuple[Table, ...]:
    preferences = _rows(questions, "preferences", PREFERENCE_COLUMNS)
    strengths = _rows(questions, "strengths", STRENGTH_COLUMNS)
    asked = [
        f"Question {position}: {each['question']} Krippendorff's alpha of the raters: "
        f"{_number(each['krippendorff_alpha'])}."
        for position, each in enumerate(questions, 1)
    ]
    every = (*asked, *notes)
    return (
        Table(
            "study_preferences",
            "Preferences: share of the answers that prefer A to B with 95 % interval, “no "
            "difference” counts half",
            preferences,
            _shown_preferences(preferences),
            every,
        ),
        Table(
            "study_strengths",
            "Strengths by Bradley and Terry's model (logarithmic, of mean 0) and ranks, with 95 % "
            "intervals",
            strengths,
            _shown_strengths(strengths),
            every,
        ),
        _rater_table(pd.DataFrame(raters), notes),
    )


def _rows(
    questions: Sequence[Mapping[str, Any]], kind: str, columns: Sequence[str]
) -> pd.DataFrame:
    """The rows of all questions; bounds of intervals and ranks have columns of their own."""
    rows = []
    for position, each in enumerate(questions, 1):
        for row in each[kind]:
            low, high = row["interval"] or (None, None)
            best, last = row.get("ranks", (None, None))
            bounds = {"low": low, "high": high, "best_rank": best, "last_rank": last}
            asked = {"question_number": position, "question": each["question"]}
            rows.append({**asked, **row, **bounds})
    return pd.DataFrame(rows, columns=list(columns))


def _shown_preferences(data: pd.DataFrame) -> pd.DataFrame:
    counts = zip(data["preferred"], data["no_difference"], data["other_preferred"], strict=True)
    return pd.DataFrame(
        {
            "question": data["question_number"],
            "A": data["method"].map(display_name),
            "B": data["other"].map(display_name),
            "A preferred": _with_bounds(data["share"], data["low"], data["high"], 2),
            "answers: A / no difference / B": [f"{a} / {same} / {b}" for a, same, b in counts],
        }
    )


def _shown_strengths(data: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "question": data["question_number"],
            "method": data["method"].map(display_name),
            "strength": _with_bounds(data["strength"], data["low"], data["high"], 2),
            "rank": _with_bounds(data["rank"], data["best_rank"], data["last_rank"], 0),
        }
    )


def _with_bounds(values: pd.Series, low: pd.Series, high: pd.Series, digits: int) -> list[str]:
    return [
        f"{_number(value, digits)} [{_number(least, digits)}, {_number(most, digits)}]"
        for value, least, most in zip(values, low, high, strict=True)
    ]


def _rater_table(data: pd.DataFrame, notes: Sequence[str]) -> Table:
    shown = data.drop(columns=["catch_right", "catch_answers"]).copy()
    shown["left_share"] = data["left_share"].map(_number)
    shown["median_seconds"] = data["median_seconds"].map(_number)
    caught = zip(data["catch_right"], data["catch_answers"], strict=True)
    shown["catch trials"] = [f"{right} of {all_}" for right, all_ in caught]
    shown["counted"] = data["counted"].map({True: "yes", False: "no"})
    shown = shown.rename(columns=lambda name: name.replace("_", " "))
    caption = "Raters: answers about methods, share of the left side in them, right catch trials"
    return Table("study_raters", caption, data, shown, tuple(notes))


def _number(value: float | None, digits: int = 2) -> str:
    return number(None if value is None or np.isnan(value) else float(value), digits=digits)
