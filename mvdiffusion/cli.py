"""The command `mvdiffusion`: one subcommand per step of the paper, called by the workflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from mvdiffusion.records import InputError, read_json

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
data_app = typer.Typer(no_args_is_help=True, help="Make, cut, export and stitch views.")
train_app = typer.Typer(no_args_is_help=True, help="Train the miniature's base and the two stages.")
generate_app = typer.Typer(no_args_is_help=True, help="Generate samples with one method.")
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(generate_app, name="generate")

Settings = Annotated[str, typer.Option(help="JSON text, or path of a JSON or YAML file.")]
Data = Annotated[Path, typer.Option(help="Data folder in Matterport3D's layout.")]
Output = Annotated[Path, typer.Option(help="Written whole or not at all.")]
Hash = Annotated[str, typer.Option(help="Hash of the run's settings, kept in the manifest.")]
Validation = Annotated[Path, typer.Option(help="Data folder that holds the validation split.")]
Checkpoints = Annotated[Path, typer.Option(help="Folder of resumable states.")]
LogDir = Annotated[Path, typer.Option(help="Gets metrics.jsonl, TensorBoard events, pictures.")]
Base = Annotated[Path, typer.Option(help="Model folder of the stage before.")]


def parse_settings(text: str) -> dict[str, Any]:
    """Read `--settings`: JSON text, or the path of a JSON or YAML file.

    Raises:
        InputError: neither of them, or not a mapping.
    """
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise InputError(f"--settings: not valid JSON ({error}).") from None
    path = Path(text)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        settings = yaml.safe_load(path.read_text())
    else:
        settings = read_json(path)
    if not isinstance(settings, dict):
        raise InputError(f"--settings {text}: expected a mapping of keys to values.")
    return settings


@data_app.command("rooms")
def data_rooms(
    settings: Settings,
    output: Output,
    split: Annotated[list[str] | None, typer.Option(help="Which splits; default all.")] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    expect_sha256: Annotated[str, typer.Option(help="Refuse any other result.")] = "",
) -> None:
    """Render procedural rooms in Matterport3D's layout."""
    from mvdiffusion.data.rooms import RoomSettings, render_splits

    rooms = RoomSettings.from_mapping(parse_settings(settings))
    print(render_splits(output, rooms, split or None, workers, expect_sha256 or None))


@data_app.command("export")
def data_export(
    root: Data,
    split: Annotated[str, typer.Option(help="Which split.")],
    settings: Settings,
    settings_sha256: Hash,
    output: Output,
) -> None:
    """Write a split's real views as a sample folder, to be scored like a method.

    SETTINGS holds image_size, num_views, fov_deg, prompt_prefix and, where not all of the split is
    wanted, num_samples.
    """
    from mvdiffusion.data.views import export_split

    views = parse_settings(settings)
    count = views.pop("num_samples", None)
    dataset = _dataset(root, split, views)
    export_split(dataset, output, settings_sha256, views, count)


@data_app.command("views")
def data_views(
    files: Annotated[list[Path], typer.Argument(help="Images of your own.")],
    output: Output,
    equirect: Annotated[bool, typer.Option("--equirect", help="They are panoramas, W = 2 H.")],
    size: Annotated[int, typer.Option(help="Height and width of a view, pixels.")] = 512,
    fov_deg: Annotated[float, typer.Option(help="Field of view, degrees.")] = 90.0,
    num_views: Annotated[int, typer.Option(help="Evenly spaced views.")] = 8,
) -> None:
    """Cut images into perspective views: --equirect FILE... --output DIR."""
    from mvdiffusion.data.views import cut_equirectangular_files

    cut_equirectangular_files(files, output, size, fov_deg, num_views)


@data_app.command("stitch")
def data_stitch(
    views: Annotated[Path, typer.Option(help="A sample folder.")],
    output: Output,
    height: Annotated[int, typer.Option(help="Height of the panorama, pixels.")] = 1024,
) -> None:
    """Blend every sample's views into an equirectangular PNG."""
    from mvdiffusion.data.views import stitch_folder

    stitch_folder(views, output, height)


@train_app.command("vae")
def train_vae(
    settings: Settings,
    data: Data,
    validation: Validation,
    output: Output,
    checkpoints: Checkpoints,
    log_dir: LogDir,
) -> None:
    """Train the miniature's VAE from scratch."""
    from mvdiffusion.training import vae

    vae.train_vae(parse_settings(settings), data, validation, output, checkpoints, log_dir)


def _stage(name: str, help_text: str, function: Callable[[], Callable[..., None]]) -> None:
    """Add the training of a stage that starts from an earlier model."""

    def command(
        settings: Settings,
        data: Data,
        validation: Validation,
        base: Base,
        output: Output,
        checkpoints: Checkpoints,
        log_dir: LogDir,
    ) -> None:
        run = function()
        run(parse_settings(settings), data, validation, base, output, checkpoints, log_dir)

    train_app.command(name, help=help_text)(command)


def _base() -> Callable[..., None]:
    from mvdiffusion.training.base import train_base

    return train_base


def _stage1() -> Callable[..., None]:
    from mvdiffusion.training.single_view import train_stage1

    return train_stage1


def _stage2() -> Callable[..., None]:
    from mvdiffusion.training.multiview import train_stage2

    return train_stage2


_stage("base", "Train the miniature's text encoder and UNet from scratch (--base: the VAE).", _base)
_stage("stage1", "Stage 1: fine-tune the whole UNet on single views.", _stage1)
_stage("stage2", "Stage 2: train the correspondence-aware attention only.", _stage2)


class MethodName(StrEnum):
    """Methods that `generate panorama` knows (see `mvdiffusion.generation`)."""

    MVDIFFUSION = "mvdiffusion"
    INDEPENDENT = "independent"
    AUTOREGRESSIVE = "autoregressive"
    WRONG_CORRESPONDENCE = "wrong_correspondence"
    CODEC = "codec"


@generate_app.command("panorama")
def generate_panorama(
    method: Annotated[MethodName, typer.Option(help="What makes the views.")],
    model: Annotated[Path, typer.Option(help="Model folder (diffusers format).")],
    data: Data,
    settings: Settings,
    settings_sha256: Hash,
    output: Output,
    split: Annotated[str, typer.Option(help="Split that gives the prompts.")] = "test",
) -> None:
    """Generate the panoramas of a split; finished samples are kept when started again.

    SETTINGS holds `data` (image_size, num_views, fov_deg, prompt_prefix) beside the keys of
    `generation` in the configuration.
    """
    from mvdiffusion.data.views import SampleFolder
    from mvdiffusion.generation import GenerationSettings, generate_split

    values = parse_settings(settings)
    dataset = _dataset(data, split, values.pop("data", {}))
    numbers = GenerationSettings.from_mapping(values)
    folder = SampleFolder(output, method.value, settings_sha256, dataset.fov_deg)
    generate_split(method.value, model, dataset, numbers, folder)


def _dataset(root: Path, split: str, settings: dict[str, Any]) -> Any:
    from mvdiffusion.data.matterport3d import Matterport3DPanoramas

    try:
        return Matterport3DPanoramas(root, split, **settings)
    except TypeError as error:
        raise InputError(f"--settings: {error}; expected the keys of `data` views.") from None


def main() -> None:
    """Run the command; bad input ends with its message alone and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"mvdiffusion: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
