"""What both commands share: `--version`, mistakes and missing packages said in one sentence, and
options of several commands in one class.

The package alone generates. What scores, trains, or runs the experiments has an extra of its own
(`[project.optional-dependencies]` in pyproject.toml), which is named where its packages are
missing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import wraps
from typing import Annotated, Any

import typer

from mvdiffusion import __version__
from mvdiffusion.records import InputError, reporting_input_errors

EXTRAS = {
    "eval": (
        *("cleanfid", "grimp", "jinja2", "markupsafe", "matplotlib", "open_clip", "pandas"),
        *("tabulate", "torch_fidelity", "torchmetrics"),
    ),
    "train": ("grimp", "jinja2", "matplotlib", "tensorboard", "torchmetrics"),
    "workflow": ("dvc", "packaging", "snakemake", "snakemake_interface_common"),
    "demo": ("fastapi", "gradio", "starlette", "uvicorn"),
    "offline": ("timm",),
    "colmap": ("pycolmap",),
    "mesh": ("open3d",),
}
"""Modules that are imported and that the package alone lacks, by the extra that installs them."""


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


Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of processes that share the work, each with a GPU that no other command with "
        "this option uses meanwhile; the result is the same (default: this one, on the first GPU).",
    ),
]


def with_version(app: typer.Typer) -> None:
    """Give a command that has subcommands the option `--version`."""

    @app.callback()
    def options(version: Version = False) -> None:
        pass


@contextmanager
def running(command: str) -> Iterator[None]:
    """Run a command: mistakes of the user's and missing extras end it with one line and code 2.

    Args:
        command: its name, with which the line begins.

    Raises:
        SystemExit: with code 2, see `reporting_input_errors`.
    """
    with reporting_input_errors(command):
        try:
            yield
        except ModuleNotFoundError as error:
            if sentence := advice(error.name, command):
                raise InputError(sentence) from error
            raise


def advice(module: str | None, command: str) -> str | None:
    """Say how to install a module that was not found.

    Args:
        module: its dotted name.
        command: which command needs it; where several extras have it, that of `mvdiffusion-eval`
            is `eval`.

    Returns:
        One sentence; None if no extra installs it, as it is a mistake of the code then.

    >>> advice("pandas.core", "mvdiffusion-eval")
    "the package pandas is missing; install it with `pip install 'mvdiffusion[eval]'`."
    >>> advice("nonsense", "mvdiffusion-eval") is None
    True
    """
    name = (module or "").partition(".")[0]
    extras = [extra for extra, modules in EXTRAS.items() if name in modules]
    if not extras:
        return None
    extra = extras[0] if command == "mvdiffusion-eval" else extras[-1]
    return f"the package {name} is missing; install it with `pip install 'mvdiffusion[{extra}]'`."


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
