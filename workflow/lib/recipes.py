"""Recipes: what decides a step's result, in the name of the settings file that the step reads.

Snakemake does not see edits in imported Python, and without .snakemake/ (a fresh clone, results
pulled with DVC) it does not see changed settings either: then only times of files speak. So every
step takes as input `<results>/settings/<step>-<digest>.json`, whose digest covers the step's
settings, the code that its command imports, and the recipes of the steps before it. A changed
recipe is a missing file; writing it moves what the old recipe made to `<results>/.old`
(`settings_file`), so neither numbers nor half-finished work of other settings can be taken for new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from mvdiffusion.code_closure import code_sha256
from mvdiffusion.records import settings_sha256
from mvdiffusion.training.settings import deciding_settings
from workflow.lib.seal import complaint

SettingsFile = Callable[[Any], str]


@dataclass(frozen=True)
class Recipe:
    """One step: the settings that its command is told, and what follows from all that decides it.

    Attributes:
        settings: as the command is told them, in JSON.
        deciding: those of them that decide the result, in JSON: the text of the settings file.
        code: the modules that the command runs.
        before: the steps whose results it reads.
        makes: patterns of the paths that hold its results and unfinished work.
        root: the folder that its settings file goes to, as rules name it.
        digest: of everything that decides the result.
        path: of the settings file, as rules name it.
    """

    settings: str
    deciding: str
    code: tuple[str, ...]
    before: tuple[str, ...]
    makes: tuple[str, ...]
    root: str
    digest: str
    path: str


def flat(step: str) -> str:
    """Name a step so that it can be part of a file's name; those of external methods have a /."""
    return step.replace("/", "_")


class Recipes:
    """The recipes of one experiment, by step.

    Args:
        folders: what `<results>` and its like stand for.
        processes: how many processes share a training.
    """

    def __init__(self, folders: Mapping[str, str], processes: int = 1) -> None:
        """Begin without any."""
        self.folders, self.processes = folders, processes
        self.steps: dict[str, Recipe] = {}

    def register(
        self,
        step: str,
        *,
        settings: Mapping[str, Any],
        code: Iterable[str],
        deciding: Mapping[str, Any] | None = None,
        besides: Iterable[str] = (),
        after: Iterable[str] = (),
        makes: Iterable[str] = (),
        root: str = "<results>",
    ) -> None:
        """Register a step: everything that decides its results.

        Args:
            step: its name.
            settings: what its command is told.
            code: the command, as `module:function`, and the modules that it runs; what they import
                is found.
            deciding: those of the settings that decide the result, if not all do.
            besides: what decides it and is not among the settings.
            after: the steps whose results it reads, all registered before.
            makes: paths that hold its results and its unfinished work, and nothing else.
            root: the folder that its settings file goes to.
        """
        step, code = flat(step), tuple(code)
        before = tuple(map(flat, after))
        decided = json.dumps(settings if deciding is None else deciding, indent=2, sort_keys=True)
        decides = {
            "settings": decided,
            "code": code_sha256(*code),
            "besides": list(besides),
            "before": [self.steps[name].digest for name in before],
        }
        digest = settings_sha256(decides)[:12]
        self.steps[step] = Recipe(
            settings=json.dumps(settings, sort_keys=True),
            deciding=decided,
            code=code,
            before=before,
            makes=tuple(map(self.actual_path, makes)),
            root=root,
            digest=digest,
            path=f"{root}/settings/{step}-{digest}.json",
        )

    def register_training(
        self,
        step: str,
        *,
        settings: Mapping[str, Any],
        code: str,
        after: Iterable[str],
        command: str = "",
    ) -> None:
        """Register the training of a model.

        Args:
            step: its name, which is also the model's.
            settings: what its command is told.
            code: the module of `mvdiffusion.training` that its command runs.
            after: the steps whose results it reads.
            command: the command, if it is not named as the module.
        """
        function = f"train_{command or code.rpartition('.')[2]}"
        self.register(
            step,
            settings=settings,
            deciding=deciding_settings(settings),
            code=[f"mvdiffusion.cli.train:{function}", f"mvdiffusion.training.{code}"],
            after=after,
            makes=[
                f"<results>/models/{step}",
                f"<results>/training/{step}",
                f"<results>/curves/{step}.jsonl",
            ],
        )

    def find(self, step: str, wildcards: Any = ()) -> Recipe:
        """Find the recipe of a step, whose name may hold wildcards of a rule.

        Raises:
            WorkflowError: the experiment has no such step.
        """
        name = flat(step.format(**dict(wildcards)))
        if name not in self.steps:
            raise WorkflowError(
                f"workflow: the step '{name}' belongs to none of the tasks, methods and trained"
                " models of the configuration; add it under 'tasks', 'methods' or 'base' there"
            )
        return self.steps[name]

    def before(self) -> dict[str, list[str]]:
        """The steps that are registered so far, each with those whose results it reads."""
        return {name: list(step.before) for name, step in self.steps.items()}

    def settings_file(self, step: str) -> SettingsFile:
        """Input of the rule that runs a step; its name may hold the rule's wildcards."""
        return lambda wildcards: self.find(step, wildcards).path

    def seal(self, step: str) -> str:
        """Output of the rule that runs a step whose files others may replace (see `seal`)."""
        return f"<results>/{step}/recipe-{self.steps[step].digest}.json"

    def intact(self, *steps: str) -> Callable[[Any], list[str]]:
        """Input of a target that needs no further file: what steps have sealed is as it was.

        Snakemake sees only times, so a table that a disk or an editor has changed would be shown
        as finished. One that is missing is made again.
        """
        seals = [Path(self.actual_path(self.seal(step))) for step in steps]

        def check(wildcards: Any) -> list[str]:
            if found := complaint(filter(Path.exists, seals), missing=False):
                raise WorkflowError(found)
            return []

        return check

    def settings(self, step: str) -> Callable[[Any, Any], list[str]]:
        """Parameter of a rule that runs a training: all its settings as JSON, and its processes.

        Snakemake reruns no job because of a parameter that asks for outputs, so settings that
        decide nothing reach the command and change no result.
        """
        processes = ["--processes", str(self.processes)]
        return lambda wildcards, output: [self.find(step, wildcards).settings, *processes]

    def settings_files(
        self, root: str = "<results>", names: str | tuple[str, ...] = ""
    ) -> list[str]:
        """List settings files of a folder, of the steps whose names begin so.

        A target that lists them is never satisfied by results of other settings.

        Args:
            root: the folder, as rules name it.
            names: beginning of the names, or several of which each will do.
        """
        steps = [step for step in self.steps if step.startswith(names)]
        return [self.steps[step].path for step in steps if self.steps[step].root == root]

    def actual_path(self, path: str) -> str:
        """Put folders in place of `<results>` and its like."""
        for name, folder in self.folders.items():
            path = path.replace(f"<{name}>", folder)
        return path
