"""Models that methods ask for: which steps make them, from what, and with which settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign_methods import installed
from snakemake.iocontainers import Wildcards
from snakemake_interface_common.exceptions import WorkflowError
from workflow_project import load_experiment

from workflow.lib.config import WORKFLOW, checked, read_config
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks

FILE = """
from mvdiffusion.methods import Method, Training

ABLATION = Method("ablation", "Ablation", ("depth",), model="ablation",
                  training=Training("stage2",
                                    changes={"variant": "released", "training": {"steps": 3}}))
TUNED = Method("tuned", "Tuned", ("panorama",), model="tuned", others=("inpainting", "base"),
               training=Training("stage1", start="base"))
TWICE = Method("twice", "Tuned twice", ("panorama",), model="twice",
               training=Training("stage1", start="tuned"))
PAINTED = Method("painted", "Painted", ("panorama", "depth"), model="inpainting")
ODD = Method("odd", "Odd", ("panorama",), model="odd", training=Training("vae"))
"""
METHODS = ("ablation", "tuned", "twice", "painted", "odd")


@pytest.fixture(autouse=True)
def package(tmp_path: Path) -> Iterator[Path]:
    entries = {name: name.upper() for name in METHODS}
    with installed(tmp_path / "site", "somebodys", FILE, entries) as folder:
        yield folder


def read(name: str = "mini", **methods: list[str]) -> dict[str, Any]:
    """A configuration of some tasks and methods alone."""
    config = read_config(WORKFLOW / f"config/{name}.yaml") | {"tasks": list(methods)}
    for task, names in methods.items():
        config[task]["methods"] = names
    return config


def tasks_of(config: dict[str, Any]) -> Tasks:
    checked(config, "mine.yaml")
    return Tasks(config, Sources(config))


def test_a_model_of_ones_own_has_a_step_after_the_one_it_starts_from() -> None:
    config = read(panorama=["twice", "tuned"])
    config["panorama"]["trainings"] = {"tuned": config["outpaint"]["base"]}
    tasks = tasks_of(config)
    assert tasks.trainings == [("panorama", "tuned"), ("panorama", "twice")]
    assert tasks.trained[-2:] == ["panorama_tuned_model", "panorama_twice_model"]
    assert tasks.start("panorama", "tuned") == tasks.base("panorama")
    assert tasks.start("panorama", "twice") == "panorama_tuned_model"
    found = tasks.models("panorama", "tuned")
    assert found == ["panorama_tuned_model", "outpaint_base", tasks.base("panorama")]
    # Its own section; without one, that of the stage whose command makes the model.
    section = config["outpaint"]["base"]["training"]
    assert tasks.training_settings("panorama", "tuned")["training"] == section
    section = config["panorama"]["stage1"]["training"]
    assert tasks.training_settings("panorama", "twice")["training"] == section


def test_changes_are_put_over_the_section_and_leave_it_as_it_is() -> None:
    config = read(depth=["ablation"])
    told = tasks_of(config).training_settings("depth", "ablation")
    section = config["depth"]["stage2"]
    assert (told["variant"], section["variant"]) == ("released", "paper")
    assert told["training"] == section["training"] | {"steps": 3}
    assert told["data"] == config["data"]["frames"]


def test_the_inpainting_model_is_made_for_tasks_that_only_borrow_it() -> None:
    tasks = tasks_of(read(depth=["painted"]) | {"base": {"pretrained": "miniature"}})
    assert tasks.models("depth", "painted") == ["outpaint_base"]
    assert tasks.trained == ["outpaint_base", "depth_stage1", "depth_stage2"]
    assert tasks.sources.used == {"rooms", "walks"}  # it learns from panoramas
    tasks = tasks_of(read("paper", depth=["painted"]))
    assert tasks.models("depth", "painted") == ["outpaint_pretrained"]
    assert tasks.sources.started == ["outpaint", "depth"]
    assert tasks.sources.used == {"scannet"}
    assert tasks_of(read("paper", depth=["mvdiffusion"])).sources.started == ["depth"]


def test_a_model_of_one_method_changes_nothing_for_the_others() -> None:
    config = read(panorama=["twice", "tuned"])
    before = tasks_of(config).images_sha256("panorama")
    config["panorama"]["trainings"] = {"tuned": config["outpaint"]["base"]}
    assert tasks_of(config).images_sha256("panorama") == before


@pytest.mark.parametrize(
    ("name", "methods", "trainings", "sentence"),
    [
        ("mini", ["mvdiffusion"], {"independent": {}},
         "'panorama.trainings' is 'independent'; expected a method of the task that trains "),
        ("mini", ["odd"], {}, "'panorama.methods' is 'odd'; expected methods whose training is "),
        ("paper", ["tuned"], {},
         "'panorama.trainings.tuned' is null; expected the settings of `mvdiffusion train stage1`"),
        ("mini", ["tuned"], {"tuned": {"trainin": {}}},
         "unknown setting 'panorama.trainings.tuned.trainin'; did you mean 'training'"),
        ("mini", ["mvdiffusion"], {"tuned": {"training": {"steps": 0, "batch_size": 1}}},
         "'panorama.trainings.tuned.training."),
    ],
)  # fmt: skip
def test_sections_that_do_not_fit_are_named(
    name: str, methods: list[str], trainings: dict[str, Any], sentence: str
) -> None:
    config = read(name, panorama=methods)
    config["panorama"]["trainings"] = trainings
    with pytest.raises(WorkflowError) as raised:
        checked(config, "mine.yaml")
    assert sentence in str(raised.value)


def test_the_rules_know_them(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("tasks: [panorama]\npanorama: {methods: [twice, painted]}")
    experiment = load_experiment(overlay)
    recipes = experiment.recipes.steps
    assert {"panorama_tuned_model", "panorama_twice_model", "outpaint_base"} <= set(recipes)
    assert "mvdiffusion/training/stage1.py" in experiment.covered("panorama_tuned_model")
    words = experiment.tasks.training_words(experiment.recipes)
    wildcards = Wildcards(fromdict={"task": "panorama", "method": "tuned"})
    told = words(wildcards, None)
    settings = recipes["panorama_tuned_model"].settings
    command = ["stage1", "--task", "panorama", "--settings", settings, "--processes", "1"]
    assert told == command
