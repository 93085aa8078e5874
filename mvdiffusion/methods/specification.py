"""External methods: what a file of mvdiffusion/methods/external says of somebody else's method.

A specification states where the code is, what it runs in, how it is given prompts, and what it
writes. It is read and checked here; `mvdiffusion.external` installs and runs what it describes.
"""

from __future__ import annotations

import re
import string
from dataclasses import asdict, field
from functools import cache
from itertools import permutations
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field

from mvdiffusion.methods.declaration import EXTERNAL, Method
from mvdiffusion.pins import ONE_VERSION, check_pin, unpinned_in
from mvdiffusion.records import InputError
from mvdiffusion.settings import FieldOfView, Text, YamlLoader, mistake, parse, settings, suggest
from mvdiffusion.tasks import Task

FOLDER = Path(__file__).with_name("external")


def _below(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("a path below the folder, without '..'")
    return path


def _digits(count: int) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(f"[0-9a-f]{{{count}}}", text):
            raise ValueError(
                f"{count} hexadecimal digits in lowercase (found: {len(text)} characters)"
            )
        return text

    return AfterValidator(check)


Layout = Literal["views", "equirectangular", "cube", "strip", "frames"]
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]*$")]
Commit = Annotated[str, _digits(40)]
Sha256 = Annotated[str, _digits(64)]
Inside = Annotated[str, Field(pattern=r"^[A-Za-z0-9{_]"), AfterValidator(_below)]
Requirement = Annotated[Text, AfterValidator(check_pin)]
Command = Annotated[list[Text], Field(min_length=1)]

RUN_FIELDS = ("source", "output", "requests", "script", "data")
SAMPLE_FIELDS = ("sample", "prompt", "seed", "inputs")
FACES = ("up", "left", "front", "right", "back", "down")
"""Faces of a cube in the order of `mvdiffusion.geometry.cubemap`."""


@settings
class Repository:
    """Where the code is.

    Attributes:
        url: of the git repository.
        commit: the commit that is fetched, all 40 digits.
        license: of the code, and what it forbids.
    """

    url: Text
    commit: Commit
    license: Text


@settings
class Environment:
    """What the code runs in.

    Attributes:
        backend: how it is made: a virtual environment, conda, or a container.
        python: its version, such as "3.9"; null: the Python that runs this program, or the image's.
        image: image of a container, with its digest.
        packages: requirements for pip, each of one version.
        requirements: requirements file of the repository, installed with them; what it leaves open
            must be among them.
        conda_packages: packages for conda, each of one version.
        channels: channels of conda.
        install: further commands, run in the repository; what they install with pip or conda has
            one version, or is a folder of the repository, such as `.`; options have their values
            after an equals sign.
        variables: environment variables, such as keys, that a container is handed, by name.
    """

    backend: Literal["venv", "conda", "apptainer", "docker"]
    python: Annotated[str, Field(pattern=r"^3\.\d+$")] | None = None
    image: Text | None = None
    packages: list[Requirement] = field(default_factory=list)
    requirements: Inside | None = None
    conda_packages: list[Requirement] = field(default_factory=list)
    channels: list[Text] = field(default_factory=list)
    install: list[Command] = field(default_factory=list)
    variables: list[Text] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what the backend has no use for."""
        contained = self.backend in ("apptainer", "docker")
        if contained != (self.image is not None):
            raise mistake("image", self.image, "an image for apptainer or docker, and for no other")
        if self.image and not re.search("@sha256:[0-9a-f]{64}$", self.image):
            raise mistake("image", self.image, "an image with its digest, NAME@sha256:…")
        if self.backend != "conda" and (self.conda_packages or self.channels):
            raise mistake("conda_packages", self.conda_packages, "none without the backend conda")
        if unpinned := [word for command in self.install for word in unpinned_in(command)]:
            expected = f"{ONE_VERSION}, or ./FOLDER; and options as --NAME=VALUE"
            raise mistake("install", unpinned[0], expected)


@settings
class Checkpoint:
    """Weights, and where they come from: exactly one of `url`, `hub` and `by_hand`.

    Attributes:
        path: where the code looks for them, below the repository.
        url: address of a file.
        hub: id of a model on the Hugging Face hub, whose files go into a folder.
        revision: commit of the model on the hub, all 40 digits; null if none is on record.
        files: patterns of the files that are needed of it (default: all).
        by_hand: how a person gets what no command can fetch.
        sha256: hashes on record, by the files' names: inside the folder, or that of the file.
        gated: whether a license must be accepted on the hub first.
    """

    path: Inside
    url: Text | None = None
    hub: Text | None = None
    revision: Commit | None = None
    files: list[Text] = field(default_factory=list)
    by_hand: Text | None = None
    sha256: dict[Inside, Sha256] = field(default_factory=dict)
    gated: bool = False

    def __post_init__(self) -> None:
        """Refuse none or several sources, and what goes with another one."""
        given = [key for key in ("url", "hub", "by_hand") if getattr(self, key)]
        if len(given) != 1:
            raise mistake("url", given, "exactly one of url, hub and by_hand")
        if (self.revision or self.files) and not self.hub:
            raise mistake("hub", self.hub, "a model of the hub, as a revision or files are given")
        name = PurePosixPath(self.path).name
        if self.url and set(self.sha256) - {name}:
            raise mistake("sha256", sorted(self.sha256), f"the hash of {name} alone")


@settings
class Face:
    """How a face of a cube is stored.

    Attributes:
        name: what stands for `{face}` in the name of its file.
        turn: quarter turns clockwise that bring the picture upright. Upright, the sides have the
            ground below; up and down are as seen by someone who faces the front and lifts or
            lowers the head.
        mirrored: whether left and right are swapped, as seen from outside; undone before the turn.
    """

    name: Text
    turn: Annotated[int, Field(ge=0, le=3)] = 0
    mirrored: bool = False


@settings
class Output:
    """What the method writes.

    Attributes:
        layout: perspective views; one equirectangular panorama; six faces of a cube; a level strip
            (a cylinder's picture, all around); or frames of a sequence.
        files: pattern of a file's name in the output folder, with `{sample}`, and `{view}`,
            `{frame}` or `{face}` where there are several; `*` stands for any text.
        yaw_deg: where a panorama's middle, a cube's front or view 0 looks, to the right of the
            data's.
        fov_deg: horizontal field of view of views; null: that of the data.
        faces: faces of a cube, by direction.
    """

    layout: Layout
    files: Inside
    yaw_deg: float = 0.0
    fov_deg: FieldOfView | None = None
    faces: dict[Literal["up", "left", "front", "right", "back", "down"], Face] | None = None

    def __post_init__(self) -> None:
        """Refuse a pattern that does not name the layout's files, and an incomplete cube."""
        each = {"views": "view", "frames": "frame", "cube": "face"}.get(self.layout)
        expected = {"sample"} | ({each} if each else set())
        if (found := sorted(fields_of("files", self.files))) != sorted(expected):
            words = " and ".join(f"{{{name}}}" for name in sorted(expected))
            raise mistake(
                "files", self.files, f"a pattern with {words}, each once (found: {found})"
            )
        if (self.layout == "cube") != (self.faces is not None):
            raise mistake("faces", self.faces, "the six faces of a cube, and none otherwise")
        if self.faces is not None and set(self.faces) != set(FACES):
            raise mistake("faces", sorted(self.faces), f"all of {', '.join(FACES)}")


@settings
class Generation:
    """How a task's images are made: one process for all samples, or one for each.

    Attributes:
        command: words of the command, run in the repository; "python" is the environment's. Fields:
            `{source}` the repository, `{output}` the output folder, `{requests}` the file of
            prompts, `{script}`, `{data}` the data folder; and, for a process per sample,
            `{sample}`, `{prompt}`, `{seed}` and `{inputs}`, the folder of given views or depth.
        script: a Python program that the command runs as `{script}`, in the method's environment.
        output: what it writes.
        per_sample: whether a process makes one sample.
        prompt_prefix: text put before the joined prompt.
    """

    command: Command
    output: Output
    script: Text | None = None
    per_sample: bool = False
    prompt_prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse fields that nobody fills in, and a script that nobody runs."""
        known = (*RUN_FIELDS, *(SAMPLE_FIELDS if self.per_sample else ()))
        used = {name for word in self.command for name in fields_of("command", word)}
        if wrong := sorted(used - set(known)):
            raise mistake("command", wrong[0], f"a field among {', '.join(known)}")
        if ("script" in used) != (self.script is not None):
            raise mistake("script", self.script, "a script if, and only if, the command names it")


@settings
class PaperResult:
    """A number of the method's paper.

    Attributes:
        task: the task that it is of.
        metric: its name in score files, or in the paper if no protocol of the suite measures it.
        value: as printed.
        source: where it stands, and how sure it is.
        protocol: the suite's protocol that measures the same; null if there is none.
        tolerance: how far a reproduction may be from it; with a protocol.
        num_samples: samples that it is the mean of, or a distance of the set of.
    """

    task: Task
    metric: Text
    value: float
    source: Text
    protocol: Text | None = None
    tolerance: Annotated[float, Field(gt=0)] | None = None
    num_samples: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse a number that could be compared, but not judged."""
        if (self.protocol is None) != (self.tolerance is None):
            raise mistake("tolerance", self.tolerance, "a tolerance if a protocol is named")


@settings
class Specification:
    """An external method.

    Attributes:
        name: that of its file.
        title: name in tables and figures.
        paper: its citation in short.
        checked: what was verified of all this, and what was only read.
        repository: where the code is.
        environment: what it runs in.
        tasks: how the images of each task are made.
        checkpoints: weights that it needs.
        results: numbers of its paper.
        notes: what is not reproducible, or not like the other methods.
        color: color of its lines and dots, `#rrggbb`.
        place: number by which tables and figures order methods, see `declaration.Method`.
        published: its name in the tables of MVDiffusion's paper, see there.
    """

    name: Name
    title: Text
    paper: Text
    checked: Text
    repository: Repository
    environment: Environment
    tasks: Annotated[dict[Task, Generation], Field(min_length=1)]
    checkpoints: list[Checkpoint] = field(default_factory=list)
    results: list[PaperResult] = field(default_factory=list)
    notes: list[Text] = field(default_factory=list)
    color: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")] | None = None
    place: Annotated[int, Field(ge=0)] = 150
    published: str = ""

    def __post_init__(self) -> None:
        """Refuse weights of which one would lie among the other's files."""
        paths = [PurePosixPath(checkpoint.path) for checkpoint in self.checkpoints]
        for one, other in permutations(paths, 2):
            if other.is_relative_to(one):
                expected = "paths of which none is equal to another, or inside it"
                raise mistake("checkpoints", [str(one), str(other)], expected)

    @property
    def method(self) -> str:
        """Name of the method in configurations, manifests and tables."""
        return EXTERNAL + self.name

    def generation(self, task: str) -> Generation:
        """How the images of a task are made.

        Raises:
            InputError: the method does not do this task.
        """
        if task not in self.tasks:
            raise InputError(
                f"{self.method}: does not do the task {task}; expected one of "
                f"{', '.join(self.tasks)}."
            )
        return self.tasks[Task(task)]

    def installation(self) -> dict[str, Any]:
        """What decides an installation."""
        content = asdict(self)
        return {key: content[key] for key in ("name", "repository", "environment", "checkpoints")}

    def deciding(self, task: str) -> dict[str, Any]:
        """What decides the images of a task, beside the data."""
        return self.installation() | {"generation": asdict(self.generation(task))}


def fields_of(key: str, text: str) -> list[str]:
    """Names in braces, in a text that `str.format` fills in; they are filled in as they are.

    Args:
        key: of the text, for messages.
        text: the text.

    Raises:
        PydanticCustomError: a brace is not closed, or a name has a conversion or a format.
    """
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        raise mistake(key, text, "names in braces, each closed, such as {sample}") from None
    if any(layout or conversion for _, _, layout, conversion in parts):
        raise mistake(key, text, "names alone in braces, without ':' or '!', such as {sample}")
    return [name for _, name, _, _ in parts if name is not None]


def external_methods() -> dict[str, Method]:
    """Declare the methods that specifications describe, by name."""
    found = {}
    for each in map(find_specification, specification_names()):
        tasks = tuple(task.value for task in each.tasks)
        found[each.method] = Method(
            each.method,
            each.title,
            tasks,
            model="",
            place=each.place,
            published=each.published,
            color=each.color,
        )
    return found


def specification_names() -> list[str]:
    """Names of the specifications that are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def find_specification(name: str) -> Specification:
    """Read the specification of a name, or of a file.

    Args:
        name: of a specification that is shipped, with or without "external/"; or the path of a
            YAML file, in which anybody may describe a method.

    Raises:
        InputError: there is none, or it is not as `Specification` says.
    """
    return read_specification(specification_file(name))


def specification_file(name: str) -> Path:
    """Find the file of a specification, as `find_specification` takes its name.

    Raises:
        InputError: there is none of this name.
    """
    short = name.removeprefix(EXTERNAL)
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    if short not in (known := specification_names()):
        more = suggest(short, known).removesuffix(".")
        raise InputError(f"external method '{short}': unknown{more}; or give a YAML file.")
    return FOLDER / f"{short}.yaml"


def read_specification(path: Path) -> Specification:
    """Read and check a file.

    Raises:
        InputError: it is missing, no YAML, or a key is unknown, missing or wrong.
    """
    try:
        values = yaml.load(path.read_text("utf-8"), YamlLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise InputError(f"{path}: {reason}; expected the YAML file of a method.") from None
    found = parse(Specification, values, file=path)
    if found.name != path.stem:
        raise InputError(f"{path}: key 'name' is '{found.name}'; expected '{path.stem}'.")
    return found
