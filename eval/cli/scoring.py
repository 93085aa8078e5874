"""Commands that score folders of images: `score`, `compare` and `protocols`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mvdiffusion.commands import Processes, spread
from mvdiffusion.outputs import check_file
from mvdiffusion.parallel.workers import part, share
from mvdiffusion.records import InputError, write_json

from .. import console
from .options import Json, ScoringOptions, only

SamplesCsv = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help="File to write the values of each sample to, and those of single views and pairs.",
    ),
]


@spread
def score(
    generated: Annotated[
        Path, typer.Option(help="Folder of generated images, in any supported layout.")
    ],
    output: Annotated[Path, typer.Option(help="Score file to write (JSON).")],
    method: Annotated[
        str | None,
        typer.Option(
            help="Name of the method; by default that of manifest.json, or the folder's name."
        ),
    ] = None,
    samples: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Sample to score, by default all. May be repeated."),
    ] = None,
    samples_csv: SamplesCsv = None,
    as_json: Json = False,
    processes: Processes = None,
    *,
    options: ScoringOptions,
) -> None:
    """Score one folder of images.

    Without --extractor or --protocol, nothing is downloaded: consistency is measured, and image
    quality by EfficientNet-Lite0, if the optional package of its weights is installed.

    The task is read from manifest.json. A folder without one may contain plain views,
    equirectangular images, or the output of the released code of MVDiffusion or PanFusion.
    """
    from ..api import score as score_folder
    from ..metrics.base import Detail

    check_file(output)
    if (processes or 1) > 1 and options.cache is None:
        raise InputError(
            f"--processes {processes}: needs --cache FOLDER as well, in which the processes leave "
            "the features of their images."
        )
    share(processes, options.device)
    arguments = options.arguments()
    for name in ("views", "prompts"):
        arguments[name] = only(arguments[name], f"--{name}")
    details: list[Detail] = []
    if samples_csv is not None:
        check_file(samples_csv, ".csv")
    arguments |= {"method": method, "samples": samples, "part": part()}
    result = score_folder(generated, details=details, **arguments)
    if not result:  # a part of the features is all that was to be made
        return
    write_json(output, result)
    if samples_csv is not None:
        _write_samples(output, result, details, samples_csv)
    console.print_warnings(result["warnings"])
    if as_json:
        console.print_json(result)
    else:
        console.print_score(result)


def _write_samples(output: Path, result: dict[str, Any], details: list[Any], path: Path) -> None:
    """Write the table of single values, the one thing for which `score` needs pandas."""
    from ..scoring.score_files import Score
    from ..tables.samples import write_samples

    write_samples([Score(output, result)], {result["method"]: details}, path)


@spread
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]DIR...",
            help="One folder of images per method, in any supported layout, or its score file. "
            "NAME takes the place of the method's own name.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to write the scores and tables to.")],
    baseline: Annotated[
        str | None,
        typer.Option(help="Method with which the others are compared; by default, the first."),
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare only the samples that all methods have.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="PAGE.html",
            help="Page to write: tables, contact sheets and viewers of all methods.",
        ),
    ] = None,
    samples_csv: SamplesCsv = None,
    as_json: Json = False,
    *,
    options: ScoringOptions,
) -> None:
    """Score several methods with the same settings and compare them.

    The tables contain confidence intervals, paired differences and p-values. All methods must have
    the same samples unless --common is given.
    """
    from ..comparison import compare as compare_methods
    from ..comparison_page import write_comparison_page
    from ..report.assets import check_page
    from ..tables.samples import write_samples

    if report is not None:
        check_page(report)
    if samples_csv is not None:
        check_file(samples_csv, ".csv")
    comparison = compare_methods(
        sources, output, baseline=baseline, common=common, **options.arguments()
    )
    if samples_csv is not None:
        write_samples(comparison.scores, comparison.details, samples_csv)
    if report is not None:
        write_comparison_page(
            comparison.scores, comparison.baseline, comparison.folders, comparison.tables, report
        )
    console.print_comparison(comparison, as_json)


def protocols(as_json: Json = False) -> None:
    """List the protocols with their tasks, requirements and measurements."""
    from ..protocols.listing import protocol_rows

    rows = protocol_rows()
    if as_json:
        console.print_json(rows)
    else:
        console.print_protocols(rows)
