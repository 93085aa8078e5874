"""The leaderboard: one self-contained page of scores, submitted artifacts and published numbers."""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mvdiffusion.medals import compare, medal
from mvdiffusion.methods.declaration import EXTERNAL
from mvdiffusion.methods.specification import find_specification, specification_names
from mvdiffusion.records import InputError, atomic_output, read_json

from ..artifacts.submissions import read_submission
from ..folders.samples import TASKS
from ..scoring.score_files import Score, read_score
from ..tables.columns import FAULTS
from ..tables.leaderboard import (
    Group,
    Submission,
    measured_groups,
    published_group,
    recorded_groups,
)
from ..tables.published import published_tables
from ..tables.table import NUMBERS, template

TEMPLATES = Path(__file__).parent / "templates"
MEDALS = ("reproduced", "runs", "numbers on record")
"""The best first."""


def write_leaderboard(sources: Sequence[Path], output: Path) -> None:
    """Write the page; it needs no other file and no network, and without a script it is tables.

    Args:
        sources: score files (`*.json`), artifacts (`*.zip`), and folders of runs of which the
            numbers are on record, as `results/reference` has them.
        output: the page.

    Raises:
        InputError: a source is none of these, or damaged.
    """
    submissions = [_submission(path) for path in sources if not path.is_dir()]
    recorded = [group for path in sources if path.is_dir() for group in _recorded(path)]
    published = map(published_group, published_tables())
    groups = [*measured_groups(submissions), *recorded, *published]
    groups.sort(key=lambda group: list(TASKS).index(group.task))  # in each, ours come first
    script = (TEMPLATES / "leaderboard.js").read_text(encoding="utf-8")
    ours = [each.score for each in submissions if each.score.path.suffix != ".zip"]
    page = template(TEMPLATES / "leaderboard.html.j2").render(
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        # Whatever a stranger's file might smuggle in, no other script runs.
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        tasks=TASKS,
        groups=groups,
        medals=list(_medals(ours)),
    )
    with atomic_output(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _submission(path: Path) -> Submission:
    """Read a score file or an artifact, and try whether it can be shown."""
    is_artifact = path.suffix == ".zip"
    score = read_submission(path) if is_artifact else read_score(path)
    label = "/".join(path.parts[-2:])
    found = Submission(
        Score(Path(label), score.content),  # messages on the page name no folders of a machine
        f"submitted: {path.name}" if is_artifact else f"scored: {label}",
    )
    try:
        measured_groups([found])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: has parts that `mvdiffusion-eval score` does not write ({error!r}); score "
            "the images again."
        ) from None
    return found


def _recorded(root: Path) -> list[Group]:
    """Read what a run has left beside its tables and figures."""
    files = {task: root / f"figures/overview_{task}.csv" for task in TASKS}
    there = {task: path for task, path in files.items() if path.is_file()}
    if not there or not (root / "tables" / NUMBERS).is_file():
        raise InputError(
            f"{root}: has no figures/overview_*.csv or no tables/{NUMBERS}; expected the results "
            "of a run, or a folder of results/reference."
        )
    numbers = read_json(root / "tables" / NUMBERS)
    about = f"Of {root.name} the numbers alone are on record{_origin(root)}."
    groups = []
    for task, path in there.items():
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = [_recorded_row(row, numbers[task]) for row in csv.DictReader(file)]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: {error!r}; expected the table that `mvdiffusion-eval figures` writes, "
                f"and the methods of tables/{NUMBERS}."
            ) from None
        groups += recorded_groups(root.name, about, task, rows)
    return groups


def _origin(root: Path) -> str:
    path = root / "provenance.json"
    made = read_json(path) if path.is_file() else {}
    commit = made.get("scored_with", {}).get("git_commit")
    return f" ({made['config']}, scored by the code of commit {commit[:12]})" if commit else ""


def _recorded_row(row: Mapping[str, str], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the overview as `Score.row` made it, with the method's degenerate images."""
    known = {key: float(row[key]) if row[key] else None for key in ("value", "se", "low", "high")}
    better = {"True": True, "False": False, "": None}[row["higher_is_better"]]
    # What a spreadsheet would take for a formula was written with an apostrophe, see `write_csv`.
    method = row["method"].removeprefix("'")
    found = {key: numbers[method].get(key, 0) for key in FAULTS}
    about = {key: row[key] for key in ("metric", "protocol", "version", "extractor")}
    return about | known | {"method": method, "higher_is_better": better, "faults": found}


def _medals(scores: Sequence[Score]) -> Iterator[dict[str, Any]]:
    """The medal of each method of others, and what it is for.

    Submitted artifacts get none, as anybody may give any name to what he submits.
    """
    for name in specification_names():
        specification = find_specification(EXTERNAL + name)
        own: list[Mapping[str, Any] | None] = [
            score.content for score in scores if score.method == specification.method
        ]
        each = []
        for content in own or [None]:
            compared = compare(specification, content)
            each.append((medal(content, compared), [one.words for one in compared]))
        best, words = min(each, key=lambda one: MEDALS.index(one[0]))
        yield {
            "method": specification.title,
            "paper": specification.paper,
            "medal": best,
            "words": words,
        }
