"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.tasks import Task

Settings = Annotated[str, typer.Option(help="JSON text, or path of a JSON or YAML file.")]
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
        help="Make an output of other settings anew; what is there is moved to OUTPUT.old.",
    ),
]
DefaultSettings = Annotated[
    str, typer.Option("--settings", help="JSON text, or path of a JSON or YAML file.")
]
Hash = Annotated[
    str, typer.Option(help="Of the run's settings, kept in the manifest; default: of these here.")
]
Validation = Annotated[Path, typer.Option(help="Data folder that holds the validation split.")]
Checkpoints = Annotated[Path, typer.Option(help="Folder of resumable states.")]
LogDir = Annotated[Path, typer.Option(help="Gets metrics.jsonl, TensorBoard events, pictures.")]
Base = Annotated[Path, typer.Option(help="Model folder of the stage before.")]
Model = Annotated[Path, typer.Option(help="Model folder (diffusers format).")]
ForTask = Annotated[Task, typer.Option(help="What the model is for.")]
Workers = Annotated[int, typer.Option(help="Processes.")]
Splits = Annotated[list[str] | None, typer.Option(help="Which splits; default all.")]
Expected = Annotated[str, typer.Option(help="Refuse any other result.")]
