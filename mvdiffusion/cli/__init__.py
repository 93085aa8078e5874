"""The command `mvdiffusion`: one subcommand per step of the paper, called by the workflow."""

from __future__ import annotations

import typer

import mvdiffusion.cli.custom  # registers its commands
import mvdiffusion.cli.datasets  # noqa: F401 (registers its commands)
from mvdiffusion.cli.data import data_app
from mvdiffusion.cli.demo import demo
from mvdiffusion.cli.external import external_app
from mvdiffusion.cli.generate import generate_app
from mvdiffusion.cli.released import fetch_released
from mvdiffusion.cli.tools import convert, fetch_base, mesh, release_base
from mvdiffusion.cli.train import train_app
from mvdiffusion.commands import running, with_version

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    help="Train MVDiffusion, and generate images of several views that agree with each other.",
)
with_version(app)
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(generate_app, name="generate")
app.add_typer(external_app, name="external")
app.command()(demo)
app.command("fetch-base")(fetch_base)
app.command("fetch-released")(fetch_released)
app.command("release-base")(release_base)
app.command()(convert)
app.command()(mesh)


def main() -> None:
    """Run the command; bad input ends with its message alone and exit code 2."""
    with running("mvdiffusion"):
        app()
