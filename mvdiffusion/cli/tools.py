"""`mvdiffusion convert` and `mvdiffusion mesh`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.cli.options import Output, Overwrite
from mvdiffusion.tasks import CHECKPOINT_TASKS


class Dtype(StrEnum):
    """Types of a model's numbers."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Reconstruction(StrEnum):
    """What `mesh` makes of a sequence."""

    MESH = "mesh"
    POINTS = "points"


def convert(
    checkpoint: Annotated[
        Path,
        typer.Option(help="pano.ckpt, pano_outpaint.ckpt, depth_gen.ckpt, depth_single_view.ckpt"),
    ],
    base: Annotated[str, typer.Option(help="Folder or hub id of its Stable Diffusion 2.")],
    output: Output,
    task: Annotated[
        str,
        typer.Option(
            metavar=f"[{'|'.join(('auto', *CHECKPOINT_TASKS))}]",
            help="Task of the checkpoint; auto recognizes it by its tensors.",
        ),
    ] = "auto",
    dtype: Annotated[Dtype, typer.Option(help="Of the written weights.")] = Dtype.FLOAT32,
    overwrite: Overwrite = False,
) -> None:
    """Import one of the authors' checkpoints; only tensors are read, nothing in it is run."""
    from mvdiffusion.conversion.convert import convert_checkpoint

    report = convert_checkpoint(checkpoint, base, output, task, dtype.value, overwrite)
    counts = ", ".join(f"{count} of {part}" for part, count in report["weights"].items())
    print(f"{output}: {report['task']}; weights: {counts}")


def mesh(
    sample: Annotated[Path, typer.Option(help="Folder with views, depth/ and cameras.json.")],
    output: Annotated[Path, typer.Option(help="PLY file.")],
    kind: Annotated[
        Reconstruction, typer.Option(help="mesh needs the package open3d.")
    ] = Reconstruction.MESH,
    voxel_size: Annotated[float, typer.Option(help="Edge of a voxel, meters.")] = 0.02,
) -> None:
    """Make a colored mesh or point cloud of generated images, their depth and poses."""
    from mvdiffusion.generation.meshes import write_mesh, write_points

    write = write_mesh if kind is Reconstruction.MESH else write_points
    count = write(sample, output, voxel_size)
    print(f"{output}: {count} {'triangles' if kind is Reconstruction.MESH else 'points'}")
