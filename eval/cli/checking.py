"""The command `check`: the integrity of folders before hours of scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .options import PROMPTS_HELP, VIEWS_HELP, Json, ReferenceViews


def check(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder of generated images, in any supported layout."),
    ],
    reference: Annotated[
        Path | None, typer.Option(help="Folder with the real views of the same samples.")
    ] = None,
    views: Annotated[str | None, typer.Option(metavar="PATTERN", help=VIEWS_HELP)] = None,
    prompts: Annotated[str | None, typer.Option(metavar="PATTERN", help=PROMPTS_HELP)] = None,
    reference_views: ReferenceViews = None,
    as_json: Json = False,
) -> None:
    """Check a folder before it is scored: decode every image and list all problems.

    Also says which protocols could run, what the others lack, and which pretrained weights are
    here; nothing is downloaded or changed. Ends with code 2 if there are problems.
    """
    from ..scoring.integrity import check as check_folders

    report = check_folders(folder, reference, views, prompts, reference_views)
    if as_json:
        console.print_json(report)
    else:
        console.print_check(report)
    if not report["ok"]:
        raise typer.Exit(2)
