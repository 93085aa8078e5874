"""`mvdiffusion train`: the miniature's base model, and the paper's stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvdiffusion.cli.options import Data, ForTask, Output, Overwrite, Settings
from mvdiffusion.commands import Processes, spread
from mvdiffusion.parallel.workers import share
from mvdiffusion.settings import read_settings
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from mvdiffusion.training.runs import Places

train_app = typer.Typer(
    no_args_is_help=True, help="Train the miniature's base model and the stages of a task."
)

Base = Annotated[Path, typer.Option(help="Model folder that the training starts from.")]
Vae = Annotated[Path, typer.Option(help="Folder of the miniature's VAE.")]


@dataclass(frozen=True)
class Training:
    """Options of every training."""

    settings: Settings
    data: Data
    validation: Annotated[Path, typer.Option(help="Data folder of the validation split.")]
    output: Output
    checkpoints: Annotated[Path, typer.Option(help="Folder of checkpoints to resume from.")]
    log_dir: Annotated[
        Path, typer.Option(help="Folder of metrics.jsonl, TensorBoard events and sample images.")
    ]
    overwrite: Overwrite = False
    processes: Processes = None

    def places(self) -> Places:
        """Return where the training reads and writes."""
        from mvdiffusion.training.runs import Places

        others = ("settings", "processes")
        return Places(**{key: value for key, value in vars(self).items() if key not in others})


def in_processes(command: Callable[..., None]) -> Callable[..., None]:
    """Have several processes run a training together, if so many are asked for."""

    @wraps(command)
    def run(options: Training, **more: Any) -> None:
        device = read_settings(options.settings).get("device", "auto")
        if not share(options.processes, device, joined=True):
            command(options, **more)

    return run


@train_app.command("vae")
@spread
@in_processes
def train_vae(options: Training) -> None:
    """Train the VAE of the miniature from scratch."""
    from mvdiffusion.training import vae

    vae.train_vae(read_settings(options.settings), options.places())


@train_app.command("decoder")
@spread
@in_processes
def train_decoder(options: Training, base: Vae) -> None:
    """Fine-tune the decoder of the miniature's VAE, by which no latents change."""
    from mvdiffusion.training import vae

    vae.train_decoder(read_settings(options.settings), base, options.places())


@train_app.command("base")
@spread
@in_processes
def train_base(options: Training, base: Vae) -> None:
    """Train the text encoder and UNet of the miniature from scratch."""
    from mvdiffusion.training import base as training

    training.train_base(read_settings(options.settings), base, options.places())


@train_app.command("inpainting")
@spread
@in_processes
def train_inpainting(options: Training, base: Base) -> None:
    """Train the base model of outpainting: inpainting of single views, with 9 input channels."""
    from mvdiffusion.training import stage1

    stage1.train_inpainting(read_settings(options.settings), base, options.places())


@train_app.command("stage1")
@spread
@in_processes
def train_stage1(options: Training, base: Base, task: ForTask = Task.PANORAMA) -> None:
    """Train stage 1: fine-tune the whole UNet on single views (panorama, depth)."""
    from mvdiffusion.training import stage1

    stage1.train_stage1(task.value, read_settings(options.settings), base, options.places())


@train_app.command("panorama-finetune")
@spread
@in_processes
def train_panorama_finetune(options: Training, base: Base) -> None:
    """Train a baseline: fine-tune the whole UNet on equirectangular panoramas."""
    from mvdiffusion.training.baselines import panorama_finetune

    settings = read_settings(options.settings)
    panorama_finetune.train_panorama_finetune(settings, base, options.places())


@train_app.command("stage2")
@spread
@in_processes
def train_stage2(options: Training, base: Base, task: ForTask = Task.PANORAMA) -> None:
    """Train stage 2: only the attention between views (depth: and the image condition)."""
    from mvdiffusion.training import stage2

    stage2.train_stage2(task.value, read_settings(options.settings), base, options.places())


@train_app.command("controlnet")
@spread
@in_processes
def train_controlnet(options: Training, base: Base) -> None:
    """Train a ControlNet on depth beside an inpainting model: a baseline of the depth task."""
    from mvdiffusion.training.baselines import controlnet

    controlnet.train_controlnet(read_settings(options.settings), base, options.places())
