"""`mvdiffusion data`: Matterport3D and ScanNet, from their owners' files to what training reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mvdiffusion.cli.data import data_app
from mvdiffusion.cli.options import Data, DataTask, Output, Overwrite, Settings, Split, Workers
from mvdiffusion.outputs import check_apart
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse, read_settings

Dataset = Annotated[
    Literal["matterport3d", "scannet"], typer.Argument(help="Name of the data set.")
]
Unit = Annotated[str, typer.Option(help="Id of the house or scene.")]
Labels = Annotated[
    Path | None, typer.Option(help="Folder of the authors' labels, made by `data labels`.")
]


@data_app.command("fetch")
def data_fetch(
    dataset: Dataset,
    unit: Unit,
    downloads: Annotated[Path, typer.Option(help="Folder of downloaded files.")],
    script: Annotated[
        Path | None, typer.Option(help="Download script that you received from the owners.")
    ] = None,
    accept_terms: Annotated[
        bool,
        typer.Option(
            "--accept-terms", help="Confirm that you have signed the data set's terms of use."
        ),
    ] = False,
    retries: Annotated[
        int, typer.Option(help="Number of further attempts after a failed download.", min=0)
    ] = 3,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify the SHA-256 of a file already downloaded.")
    ] = False,
    python: Annotated[
        str, typer.Option(help="Python interpreter that runs the script.")
    ] = sys.executable,
) -> None:
    """Download a house (.zip) or scene (.sens) with its owners' script; existing files are kept."""
    from mvdiffusion.preparation.fetch import fetch_unit

    options = (script, accept_terms, retries)
    print(fetch_unit(dataset, unit, downloads, *options, verify=verify, python=python))


@data_app.command("labels")
def data_labels(
    dataset: Dataset,
    archive: Annotated[
        list[Path], typer.Option(help="Archive mp3d_skybox.tar or scannet_*.tar; repeatable.")
    ],
    output: Output,
    overwrite: Overwrite = False,
) -> None:
    """Extract the authors' splits, captions and key frames from their archives."""
    from mvdiffusion.preparation.labels import extract_labels

    check_apart(output, *archive)
    print(f"{output}: {extract_labels(dataset, archive, output, overwrite)} files")


@data_app.command("prepare")
def data_prepare(
    dataset: Dataset,
    unit: Unit,
    source: Annotated[
        Path, typer.Option(help="Downloaded .zip or .sens file, or the folder of downloads.")
    ],
    output: Output,
    settings: Settings = "{}",
    labels: Labels = None,
    workers: Workers = 1,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace a house or scene of other settings; captions and other files are kept.",
        ),
    ] = False,
) -> None:
    """Prepare a house or scene; one of the same source and settings is kept as it is."""
    from mvdiffusion.preparation.fetch import find_download

    if source.is_dir():
        if (found := find_download(dataset, unit, source)) is None:
            raise InputError(f"{source}: holds no file of {unit}; run `mvdiffusion data fetch`.")
        source = found
    check_apart(output, source, *([labels] if labels else []))
    if dataset == "matterport3d":
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
    dataset: Dataset,
    prepared: Annotated[Path, typer.Option(help="Folder of prepared houses or scenes.")],
    settings: Settings = "{}",
    labels: Labels = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(help="House or scene to include (default: all prepared ones); repeatable."),
    ] = None,
) -> None:
    """Write the splits of the prepared houses or scenes, and splits.json."""
    from mvdiffusion.preparation.splits import (
        PanoramaSplits,
        write_panorama_splits,
        write_scene_splits,
    )

    values = read_settings(settings)
    if dataset == "matterport3d":
        how = parse(PanoramaSplits, values)
        summary = write_panorama_splits(prepared, how, labels, unit or None)
    elif values:
        raise InputError("--settings: ScanNet is split by scene number; expected none, {}.")
    else:
        summary = write_scene_splits(prepared, labels is not None, unit or None)
    for name, split in summary["splits"].items():
        print(name, *(f"{key} {split[key]}" for key in ("panoramas", "scenes") if key in split))


@data_app.command("caption")
def data_caption(
    data: Data,
    split: Split,
    task: DataTask,
    settings: Settings = "{}",
    limit: Annotated[
        int | None, typer.Option(min=0, help="Maximum number of images to caption now.")
    ] = None,
    workers: Workers = 1,
) -> None:
    """Caption the images of a split with BLIP-2; existing captions are kept.

    SETTINGS may have the keys model, revision, batch_size, device, dtype, max_new_tokens,
    num_beams and prompt; for panoramas image_size; for scenes frames (valid or key).
    """
    from mvdiffusion.preparation.captions import CaptionSettings, caption_split

    values = parse(CaptionSettings, read_settings(settings))
    counts = caption_split(task.value, data, split, values, limit, workers)
    print(f"{data}: {counts['made']} captions made, {counts['left']} of {counts['all']} left")


@data_app.command("equirect")
def data_equirect(
    data: Data,
    split: Split,
    output: Output,
    height: Annotated[int, typer.Option(help="Height of the panoramas in pixels.")] = 1024,
    workers: Workers = 1,
    overwrite: Overwrite = False,
) -> None:
    """Stitch every panorama of a split into an equirectangular PNG image."""
    from mvdiffusion.preparation.matterport3d import write_equirectangular

    check_apart(output, data)
    count = write_equirectangular(data, split, output, height, workers, overwrite)
    print(f"{output}: {count} panoramas")
