"""Models beyond those of a task's own stages: of single methods, and of further training seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from snakemake.utils import update_config

from mvdiffusion.methods.declaration import MODELS, Method, Training
from mvdiffusion.methods.registry import find_method, methods

if TYPE_CHECKING:
    from workflow.lib.tasks import Tasks

SEED_TABLES = ("seeds", "seed_verdicts")


def needed_models(names: Iterable[str]) -> list[str]:
    """List the models that methods run and that those start from, each after its start.

    Args:
        names: of methods.
    """
    found: dict[str, None] = {}

    def need(model: str) -> None:
        if model not in MODELS:
            need(own_training(methods()[model]).start)
        found[model] = None

    for name in names:
        for model in methods()[name].models:
            need(model)
    return list(found)


def own_training(method: Method) -> Training:
    """Return the training of a method that has one."""
    assert method.training, f"{method.name} trains nothing"
    return method.training


def training_section(task: Mapping[str, Any], method: str) -> Any:
    """Find the section that configures a method's own training; None if there is none.

    Args:
        task: section of the task in the configuration.
        method: its name.
    """
    stage = own_training(methods()[method]).command
    return task.get("trainings", {}).get(method) or task.get(stage)


def training_settings(task: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return the settings of a method's own training, without what all commands get.

    Args:
        task: section of the task in the configuration.
        method: its name.
    """
    settings: dict[str, Any] = deepcopy(training_section(task, method))
    update_config(settings, deepcopy(own_training(methods()[method]).changes))
    return settings


class TrainingSeeds:
    """The training seeds of one experiment; what the first makes has no seed in its name.

    Attributes:
        first: seed of everything.
        further: seeds under which stage 2 is trained again, and nothing else.
    """

    def __init__(self, tasks: Tasks) -> None:
        """Read what the configuration asks for."""
        self.tasks = tasks
        seeds: list[int] = tasks.config.get("seeds") or [tasks.config["seed"]]
        self.first, self.further = seeds[0], seeds[1:]

    @property
    def trainings(self) -> list[tuple[str, int]]:
        """Task and further seed of each training."""
        return [(task, seed) for task in self.tasks.names for seed in self.further]

    @property
    def methods(self) -> list[tuple[str, str]]:
        """Task and name of each method that runs the model of stage 2."""
        return [
            (task, name)
            for task in self.tasks.names
            for name in self.tasks.made_here(task)
            if "multi-view" in find_method(name, task).models
        ]

    @property
    def runs(self) -> list[tuple[str, str, int]]:
        """Task, method and further seed of each folder of images."""
        return [(*method, seed) for method in self.methods for seed in self.further]

    @property
    def scored(self) -> list[str]:
        """`<task>/<name>` of these folders."""
        return [f"{task}/{name}_seed{seed}" for task, name, seed in self.runs]

    @property
    def scores(self) -> list[str]:
        """Steps that score them."""
        return [f"score_{folder.replace('/', '_')}" for folder in self.scored]

    def models(self, task: str, method: str, seed: int | str) -> list[str]:
        """Steps of the models that a method runs, stage 2 under a further seed."""
        own = {f"{task}_stage2": f"{task}_stage2_seed{seed}"}
        return [own.get(step, step) for step in self.tasks.models(task, method)]

    def model_files(self, wildcards: Any) -> list[str]:
        """Input of the rule that runs a method under a further seed: its models."""
        return [self.tasks.model_index(step) for step in self.models(**dict(wildcards))]

    @property
    def tables(self) -> list[str]:
        """Names of the tables of training seeds."""
        tasks = dict.fromkeys(task for task, _, _ in self.runs)
        return [f"{task}_{kind}" for task in tasks for kind in SEED_TABLES]

    def score_files(self, files: Sequence[str]) -> list[str]:
        """SEED=FILE of every method's score under each seed, the first among them.

        Args:
            files: all scores, those of further seeds last.
        """
        of = dict(zip([*self.tasks.scored, *self.scored], map(str, files), strict=True))
        first = [f"{self.first}={of[f'{task}/{name}']}" for task, name in self.methods]
        further = [
            f"{run[-1]}={of[name]}" for run, name in zip(self.runs, self.scored, strict=True)
        ]
        return [*first, *further] if further else []

    @property
    def timed(self) -> list[str]:
        """Names of the benchmark files of the steps."""
        return [
            *(f"train_{task}_stage2_seed{seed}" for task, seed in self.trainings),
            *(f"generate_{task}_{name}_seed{seed}" for task, name, seed in self.runs),
            *self.scores,
        ]
