"""Commands that show scores: `tables`, `figures` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.outputs import check_file
from mvdiffusion.records import InputError, write_json
from mvdiffusion.settings import parse, read_settings

from .. import console
from .options import Generated, Json, SettingsOption, open_by_task, pairs

SettingsHashes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TASK=HASH",
        help="Hash of the settings with which the images of a task must have been made. Scores "
        "with another hash are refused. May be repeated.",
    ),
]
SeedScores = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SEED=SCORE.json",
        help="Score file of a method under a training seed, those of the first seed, too. Adds "
        "tables of the spread between seeds, and verdicts under each. May be repeated.",
    ),
]


def tables(
    scores: Annotated[
        list[Path],
        typer.Argument(metavar="SCORE.json...", help="Score files, one per task and method."),
    ],
    output_dir: Annotated[Path, typer.Option(help="Folder to write the tables to.")],
    metrics: Annotated[
        Path,
        typer.Option(
            help="File to write the headline numbers and verdicts to (JSON); all numbers are in "
            "numbers.json beside the tables."
        ),
    ],
    settings_sha256: SettingsHashes = None,
    training_log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK/METHOD=FILE",
            help="Log of the training of a method's model (metrics.jsonl). Adds parameters and "
            "seconds per step to the table of ablations. May be repeated.",
        ),
    ] = None,
    seed_score: SeedScores = None,
    settings: SettingsOption = None,
    as_json: Json = False,
) -> None:
    """Write the result tables and decide the claims; scores that cannot be compared are refused."""
    from ..claims.claims import decide
    from ..claims.remarks import NOT_JUDGED, remarks_on
    from ..scoring.score_files import identical_images, read_scores
    from ..settings import ClaimSettings
    from ..tables.results import HEADLINE, headline_of, make_tables, numbers_of, printed_claims
    from ..tables.seeds import read_seeds
    from ..tables.table import write_tables

    check_file(metrics)
    hashes = pairs(settings_sha256, "--settings-sha256", "TASK=HASH")
    by_task = read_scores(scores, hashes)
    bounds = parse(ClaimSettings, read_settings(settings))
    seeds = read_seeds(by_task, _files_by_seed(seed_score), hashes, bounds)
    claims = decide(by_task, bounds)
    remarks = [*remarks_on(by_task), *seeds.remarks] if bounds.judged else [NOT_JUDGED]
    logs = pairs(training_log, "--training-log", "TASK/METHOD=FILE")
    made = [*make_tables(by_task, claims, remarks, logs), *seeds.tables]
    numbers = numbers_of(by_task, claims) | seeds.numbers()
    printed = printed_claims(claims)
    write_tables(made, output_dir, printed, numbers)
    write_json(metrics, headline_of(numbers) | seeds.numbers(HEADLINE))
    for of_task in by_task.values():
        console.print_warnings(identical_images(list(of_task.values())))
    if as_json:
        console.print_json(numbers)
        return
    console.print_tables([t for t in made if not t.name.endswith(("claims", "published"))])
    console.print_claims(printed, remarks)


def _files_by_seed(words: list[str] | None) -> dict[int, list[Path]]:
    """Read SEED=SCORE.json words: score files by training seed."""
    found: dict[int, list[Path]] = {}
    for word in words or ():
        seed, separator, path = word.partition("=")
        if not (separator and seed.isdecimal()):
            raise InputError(f"--seed-score: expected SEED=SCORE.json, got '{word}'.")
        found.setdefault(int(seed), []).append(Path(path))
    return found


def figures(
    output_dir: Annotated[Path, typer.Option(help="Folder to write the figures to.")],
    scores: Annotated[
        list[Path] | None,
        typer.Option(metavar="SCORE.json", help="Score file to draw. May be repeated."),
    ] = None,
    generated: Generated = None,
    curves: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE", help="Training log to draw (metrics.jsonl). May be repeated."
        ),
    ] = None,
    num_samples: Annotated[
        int, typer.Option(help="Number of samples per contact sheet.", min=1)
    ] = 4,
) -> None:
    """Draw contact sheets, unrolled panoramas, overviews, PSNR per pair, errors by step, losses."""
    from ..report.figures import write_figures
    from ..scoring.score_files import read_scores

    logs = {name: Path(path) for name, path in pairs(curves, "--curves", "NAME=FILE").items()}
    by_task = read_scores(scores) if scores else {}
    write_figures(open_by_task(generated), by_task, logs, num_samples, output_dir)


def report(
    tables: Annotated[Path, typer.Option(help="Folder written by `tables`.")],
    figures: Annotated[Path, typer.Option(help="Folder written by `figures`.")],
    metrics: Annotated[Path, typer.Option(help="metrics.json written by `tables`.")],
    config: Annotated[Path, typer.Option(help="Configuration file of the experiment (YAML).")],
    output: Annotated[Path, typer.Option(help="HTML page to write.")],
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP=FILE",
            help="Benchmark file of Snakemake (TSV) for the time of a step; one that is missing "
            "is left out. May be repeated.",
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SCORE.json",
            help="Score file, whose machine and packages the page names. May be repeated.",
        ),
    ] = None,
    generated: Generated = None,
    leaderboard: Annotated[
        Path | None,
        typer.Option(help="Page written by `leaderboard`, which the page links to."),
    ] = None,
    viewer_samples: Annotated[
        int, typer.Option(help="Number of samples whose panoramas can be looked around in.", min=1)
    ] = 8,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Show one sample per task, and link the figures instead of holding them: a small "
            "page that lies beside them.",
        ),
    ] = False,
) -> None:
    """Write an HTML page with all results, and the folder <name>_assets with its panoramas."""
    from ..report.page import write_report
    from ..scoring.score_files import read_score

    check_file(output)
    read = [read_score(path) for path in scores or ()]
    made = [score.content["provenance"] for score in read]
    images = {f"{s.task}/{s.method}": s.content["images"]["sha256"] for s in read}
    folders = open_by_task(generated)
    times = {s: Path(path) for s, path in pairs(benchmark, "--benchmark", "STEP=FILE").items()}
    write_report(
        *(tables, figures, metrics, config, times, folders, output, made, leaderboard),
        viewer_samples=viewer_samples,
        images_sha256=images,
        compact=compact,
    )
