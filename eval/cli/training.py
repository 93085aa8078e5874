"""The command that trains feature extractors: `train-extractor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mvdiffusion.outputs import check_apart
from mvdiffusion.settings import parse, read_settings

from .. import console
from .options import DeviceOption, Json, SettingsOption


def train_extractor(
    kind: Annotated[
        Literal["classifier", "clip", "faed"],
        typer.Option(help="Kind of feature extractor to train."),
    ],
    views: Annotated[
        Path,
        typer.Option(
            help="Folder of training images. Do not take images that a method is trained on."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to write the feature extractor to.")],
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an extractor that has other settings or training images; it is moved to "
            "OUTPUT.old.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a feature extractor of your own.

    A classifier (for FID and Inception score) and a CLIP (for the CLIP score) are trained on views
    with prompts. An autoencoder (faed, for FAED) is trained on whole equirectangular panoramas.
    """
    from ..extractors.networks import compute_on
    from ..extractors.train import SETTINGS
    from ..extractors.train import train_extractor as train
    from ..folders.opening import open_folder

    check_apart(output, views)
    compute_on(device)
    chosen: Any = parse(SETTINGS[kind], read_settings(settings))
    record = train(open_folder(views), chosen, output, overwrite)
    if as_json:
        console.print_json(record)
    else:
        console.print_extractor(record)
