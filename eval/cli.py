"""The command `mvdiffusion-eval`: feature extractors, scores, comparisons, tables, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mvdiffusion.commands import spread, with_version
from mvdiffusion.outputs import check_apart, check_file
from mvdiffusion.records import InputError, reporting_input_errors, write_json
from mvdiffusion.settings import Device, parse, read_settings

from . import console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    help="Evaluate generated multi-view images: score folders, compare methods and decide the "
    "paper's claims.",
)
with_version(app)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SettingsOption = Annotated[
    str | None,
    typer.Option("--settings", help="Settings as JSON text, or the path of a JSON or YAML file."),
]
Generated = Annotated[
    list[str] | None,
    typer.Option(metavar="TASK/METHOD=FOLDER", help="Folder of images to show. May be repeated."),
]


DeviceOption = Annotated[
    Device, typer.Option(help="Where networks compute; auto takes a GPU if there is one.")
]


@dataclasses.dataclass(frozen=True)
class ScoringOptions:
    """Options of every command that scores."""

    reference: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the real views of the same samples. Adds FID and the ratios to real "
            "views."
        ),
    ] = None
    vae_reconstruction: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the real views after VAE reconstruction. Outpainting compares the "
            "given view with it."
        ),
    ] = None
    extractors: Annotated[
        list[str] | None,
        typer.Option(
            "--extractor",
            metavar="NAME_OR_FOLDER",
            help="Feature extractor: the name of a pretrained one, or a folder written by "
            "`train-extractor`. Adds FID, Inception score and CLIP score. May be repeated.",
        ),
    ] = None
    protocols: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="Protocol to run; by default, every protocol whose requirements are met. May be "
            "repeated.",
        ),
    ] = None
    settings: SettingsOption = None
    cache: Annotated[
        Path | None,
        typer.Option(help="Feature cache; only new images are processed in later runs."),
    ] = None
    fov_deg: Annotated[
        float | None,
        typer.Option(
            help="Horizontal field of view in degrees. By default that of manifest.json, or 90."
        ),
    ] = None
    yaw_deg: Annotated[
        list[float] | None,
        typer.Option(
            "--yaw",
            help="Direction of a view in degrees to the right; repeat it for each view. By default "
            "those of manifest.json, or evenly spaced.",
        ),
    ] = None
    view_size: Annotated[
        int,
        typer.Option(
            help="Height and width in pixels of views cut from equirectangular images.", min=16
        ),
    ] = 512
    panorama_height: Annotated[
        int | None,
        typer.Option(
            help="Height in pixels to which equirectangular images are resized first, as in "
            "PanFusion's evaluation: real ones by area means, generated ones by bilinear samples. "
            "By default they keep their size, which must be the same for all of them.",
            min=16,
        ),
    ] = None

    device: DeviceOption = "auto"

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `mvdiffusion_eval.score` and of `mvdiffusion_eval.compare`."""
        from .settings import ScoreSettings

        lists = {"extractors": self.extractors or (), "protocols": self.protocols or ()}
        return vars(self) | lists | {"settings": parse(ScoreSettings, read_settings(self.settings))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an input error ends it with one message and exit code 2.

    Args:
        arguments: words of the command line, by default those of this process.
    """
    with reporting_input_errors("mvdiffusion-eval"):
        app(args=arguments)


@app.command()
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
    as_json: Json = False,
    *,
    options: ScoringOptions,
) -> None:
    """Score one folder of images.

    Without --extractor or --protocol, nothing is downloaded: consistency is measured, and image
    quality by EfficientNet-Lite0, if the optional package of its weights is installed.

    The task is read from manifest.json. A folder without one may contain plain views,
    equirectangular images, or the output of the released code of MVDiffusion or PanFusion.
    """
    from .api import score as score_folder

    check_file(output)
    result = score_folder(generated, method=method, **options.arguments())
    write_json(output, result)
    console.print_warnings(result["warnings"])
    if as_json:
        console.print_json(result)
    else:
        console.print_score(result)


@app.command()
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
    as_json: Json = False,
    *,
    options: ScoringOptions,
) -> None:
    """Score several methods with the same settings and compare them.

    The tables contain confidence intervals, paired differences and p-values. All methods must have
    the same samples unless --common is given.
    """
    from .comparison import compare as compare_methods

    comparison = compare_methods(
        sources, output, baseline=baseline, common=common, **options.arguments()
    )
    console.print_comparison(comparison, as_json)


@app.command()
def protocols(as_json: Json = False) -> None:
    """List the protocols with their tasks, requirements and measurements."""
    from .protocols.listing import protocol_rows

    rows = protocol_rows()
    if as_json:
        console.print_json(rows)
    else:
        console.print_protocols(rows)


@app.command()
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
    settings_sha256: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=HASH",
            help="Hash of the settings with which the images of a task must have been made. Scores "
            "with another hash are refused. May be repeated.",
        ),
    ] = None,
    training_log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK/METHOD=FILE",
            help="Log of the training of a method's model (metrics.jsonl). Adds parameters and "
            "seconds per step to the table of ablations. May be repeated.",
        ),
    ] = None,
    settings: SettingsOption = None,
    as_json: Json = False,
) -> None:
    """Write the result tables and decide the claims; scores that cannot be compared are refused."""
    from .claims.claims import decide
    from .claims.remarks import remarks_on
    from .scoring.score_files import identical_images, read_scores
    from .settings import ClaimSettings
    from .tables.results import headline_of, make_tables, numbers_of, printed_claims
    from .tables.table import write_tables

    check_file(metrics)
    by_task = read_scores(scores, _pairs(settings_sha256, "--settings-sha256", "TASK=HASH"))
    claims = decide(by_task, parse(ClaimSettings, read_settings(settings)))
    remarks = remarks_on(by_task)
    logs = _pairs(training_log, "--training-log", "TASK/METHOD=FILE")
    made = make_tables(by_task, claims, remarks, logs)
    numbers = numbers_of(by_task, claims)
    printed = printed_claims(claims)
    write_tables(made, output_dir, printed, numbers)
    write_json(metrics, headline_of(numbers))
    for of_task in by_task.values():
        console.print_warnings(identical_images(list(of_task.values())))
    if as_json:
        console.print_json(numbers)
        return
    console.print_tables([t for t in made if not t.name.endswith(("claims", "published"))])
    console.print_claims(printed, remarks)


@app.command()
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
    from .report.figures import write_figures
    from .scoring.score_files import read_scores

    logs = {name: Path(path) for name, path in _pairs(curves, "--curves", "NAME=FILE").items()}
    by_task = read_scores(scores) if scores else {}
    write_figures(_open_by_task(generated), by_task, logs, num_samples, output_dir)


@app.command()
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
) -> None:
    """Write one self-contained HTML page with all results."""
    from .report.page import write_report
    from .scoring.score_files import read_score

    check_file(output)
    made = [read_score(path).content["provenance"] for path in scores or ()]
    folders = _open_by_task(generated)
    times = {s: Path(path) for s, path in _pairs(benchmark, "--benchmark", "STEP=FILE").items()}
    write_report(tables, figures, metrics, config, times, folders, output, made)


@app.command()
def train_extractor(
    kind: Annotated[
        Literal["classifier", "clip", "faed"],
        typer.Option(help="Kind of feature extractor to train."),
    ],
    views: Annotated[
        Path,
        typer.Option(
            help="Folder of training images. Do not take images that a method is trained on."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to write the feature extractor to.")],
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an extractor that has other settings or training images; it is moved to "
            "OUTPUT.old.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a feature extractor of your own.

    A classifier (for FID and Inception score) and a CLIP (for the CLIP score) are trained on views
    with prompts. An autoencoder (faed, for FAED) is trained on whole equirectangular panoramas.
    """
    from .extractors.networks import compute_on
    from .extractors.train import SETTINGS
    from .extractors.train import train_extractor as train
    from .folders.opening import open_folder

    check_apart(output, views)
    compute_on(device)
    chosen: Any = parse(SETTINGS[kind], read_settings(settings))
    record = train(open_folder(views), chosen, output, overwrite)
    if as_json:
        console.print_json(record)
    else:
        console.print_extractor(record)


def _open_by_task(pairs: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Open the folders of TASK/METHOD=FOLDER, by task and method."""
    from .folders.opening import open_folder
    from .folders.samples import TASKS

    folders: dict[str, dict[str, Any]] = {}
    for label, path in _pairs(pairs, "--generated", "TASK/METHOD=FOLDER").items():
        task, _, name = label.partition("/")
        folder = open_folder(path)
        if not name or task != folder.task:
            raise InputError(
                f"--generated: '{label}' is not TASK/METHOD for {path}, whose task is "
                f"'{folder.task}'; tasks: {', '.join(TASKS)}."
            )
        folders.setdefault(task, {})[name] = folder
    return folders


def _pairs(words: Sequence[str] | None, option: str, form: str) -> dict[str, str]:
    for word in words or ():
        if "=" not in word:
            raise InputError(f"{option}: expected {form}, got '{word}'.")
    return {key: value for key, _, value in (word.partition("=") for word in words or ())}
