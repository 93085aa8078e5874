"""Recipes cover everything that a command runs, found by other means than the workflow's own."""

import ast
import json
import re
from functools import cache
from importlib.util import resolve_name

import pytest
from workflow_project import ROOT, Experiment, load_experiment

from workflow.lib.recipes import Recipes

# Which function of a command line each step runs; the first pattern that fits its name decides.
COMMANDS = {
    "rooms_(validation|test)|miniature": None,  # embedded
    "rooms_.*": "data_rooms",
    "walks_.*": "data_walks",
    "extractor_rooms|(?!score_).*_real": "data_export",
    "classifier|clip": "train_extractor",
    "vae": "train_vae",
    "decoder": "train_decoder",
    "base": "train_base",
    "unet": "train_stage1",
    "release": "release_base",
    "outpaint_base": "train_inpainting",
    ".*_panorama_finetune_model": "train_panorama_finetune",
    ".*_independent_finetuned_model": "train_stage1",
    ".*_controlnet_model": "train_controlnet",
    ".*_stage1": "train_stage1",
    ".*_stage2": "train_stage2",
    "score_.*": "score",
    "tables": "tables",
    "figures": "figures",
    "leaderboard": "leaderboard",
    "report": "report",
    ".*_pretrained": "fetch_base",
    ".*_labels": "data_labels",
    ".*_units": "data_prepare",
    ".*_splits": "data_splits",
    ".*_captions_.*": "data_caption",
    "(panorama|outpaint|depth)_.*": "generate_split",
}
# What one command imports for the other dataset, and for folders in place of a file.
FETCH = "mvdiffusion.preparation.fetch"
OTHERS = {
    "matterport3d_units": {FETCH, "mvdiffusion.preparation.scannet"},
    "scannet_units": {FETCH, "mvdiffusion.preparation.matterport3d"},
}
# Which reader of data each task's images come by.
READERS = {
    "panorama": "mvdiffusion/data/matterport3d.py",
    "outpaint": "mvdiffusion/data/matterport3d.py",
    "depth": "mvdiffusion/data/scannet.py",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Experiment]:
    """Experiments of this repository by configuration."""
    labels = tmp_path_factory.mktemp("config") / "labels.yaml"
    labels.write_text("datasets: {matterport3d: {labels: [mp3d_skybox.tar]}}")
    paper, base = (ROOT / f"workflow/config/{name}.yaml" for name in ("paper", "base"))
    return {
        "mini": load_experiment(),
        "paper": load_experiment(paper, labels),
        "base": load_experiment(base),
    }


def module_file(name: str) -> str | None:
    """The file of a module of the project."""
    path = ROOT.joinpath(*name.replace("mvdiffusion_eval", "eval").split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((c.relative_to(ROOT).as_posix() for c in candidates if c.is_file()), None)


def command_of(step: str) -> str | None:
    """Name of the function that a step runs."""
    return next(name for pattern, name in COMMANDS.items() if re.fullmatch(pattern, step))


@cache
def imports_of(function: str) -> set[str]:
    """Modules that a command imports when it runs, by looking at its text."""
    modules: set[str] = set()
    for file in [*(ROOT / "eval/cli").glob("*.py"), *(ROOT / "mvdiffusion/cli").glob("*.py")]:
        package = "mvdiffusion_eval.cli" if "eval" in file.parts else "mvdiffusion.cli"
        tree = ast.walk(ast.parse(file.read_text()))
        own = [n for n in tree if isinstance(n, ast.FunctionDef) and n.name == function]
        for node in [inner for found in own for inner in ast.walk(found)]:
            if isinstance(node, ast.ImportFrom):
                module = resolve_name("." * node.level + (node.module or ""), package)
                # A `from package import name` may name a module or something inside one.
                modules |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return modules


@pytest.mark.parametrize("name", ["mini", "paper", "base"])
def test_recipes_cover_the_imports_of_their_command(
    loaded: dict[str, Experiment], name: str
) -> None:
    seen = set()
    for step in loaded[name].recipes.steps:
        if function := command_of(step):
            modules = imports_of(function) - OTHERS.get(step, set()) - {"mvdiffusion.records"}
            files = {module_file(module) for module in modules} - {None}
            assert files, f"{function} imports nothing; the test looks at the wrong function"
            assert files <= loaded[name].covered(step), step
            seen.add(function)
    own = {
        "mini": {"data_walks"},
        "paper": {"fetch_base", "data_caption"},
        "base": {"train_vae", "train_base", "release_base"},
    }
    assert own[name] | {"train_stage2", "generate_split", "score", "report"} <= seen


def test_metrics_decide_scores_and_nothing_before(loaded: dict[str, Experiment]) -> None:
    metric, real = "eval/functional/cross_view_psnr.py", loaded["mini"]
    users = {step for step in real.recipes.steps if metric in real.covered(step)}
    assert {step for step in users if step.startswith("score_")} == set(real.tasks.scores)
    made = {step for step in real.recipes.steps if step.startswith(("panorama_", "depth_"))}
    assert not users & {"vae", "base", "classifier", "clip", *made}


@pytest.mark.parametrize("task", READERS)
def test_images_depend_on_the_reader_of_their_data(
    loaded: dict[str, Experiment], task: str
) -> None:
    for step in ("real", "mvdiffusion", "stage2"):
        assert READERS[task] in loaded["mini"].covered(f"{task}_{step}")


def test_a_recipe_changes_with_each_of_its_parts() -> None:
    def path(
        code: str = "mvdiffusion.records", deciding: int = 0, told: int = 0, unit: str = "a"
    ) -> str:
        recipes = Recipes({"results": "results"})
        recipes.register("first", settings={"x": told}, code=[code], deciding={"y": deciding})
        recipes.register("second", settings={}, code=[], after=["first"], besides=[unit])
        return recipes.steps["second"].path

    assert path() == path(told=1)
    seen = {path(), path(deciding=1), path(code="mvdiffusion.code_closure"), path(unit="b")}
    assert len(seen) == 4


def test_a_training_is_told_all_its_settings_and_decided_by_some() -> None:
    def digest(steps: int, log_every: int) -> str:
        training = {"steps": steps, "learning_rate": 1.0, "log_every": log_every}
        recipes = Recipes({"results": "results"})
        settings = {"device": "cpu", "training": training}
        recipes.register_training("vae", settings=settings, code="vae", after=[])
        told, *processes = recipes.settings("vae")((), [])
        assert json.loads(told) == settings
        assert processes == ["--processes", "1"]
        assert "results/training/vae" in recipes.steps["vae"].makes
        return recipes.steps["vae"].digest

    assert digest(steps=9, log_every=1) == digest(steps=9, log_every=2)
    assert digest(steps=9, log_every=1) != digest(steps=8, log_every=1)


def test_embedded_rooms_are_decided_by_what_dvc_recorded(loaded: dict[str, Experiment]) -> None:
    recipes = Recipes({})
    (md5,) = re.findall(r"md5: (\S+)", (ROOT / "data.dvc").read_text())
    for name, recorded in {"same": md5, "other": ""}.items():
        recipes.register(name, settings={}, code=[], besides=[recorded])
    digests = {name: recipe.digest for name, recipe in recipes.steps.items()}
    assert loaded["mini"].recipes.steps["rooms_test"].digest == digests["same"] != digests["other"]


@pytest.mark.parametrize("name", ["mini", "paper"])
def test_recipes_name_the_command_that_the_step_runs(
    loaded: dict[str, Experiment], name: str
) -> None:
    for step, recipe in loaded[name].recipes.steps.items():
        if function := command_of(step):
            assert [code for code in recipe.code if code.endswith(f":{function}")], step
