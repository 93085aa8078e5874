"""`mvdiffusion demo`: a page on which anyone generates, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.cli.options import ViewChunk
from mvdiffusion.generation.settings import Scheduler, Solver
from mvdiffusion.settings import Device, Precision

Models = Annotated[
    list[Path] | None,
    typer.Option(
        help="Model folder in the format of diffusers; repeatable, one for each task (default: "
        "those of results/models, or else of results/look/models)."
    ),
]
Scenes = Annotated[
    list[Path] | None,
    typer.Option(
        help="Scene in ScanNet's layout, or a folder of such scenes, to choose from for a depth "
        "model; repeatable."
    ),
]


def demo(
    model: Models = None,
    scene: Scenes = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Anyone who reaches it can use the demo."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="TCP port; 0 takes one that is free.")
    ] = 7860,
    prompt_prefix: Annotated[
        str | None, typer.Option(help="Text put before every prompt (default: the model's).")
    ] = None,
    scheduler: Annotated[
        Scheduler | None, typer.Option(help="Scheduler of diffusers (default: the model's).")
    ] = None,
    algorithm_type: Annotated[
        Solver | None, typer.Option(help="Solver of DPMSolverMultistepScheduler.")
    ] = None,
    max_steps: Annotated[
        int, typer.Option(min=1, max=1000, help="Most denoising steps of a request.")
    ] = 100,
    max_waiting: Annotated[
        int, typer.Option(min=1, max=1000, help="Most requests in the queue.")
    ] = 8,
    view_chunk: ViewChunk = None,
    dtype: Annotated[
        Precision, typer.Option(help="Precision of the UNet; auto prefers bfloat16 if native.")
    ] = "float32",
    device: Annotated[Device, typer.Option(help="Device; auto prefers a GPU.")] = "auto",
) -> None:
    """Serve a page on which panoramas and sequences are generated: prompts in, views out.

    A model of the miniature is sampled as in its evaluation, any other one as in the paper.
    """
    from mvdiffusion.demo.server import run_demo
    from mvdiffusion.demo.settings import Limits

    run_demo(
        model or [],
        scene or [],
        host,
        port,
        Limits(steps=max_steps, waiting=max_waiting),
        prompt_prefix=prompt_prefix,
        scheduler=scheduler,
        algorithm_type=algorithm_type,
        view_chunk=view_chunk,
        dtype=dtype,
        device=device,
    )
