"""The command `leaderboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.outputs import check_file


def leaderboard(
    output: Annotated[Path, typer.Option(help="HTML page to write.")],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SCORE.json | ARTIFACT.zip | RESULTS]...",
            help="Score files, artifacts that `pack` has written, and folders of results of which "
            "the numbers are on record, such as results/reference/mini. Without any, the page has "
            "the published numbers.",
        ),
    ] = None,
) -> None:
    """Write one self-contained page that ranks what can be compared, and nothing else.

    Every group of numbers that can be compared is a table of its own; the page says why it cannot
    be compared with the others. Of an artifact, the scores are shown and nothing is verified.
    """
    from ..report.leaderboard import write_leaderboard

    check_file(output, ".html")
    write_leaderboard(sources or [], output)
