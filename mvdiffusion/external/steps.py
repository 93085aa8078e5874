"""The steps of an installation, as `plan` prints them and `install` takes them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvdiffusion.methods.specification import Checkpoint, Environment, Specification

UNKNOWN_REVISION = (
    "the revision of {0} is not on record, so the newest is fetched; to pin one, copy the "
    "specification's file, put `revision: COMMIT` (40 digits, from the history of its files on the "
    "hub) under `hub: {0}`, and give the copy's path in place of the name"
)


@dataclass(frozen=True)
class Place:
    """Where a method is installed.

    Attributes:
        root: its folder.
    """

    root: Path

    @property
    def source(self) -> Path:
        """The repository."""
        return self.root / "source"

    @property
    def environment(self) -> Path:
        """The environment, or what containers have of one."""
        return self.root / "environment"

    @property
    def image(self) -> Path:
        """The image of apptainer."""
        return self.root / "image.sif"


@dataclass(frozen=True)
class Step:
    """A step of an installation.

    Attributes:
        title: what it does.
        command: words of the command; none if a person has to do it.
        folder: where it runs.
        makes: weights that are there afterwards: a file or a folder.
        part: where the command writes them; they get their place when they are whole and right.
        url: address of the one file that they are, if they are; it is fetched by `download`, and
            the command says the same for a shell.
        sha256: hashes that they must have, by the files' names: inside the folder, or its own.
        by_hand: what a person has to do, unless `makes` is there.
        checks_out: whether the repository is there afterwards.
        warning: what is not known of it.
    """

    title: str
    command: tuple[str, ...] = ()
    folder: Path = Path()
    makes: Path | None = None
    part: Path | None = None
    url: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    by_hand: str = ""
    checks_out: bool = False
    warning: str = ""

    @property
    def words(self) -> str:
        """The command as a line for a shell, or what has to be done, as a comment."""
        line = shlex.join(self.command) or f"# {self.by_hand}"
        inside = f"cd {shlex.quote(str(self.folder))} && " if self.folder != Path() else ""
        return f"{inside}{line}"


def installation_steps(specification: Specification, place: Place) -> list[Step]:
    """List what installs a method, in order.

    Args:
        specification: the method.
        place: where it goes; paths in the commands begin with it.
    """
    repository = specification.repository
    git = ("git", "-C", str(place.source))
    return [
        Step("repository: make a folder", ("git", "init", "--quiet", str(place.source))),
        Step(
            f"repository: fetch commit {repository.commit[:7]} alone",
            (*git, "fetch", "--quiet", "--depth", "1", repository.url, repository.commit),
        ),
        Step(
            "repository: check it out",
            (*git, "checkout", "--quiet", "--detach", repository.commit),
            checks_out=True,
        ),
        *_environment_steps(specification.environment, place),
        *(_checkpoint_step(checkpoint, place) for checkpoint in specification.checkpoints),
    ]


def inside(
    environment: Environment, place: Place, command: Sequence[str], folders: Sequence[Path] = ()
) -> tuple[str, ...]:
    """Word a command so that it runs in the method's environment.

    Args:
        environment: what the method runs in.
        place: where it is installed.
        command: its words; "python" in front is the environment's.
        folders: further folders that it reads or writes, which a container must be shown.
    """
    backend, words = environment.backend, list(command)
    if backend == "conda":
        run = ("conda", "run", "--no-capture-output", "--prefix", str(place.environment))
        return (*run, *words)
    if words[0] == "python":
        words[0] = str(place.environment / "bin" / "python")
    return (*_container(environment, place, folders), *words)


def _container(environment: Environment, place: Place, folders: Sequence[Path]) -> tuple[str, ...]:
    """Words before a command that run it in a container; none for a virtual environment.

    Folders have the same names inside, so that paths mean the same. Environment variables are
    handed on by name, so that no key stands in a command.
    """
    shown = [str(path) for path in (place.root, *folders)]
    if environment.backend == "apptainer":
        binds = [word for path in shown for word in ("--bind", path)]
        return ("apptainer", "exec", "--nv", *binds, str(place.image))
    if environment.backend == "docker":
        binds = [word for path in shown for word in ("--volume", f"{path}:{path}")]
        handed = [word for name in environment.variables for word in ("--env", name)]
        options = ("--rm", "--init", "--gpus", "all", "--workdir", str(place.source))
        return ("docker", "run", *options, *binds, *handed, str(environment.image))
    return ()


def _environment_steps(environment: Environment, place: Place) -> Iterator[Step]:
    where, title = str(place.environment), f"environment ({environment.backend})"
    pip = [*environment.packages]
    pip += ["--requirement", environment.requirements] if environment.requirements else []
    if environment.backend == "conda":
        channels = [word for name in environment.channels for word in ("--channel", name)]
        python = [f"python={environment.python}", "pip"] if environment.python else []
        packages = (*python, *environment.conda_packages)
        conda = ("conda", "create", "--yes", "--prefix", where, *channels, *packages)
        yield Step(f"{title}: make it", conda)
    elif environment.backend == "venv":
        python_name = f"python{environment.python}" if environment.python else sys.executable
        needs_pip = pip or environment.install
        options = () if needs_pip else ("--without-pip",)
        yield Step(f"{title}: make it", (python_name, "-m", "venv", *options, where))
    else:
        image, docker = str(environment.image), environment.backend == "docker"
        pull = ("docker", "pull", image)
        build = ("apptainer", "build", str(place.image), f"docker://{image}")
        yield Step(f"{title}: get the image", pull if docker else build)
        make = ("python3", "-m", "venv", "--system-site-packages", where)
        yield Step(f"{title}: make a place for packages", inside(environment, place, make))
    commands = [["python", "-m", "pip", "install", *pip]] if pip else []
    for command in (*commands, *environment.install):
        words = inside(environment, place, command)
        yield Step(f"{title}: {' '.join(command)[:60]}", words, place.source)


def _checkpoint_step(checkpoint: Checkpoint, place: Place) -> Step:
    target = place.source / checkpoint.path
    title, part = f"weights: {checkpoint.path}", target.with_name(f"{target.name}.part")
    if checkpoint.by_hand:
        by_hand = f"put them at {target}: {checkpoint.by_hand}"
        title = f"{title} (by hand)"
        return Step(title, makes=target, sha256=checkpoint.sha256, by_hand=by_hand)
    command, warning = _fetch(checkpoint, part), ""
    if checkpoint.hub:
        gate = " (accept its license on the hub, and set HF_TOKEN)" if checkpoint.gated else ""
        title = f"{title} from the hub{gate}"
        warning = "" if checkpoint.revision else UNKNOWN_REVISION.format(checkpoint.hub)
    return Step(
        title,
        command,
        makes=target,
        part=part,
        url=checkpoint.url or "",
        sha256=checkpoint.sha256,
        warning=warning,
    )


def _fetch(checkpoint: Checkpoint, part: Path) -> tuple[str, ...]:
    """Word a command that fetches weights; called again, it goes on."""
    if checkpoint.hub:
        patterns = [word for name in checkpoint.files for word in ("--include", name)]
        revision = ("--revision", checkpoint.revision) if checkpoint.revision else ()
        return ("hf", "download", checkpoint.hub, *revision, *patterns, "--local-dir", str(part))
    curl = ("curl", "--fail", "--location", "--silent", "--show-error", "--create-dirs")
    return (*curl, "--continue-at", "-", "--output", str(part), str(checkpoint.url))
