"""`mvdiffusion generate`: a split with one method, or one panorama or sequence for a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvdiffusion.cli.data import open_dataset
from mvdiffusion.cli.options import (
    Data,
    ForTask,
    Hash,
    Model,
    Output,
    Overwrite,
    Settings,
    Split,
    ViewChunk,
)
from mvdiffusion.commands import Processes, spread
from mvdiffusion.generation.settings import GenerationSettings, Scheduler, Solver
from mvdiffusion.methods.registry import find_method, method_names
from mvdiffusion.outputs import check_apart
from mvdiffusion.parallel.workers import part, share
from mvdiffusion.records import InputError, model_sha256
from mvdiffusion.settings import Device, Precision, parse, read_settings
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from mvdiffusion.methods.declaration import Method

generate_app = typer.Typer(
    no_args_is_help=True, help="Generate a whole split, or a single panorama or sequence."
)


@dataclass(frozen=True)
class Request:
    """Options of every single result."""

    model: Model
    output: Output
    prompt: Annotated[str | None, typer.Option(help="Prompt of all views.")] = None
    prompts: Annotated[
        Path | None, typer.Option(help="Text file of prompts, one line per view.")
    ] = None
    prompt_prefix: Annotated[
        str,
        typer.Option(
            help="Text put before every prompt: `prompt_prefix` of the data that the model was "
            "trained on."
        ),
    ] = ""
    steps: Annotated[int, typer.Option(min=1, help="Number of denoising steps.")] = 50
    guidance_scale: Annotated[
        float, typer.Option(help="Scale of classifier-free guidance; 1 or less disables it.")
    ] = 9.0
    negative_prompt: Annotated[str, typer.Option(help="Negative prompt.")] = ""
    scheduler: Annotated[
        Scheduler, typer.Option(help="Scheduler of diffusers; its numbers come from the model.")
    ] = "DDIMScheduler"
    algorithm_type: Annotated[
        Solver | None,
        typer.Option(
            help="Solver of DPMSolverMultistepScheduler; sde-dpmsolver++ adds fresh noise at every "
            "step (default: dpmsolver++)."
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of the initial noise.")] = 0
    view_chunk: ViewChunk = None
    dtype: Annotated[
        Precision, typer.Option(help="Precision of the UNet; auto prefers bfloat16 if native.")
    ] = "float32"
    device: Annotated[
        Device,
        typer.Option(
            metavar="DEVICE", help="Device: auto (a GPU if any), cpu, cuda, cuda:1 or mps."
        ),
    ] = "auto"
    independent: Annotated[
        bool,
        typer.Option(
            "--independent",
            help="Generate every view by itself, without attention between the views: the baseline "
            "of the paper.",
        ),
    ] = False
    overwrite: Overwrite = False

    def settings(self) -> GenerationSettings:
        """Return the settings of the sampling."""
        names = {field.name for field in fields(GenerationSettings)}
        values = {name: value for name, value in vars(self).items() if name in names}
        return GenerationSettings(num_inference_steps=self.steps, **values)

    def texts(self, *, blank_lines: bool) -> list[str]:
        """Return the one prompt, or the lines of the file, each after the prefix.

        Args:
            blank_lines: pass over those among the prompts; else they are forgotten prompts.

        Raises:
            InputError: neither or both are given, the file has no text, or a blank line.
        """
        if (self.prompt is None) == (self.prompts is None):
            raise InputError("expected either --prompt TEXT or --prompts FILE.")
        if self.prompts is None:
            return [f"{self.prompt_prefix}{self.prompt}"]
        try:
            text = self.prompts.read_text(encoding="utf-8-sig")  # Notepad's mark is no text
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(
                f"--prompts {self.prompts}: {why}; expected a text file, one line per view."
            ) from None
        lines = [line.strip() for line in text.rstrip().splitlines()]
        if not any(lines):
            raise InputError(
                f"--prompts {self.prompts}: no text in it; expected one line per view."
            )
        texts = [line for line in lines if line]
        if len(texts) < len(lines) and not blank_lines:
            raise InputError(
                f"--prompts {self.prompts}: line {lines.index('') + 1} is blank; expected a prompt "
                f"in every line, or --num-views {len(texts)} beside it if no prompt is missing."
            )
        return [self.prompt_prefix + text for text in texts]


@dataclass(frozen=True)
class PanoramaRequest(Request):
    """Options of a panorama."""

    height: Annotated[
        int | None,
        typer.Option(min=8, max=2**14, help="View height in pixels (default: the model's)."),
    ] = None
    width: Annotated[
        int | None,
        typer.Option(min=8, max=2**14, help="View width in pixels (default: the model's)."),
    ] = None
    num_views: Annotated[
        int | None,
        typer.Option(min=1, help="Number of evenly spaced views (default: one per prompt, or 8)."),
    ] = None
    fov_deg: Annotated[
        float, typer.Option(help="Horizontal field of view of a view in degrees.")
    ] = 90.0

    def create(self, given: Mapping[int, Path] | None = None) -> None:
        """Generate the panorama, or the rest of one around given views."""
        from mvdiffusion.generation.single import create_panorama

        check_apart(self.output, self.model, *(given or {}).values())
        create_panorama(
            self.model,
            self.output,
            self.texts(blank_lines=self.num_views is not None),
            self.settings(),
            given,
            self.height,
            self.width,
            self.num_views,
            self.fov_deg,
            self.overwrite,
            not self.independent,
        )


@generate_app.command("split")
def generate_split(
    method: Annotated[
        str,
        typer.Option(
            metavar=f"[{'|'.join(method_names())}]", help="Method that generates the images."
        ),
    ],
    model: Model,
    data: Data,
    settings: Settings,
    output: Output,
    other: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Folder of a further model that the method needs, such as inpainting=FOLDER; "
            "repeatable.",
        ),
    ] = None,
    settings_sha256: Hash = "",
    split: Split = "test",
    task: ForTask = Task.PANORAMA,
    overwrite: Overwrite = False,
    processes: Processes = None,
) -> None:
    """Generate the samples of a split; when started again, finished samples are kept.

    SETTINGS has the key `data` (as for `data export`), the keys of `generation` in the
    configuration, and, for a method that has some, the key `options`.
    """
    from mvdiffusion.generation import split as generation
    from mvdiffusion.generation.sample_folder import SampleFolder, split_manifest

    made_with = find_method(method, task)
    others = _others(made_with, other or [])
    check_apart(output, data, model, *others.values())
    values = read_settings(settings)
    share(processes, values.get("device", "auto"))  # what is not made then is made here
    views, own = values.pop("data", {}), values.pop("options", {})
    options = made_with.read_options(own)
    numbers = parse(GenerationSettings, values)
    dataset = open_dataset(task, data, split, views)
    made_of = {
        "model": model_sha256(model),
        **({"others": {name: model_sha256(others[name]) for name in others}} if others else {}),
        "data": views,
        "split": split,
        **numbers.deciding(),
        **({"options": asdict(options)} if options else {}),
    }
    manifest = split_manifest(task, method, dataset, numbers.num_samples, settings_sha256 or None)
    folder = SampleFolder(output, manifest, made_of, overwrite=overwrite, part=part())
    generation.generate_split(made_with, model, dataset, numbers, folder, others, options)


@generate_app.command("panorama")
@spread
def generate_panorama(request: PanoramaRequest) -> None:
    """Generate a panorama from text: views, panorama.png and .jpg, turning.mp4, contact sheet."""
    request.create()


@generate_app.command("outpaint")
@spread
def generate_outpaint(
    request: PanoramaRequest,
    image: Annotated[
        list[str],
        typer.Option(
            help="Given view: FILE at yaw 0, or VIEW=FILE; repeatable. A perspective image of the "
            "views' field of view, cropped about its center to their proportions."
        ),
    ],
) -> None:
    """Generate the rest of a panorama around one or several given views."""
    request.create(_given(image))


@generate_app.command("depth")
@spread
def generate_depth(
    request: Request,
    scene: Annotated[
        Path, typer.Option(help="Folder of a scene in ScanNet's layout; it needs no color images.")
    ],
    height: Annotated[int, typer.Option(min=8, max=2**14, help="Frame height in pixels.")] = 192,
    width: Annotated[int, typer.Option(min=8, max=2**14, help="Frame width in pixels.")] = 256,
    num_views: Annotated[
        int | None,
        typer.Option(
            min=3,
            help="Maximum number of frames that are denoised together, to save memory (default: "
            "all key frames, and 12 frames between two of them). More key frames are split into "
            "groups that see nothing of each other, and show different things.",
        ),
    ] = None,
    key_frames: Annotated[
        int | None,
        typer.Option(min=1, help="Number of key frames, from the first (default: all)."),
    ] = None,
    stride: Annotated[
        int,
        typer.Option(
            min=0,
            help="Step between the frames that are generated between key frames; 0 generates none.",
        ),
    ] = 1,
) -> None:
    """Generate the images of a scene from its depth: key frames, then the frames between them.

    Without --prompt and --prompts, the scene's captions prompt/N.txt are the prompts.
    """
    from mvdiffusion.generation.single import create_sequence

    check_apart(request.output, request.model, scene)
    create_sequence(
        request.model,
        request.output,
        scene,
        None if request.prompt is request.prompts is None else request.texts(blank_lines=True),
        request.settings(),
        height,
        width,
        num_views,
        key_frames,
        stride,
        request.prompt_prefix,
        request.overwrite,
        not request.independent,
    )


def _others(method: Method, texts: list[str]) -> dict[str, Path]:
    """Read NAME=FOLDER as folders of a method's further models by name."""
    others: dict[str, Path] = {}
    for text in texts:
        name, separator, folder = text.partition("=")
        if not separator or name not in method.others or name in others:
            names = ", ".join(method.others) or "none"
            raise InputError(
                f"--other {text}: expected NAME=FOLDER, once for each further model of the method "
                f"{method.name}: {names}."
            )
        others[name] = Path(folder)
    for name in method.others:
        if name not in others:
            raise InputError(f"--method {method.name}: needs --other {name}=FOLDER as well.")
    return others


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
