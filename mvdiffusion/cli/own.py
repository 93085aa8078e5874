"""`mvdiffusion data check` and `data import`: a user's own panoramas and recordings."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvdiffusion.cli.data import data_app

if TYPE_CHECKING:
    from mvdiffusion.preparation.custom.check import CheckSettings, Survey


class Kind(StrEnum):
    """What a folder holds."""

    AUTO = "auto"
    PANORAMAS = "panoramas"
    FACES = "faces"
    RGBD = "rgbd"
    TRANSFORMS = "transforms"
    COLMAP = "colmap"
    MATTERPORT3D = "matterport3d"


Folder = Annotated[
    Path,
    typer.Argument(
        help="Panoramas, cube faces, an RGB-D recording (color/ depth/ pose/ intrinsic/, "
        "transforms.json or a COLMAP model), or data in the project's layout."
    ),
]
ForKind = Annotated[Kind, typer.Option(help="auto: recognized.")]
Captions = Annotated[
    Path | None, typer.Option(help='JSON {"image name": "text"}, or folder of <image name>.txt.')
]
Caption = Annotated[str | None, typer.Option(help="One caption for all images.")]
Overlap = Annotated[float, typer.Option(help="Of consecutive key frames, 0 … 1.")]
Scale = Annotated[
    float, typer.Option(help="Meters per unit of the poses (transforms.json, COLMAP).")
]


@data_app.command("check")
def data_check(
    folder: Folder,
    kind: ForKind = Kind.AUTO,
    caption: Caption = None,
    captions: Captions = None,
    overlap: Overlap = 0.65,
    scale: Scale = 1.0,
) -> None:
    """List every problem of a folder of your own, with its fix; nothing is written.

    Ends with exit code 1 if there are problems that an import waits for, 2 if the folder cannot be
    read, else 0.
    """
    from mvdiffusion.preparation.custom.check import survey

    found = survey(folder, _settings(kind, caption, captions, overlap, scale))
    _report(found)
    if found.stopping:
        raise typer.Exit(1)


@data_app.command("import")
def data_import(
    folder: Folder,
    output: Annotated[Path, typer.Option(help="Root of the data in the project's layout.")],
    split: Annotated[str, typer.Option(help="Name of the split.")],
    kind: ForKind = Kind.AUTO,
    caption: Caption = None,
    captions: Captions = None,
    overlap: Overlap = 0.65,
    scale: Scale = 1.0,
    face_size: Annotated[
        int | None, typer.Option(help="Pixels of a face; default a quarter of the width.")
    ] = None,
    quality: Annotated[int, typer.Option(help="Of JPEGs encoded anew, 90 … 100.")] = 97,
) -> None:
    """Bring a folder of your own into the project's layout, after the same check."""
    from mvdiffusion.preparation.custom.check import survey
    from mvdiffusion.preparation.custom.importing import ImportSettings, import_folder

    settings = ImportSettings(face_size, quality)
    found = survey(folder, _settings(kind, caption, captions, overlap, scale))
    _report(found)
    if found.stopping:
        raise typer.Exit(1)
    counts = import_folder(found, output, split, settings)
    if found.panoramas:
        print(f"{output / f'{split}.npy'}: {len(counts)} panoramas")
    else:
        for scene, count in counts.items():
            print(f"{output / split / scene}: {count} key frames")


def _settings(
    kind: Kind, caption: str | None, captions: Path | None, overlap: float, scale: float
) -> CheckSettings:
    from mvdiffusion.preparation.custom.check import CheckSettings

    chosen = None if kind is Kind.AUTO else kind.value
    return CheckSettings(chosen, caption, captions, overlap, scale)


def _report(found: Survey) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mvdiffusion.preparation.custom.check import summary
    from mvdiffusion.preparation.custom.problems import grouped

    console = Console(highlight=False)
    if found.problems:
        table = Table("file", "problem", "fix", box=box.SIMPLE, show_lines=True)
        for files, problem in grouped(found.problems):
            word = problem.problem if problem.stops else f"note: {problem.problem}"
            table.add_row(*(Text(part) for part in (files, word, problem.fix)))
        console.print(table)
    for line in summary(found):
        console.print(Text(line))
