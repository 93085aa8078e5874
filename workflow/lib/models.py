"""The models that methods need beyond those of the task's own stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from snakemake.utils import update_config

from mvdiffusion.methods.declaration import MODELS, Method, Training
from mvdiffusion.methods.registry import methods


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
