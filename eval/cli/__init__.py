"""The command `mvdiffusion-eval`: scores, comparisons, tables, report, human studies."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from mvdiffusion.commands import running, with_version

from .artifacts import pack, verify
from .checking import check
from .leaderboard import leaderboard
from .results import figures, report, tables
from .scoring import compare, protocols, score
from .study import study, study_score
from .training import train_extractor

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    help="Evaluate generated multi-view images: score folders, compare methods and decide the "
    "paper's claims.",
)
with_version(app)
for command in (
    *(score, check, compare, protocols, tables, figures, report, leaderboard),
    *(pack, verify, study, study_score, train_extractor),
):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an input error ends it with one message and exit code 2.

    Args:
        arguments: words of the command line, by default those of this process.
    """
    with running("mvdiffusion-eval"):
        app(args=arguments)
