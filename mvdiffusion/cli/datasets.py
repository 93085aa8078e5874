"""`mvdiffusion data`: Matterport3D and ScanNet, from their owners' files to what training reads."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.cli.data import data_app
from mvdiffusion.cli.options import Data, DefaultSettings, Output, Overwrite, Workers
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse, read_settings


class Dataset(StrEnum):
    """Datasets that the owners give to licensees."""

    MATTERPORT3D = "matterport3d"
    SCANNET = "scannet"


Which = Annotated[Dataset, typer.Argument(help="Which dataset.")]
Unit = Annotated[str, typer.Option(help="Id of a house or scene.")]
Units = Annotated[list[str] | None, typer.Option(help="Houses or scenes; default all there.")]
Labels = Annotated[Path | None, typer.Option(help="The authors' labels, extracted.")]


@data_app.command("fetch")
def data_fetch(
    dataset: Which,
    unit: Unit,
    downloads: Annotated[Path, typer.Option(help="Folder of the owners' files.")],
    script: Annotated[Path | None, typer.Option(help="The script that the owners sent.")] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="You have signed the terms it asks about.")
    ] = False,
    retries: Annotated[int, typer.Option(help="How often to try again.", min=0)] = 3,
    verify: Annotated[bool, typer.Option("--verify", help="Hash a file that is there.")] = False,
    python: Annotated[str, typer.Option(help="Runs the script.")] = sys.executable,
) -> None:
    """Fetch a house's .zip or a scene's .sens with its owners' script; keep one that is there."""
    from mvdiffusion.preparation.fetch import fetch_unit

    print(
        fetch_unit(
            dataset.value,
            unit,
            downloads,
            script,
            accept_terms,
            retries,
            verify=verify,
            python=python,
        )
    )


@data_app.command("labels")
def data_labels(
    dataset: Which,
    archive: Annotated[list[Path], typer.Option(help="mp3d_skybox.tar or scannet_*.tar.")],
    output: Output,
    overwrite: Overwrite = False,
) -> None:
    """Extract the authors' splits, captions and key frames."""
    from mvdiffusion.preparation.labels import extract_labels

    print(f"{output}: {extract_labels(dataset.value, archive, output, overwrite)} files")


@data_app.command("prepare")
def data_prepare(
    dataset: Which,
    unit: Unit,
    source: Annotated[Path, typer.Option(help="The .zip or .sens, or the folder of downloads.")],
    output: Output,
    settings: DefaultSettings = "{}",
    labels: Labels = None,
    workers: Workers = 1,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Prepare a unit of other settings anew; captions stay."),
    ] = False,
) -> None:
    """Prepare a house or scene; one that is there, of this source and settings, is kept."""
    from mvdiffusion.preparation.fetch import find_download

    if source.is_dir():
        if (found := find_download(dataset.value, unit, source)) is None:
            raise InputError(f"{source}: holds no file of {unit}; run `mvdiffusion data fetch`.")
        source = found
    if dataset is Dataset.MATTERPORT3D:
        from mvdiffusion.preparation.matterport3d import HousePreparation, prepare_house

        if labels is not None:
            raise InputError("--labels: of a house they are read by `data splits`; leave it out.")
        house = parse(HousePreparation, read_settings(settings))
        prepare_house(source, output, unit, house, workers, overwrite)
    else:
        from mvdiffusion.preparation.scannet import prepare_scene

        prepare_scene(source, output, unit, read_settings(settings), labels, workers, overwrite)


@data_app.command("splits")
def data_splits(
    dataset: Which,
    prepared: Annotated[Path, typer.Option(help="Folder of prepared houses or scenes.")],
    settings: DefaultSettings = "{}",
    labels: Labels = None,
    unit: Units = None,
) -> None:
    """Write the splits of what is prepared, and splits.json."""
    from mvdiffusion.preparation.splits import (
        PanoramaSplits,
        write_panorama_splits,
        write_scene_splits,
    )

    values = read_settings(settings)
    if dataset is Dataset.MATTERPORT3D:
        how = parse(PanoramaSplits, values)
        summary = write_panorama_splits(prepared, how, labels, unit or None)
    elif values:
        raise InputError("--settings: ScanNet is split by scene number; expected none, {}.")
    else:
        summary = write_scene_splits(prepared, labels is not None, unit or None)
    for name, split in summary["splits"].items():
        print(name, *(f"{key} {split[key]}" for key in ("panoramas", "scenes") if key in split))


@data_app.command("equirect")
def data_equirect(
    data: Data,
    split: Annotated[str, typer.Option(help="Which split.")],
    output: Annotated[Path, typer.Option(help="Folder of the images.")],
    height: Annotated[int, typer.Option(help="Of the images, pixels.")] = 1024,
    workers: Workers = 1,
    overwrite: Overwrite = False,
) -> None:
    """Stitch every panorama of a split to an equirectangular PNG."""
    from mvdiffusion.preparation.matterport3d import write_equirectangular

    count = write_equirectangular(data, split, output, height, workers, overwrite)
    print(f"{output}: {count} panoramas")
