"""Methods of others in the experiment: their steps, and the commands that make their images."""

from pathlib import Path

import pytest
import yaml
from workflow_project import Experiment, Project, load_experiment

from mvdiffusion_eval.folders.methods import display_name, rank
from workflow.lib.config import WORKFLOW, checked, read_config

METHODS = {
    "panorama": ["mvdiffusion", "external/panfusion", "external/mvdiffusion-released"],
    "outpaint": ["vae_reconstruction", "external/opencubediff"],
}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    overlay = tmp_path_factory.mktemp("config") / "external.yaml"
    overlay.write_text(yaml.safe_dump({task: {"methods": m} for task, m in METHODS.items()}))
    return load_experiment(overlay)


def test_steps_scores_and_code(experiment: Experiment) -> None:
    tasks, steps = experiment.tasks, experiment.recipes.steps
    assert tasks.external == [("panorama", "panfusion"), ("panorama", "mvdiffusion-released"),
                              ("outpaint", "opencubediff")]  # fmt: skip
    assert "panorama/external/panfusion" in tasks.scored
    assert set(tasks.scores) <= set(steps)
    for name in ("panorama_external_panfusion", "score_panorama_external_panfusion"):
        assert "/" not in steps[name].path.split("/settings/")[1]
    assert experiment.recipes.find("score_{task}_{name}", {"task": "panorama",
                                   "name": "external/panfusion"})  # fmt: skip
    made = steps["outpaint_external_opencubediff"]
    assert {"results/external/outpaint/opencubediff"} < set(made.makes)
    covered = experiment.covered("outpaint_external_opencubediff")
    assert {"mvdiffusion/external/process.py", "mvdiffusion/external/layouts.py"} <= covered
    assert "panorama_external_panfusion_model" not in tasks.trained


def test_their_places_and_names() -> None:
    assert display_name("external/panfusion") == "PanFusion"
    assert rank("independent") < rank("external/panfusion") < rank("mvdiffusion")


@pytest.mark.parametrize("name", ["external/panfussion", "external/opencubediff"])
def test_one_that_is_not_there_or_does_not_do_the_task(name: str) -> None:
    config = read_config(WORKFLOW / "config/mini.yaml")
    config["panorama"]["methods"] = [name]
    with pytest.raises(Exception, match=f"'panorama.methods' is '{name}'; expected a method of"):
        checked(config, "mine.yaml")


@pytest.mark.slow
def test_a_run_brings_it_into_the_tables(project: Project, tmp_path: Path) -> None:
    """With stand-ins for the commands."""
    project.set("panorama.methods", ["independent", "mvdiffusion", "external/panfusion"])
    project.snakemake("run")
    ran = [name for name in project.commands() if "external" in name]
    raw = "results/external/panorama/panfusion"
    assert ran[:3] == [
        "external install panfusion",
        "external run panfusion panorama",
        f"external import panfusion {raw} panorama",
    ]
    assert (project.root / "results/scores/panorama/external/panfusion.json").exists()
    project.snakemake("run")
    assert project.commands() == []
    path = project.root / "mvdiffusion/methods/external/panfusion.yaml"
    path.write_text(path.read_text().replace("title: PanFusion", "title: Pano"))
    project.snakemake("run")
    assert not [name for name in project.commands() if "external run" in name]
    path.write_text(path.read_text().replace("commit: ec79", "commit: ce79"))
    project.snakemake("run")
    assert [name for name in project.commands() if name.startswith("external run")] == [ran[1]]
