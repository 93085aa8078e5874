"""`mvdiffusion data`: render, export, cut, stitch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mvdiffusion.cli.options import (
    Data,
    Expected,
    ForTask,
    Hash,
    Output,
    Overwrite,
    Settings,
    Splits,
    Workers,
)
from mvdiffusion.records import InputError
from mvdiffusion.settings import read_settings
from mvdiffusion.tasks import Task

data_app = typer.Typer(no_args_is_help=True, help="Make, cut, export and stitch views.")


@data_app.command("rooms")
def data_rooms(
    settings: Settings,
    output: Output,
    split: Splits = None,
    workers: Workers = 1,
    expect_sha256: Expected = "",
    overwrite: Overwrite = False,
) -> None:
    """Render procedural rooms in Matterport3D's layout."""
    from mvdiffusion.preparation.rooms import ROOMS, RoomSettings

    rooms = RoomSettings.from_mapping(read_settings(settings))
    expected = expect_sha256 or None
    print(ROOMS.render(output, rooms, split or None, workers, expected, overwrite))


@data_app.command("walks")
def data_walks(
    settings: Settings,
    output: Output,
    split: Splits = None,
    workers: Workers = 1,
    expect_sha256: Expected = "",
    overwrite: Overwrite = False,
) -> None:
    """Render walks through procedural rooms, with depth and poses, in ScanNet's layout."""
    from mvdiffusion.preparation.rooms import WALKS, WalkSettings

    walks = WalkSettings.from_mapping(read_settings(settings))
    expected = expect_sha256 or None
    print(WALKS.render(output, walks, split or None, workers, expected, overwrite))


@data_app.command("key-frames")
def data_key_frames(
    scene: Annotated[list[Path], typer.Option(help="Folder of a scene in ScanNet's layout.")],
    overlap: Annotated[
        float, typer.Option(help="Of consecutive key frames, 0 … 1, where both have depth.")
    ] = 0.65,
    show: Annotated[
        bool, typer.Option("--list", help="Print each, and its overlap with the one before.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Choose anew where there are key frames; their files move to *.old."
        ),
    ] = False,
) -> None:
    """Choose key frames of scenes that lack them; writes key_frame_0.6.txt and valid_frames.npy."""
    from mvdiffusion.preparation.key_frames import key_frame_overlaps, provide_key_frames

    for folder in scene:
        keys = provide_key_frames(folder, overlap, overwrite)
        print(f"{folder}: {len(keys)} key frames")
        if show:
            shares = ["", *(f"{share:.2f}" for share in key_frame_overlaps(folder, keys))]
            for key, share in zip(keys, shares, strict=True):
                print(f"{key:6d} {share}".rstrip())


@data_app.command("export")
def data_export(
    root: Data,
    split: Annotated[str, typer.Option(help="Which split.")],
    settings: Settings,
    output: Output,
    settings_sha256: Hash = "",
    task: ForTask = Task.PANORAMA,
    overwrite: Overwrite = False,
) -> None:
    """Write a split's real views as a sample folder, to be scored like a method.

    SETTINGS holds `data` (panorama and outpaint: image_size, num_views, fov_deg, prompt_prefix;
    depth: height, width, num_views, num_between, prompt_prefix, sequences) and, where not all of
    the split is wanted, num_samples.
    """
    from mvdiffusion.generation.export import export_split

    values = read_settings(settings)
    views, count = values.get("data", {}), values.get("num_samples")
    dataset = open_dataset(task, root, split, views)
    export_split(dataset, task, output, views, count, settings_sha256 or None, overwrite=overwrite)


@data_app.command("views")
def data_views(
    files: Annotated[list[Path], typer.Argument(help="Images of your own.")],
    output: Output,
    equirect: Annotated[bool, typer.Option("--equirect", help="They are panoramas, W = 2 H.")],
    size: Annotated[int, typer.Option(help="Height and width of a view, pixels.")] = 512,
    fov_deg: Annotated[float, typer.Option(help="Field of view, degrees.")] = 90.0,
    num_views: Annotated[int, typer.Option(help="Evenly spaced views.")] = 8,
    overwrite: Overwrite = False,
) -> None:
    """Cut images into perspective views: --equirect FILE... --output DIR."""
    from mvdiffusion.generation.export import cut_equirectangular_files

    cut_equirectangular_files(files, output, size, fov_deg, num_views, overwrite=overwrite)


@data_app.command("stitch")
def data_stitch(
    views: Annotated[Path, typer.Option(help="A sample folder.")],
    output: Output,
    height: Annotated[int, typer.Option(help="Height of the panorama, pixels.")] = 1024,
    overwrite: Overwrite = False,
) -> None:
    """Blend every sample's views into an equirectangular PNG."""
    from mvdiffusion.generation.export import stitch_folder

    stitch_folder(views, output, height, overwrite=overwrite)


def open_dataset(task: Task, root: Path, split: str, settings: dict[str, Any]) -> Any:
    """Open a task's split.

    Raises:
        InputError: settings that the dataset does not have, or no such data.
    """
    from mvdiffusion.data.matterport3d import Matterport3DPanoramas
    from mvdiffusion.data.scannet import ScanNetScenes

    kind: Any = ScanNetScenes if task is Task.DEPTH else Matterport3DPanoramas
    try:
        return kind(root, split, **settings)
    except TypeError as error:
        section = "frames" if task is Task.DEPTH else "views"
        raise InputError(f"--settings: {error}; expected the keys of data.{section}.") from None
