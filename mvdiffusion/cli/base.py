"""`mvdiffusion fetch-base`."""

from __future__ import annotations

from typing import Annotated

import typer

from mvdiffusion.cli.options import Output, Overwrite, Settings
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse, read_settings


def fetch_base(
    output: Output,
    model: Annotated[str, typer.Option(help="Folder, or id on the Hugging Face hub.")] = "",
    settings: Settings = "",
    overwrite: Overwrite = False,
) -> None:
    """Put a pretrained Stable Diffusion 2 (base, inpainting or depth) into a folder.

    --model names it, or `model` in SETTINGS.
    """
    from mvdiffusion.conversion import base_model

    values = read_settings(settings) if settings else {"model": model}
    chosen = parse(base_model.PretrainedSettings, values)
    if not chosen.model:
        raise InputError("fetch-base: no model; expected --model, or settings with `model`.")
    base_model.fetch_base(chosen.model, output, overwrite)
    print(f"{output}: the parts of {chosen.model}")
