"""The experiment that Snakemake itself builds from the rules and a configuration."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings
from workflow_project import ROOT

from mvdiffusion.code_closure import import_closure
from workflow.lib.recipes import Recipes
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks


@dataclass
class Experiment:
    """What the rules of an experiment share."""

    config: dict[str, Any]
    recipes: Recipes
    sources: Sources
    tasks: Tasks

    def covered(self, step: str) -> set[str]:
        """Files, below the repository, of the code that decides a step."""
        modules = self.recipes.steps[step].code
        files = {file.resolve() for module in modules for file in import_closure(module)}
        return {file.relative_to(ROOT).as_posix() for file in files}


def load_experiment(*configfiles: Path) -> Experiment:
    """Read the Snakefile of this repository as `snakemake --configfile` does."""
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(io.StringIO()):
        monkeypatch.chdir(ROOT)
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            loaded = api.workflow(
                resource_settings=ResourceSettings(cores=2),
                config_settings=ConfigSettings(configfiles=list(configfiles)),
                snakefile=ROOT / "Snakefile",
            )
            loaded.list_rules()
            names = loaded._workflow_store.globals
    return Experiment(**{name: names[name] for name in Experiment.__annotations__})
