"""`mvdiffusion train`: the miniature's base, and the paper's stages."""

from __future__ import annotations

import typer

from mvdiffusion.cli.options import (
    Base,
    Checkpoints,
    Data,
    ForTask,
    LogDir,
    Output,
    Overwrite,
    Settings,
    Validation,
)
from mvdiffusion.records import InputError
from mvdiffusion.settings import read_settings
from mvdiffusion.tasks import Task

train_app = typer.Typer(no_args_is_help=True, help="Train a base and the stages of a task.")


@train_app.command("vae")
def train_vae(
    settings: Settings,
    data: Data,
    validation: Validation,
    output: Output,
    checkpoints: Checkpoints,
    log_dir: LogDir,
    overwrite: Overwrite = False,
) -> None:
    """Train the miniature's VAE from scratch."""
    from mvdiffusion.training import vae

    vae.train_vae(
        read_settings(settings), data, validation, output, checkpoints, log_dir, overwrite
    )


@train_app.command("base")
def train_base(
    settings: Settings,
    data: Data,
    validation: Validation,
    base: Base,
    output: Output,
    checkpoints: Checkpoints,
    log_dir: LogDir,
    overwrite: Overwrite = False,
) -> None:
    """Train the miniature's text encoder and UNet from scratch (--base: the VAE)."""
    from mvdiffusion.training import base as training

    values = read_settings(settings)
    training.train_base(values, data, validation, base, output, checkpoints, log_dir, overwrite)


@train_app.command("inpainting")
def train_inpainting(
    settings: Settings,
    data: Data,
    validation: Validation,
    base: Base,
    output: Output,
    checkpoints: Checkpoints,
    log_dir: LogDir,
    overwrite: Overwrite = False,
) -> None:
    """Train the base of outpainting: single views of which a part is given, 9 input channels."""
    from mvdiffusion.training import stage1 as single_view

    values = read_settings(settings)
    single_view.train_inpainting(
        values, data, validation, base, output, checkpoints, log_dir, overwrite
    )


@train_app.command("stage1")
def train_stage1(
    settings: Settings,
    data: Data,
    validation: Validation,
    base: Base,
    output: Output,
    checkpoints: Checkpoints,
    log_dir: LogDir,
    task: ForTask = Task.PANORAMA,
    overwrite: Overwrite = False,
) -> None:
    """Stage 1: fine-tune the whole UNet on single views (panorama, depth)."""
    from mvdiffusion.training.stage1 import train_stage1

    if task is Task.OUTPAINT:
        raise InputError("--task outpaint: has no stage 1; run `mvdiffusion train inpainting`.")
    values = read_settings(settings)
    train_stage1(
        task.value, values, data, validation, base, output, checkpoints, log_dir, overwrite
    )


@train_app.command("stage2")
def train_stage2(
    settings: Settings,
    data: Data,
    validation: Validation,
    base: Base,
    output: Output,
    checkpoints: Checkpoints,
    log_dir: LogDir,
    task: ForTask = Task.PANORAMA,
    overwrite: Overwrite = False,
) -> None:
    """Stage 2: train the attention between views only (depth: the image condition, too)."""
    from mvdiffusion.training.stage2 import train_stage2

    values = read_settings(settings)
    train_stage2(
        task.value, values, data, validation, base, output, checkpoints, log_dir, overwrite
    )
