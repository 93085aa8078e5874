"""The list of methods: their names, tasks, models and places in tables.

It imports no method, so that a command line, a workflow or a table can ask for names at no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from mvdiffusion.records import InputError
from mvdiffusion.tasks import Task

GROUP = "mvdiffusion.methods"  # of entry points


@dataclass(frozen=True)
class Method:
    """A method, as everything but its own code knows it.

    Attributes:
        name: in commands, configurations, manifests and score files.
        title: name in tables and figures.
        tasks: what it can be asked for.
        role: a "method" that is compared; a "control", which runs on fewer samples and stays out of
            main tables; or an "upper bound", which no method can exceed.
        model: the "multi-view" model of stage 2, or the "single-view" model that it starts from.
        color: color of its lines and dots, `#rrggbb`; None takes the next free one.
        reads_views: whether it needs the real views of a sample, whatever the task.
        code: module with one function per task (default: the file of its name in this package).
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    role: Literal["method", "control", "upper bound"] = "method"
    model: Literal["multi-view", "single-view"] = "single-view"
    color: str | None = None
    reads_views: bool = False
    code: str = ""

    @property
    def module(self) -> str:
        """Full name of the module that implements it."""
        return self.code or f"mvdiffusion.methods.{self.name}"

    @property
    def is_control(self) -> bool:
        """Whether it exists only as a control."""
        return self.role == "control"

    def function(self, task: str) -> Callable[..., Any]:
        """Import what makes the views of a task: a function of `methods.base.Batch`."""
        function: Callable[..., Any] = getattr(import_module(self.module), task)
        return function


METHODS = (
    Method(
        "vae_reconstruction",
        "VAE reconstruction",
        tuple(Task),
        role="upper bound",
        color="#9a9a9a",
        reads_views=True,
    ),
    Method("mvdiffusion", "MVDiffusion", tuple(Task), model="multi-view", color="#0b6e99"),
    Method(
        "autoregressive_latent",
        "Autoregressive inpainting of latents",
        (Task.PANORAMA,),
        color="#d1702a",
    ),
    Method("independent", "Independent views", tuple(Task), color="#8a5fb0"),
    Method(
        "wrong_correspondence",
        "CAA, wrong correspondences",
        (Task.PANORAMA, Task.DEPTH),
        role="control",
        model="multi-view",
        color="#b0413e",
    ),
)
"""This package's methods, in the order in which tables show them."""


def method_names(task: str | None = None) -> tuple[str, ...]:
    """List the methods, or those of a task, in the order in which tables show them.

    Without a task nothing of other packages is imported: an entry point has its method's name.
    """
    if task is None:
        return (*(method.name for method in METHODS), *_entry_points())
    return tuple(name for name, method in methods().items() if task in method.tasks)


def find_method(name: str, task: str) -> Method:
    """Find a method that can do a task.

    Raises:
        InputError: there is none of this name, or it cannot.
    """
    if name not in (names := method_names(task)):
        raise InputError(
            f"--method {name}: no such method of the task {task}; expected one of "
            f"{', '.join(names)}."
        )
    return methods()[name]


@cache
def methods() -> Mapping[str, Method]:
    """Know every method by name, those of other packages last.

    Raises:
        InputError: what another package registers is no method, or has another name than its
            entry point.
    """
    found = {method.name: method for method in METHODS}
    return found | {name: _load(entry) for name, entry in _entry_points().items()}


def _entry_points() -> dict[str, EntryPoint]:
    own = {method.name for method in METHODS}
    found = {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in own}
    return dict(sorted(found.items()))


def _load(entry: EntryPoint) -> Method:
    package = entry.dist.name if entry.dist else "unknown"
    where = f"method '{entry.name}' of the package '{package}' ({entry.value})"
    try:
        method = entry.load()
    except Exception as error:  # whatever somebody else's code raises
        raise InputError(
            f"{where} could not be loaded: {type(error).__name__}: {error}; fix or uninstall the "
            "package."
        ) from error
    if not isinstance(method, Method) or method.name != entry.name:
        raise InputError(f"{where}: expected a mvdiffusion.methods.registry.Method of this name.")
    return method
