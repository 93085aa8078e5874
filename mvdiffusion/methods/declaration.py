"""What a method says of itself: all that commands, workflow and tables know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.tasks import Task

Role = Literal["method", "upper bound", "control", "ablation"]
EXTERNAL = "external/"
"""What the names of methods of others begin with, see `specification`."""

MODELS = ("base", "single-view", "multi-view", "inpainting")
"""Models that every experiment can make; a method that trains one adds it under its own name."""


@dataclass(frozen=True)
class Training:
    """A model that no stage of the paper's method makes, and how it is made.

    Its settings are the section `trainings.<method>` of the task in the configuration; stage 1 and
    stage 2 have the task's own section `stage1` or `stage2`, if there is no such one.

    Attributes:
        command: subcommand of `mvdiffusion train` that makes it.
        start: the model that it starts from, named as in `Method.model`.
        changes: settings that differ from those of the section, nested as there.
        pipeline: class that loads it, as `module:class` (default: the pipeline of the task).
    """

    command: str
    start: str = "single-view"
    changes: Mapping[str, Any] = field(default_factory=dict)
    pipeline: str = ""


@dataclass(frozen=True)
class Method:
    """A method, as everything but its own code knows it.

    Attributes:
        name: in commands, configurations, manifests and score files; that of its entry point.
        title: name in tables and figures.
        tasks: what it can be asked for.
        role: a "method" that is compared; an "upper bound", which no method can exceed; a
            "control", which runs on fewer samples and stays out of main tables; or an "ablation",
            MVDiffusion with one thing changed, which stands in a table of its own.
        model: the model that it runs, `Batch.pipeline`: the task's "base" as it is (such as Stable
            Diffusion); the "single-view" model after stage 1, which is the base if there is no
            stage 1; the "multi-view" model of stage 2; the "inpainting" model of single views that
            outpainting starts from; or the name of a method, for the model of its `training`.
            Methods of others, which are called external/…, run no model of this project: "".
        others: further models that it runs, named likewise: `Batch.models`.
        training: how its own model is made, if it has one.
        place: number by which tables and figures order methods: those of the paper's tables in the
            paper's order, then others.
        published: its name in the paper's tables, whose numbers then stand beside it.
        color: color of its lines and dots, `#rrggbb`; None takes the next free one.
        reads_views: whether it needs the real views of a sample, whatever the task.
        options: class under `mvdiffusion.settings.settings` of the method's own numbers, which have
            defaults; `Batch.options` is an instance. None: it has none.
        module: module that has a function per task; the registry fills it in, as the next.
        loaders: classes that load models of trainings, by their names.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    role: Role = "method"
    model: str = "single-view"
    others: tuple[str, ...] = ()
    training: Training | None = None
    place: int = 1000
    published: str = ""
    color: str | None = None
    reads_views: bool = False
    options: type | None = None
    module: str = ""
    loaders: Mapping[str, str] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """All models that it runs, the main one first."""
        return (self.model, *self.others) if self.model else ()

    @property
    def is_external(self) -> bool:
        """Whether a specification describes it, so that it runs in an environment of its own."""
        return self.name.startswith(EXTERNAL)

    @property
    def is_ours(self) -> bool:
        """Whether the code of this project makes its views, rather than that of somebody else."""
        return self.module.startswith("mvdiffusion.")

    @property
    def is_control(self) -> bool:
        """Whether it exists only as a control."""
        return self.role == "control"

    def function(self, task: str) -> Callable[..., Any]:
        """Find what makes the views of a task: a function of `methods.base.Batch`.

        Raises:
            InputError: it is a method of others.
        """
        if self.is_external:
            raise InputError(
                f"{self.name}: is a method of others; run it by `mvdiffusion external run "
                f"{self.name.removeprefix(EXTERNAL)}`."
            )
        function: Callable[..., Any] = getattr(import_module(self.module), task)
        return function

    def read_options(self, values: Mapping[str, Any]) -> Any:
        """Read the method's options, as JSON or YAML has them.

        Args:
            values: options by name; those that are missing have their defaults.

        Returns:
            An instance of `options`; None for a method without any.

        Raises:
            InputError: an option is unknown or has a wrong value, or the method has none.
        """
        if self.options:
            return parse(self.options, values, "options")
        if values != {}:
            raise InputError(f"setting 'options': the method {self.name} has none; leave it out.")
        return None

    def pipeline(self, model: str, task: str) -> str:
        """Find what loads a model: the pipeline of a task, or a class of its own, `module:class`.

        Args:
            model: its name.
            task: what the method is asked for.
        """
        of_task = Task.OUTPAINT if model == "inpainting" else task
        return self.loaders.get(model) or of_task
