"""What both commands share: `--version`, mistakes, missing packages and a machine that gives too
little said in one sentence, and options of several commands in one class.

The package alone generates. What scores, trains, or runs the experiments has an extra of its own
(`[project.optional-dependencies]` in pyproject.toml), which is named where its packages are
missing.
"""

from __future__ import annotations

import errno
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


# How libraries say that the machine gave too little, by what the user is told.
_MEMORY = "the memory ran out; free some, allow this command more, or lower its batch size"
SHORTAGES = {
    "DefaultCPUAllocator": _MEMORY,
    "CUDA out of memory": _MEMORY,
    "MPS backend out of memory": _MEMORY,
    "Cannot allocate memory": _MEMORY,
    "failed to map segment from shared object": _MEMORY,
    "without exception set": "the interpreter failed, as it does where the memory runs out while it"
    " loads libraries; allow this command more",
    "can't start new thread": "no further thread or memory for one was allowed; allow more of them",
    "DataLoader worker": "a process that loads data has ended, often because the memory ran out;"
    " free some",
    "process pool was terminated": "a process that shares the work was killed, often because the"
    " memory ran out",
}


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
    """Run a command: what the user can settle ends it with one line and code 2.

    That is a mistake, a missing extra, or a lack of memory or of a process that was killed.

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
        except (MemoryError, OSError, ImportError, RuntimeError, SystemError) as error:
            if sentence := shortage(error):
                raise InputError(sentence) from error
            raise


def shortage(error: BaseException) -> str | None:
    """Say that the machine gave too little, if that is what an error of a library means.

    It may hide in the cause of another, as diffusers tells that a part of it could not be imported.

    >>> shortage(MemoryError())
    'the memory ran out; free some, allow this command more, or lower its batch size, then run the \
same command again.'
    >>> shortage(RuntimeError("shapes differ")) is None
    True
    """
    if error.__cause__ is not None and (told := shortage(error.__cause__)):
        return told
    text = str(error)
    known = (told for words, told in SHORTAGES.items() if words in text)
    lacking = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    told = _MEMORY if lacking else next(known, None)
    return told and f"{told}, then run the same command again."


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
