"""`mvdiffusion generate`: a split with one method, or a panorama or sequence of one's own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvdiffusion.cli.data import open_dataset
from mvdiffusion.cli.options import Data, ForTask, Hash, Model, Output, Overwrite, Settings
from mvdiffusion.methods.registry import find_method, method_names
from mvdiffusion.records import InputError, folder_sha256
from mvdiffusion.settings import read_settings
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from mvdiffusion.generation.split import GenerationSettings

generate_app = typer.Typer(
    no_args_is_help=True, help="Generate panoramas or sequences of your own, or a whole split."
)


class Device(StrEnum):
    """Where to run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class UnetDtype(StrEnum):
    """Types of the UNet's numbers."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


Prompt = Annotated[str | None, typer.Option(help="One text for all views.")]
Prompts = Annotated[Path | None, typer.Option(help="Text file, one line per view.")]
Negative = Annotated[str, typer.Option(help="Text to stay away from.")]
Steps = Annotated[int, typer.Option(help="Denoising steps.")]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal images.")]
NumViews = Annotated[int | None, typer.Option(help="Views around (default 8).")]
FieldOfView = Annotated[float, typer.Option(help="Of a view, horizontal, degrees.")]
Side = Annotated[int | None, typer.Option(help="Of a view in pixels (default: the model's).")]
ViewChunk = Annotated[
    int | None, typer.Option(help="Views at a time in every layer: less memory, same result.")
]
UnetType = Annotated[UnetDtype, typer.Option(help="Of the UNet's numbers.")]
On = Annotated[Device, typer.Option(help="auto: a GPU if there is one.")]


@generate_app.command("split")
def generate_split(
    method: Annotated[
        str, typer.Option(metavar=f"[{'|'.join(method_names())}]", help="Method to generate with.")
    ],
    model: Model,
    data: Data,
    settings: Settings,
    output: Output,
    settings_sha256: Hash = "",
    split: Annotated[str, typer.Option(help="Split that gives the prompts.")] = "test",
    task: ForTask = Task.PANORAMA,
    overwrite: Overwrite = False,
) -> None:
    """Generate the samples of a split; finished samples are kept when started again.

    SETTINGS holds `data` (as for `data export`) beside the keys of `generation` in the
    configuration.
    """
    from mvdiffusion.generation import split as generation
    from mvdiffusion.generation.sample_folder import SampleFolder, split_manifest

    made_with = find_method(method, task)
    values = read_settings(settings)
    views = values.pop("data", {})
    dataset = open_dataset(task, data, split, views)
    numbers = generation.GenerationSettings.from_mapping(values)
    made_of = {
        "model": folder_sha256(model),
        "data": views,
        "split": split,
        **numbers.deciding(),
    }
    manifest = split_manifest(task, method, dataset, numbers.num_samples, settings_sha256 or None)
    folder = SampleFolder(output, manifest, made_of, overwrite=overwrite)
    generation.generate_split(made_with, model, dataset, numbers, folder)


@generate_app.command("panorama")
def generate_panorama(
    model: Model,
    output: Output,
    prompt: Prompt = None,
    prompts: Prompts = None,
    steps: Steps = 50,
    guidance_scale: Guidance = 9.0,
    negative_prompt: Negative = "",
    seed: Seed = 0,
    height: Side = None,
    width: Side = None,
    num_views: NumViews = None,
    fov_deg: FieldOfView = 90.0,
    view_chunk: ViewChunk = None,
    dtype: UnetType = UnetDtype.FLOAT32,
    device: On = Device.AUTO,
    overwrite: Overwrite = False,
) -> None:
    """Generate a panorama from text: views, panorama.png and .jpg, turning.mp4, contact sheet."""
    from mvdiffusion.generation.single import create_panorama

    sampling = _sampling(steps, guidance_scale, negative_prompt, seed, view_chunk, dtype, device)
    texts = _texts(prompt, prompts)
    size = (height, width)
    create_panorama(model, output, texts, sampling, None, *size, num_views, fov_deg, overwrite)


@generate_app.command("outpaint")
def generate_outpaint(
    model: Model,
    output: Output,
    image: Annotated[
        list[str],
        typer.Option(
            help="FILE, the view at yaw 0, or VIEW=FILE, several times: perspective images of the "
            "views' field; their middle square is taken."
        ),
    ],
    prompt: Prompt = None,
    prompts: Prompts = None,
    steps: Steps = 50,
    guidance_scale: Guidance = 9.0,
    negative_prompt: Negative = "",
    seed: Seed = 0,
    height: Side = None,
    width: Side = None,
    num_views: NumViews = None,
    fov_deg: FieldOfView = 90.0,
    view_chunk: ViewChunk = None,
    dtype: UnetType = UnetDtype.FLOAT32,
    device: On = Device.AUTO,
    overwrite: Overwrite = False,
) -> None:
    """Generate the rest of a panorama around one or several given views."""
    from mvdiffusion.generation.single import create_panorama

    sampling = _sampling(steps, guidance_scale, negative_prompt, seed, view_chunk, dtype, device)
    texts = _texts(prompt, prompts)
    size = (height, width)
    create_panorama(
        model, output, texts, sampling, _given(image), *size, num_views, fov_deg, overwrite
    )


@generate_app.command("depth")
def generate_depth(
    model: Model,
    scene: Annotated[Path, typer.Option(help="Folder of a scene in ScanNet's layout.")],
    output: Output,
    prompt: Prompt = None,
    prompts: Prompts = None,
    steps: Steps = 50,
    guidance_scale: Guidance = 9.0,
    negative_prompt: Negative = "",
    seed: Seed = 0,
    height: Annotated[int, typer.Option(help="Of a frame in pixels.")] = 192,
    width: Annotated[int, typer.Option(help="Of a frame in pixels.")] = 256,
    num_views: Annotated[int, typer.Option(min=3, help="Most frames to denoise together.")] = 12,
    key_frames: Annotated[
        int | None, typer.Option(help="So many key frames, from the first; default all.")
    ] = None,
    stride: Annotated[
        int, typer.Option(help="Of the frames between, take every STRIDEth; 0 takes none.")
    ] = 1,
    view_chunk: ViewChunk = None,
    dtype: UnetType = UnetDtype.FLOAT32,
    device: On = Device.AUTO,
    overwrite: Overwrite = False,
) -> None:
    """Generate the images of a scene's depth: key frames, then the frames between them.

    Without --prompt and --prompts (one line per frame) the scene's prompt/N.txt are used.
    """
    from mvdiffusion.generation.single import create_sequence

    sampling = _sampling(steps, guidance_scale, negative_prompt, seed, view_chunk, dtype, device)
    texts = None if prompt is prompts is None else _texts(prompt, prompts)
    create_sequence(
        model,
        output,
        scene,
        texts,
        sampling,
        height,
        width,
        num_views,
        key_frames,
        stride,
        overwrite,
    )


def _sampling(
    steps: int,
    guidance_scale: float,
    negative_prompt: str,
    seed: int,
    view_chunk: int | None,
    dtype: UnetDtype,
    device: Device,
) -> GenerationSettings:
    from mvdiffusion.generation.split import GenerationSettings

    return GenerationSettings(
        seed=seed,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        negative_prompt=negative_prompt,
        dtype=dtype.value,
        device=device.value,
        view_chunk=view_chunk,
    )


def _texts(prompt: str | None, prompts: Path | None) -> list[str]:
    """One text, or the lines of a file."""
    if (prompt is None) == (prompts is None):
        raise InputError("expected either --prompt TEXT or --prompts FILE.")
    if prompts is None:
        return [str(prompt)]
    try:
        lines = [line.strip() for line in prompts.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--prompts {prompts}: {error}; expected a text file, one line per view."
        ) from None
    if not (texts := [line for line in lines if line]):
        raise InputError(f"--prompts {prompts}: no text in it; expected one line per view.")
    return texts


def _given(images: list[str]) -> dict[int, Path]:
    """Read FILE and VIEW=FILE as files by view."""
    given: dict[int, Path] = {}
    for text in images:
        view, separator, name = text.partition("=")
        numbered = separator and view.isdecimal() and not Path(text).is_file()
        place, path = (int(view), Path(name)) if numbered else (0, Path(text))
        if place in given:
            raise InputError(
                f"--image {text}: view {place} is given twice; expected VIEW=FILE for each."
            )
        given[place] = path
    return dict(sorted(given.items()))
