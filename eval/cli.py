"""The command `mvdiffusion-eval`: evaluators, scores, tables, figures and the report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from mvdiffusion.records import InputError, write_json

from .settings import read_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Score folders of images: <sample id>/<view>.png plus prompt.txt.",
)

LIST_OPTIONS = (
    *("--evaluators", "--scores", "--generated", "--curves", "--yaw", "--settings-sha256"),
    *("--protocol", "--extractor"),
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
SettingsOption = Annotated[
    str | None, typer.Option("--settings", help="JSON text, or a JSON or YAML file.")
]
ReferenceOption = Annotated[
    Path | None, typer.Option(help="Real views of the same samples: adds FID and ratios.")
]
CodecOption = Annotated[
    Path | None,
    typer.Option(help="Real views through the codec (outpainting): is the given view kept?"),
]
EvaluatorsOption = Annotated[
    list[Path] | None,
    typer.Option(help="Folders made by `evaluator`: adds FID, IS, CLIP score."),
]
ProtocolOption = Annotated[
    list[str] | None,
    typer.Option(help="Protocols to run, by name; default all whose needs are met."),
]
ExtractorOption = Annotated[
    list[str] | None, typer.Option(help="Pretrained extractors, by name: add FID, IS, CLIP.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps features between runs; new images alone take time."),
]
FovOption = Annotated[
    float, typer.Option(help="Horizontal field of view of a folder without manifest.json.")
]
YawOption = Annotated[
    list[float] | None,
    typer.Option(help="Directions of its views in degrees to the right; default even."),
]
ViewSizeOption = Annotated[
    int, typer.Option(help="Pixels of views cut out of equirectangular images.", min=16)
]


class Kind(StrEnum):
    """Kinds of evaluator."""

    classifier = "classifier"
    clip = "clip"
    faed = "faed"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an input error ends it with one message and exit code 2."""
    try:
        app(args=expand_lists(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)


def expand_lists(arguments: Sequence[str]) -> list[str]:
    """Let list options take several values at once: `--scores a b` as `--scores a --scores b`.

    >>> expand_lists(["tables", "--scores", "a", "b", "--json"])
    ['tables', '--scores', 'a', '--scores', 'b', '--json']
    """
    expanded: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("--"):
            option = argument
        elif option in LIST_OPTIONS and expanded[-1] != option:
            expanded.append(option)
        expanded.append(argument)
    return expanded


@app.command()
def evaluator(
    kind: Annotated[Kind, typer.Option(help="What to train.")],
    views: Annotated[Path, typer.Option(help="Sample folder that no method is trained on.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    settings: SettingsOption = None,
    as_json: Json = False,
) -> None:
    """Train an evaluator: a classifier (FID, IS), a CLIP (CLIP score) or an autoencoder (FAED).

    The first two need views with prompts; FAED's needs whole equirectangular panoramas.
    """
    from .extractors.train import SETTINGS, train_evaluator
    from .folders.opening import open_folder

    chosen: Any = read_settings(settings, SETTINGS[kind], f"{kind} settings")
    record = train_evaluator(open_folder(views), chosen, output)
    if as_json:
        print(json.dumps(record, indent=2, sort_keys=True))
    else:
        numbers = record["validation"].items()
        rows = [(name, f"{value:.4g}") for name, value in numbers]
        _print_table(f"{record['name']} ({record['weights_sha256'][:8]})", ("held out", ""), rows)


@app.command()
def score(
    generated: Annotated[
        list[Path], typer.Option(help="Sample folder to score, of any known layout.")
    ],
    output: Annotated[Path, typer.Option(help="Score file to write (JSON).")],
    reference: ReferenceOption = None,
    codec: CodecOption = None,
    evaluators: EvaluatorsOption = None,
    protocol: ProtocolOption = None,
    extractor: ExtractorOption = None,
    settings: SettingsOption = None,
    cache: CacheOption = None,
    fov_deg: FovOption = 90.0,
    yaw: YawOption = None,
    view_size: ViewSizeOption = 512,
    as_json: Json = False,
) -> None:
    """Score a folder of views; its manifest names the task. Without extractors: consistency.

    A folder without manifest may hold plain views, equirectangular images, or what the released
    code of MVDiffusion (also as the reference: its real views) or of PanFusion writes.
    """
    from .api import score as score_folders
    from .metrics.base import ScoreSettings

    _check_output(output)
    result = score_folders(
        _only(generated),
        reference,
        codec=codec,
        evaluators=evaluators or (),
        extractors=extractor or (),
        protocols=protocol or (),
        settings=read_settings(settings, ScoreSettings, "score settings"),
        fov_deg=fov_deg,
        yaw_deg=yaw,
        view_size=view_size,
        cache=cache,
    )
    write_json(output, result)
    _show_score(result, as_json)


def _only(folders: Sequence[Path]) -> Path:
    if len(folders) != 1:
        raise InputError(f"--generated: expected one folder, got {len(folders)}; score each alone.")
    return folders[0]


def _check_output(path: Path) -> None:
    """Find out before any work whether a file can be written; never replace a folder by one.

    Raises:
        InputError: it cannot.
    """
    if path.is_dir():
        raise InputError(f"--output: {path} is a folder; name a file to write in it.")
    above = next(p for p in path.absolute().parents if p.exists() or p.is_symlink())
    if not above.is_dir() or not os.access(above, os.W_OK):
        found = "cannot be written to" if above.is_dir() else "is no folder"
        raise InputError(f"--output: {path}: {above} {found}; name a file elsewhere.")


@app.command()
def protocols(as_json: Json = False) -> None:
    """List the protocols: for which tasks, what they need, what they measure."""
    from .protocols.listing import protocol_rows

    rows = protocol_rows()
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    cells = [
        (f"{row['name']} v{row['version']}", ", ".join(row["tasks"]), row["needs"], row["measures"])
        for row in rows
    ]
    _print_table("Protocols", ("protocol", "tasks", "needs beside views", "measures"), cells)


def _show_score(result: dict[str, Any], as_json: bool) -> None:
    for warning in result["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(result, indent=2, sort_keys=True))
        return
    images = result["images"]
    counts = f"{images['num_samples']} samples, {images['num_images']} images"
    title = f"{result['task']}, {result['method']}: {counts}"
    rows = [
        (
            name,
            f"{m['value']:.4g}" + (f" ± {m['se']:.2g}" if m["se"] is not None else ""),
            m["unit"],
            f"{m['protocol']} v{m['version']}",
            m["extractor"] or "",
        )
        for name, m in result["metrics"].items()
    ]
    _print_table(title, ("metric", "value", "unit", "protocol", "extractor"), rows)


@app.command()
def compare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR", help="A folder per method, of any known layout, or its score file."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to write: scores and tables.")],
    reference: ReferenceOption = None,
    codec: CodecOption = None,
    baseline: Annotated[
        str | None, typer.Option(help="Method the others are compared with; default the first.")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Restrict every method to the samples all have.")
    ] = False,
    evaluators: EvaluatorsOption = None,
    protocol: ProtocolOption = None,
    extractor: ExtractorOption = None,
    settings: SettingsOption = None,
    cache: CacheOption = None,
    fov_deg: FovOption = 90.0,
    yaw: YawOption = None,
    view_size: ViewSizeOption = 512,
    as_json: Json = False,
) -> None:
    """Score several methods alike and compare them: intervals, paired differences, p-values.

    All must have the same samples. Name the folders before the options.
    """
    from .comparison import compare as compare_methods
    from .metrics.base import ScoreSettings

    comparison = compare_methods(
        sources,
        output,
        reference,
        codec=codec,
        baseline=baseline,
        common=common,
        evaluators=evaluators or (),
        extractors=extractor or (),
        protocols=protocol or (),
        settings=read_settings(settings, ScoreSettings, "score settings"),
        cache=cache,
        fov_deg=fov_deg,
        yaw_deg=yaw,
        view_size=view_size,
    )
    _show_comparison(comparison, as_json)


def _show_comparison(comparison: Any, as_json: bool) -> None:
    for warning in comparison.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    shown = [table for table in comparison.tables if not table.name.endswith("published")]
    if as_json:
        rows = {
            table.name: json.loads(table.data.to_json(orient="records", double_precision=15))
            for table in shown
        }
        print(json.dumps(rows, indent=2, sort_keys=True, ensure_ascii=False))
        return
    for table in shown:
        _print_table(table.caption, list(table.shown.columns), table.shown.itertuples(index=False))
        for note in table.notes:
            _console().print(f"• {note}", markup=False, highlight=False)


@app.command()
def tables(
    scores: Annotated[list[Path], typer.Option(help="Score files, one per task and method.")],
    output_dir: Annotated[Path, typer.Option(help="Folder of tables to write.")],
    metrics: Annotated[Path, typer.Option(help="metrics.json to write.")],
    settings_sha256: Annotated[
        list[str] | None,
        typer.Option(help="TASK=HASH: refuse scores of images made with other settings."),
    ] = None,
    settings: SettingsOption = None,
    as_json: Json = False,
) -> None:
    """Make the tables and decide the claims; refuses scores that do not belong together."""
    from .claims.claims import ClaimSettings, decide
    from .claims.remarks import observations
    from .scoring.score_files import read_scores
    from .tables.results import make_tables, metrics_of
    from .tables.table import write_tables

    read = read_scores(scores, _pairs(settings_sha256, "--settings-sha256", "TASK=HASH"))
    claims = decide(read, read_settings(settings, ClaimSettings, "claim settings"))
    remarks = observations(read)
    made = make_tables(read, claims, remarks)
    nested = metrics_of(read, claims)
    write_tables(made, output_dir)
    write_json(metrics, nested)
    if as_json:
        print(json.dumps(nested, indent=2, sort_keys=True))
        return
    for table in made:
        if not table.name.endswith(("claims", "published")):
            _print_table(
                table.caption, list(table.shown.columns), table.shown.itertuples(index=False)
            )
    _print_claims(claims, remarks)


def _print_claims(claims: Sequence[Any], remarks: Sequence[str]) -> None:
    colors = {"holds": "green", "does not hold": "red"}
    console = _console()
    for claim in claims:
        color = colors.get(claim.verdict, "yellow")
        console.print(f"[bold]{claim.number}. {claim.title}: [{color}]{claim.verdict}[/]")
        for part in claim.parts:
            error = "" if part.se is None else f" ± {part.se:.3g}"
            found = "" if part.value is None else f" = {part.value:.3g}{error} {part.unit}".rstrip()
            low, high = part.interval
            found += "" if low is None else f", 95 % interval {low:.3g} to {high:.3g}"
            size = "" if part.effect_size is None else f", effect size {part.effect_size:.2f}"
            console.print(f"   {part.text}{found}{size}, at least {part.bound:.3g}: {part.verdict}")
    for remark in remarks:
        console.print(f"• {remark}")


@app.command()
def figures(
    output_dir: Annotated[Path, typer.Option(help="Folder of figures to write.")],
    generated: Annotated[
        list[str] | None, typer.Option(help="TASK/NAME=FOLDER of views for the contact sheets.")
    ] = None,
    scores: Annotated[list[Path] | None, typer.Option(help="Score files.")] = None,
    curves: Annotated[
        list[str] | None, typer.Option(help="NAME=metrics.jsonl of a training run.")
    ] = None,
    num_samples: Annotated[int, typer.Option(help="Samples per contact sheet.", min=1)] = 4,
) -> None:
    """Draw contact sheets, overviews, PSNR per pair, error by step and training curves."""
    from .report.figures import write_figures
    from .scoring.score_files import read_scores

    logs = {name: Path(path) for name, path in _pairs(curves, "--curves", "NAME=FILE").items()}
    read = read_scores(scores) if scores else {}
    write_figures(_open_by_task(generated), read, logs, num_samples, output_dir)


@app.command()
def report(
    tables: Annotated[Path, typer.Option(help="Folder made by `tables`.")],
    figures: Annotated[Path, typer.Option(help="Folder made by `figures`.")],
    metrics: Annotated[Path, typer.Option(help="metrics.json made by `tables`.")],
    config: Annotated[Path, typer.Option(help="Configuration of the run (YAML).")],
    output: Annotated[Path, typer.Option(help="Page to write.")],
    benchmarks: Annotated[
        Path | None, typer.Option(help="Folder of Snakemake benchmark files (TSV).")
    ] = None,
    generated: Annotated[
        list[str] | None,
        typer.Option(help="TASK/NAME=FOLDER: panoramas to turn and sequences to play."),
    ] = None,
) -> None:
    """Write one self-contained page that shows the whole result."""
    from .report.page import write_report

    shown = _open_by_task(generated)
    write_report(tables, figures, metrics, config, benchmarks, shown, output)


def _open_by_task(pairs: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Open the folders of TASK/NAME=FOLDER, by task and name."""
    from .folders.opening import open_folder
    from .folders.samples import TASKS

    folders: dict[str, dict[str, Any]] = {}
    for label, path in _pairs(pairs, "--generated", "TASK/NAME=FOLDER").items():
        task, _, name = label.partition("/")
        folder = open_folder(path)
        if not name or task != folder.task:
            raise InputError(
                f"--generated: '{label}' is not TASK/NAME for {path}, whose task is "
                f"'{folder.task}'; tasks: {', '.join(TASKS)}."
            )
        folders.setdefault(task, {})[name] = folder
    return folders


def _pairs(given: Sequence[str] | None, option: str, form: str) -> dict[str, str]:
    for pair in given or ():
        if "=" not in pair:
            raise InputError(f"{option}: expected {form}, got '{pair}'.")
    return {pair.split("=", 1)[0]: pair.split("=", 1)[1] for pair in given or ()}


def _print_table(title: str, columns: Sequence[str], rows: Any) -> None:
    table = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(str(column), overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    _console().print(table)


def _console() -> Console:
    """A log file is wider than the 80 columns that rich assumes for one."""
    return Console(width=None if sys.stdout.isatty() else 120)
