"""What both commands share: `--version`, and options of several commands in one class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from typing import Annotated, Any

import typer

from mvdiffusion import __version__


def _show_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Print the version and end."
    ),
]


def with_version(app: typer.Typer) -> None:
    """Give a command that has subcommands the option `--version`."""

    @app.callback()
    def options(version: Version = False) -> None:
        pass


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function one of whose parameters is a dataclass of options.

    The command has an option for each field, in that place, and for each other parameter.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    name = next(one.name for one in parameters.values() if is_dataclass(one.annotation))
    kind: Any = parameters[name].annotation
    shared = inspect.signature(kind, eval_str=True).parameters

    @wraps(command)
    def run(**values: Any) -> None:
        fields = {field: values.pop(field) for field in shared}
        command(**{name: kind(**fields)}, **values)

    options = [
        # By keyword alone, so that options with a default may come before those without.
        option.replace(kind=option.KEYWORD_ONLY)
        for parameter in parameters.values()
        for option in (shared.values() if parameter.name == name else [parameter])
    ]
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return run
