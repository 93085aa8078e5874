"""`mvdiffusion external`: list, plan, install, run, import and check methods of others."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvdiffusion.cli.data import open_dataset
from mvdiffusion.cli.options import Data, Hash, Output, Overwrite, Settings, Split
from mvdiffusion.methods.specification import (
    Layout,
    Specification,
    find_specification,
    specification_names,
)
from mvdiffusion.methods.specification import Output as Files
from mvdiffusion.outputs import check_apart, check_file
from mvdiffusion.records import InputError, settings_sha256
from mvdiffusion.settings import Count, Seed, parse, read_settings, settings
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from mvdiffusion.external.requests import Requests

external_app = typer.Typer(
    no_args_is_help=True,
    help="Install, run, import and check methods that others have published.",
)

Name = Annotated[
    str, typer.Argument(help="Name of the method, see `external list`, or the path of a YAML file.")
]
Root = Annotated[
    Path, typer.Option(help="Folder of all installations; the method gets a folder in it.")
]
ForTask = Annotated[Task, typer.Option(help="Task of the images.")]


@settings
class RunSettings:
    """Numbers of a run.

    Attributes:
        num_samples: number of samples, from the start of the split; null means all.
        seed: base of the per-sample seeds.
    """

    num_samples: Count | None = None
    seed: Seed = 0


@external_app.command("list")
def external_list() -> None:
    """List the external methods: tasks, license, and how they are installed."""
    for name in specification_names():
        found = find_specification(name)
        tasks, backend = ", ".join(found.tasks), found.environment.backend
        print(f"{name}: {found.title} ({tasks}; {backend}; license: {found.repository.license})")


@external_app.command("plan")
def external_plan(name: Name, root: Root = Path("external")) -> None:
    """Print every step from an empty folder to a medal; nothing is run, nothing is downloaded."""
    from mvdiffusion.external.plan import plan_lines

    print("\n".join(plan_lines(find_specification(name), root, name)))


@external_app.command("install")
def external_install(
    name: Name, root: Root = Path("external"), overwrite: Overwrite = False
) -> None:
    """Install a method at its commit, in an environment of its own; a second call continues."""
    from mvdiffusion.external.install import install

    place = install(find_specification(name), root, overwrite)
    print(f"{place.root}: installed")


@external_app.command("run")
def external_run(
    name: Name,
    data: Data,
    output: Output,
    split: Split = "test",
    task: ForTask = Task.PANORAMA,
    settings: Settings = "{}",
    settings_sha256: Hash = "",
    root: Root = Path("external"),
    only_requests: Annotated[
        bool,
        typer.Option(
            "--only-requests",
            help="Write requests.json with prompts, seeds and cameras, for a run elsewhere, and "
            "end.",
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Have an installed method make a split's samples, in its own layout; finished ones are kept.

    SETTINGS has the keys `data` (as for `data export`), `num_samples` and `seed`.
    """
    from mvdiffusion.external.generate import Run
    from mvdiffusion.external.install import installed
    from mvdiffusion.external.requests import REQUESTS, write_requests
    from mvdiffusion.outputs import begin

    specification = find_specification(name)
    specification.generation(task)
    place = None if only_requests else installed(specification, root)
    check_apart(output, data)
    dataset, numbers, views = _dataset(task, data, split, settings)
    begin(output, _run_identity(specification, task, split, numbers, views), overwrite=overwrite)
    requests = _requests(specification, task, dataset, numbers, settings_sha256, output)
    if place is None:
        write_requests(output / REQUESTS, requests, requests.samples)
        print(f"{output / REQUESTS}: {len(requests.samples)} samples")
        return
    Run(specification, requests, output).go(place, data)
    print(f"{output}: {len(requests.samples)} samples in the layout of {specification.title}")


@external_app.command("import")
def external_import(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Folder that the method has written.")],
    output: Output,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data folder, for prompts and cameras; not needed if FOLDER holds requests.json."
        ),
    ] = None,
    split: Split = "test",
    task: ForTask = Task.PANORAMA,
    settings: Settings = "{}",
    settings_sha256: Hash = "",
    layout: Annotated[
        Layout | None, typer.Option(help="Layout of the files, if not as specified.")
    ] = None,
    files: Annotated[
        str | None,
        typer.Option(
            help="Pattern of the files' names, such as '{sample}.png', if not as specified."
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(min=8, help="Height and width of the views, where nothing else says it.")
    ] = 512,
    overwrite: Overwrite = False,
) -> None:
    """Turn what a method has written, here or elsewhere, into a sample folder to be scored."""
    from mvdiffusion.external.importing import import_folder, requests_of
    from mvdiffusion.external.requests import INPUTS, REQUESTS

    specification = find_specification(name)
    check_apart(output, folder, *([data] if data else []))
    found = _changed(specification.generation(task).output, layout, files)
    with TemporaryDirectory() as scratch:  # for depth and cameras, which `run` would have left
        requests, inputs = None, None
        if data is not None:
            dataset, numbers, _ = _dataset(task, data, split, settings)
            requests = _requests(
                specification, task, dataset, numbers, settings_sha256, Path(scratch)
            )
            inputs = Path(scratch) / INPUTS
        elif not (folder / REQUESTS).is_file():
            shape = found or specification.generation(task).output
            requests = requests_of(specification, task, folder, shape, size)
        count = import_folder(
            specification, folder, output, requests, found, inputs, overwrite=overwrite
        )
    print(f"{output}: {count} samples of {specification.title}")


def _changed(specified: Files, layout: Layout | None, files: str | None) -> Files | None:
    """The layout that options state; none if none is given."""
    changes = {key: value for key, value in (("layout", layout), ("files", files)) if value}
    if not changes:
        return None
    values = asdict(specified)
    if layout and layout != specified.layout:
        values["faces"] = None
    try:
        return parse(Files, values | changes)
    except InputError as error:
        given = " ".join(f"--{key} {value}" for key, value in changes.items())
        raise InputError(f"{given}: {error}") from None


@external_app.command("check")
def external_check(
    name: Name,
    generated: Annotated[
        Path | None,
        typer.Argument(help="Folder of its images, which is scored, or its score file (JSON)."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Folder with the real views of the same samples.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Protocol to run (default: all that can); repeatable.")
    ] = None,
    extractor: Annotated[
        list[str] | None, typer.Option(help="Feature extractor, by name or folder; repeatable.")
    ] = None,
    panorama_height: Annotated[
        int | None, typer.Option(help="Rows to which equirectangular images are resized first.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Score file to write (default: FOLDER.json).")
    ] = None,
    root: Root = Path("external"),
) -> None:
    """Score its images, compare them with the numbers of its paper, and give it a medal.

    A score file that `mvdiffusion-eval score` has written is taken as it is. If the method is
    installed, its weights must still have the hashes on record.
    """
    from mvdiffusion import medals
    from mvdiffusion.external import checking
    from mvdiffusion.external.install import verify

    specification, score = find_specification(name), None
    verify(specification, root)
    if generated is not None:
        path = generated
        if generated.is_dir():
            path = output or generated.with_name(f"{generated.name}.json")
            check_file(path)
            options = [
                *([] if reference is None else ["--reference", str(reference)]),
                *([] if panorama_height is None else ["--panorama-height", str(panorama_height)]),
                *(word for name in protocol or () for word in ("--protocol", name)),
                *(word for name in extractor or () for word in ("--extractor", name)),
            ]
            checking.score_folder(generated, path, ["--method", specification.method, *options])
        score = checking.read_score(path, specification)
    comparisons = medals.compare(specification, score)
    for each in comparisons:
        print(each.words)
    print(f"{specification.title}: {medals.medal(score, comparisons)}")


def _dataset(task: Task, data: Path, split: str, values: str) -> tuple[Any, RunSettings, Any]:
    """Open a split by settings, and return the settings of the run and of the data."""
    given = read_settings(values)
    views = given.pop("data", {})
    return open_dataset(task, data, split, views), parse(RunSettings, given), views


def _requests(
    specification: Specification,
    task: Task,
    dataset: Any,
    numbers: RunSettings,
    sha256: str,
    folder: Path | None,
) -> Requests:
    from mvdiffusion.external.requests import make_requests

    count, seed = numbers.num_samples, numbers.seed
    return make_requests(specification, task, dataset, count, seed, sha256 or None, folder)


def _run_identity(
    specification: Specification, task: Task, split: str, numbers: RunSettings, views: Any
) -> dict[str, Any]:
    """What decides what a method writes."""
    return {
        "external": specification.name,
        "commit": specification.repository.commit,
        "specification": settings_sha256(specification.deciding(task)),
        "task": task.value,
        "split": split,
        "data": views,
        **asdict(numbers),
    }
