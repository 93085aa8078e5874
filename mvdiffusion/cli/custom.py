"""`mvdiffusion data check` and `data import`: custom panoramas and recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mvdiffusion.cli.data import data_app
from mvdiffusion.cli.options import Split
from mvdiffusion.commands import spread
from mvdiffusion.preparation.custom.settings import Kind as KnownKind

if TYPE_CHECKING:
    from mvdiffusion.preparation.custom.check import Survey

Kind = Literal["auto", KnownKind]


def _fraction(text: str) -> float:
    """Read a number, or a fraction such as 1/5000."""
    over, _, under = text.partition("/")
    try:
        return float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError):
        message = f"{text!r} is no number; give one such as 0.001 or 1/5000."
        raise typer.BadParameter(message) from None


@dataclass(frozen=True)
class CustomData:
    """Options of the check, which an import makes first."""

    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of panoramas, cube faces, an RGB-D recording (ScanNet, TUM, Replica, "
            "transforms.json, COLMAP and others), or data in the project's layout."
        ),
    ]
    kind: Annotated[Kind, typer.Option(help="Type of the data; auto recognizes it.")] = "auto"
    caption: Annotated[str | None, typer.Option(help="Caption of all images.")] = None
    captions: Annotated[
        Path | None,
        typer.Option(
            help='Captions: a JSON file {"image name": "text"}, or a folder of IMAGE_NAME.txt.'
        ),
    ] = None
    overlap: Annotated[
        float, typer.Option(help="Minimum overlap of consecutive key frames (0-1).")
    ] = 0.65
    scale: Annotated[float, typer.Option(help="Meters per unit of a recording's poses.")] = 1.0
    depth_unit: Annotated[
        float | None,
        typer.Option(
            parser=_fraction,
            metavar="NUMBER",
            help="Meters per count of a recording's depth images, such as 0.001 or 1/5000 "
            "(default: what the layout says, or millimeters; meters if floating point).",
        ),
    ] = None
    accept_poses: Annotated[
        bool,
        typer.Option(
            "--accept-poses", help="Import even if depth and poses contradict each other."
        ),
    ] = False

    def check(self) -> Survey:
        """Print the problems; end with exit code 1 if an import has to wait for them."""
        from mvdiffusion.preparation.custom.check import CheckSettings, survey

        kind = None if self.kind == "auto" else self.kind
        settings = CheckSettings(
            kind,
            self.caption,
            self.captions,
            self.overlap,
            self.scale,
            self.depth_unit,
            self.accept_poses,
        )
        found = survey(self.folder, settings)
        _report(found)
        if found.stopping:
            raise typer.Exit(1)
        return found


@data_app.command("check")
@spread
def data_check(data: CustomData) -> None:
    """List every problem of a folder of custom data, with its fix; nothing is written.

    The exit code is 1 if there are problems that prevent an import, 2 if the folder cannot be read,
    otherwise 0.
    """
    data.check()


@data_app.command("import")
@spread
def data_import(
    data: CustomData,
    output: Annotated[Path, typer.Option(help="Data folder in the project's layout.")],
    split: Split,
    face_size: Annotated[
        int | None,
        typer.Option(
            help="Width of a cube face in pixels (default: a quarter of the panorama's width)."
        ),
    ] = None,
    quality: Annotated[
        int, typer.Option(help="JPEG quality of images that are encoded again (90-100).")
    ] = 97,
) -> None:
    """Import a folder of custom data into the project's layout, after the same check."""
    from mvdiffusion.preparation.custom.importing import ImportSettings, import_folder

    settings = ImportSettings(face_size, quality)
    found = data.check()
    counts = import_folder(found, output, split, settings)
    if found.panoramas:
        print(f"{output / f'{split}.npy'}: {len(counts)} panoramas")
    else:
        for scene, count in counts.items():
            print(f"{output / split / scene}: {count} key frames")


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
