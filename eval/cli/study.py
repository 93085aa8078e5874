"""Commands of human studies: `study` and `study-score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.commands import spread
from mvdiffusion.outputs import check_apart, check_file, made_before
from mvdiffusion.records import write_json

from .. import console
from .options import Json


@dataclass(frozen=True)
class StudyOptions:
    """Options of the design of a study."""

    count: Annotated[
        int | None,
        typer.Option(
            "--pairs",
            help="Number of samples on which each pair of methods is compared, drawn at random; by "
            "default all that the methods have in common, at most 10.",
            min=1,
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of all random choices.", min=0)] = 0
    samples: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Sample to choose from, by default all. May be repeated."),
    ] = None
    questions: Annotated[
        list[str] | None,
        typer.Option(
            "--question",
            help="Question about each pair of images. May be repeated. By default consistency, "
            "quality and, if there are prompts, fit to the text.",
        ),
    ] = None
    catch: Annotated[
        int,
        typer.Option(
            help="Number of catch trials, which find inattentive raters: in turn an image beside "
            "noise, and one beside itself.",
            min=0,
        ),
    ] = 0
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Move the key of another study to KEY.old."),
    ] = False


@spread
def study(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]DIR...",
            help="One folder of images per method, in any supported layout. NAME takes the place "
            "of the method's own name.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="HTML page to write for raters; its key, which raters must not see, is "
            "OUTPUT with .key.json in place of .html."
        ),
    ],
    *,
    options: StudyOptions,
) -> None:
    """Write the page of a blinded study: raters compare images of two methods at a time."""
    from ..study.page import write_study

    lists = {"samples": options.samples or (), "questions": options.questions or ()}
    sheet = write_study(sources, output, **vars(options) | lists)
    pictures = f", with its pictures in {sheet.pictures}" if sheet.pictures else ""
    console.print_notes(
        [
            f"{sheet.page}: {sheet.comparisons} comparisons for each rater{pictures}",
            f"{sheet.key}: the key for `mvdiffusion-eval study-score`; keep it from raters",
        ]
    )


def study_score(
    key: Annotated[Path, typer.Argument(metavar="KEY.json", help="Key that `study` wrote.")],
    answers: Annotated[
        list[Path], typer.Argument(metavar="ANSWERS.json...", help="Files that raters exported.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="File to write all numbers to (JSON).")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(help="Folder to write the tables to (CSV, Markdown, LaTeX, HTML)."),
    ] = None,
    catch_share: Annotated[
        float,
        typer.Option(
            help="Least share of right answers to catch trials; raters below are excluded and "
            "named.",
            min=0,
            max=1,
        ),
    ] = 0.75,
    as_json: Json = False,
) -> None:
    """Score the answers of a study: preferences, Bradley-Terry strengths, agreement of raters."""
    from ..study.scoring import score_study
    from ..tables.table import write_tables

    if output:
        check_file(output)
        check_apart(output, key, *answers)
    if tables:
        made_before(tables)
    scored = score_study(key, answers, catch_share)
    if output:
        write_json(output, scored.content)
    if tables:
        write_tables(scored.tables, tables)
    if as_json:
        console.print_json(scored.content)
        return
    console.print_tables(scored.tables)
    console.print_notes(scored.tables[0].notes)
