"""`mvdiffusion data`: render, export, cut, stitch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mvdiffusion.cli.options import (
    Data,
    DataTask,
    Hash,
    Output,
    Overwrite,
    Settings,
    Split,
    Workers,
)
from mvdiffusion.commands import spread
from mvdiffusion.outputs import check_apart
from mvdiffusion.settings import parse, read_settings
from mvdiffusion.tasks import Task

data_app = typer.Typer(
    no_args_is_help=True,
    help="Download, prepare, check, import, caption, render, cut, stitch and export data.",
)


@dataclass(frozen=True)
class Rendering:
    """Options of both renderers."""

    settings: Settings
    output: Output
    split: Annotated[
        list[str] | None, typer.Option(help="Split to render (default: all); repeatable.")
    ] = None
    workers: Workers = 1
    expect_sha256: Annotated[
        str, typer.Option(help="Fail if the rendered data do not have this SHA-256.")
    ] = ""
    overwrite: Overwrite = False

    def render(self, kind: Any, renderer: Any) -> None:
        """Render with settings of a kind, and print the hash."""
        settings, expected = parse(kind, read_settings(self.settings)), self.expect_sha256
        options = (self.split or None, self.workers, expected or None, self.overwrite)
        print(renderer(self.output, settings, *options))


@data_app.command("rooms")
@spread
def data_rooms(options: Rendering) -> None:
    """Render panoramas of procedural rooms in Matterport3D's layout."""
    from mvdiffusion.preparation.rooms import ROOMS, RoomSettings

    options.render(RoomSettings, ROOMS.render)


@data_app.command("walks")
@spread
def data_walks(options: Rendering) -> None:
    """Render trajectories through procedural rooms, with depth and poses, in ScanNet's layout."""
    from mvdiffusion.preparation.rooms import WALKS, WalkSettings

    options.render(WalkSettings, WALKS.render)


@data_app.command("key-frames")
def data_key_frames(
    scene: Annotated[
        list[Path], typer.Option(help="Folder of a scene in ScanNet's layout; repeatable.")
    ],
    overlap: Annotated[
        float,
        typer.Option(
            help="Minimum overlap of consecutive key frames (0-1), counted over pixels with depth."
        ),
    ] = 0.65,
    show: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Print the key frames of the scenes, or those that would be chosen, and their "
            "overlap with the previous one; nothing is written.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Choose other key frames where a scene has some; its files are moved to *.old.",
        ),
    ] = False,
) -> None:
    """Choose key frames of scenes that lack them; writes key_frame_0.6.txt and valid_frames.npy."""
    from mvdiffusion.preparation import key_frames

    for folder in [] if show or overwrite else scene:
        key_frames.check_none(folder)
    for folder in scene:
        if show:
            there = None if overwrite else key_frames.existing_key_frames(folder)
            keys = there or key_frames.find_key_frames(folder, overlap)[1]
        else:
            keys = key_frames.write_key_frames(folder, overlap)
        print(f"{folder}: {len(keys)} key frames")
        if show:
            shares = (f"{share:.2f}" for share in key_frames.key_frame_overlaps(folder, keys))
            for key, share in zip(keys, ["", *shares], strict=True):
                print(f"{key:6d} {share}".rstrip())


@data_app.command("export")
def data_export(
    data: Data,
    split: Split,
    settings: Settings,
    output: Output,
    settings_sha256: Hash = "",
    task: DataTask = Task.PANORAMA,
    overwrite: Overwrite = False,
) -> None:
    """Export the real views of a split as a sample folder, to be scored like a method.

    SETTINGS has the key `data` (panorama and outpaint: image_size, num_views, fov_deg,
    prompt_prefix; depth: height, width, num_views, num_between, prompt_prefix, sequences) and, if
    only the first samples of the split are wanted, the key `num_samples`.
    """
    from mvdiffusion.generation.export import export_split
    from mvdiffusion.generation.settings import ExportSettings

    check_apart(output, data)
    values = read_settings(settings)
    views = values.pop("data", {})
    count = parse(ExportSettings, values).num_samples
    dataset = open_dataset(task, data, split, views)
    export_split(dataset, task, output, views, count, settings_sha256 or None, overwrite=overwrite)


@data_app.command("views")
def data_views(
    files: Annotated[
        list[Path], typer.Argument(help="Equirectangular panoramas, twice as wide as high.")
    ],
    output: Output,
    size: Annotated[int, typer.Option(help="Height and width of a view in pixels.")] = 512,
    fov_deg: Annotated[float, typer.Option(help="Field of view of a view in degrees.")] = 90.0,
    num_views: Annotated[int, typer.Option(help="Number of evenly spaced views.")] = 8,
    method: Annotated[
        str, typer.Option(help="Name of what made the panoramas, as comparisons show it.")
    ] = "real",
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder with a text file for each panorama, of its name: one prompt, or one per "
            "line and view.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Cut equirectangular panoramas into perspective views, written as a sample folder."""
    from mvdiffusion.generation.export import cut_equirectangular_files

    check_apart(output, *files, *([prompts] if prompts else []))
    cut_equirectangular_files(
        *(files, output, size, fov_deg, num_views, method, prompts), overwrite=overwrite
    )


@data_app.command("stitch")
def data_stitch(
    views: Annotated[Path, typer.Option(help="Sample folder whose views are stitched.")],
    output: Output,
    height: Annotated[int, typer.Option(help="Height of a panorama in pixels.")] = 1024,
    overwrite: Overwrite = False,
) -> None:
    """Stitch the views of every sample into an equirectangular PNG image."""
    from mvdiffusion.generation.export import stitch_folder

    check_apart(output, views)
    stitch_folder(views, output, height, overwrite=overwrite)


def open_dataset(task: Task, root: Path, split: str, settings: Any) -> Any:
    """Open a task's split.

    Args:
        task: decides the layout: recordings for depth, else panoramas.
        root: folder of the data.
        split: name of the split.
        settings: those of `FrameSettings` or `ViewSettings`, as they stand in a file.

    Raises:
        InputError: wrong settings, or no such data.
    """
    from mvdiffusion.data.matterport3d import Matterport3DPanoramas
    from mvdiffusion.data.scannet import ScanNetScenes
    from mvdiffusion.training.settings import FrameSettings, ViewSettings

    if task is Task.DEPTH:
        return ScanNetScenes(root, split, **asdict(parse(FrameSettings, settings, "data")))
    return Matterport3DPanoramas(root, split, **asdict(parse(ViewSettings, settings, "data")))
