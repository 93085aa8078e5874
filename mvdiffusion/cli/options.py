"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mvdiffusion.tasks import Task

Settings = Annotated[str, typer.Option(help="Settings: JSON text, or a JSON or YAML file.")]
Data = Annotated[
    Path, typer.Option(help="Data folder in Matterport3D's layout; for depth, in ScanNet's.")
]
Output = Annotated[
    Path,
    typer.Option(
        help="Output folder. One of the same settings is resumed; one of other settings is "
        "refused (see --overwrite)."
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace an output of other settings; the previous one is moved to OUTPUT.old.",
    ),
]
Hash = Annotated[
    str,
    typer.Option(
        help="Hash of the experiment's settings, stored in the manifest (default: hash of "
        "--settings)."
    ),
]
Split = Annotated[str, typer.Option(help="Name of the split, such as train or test.")]
Model = Annotated[Path, typer.Option(help="Model folder in the format of diffusers.")]
ForTask = Annotated[Task, typer.Option(help="Task of the model.")]
DataTask = Annotated[Task, typer.Option(help="Task whose data are read.")]
Workers = Annotated[int, typer.Option(help="Number of worker processes.")]
Dtype = Literal["float32", "float16", "bfloat16"]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function whose first parameter is a dataclass of options.

    The command has an option for each field and for each of the function's other parameters.
    """
    first, *own = inspect.signature(command, eval_str=True).parameters.values()
    shared = inspect.signature(first.annotation, eval_str=True).parameters

    @wraps(command)
    def run(**values: Any) -> None:
        fields = {name: values.pop(name) for name in shared}
        command(first.annotation(**fields), **values)

    # By keyword alone, so that options with a default may come before those without.
    options = [option.replace(kind=option.KEYWORD_ONLY) for option in (*shared.values(), *own)]
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return run
