"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
ViewChunk = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of views at a time in the layers that know no other views: less memory, "
        "same result but for rounding. Attention between views bounds its memory itself.",
    ),
]
