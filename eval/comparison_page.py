"""The results page of a comparison: folders of images that no workflow of this project has made."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .claims.leads import doubtful_leads
from .folders.methods import display_name
from .folders.samples import SampleFolder
from .report.figures import write_figures
from .report.page import write_report
from .scoring.score_files import Score, identical_images
from .tables.columns import MAIN, SCALE
from .tables.formatting import decimals, number
from .tables.published import published_table
from .tables.results import measured_tables, numbers_of
from .tables.table import Table, write_tables

SHEET_SAMPLES = 4
VIEWER_SAMPLES = 8
"""Samples on a contact sheet, and those whose panoramas can be looked around in."""
NOTE = (
    "A method is better or worse than the baseline where the corrected p-value of its paired "
    "difference is small enough, metric by metric; the page's table of differences has all of them."
)


def write_comparison_page(
    scores: Sequence[Score],
    baseline: str,
    folders: Mapping[str, SampleFolder],
    tables: Sequence[Table],
    output: Path,
) -> None:
    """Write the page of a comparison, with contact sheets and viewers of every folder.

    Args:
        scores: of all methods, comparable.
        baseline: method that the others are compared with.
        folders: images by method, and real views as "real"; a method of which a score file alone
            was given has no pictures.
        tables: of the comparison (see `mvdiffusion_eval.compare`); the one called "differences" is
            shown.
        output: the page.

    Raises:
        InputError: an image is unreadable, or the page cannot be written.
    """
    task = scores[0].task
    differences = next(table for table in tables if table.name == "differences")
    by_method = {score.method: score for score in scores}
    shown = {task: folders} if folders else {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        made = [
            *measured_tables(task, scores),
            dataclasses.replace(differences, name=f"{task}_differences"),
            Table("claims", "Differences", pd.DataFrame(), pd.DataFrame(), _notes(scores)),
            published_table(),
        ]
        write_tables(made, root / "tables", verdicts(differences, scores, baseline))
        write_figures(shown, {task: by_method}, {}, SHEET_SAMPLES, root / "figures")
        names = ", ".join(display_name(score.method) for score in scores)
        _write(root / "metrics.json", numbers_of({task: by_method}, []))
        settings = {"score": scores[0].content["settings"]}
        page = {"name": names, "lede": _lede(scores), "evaluation": settings}
        _write(root / "page.json", page)
        write_report(
            *(root / "tables", root / "figures", root / "metrics.json", root / "page.json"),
            *({}, shown, output, [score.content["provenance"] for score in scores]),
            images_sha256={f"{task}/{s.method}": s.content["images"]["sha256"] for s in scores},
            viewer_samples=VIEWER_SAMPLES,
        )


def verdicts(differences: Table, scores: Sequence[Score], baseline: str) -> list[dict[str, Any]]:
    """Say of each method in which of the main metrics it is better or worse than the baseline.

    Args:
        differences: their table.
        scores: of all methods.
        baseline: the method that the others are compared with.

    Returns:
        One entry per method, of the form of printed claims (see `tables.results.printed_claims`);
        its conditions, the metrics, have neither bounds nor effect sizes.
    """
    titles = MAIN[scores[0].task]
    rows = [row for row in differences.records() if row["metric"] in titles]
    others = [score.method for score in scores if score.method != baseline]
    made = []
    for place, method in enumerate(others, 1):
        own = [row for row in rows if row["method"] == method]
        found = [row["verdict"] for row in own if row["higher_is_better"] is not None]
        names = display_name(method), display_name(baseline)
        made.append(
            {
                "number": place,
                "title": f"{names[0]} against {names[1]}{_counted(found)}",
                "verdict": _overall(found),
                "conditions": [_printed(row, titles[row["metric"]]) for row in own],
            }
        )
    return made


def _printed(row: Mapping[str, Any], title: str) -> dict[str, Any]:
    """A difference in the unit that the title of its metric names."""
    value, se, *ends = (
        None if row[key] is None else SCALE.get(row["metric"], 1.0) * row[key]
        for key in ("difference", "se", "low", "high")
    )
    digits = decimals([se])
    low, high = (number(end, None, digits) for end in ends)
    return {
        "measured": title,
        "value": number(value, se, digits),
        "95 % interval": "–" if row["low"] is None else f"{low} to {high}",
        "unit": "",
        "verdict": row["verdict"],
    }


def _counted(found: Sequence[str]) -> str:
    """What the word for a method rests on: how many metrics have which verdict."""
    counts = Counter(verdict.replace(", doubtful", " (doubtful)") for verdict in found)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    metrics = "1 metric" if len(found) == 1 else f"{len(found)} metrics"
    return f" ({metrics}: {told})" if found else ""


def _overall(found: Sequence[str]) -> str:
    """One word for verdicts on several metrics; a doubtful one decides nothing."""
    kinds = {"better", "worse"} & set(found)
    return "mixed" if len(kinds) == 2 else next(iter(kinds), "undecided")


def _notes(scores: Sequence[Score]) -> tuple[str, ...]:
    warned = (
        f"{display_name(score.method)}: {warning}"
        for score in scores
        for warning in score.content.get("warnings", ())
    )
    return (NOTE, *identical_images(scores), *doubtful_leads(scores), *warned)


def _lede(scores: Sequence[Score]) -> str:
    images = scores[0].content["images"]
    return (
        f"This page compares {len(scores)} methods on the same {images['num_samples']} samples. "
        "The images came as folders and were scored with the same settings; how they were made is "
        "not part of this page."
    )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
