"""The results page of a comparison: folders of images that no workflow of this project has made."""

from __future__ import annotations

import dataclasses
import json
import tempfile
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
from .tables.columns import MAIN
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
        One entry per method, of the form of printed claims (see `tables.results.printed_claims`).
    """
    titles = MAIN[scores[0].task]
    lines = list(zip(differences.records(), differences.cells, strict=True))
    others = [score.method for score in scores if score.method != baseline]
    made = []
    for number, method in enumerate(others, 1):
        own = [(r, c) for r, c in lines if r["method"] == method and r["metric"] in titles]
        conditions = [
            {
                "measured": titles[row["metric"]],
                "value": cells[2].partition(" [")[0],
                "95 % interval": cells[2].partition(" [")[2].rstrip("]") or "–",
                "effect size": "–",
                "bound": "0",
                "unit": row["unit"],
                "verdict": row["verdict"],
            }
            for row, cells in own
        ]
        names = display_name(method), display_name(baseline)
        made.append(
            {
                "number": number,
                "title": f"{names[0]} against {names[1]}",
                "verdict": _overall([row["verdict"] for row, _ in own]),
                "conditions": conditions,
            }
        )
    return made


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
