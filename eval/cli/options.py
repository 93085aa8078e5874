"""Options that several commands have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvdiffusion.records import InputError
from mvdiffusion.settings import Device, parse, read_settings

VIEWS_HELP = (
    "Pattern of the names of the images, for a folder in no known layout: a path below the folder "
    "with fields in braces, as '{room}/{id}/{id}_{yaw}.png': {yaw} in degrees or {view} as a "
    "number, other names for parts of the sample's name, * for any other text."
)
PROMPTS_HELP = "Pattern of the names of the files of prompts, as 'text/{id}.txt'."
ReferenceViews = Annotated[
    str | None,
    typer.Option(metavar="PATTERN", help="Pattern of the names of the real images, as --views."),
]

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
    Device,
    typer.Option(
        metavar="DEVICE",
        help="Where networks compute: auto (a GPU if there is one), cpu, cuda, cuda:1, mps.",
    ),
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

    views: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help=f"{VIEWS_HELP} `compare` also takes NAME=PATTERN."),
    ] = None
    prompts: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help=f"{PROMPTS_HELP} `compare` also takes NAME=PATTERN."),
    ] = None
    reference_views: ReferenceViews = None
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Score only the first samples, as a quick look; the score file says so."
        ),
    ] = None
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images per pass of a feature extractor.")
    ] = 32
    device: DeviceOption = "auto"

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `mvdiffusion_eval.score` and of `mvdiffusion_eval.compare`."""
        from ..settings import ScoreSettings

        lists = {
            name: getattr(self, name) or ()
            for name in ("extractors", "protocols", "views", "prompts")
        }
        return vars(self) | lists | {"settings": parse(ScoreSettings, read_settings(self.settings))}


def only(patterns: Sequence[str], option: str) -> str | None:
    """Take the one pattern of a folder; None if there is none.

    Raises:
        InputError: there are several.
    """
    if len(patterns) > 1:
        raise InputError(f"{option}: got {len(patterns)} patterns; expected one.")
    return patterns[0] if patterns else None


def open_by_task(labels: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Open the folders of TASK/METHOD=FOLDER, by task and method."""
    from ..folders.opening import open_folder
    from ..folders.samples import TASKS

    folders: dict[str, dict[str, Any]] = {}
    for label, path in pairs(labels, "--generated", "TASK/METHOD=FOLDER").items():
        task, _, name = label.partition("/")
        folder = open_folder(path)
        if not name or task != folder.task:
            raise InputError(
                f"--generated: '{label}' is not TASK/METHOD for {path}, whose task is "
                f"'{folder.task}'; tasks: {', '.join(TASKS)}."
            )
        folders.setdefault(task, {})[name] = folder
    return folders


def pairs(words: Sequence[str] | None, option: str, form: str) -> dict[str, str]:
    """Read the words of an option, each KEY=VALUE.

    Raises:
        InputError: one has no "=".
    """
    for word in words or ():
        if "=" not in word:
            raise InputError(f"{option}: expected {form}, got '{word}'.")
    return {key: value for key, _, value in (word.partition("=") for word in words or ())}
