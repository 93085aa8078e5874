"""DVC starts and records runs; a second one does nothing; a fresh clone needs no preparation."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pandas.api.types import is_numeric_dtype
from workflow_project import Project

from mvdiffusion_eval.tables.results import headline_of

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def test_repro_on_a_fresh_clone_and_again(made_project: Project, clone: Project) -> None:
    clone.run("dvc", "repro")
    assert clone.results() == made_project.results()
    clone.commands()
    again = clone.run("dvc", "repro")
    assert "Stage 'run' didn't change, skipping" in again
    assert clone.commands() == []
    assert "result" in clone.run("dvc", "metrics", "show")


@pytest.mark.slow
def test_repro_after_a_recorded_run_does_nothing(project: Project) -> None:
    project.run("python", "-m", "workflow.scripts.record_run")
    assert "Stage 'run' didn't change, skipping" in project.run("dvc", "repro")
    project.set("evaluation.claims.fid_margin", 0.1)
    assert "Running stage 'run'" in project.run("dvc", "repro")
    assert sorted(project.commands()) == ["figures", "report", "tables"]


@pytest.mark.slow
def test_smoke_has_a_stage_of_its_own(project: Project) -> None:
    project.run("dvc", "repro", "workflow/smoke/dvc.yaml")
    assert project.results("results/smoke")["metrics.json"]
    project.commands()
    again = project.run("dvc", "repro", "workflow/smoke/dvc.yaml")
    assert "Stage 'workflow/smoke/dvc.yaml:smoke' didn't change, skipping" in again
    assert project.commands() == []
    assert "Nothing to be done" in project.snakemake("run"), "smoke must not touch the run"


def test_headline_numbers_are_few_and_in_git() -> None:
    """`dvc metrics diff` of two commits needs what both recorded, and a table that one can read."""
    (path,) = yaml.safe_load((ROOT / "dvc.yaml").read_text())["metrics"]
    words = ["git", "ls-files", "--error-unmatch", path]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    recorded = json.loads((ROOT / path).read_text())
    numbers = json.loads((ROOT / path).with_name("tables").joinpath("numbers.json").read_text())
    assert recorded == headline_of(numbers), "make reference"
    tasks = [task for name, task in recorded.items() if name != "claims"]
    assert 10 <= sum(len(values) for task in tasks for values in task.values()) <= 20
    assert len(recorded["claims"]) == 7


def test_plots_fit_the_tables_that_they_draw() -> None:
    """DVC draws nothing, without a word, where numbers are expected and names are found."""
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    drawn = [plot for entry in plots if isinstance(entry, dict) for plot in entry.values()]
    assert len(drawn) == 3
    for plot in drawn:
        template = json.loads((ROOT / ".dvc" / "plots" / f"{plot['template']}.json").read_text())
        ((path, y),) = plot["y"].items()
        encoding = template["encoding"]
        table = pd.read_csv(ROOT / "results" / "reference" / "mini" / "figures" / Path(path).name)
        kinds = {plot["x"]: encoding["x"]["type"], y: encoding["y"]["type"]}
        for column, kind in kinds.items():
            assert (kind == "quantitative") == is_numeric_dtype(table[column]), column
        assert encoding["color"]["field"] in table, "one color for several curves"
