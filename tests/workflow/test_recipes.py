"""Recipes cover everything that a command runs, found by other means than the workflow's own."""

import ast
import json
from importlib.util import resolve_name
from pathlib import Path

import pytest
from workflow_project import ROOT, Experiment, load_experiment

from mvdiffusion.methods.registry import method_names
from workflow.lib.recipes import Recipes

# Which function of a command line each step runs.
COMMANDS = {
    "rooms_train": ("mvdiffusion/cli/data.py", "data_rooms"),
    "rooms_extractor": ("mvdiffusion/cli/data.py", "data_rooms"),
    "walks_train": ("mvdiffusion/cli/data.py", "data_walks"),
    "walks_validation": ("mvdiffusion/cli/data.py", "data_walks"),
    "walks_test": ("mvdiffusion/cli/data.py", "data_walks"),
    "panorama_real": ("mvdiffusion/cli/data.py", "data_export"),
    "outpaint_real": ("mvdiffusion/cli/data.py", "data_export"),
    "depth_real": ("mvdiffusion/cli/data.py", "data_export"),
    "extractor_rooms": ("mvdiffusion/cli/data.py", "data_export"),
    "vae": ("mvdiffusion/cli/train.py", "train_vae"),
    "base": ("mvdiffusion/cli/train.py", "train_base"),
    "panorama_stage1": ("mvdiffusion/cli/train.py", "train_stage1"),
    "panorama_stage2": ("mvdiffusion/cli/train.py", "train_stage2"),
    "outpaint_base": ("mvdiffusion/cli/train.py", "train_inpainting"),
    "outpaint_stage2": ("mvdiffusion/cli/train.py", "train_stage2"),
    "depth_stage1": ("mvdiffusion/cli/train.py", "train_stage1"),
    "depth_stage2": ("mvdiffusion/cli/train.py", "train_stage2"),
    "panorama_mvdiffusion": ("mvdiffusion/cli/generate.py", "generate_split"),
    "outpaint_mvdiffusion": ("mvdiffusion/cli/generate.py", "generate_split"),
    "depth_mvdiffusion": ("mvdiffusion/cli/generate.py", "generate_split"),
    "classifier": ("eval/cli.py", "train_extractor"),
    "clip": ("eval/cli.py", "train_extractor"),
    "score_depth_mvdiffusion": ("eval/cli.py", "score"),
    "tables": ("eval/cli.py", "tables"),
    "figures": ("eval/cli.py", "figures"),
    "report": ("eval/cli.py", "report"),
}
PREPARATION = "mvdiffusion/cli/datasets.py"
PAPER_COMMANDS = {
    "matterport3d_labels": (PREPARATION, "data_labels"),
    "matterport3d_units": (PREPARATION, "data_prepare"),
    "matterport3d_splits": (PREPARATION, "data_splits"),
    "scannet_units": (PREPARATION, "data_prepare"),
    "scannet_splits": (PREPARATION, "data_splits"),
    "panorama_pretrained": ("mvdiffusion/cli/base.py", "fetch_base"),
    "outpaint_pretrained": ("mvdiffusion/cli/base.py", "fetch_base"),
    "depth_pretrained": ("mvdiffusion/cli/base.py", "fetch_base"),
} | {
    f"{dataset}_captions_{split}": ("mvdiffusion/cli/captions.py", "data_caption")
    for dataset in ("matterport3d", "scannet")
    for split in ("train", "validation", "test")
}
# What one command imports for the other dataset, and for folders in place of a file.
FETCH = "mvdiffusion.preparation.fetch"
OTHERS = {
    "matterport3d_units": {FETCH, "mvdiffusion.preparation.scannet"},
    "scannet_units": {FETCH, "mvdiffusion.preparation.matterport3d"},
}
ALL_COMMANDS = [("mini", step) for step in COMMANDS] + [("paper", step) for step in PAPER_COMMANDS]
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
    paper = ROOT / "workflow/config/paper.yaml"
    return {"mini": load_experiment(), "paper": load_experiment(paper, labels)}


def module_file(name: str) -> str | None:
    """The file of a module of the project."""
    path = ROOT.joinpath(*name.replace("mvdiffusion_eval", "eval").split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((c.relative_to(ROOT).as_posix() for c in candidates if c.is_file()), None)


@pytest.mark.parametrize("name", ["mini", "paper"])
def test_every_step_has_a_known_command(loaded: dict[str, Experiment], name: str) -> None:
    found = set(loaded[name].recipes.steps)
    generated = {step for step in found if step.split("_", 1)[-1] in method_names()}
    scores = {step for step in found if step.startswith("score_")}
    known = set(COMMANDS) | generated | scores
    if name == "mini":
        assert found - known == {"rooms_validation", "rooms_test"}, "which are embedded"
    else:
        assert found - known == set(PAPER_COMMANDS)
        made_in_miniature = {
            "vae",
            "base",
            "outpaint_base",
            "panorama_stage1",
            "classifier",
            "clip",
        }
        drawn = {step for step in COMMANDS if step.startswith(("rooms_", "walks_"))}
        assert known - found == made_in_miniature | drawn | {"extractor_rooms"}


@pytest.mark.parametrize(("name", "step"), ALL_COMMANDS)
def test_recipes_cover_the_imports_of_their_command(
    loaded: dict[str, Experiment], name: str, step: str
) -> None:
    file, function = (COMMANDS | PAPER_COMMANDS)[step]
    tree = ast.parse((ROOT / file).read_text())
    body = next(n for n in ast.walk(tree) if getattr(n, "name", None) == function)
    imported = [node for node in ast.walk(body) if isinstance(node, ast.ImportFrom)]
    package = "mvdiffusion_eval" if file.startswith("eval/") else "mvdiffusion.cli"
    modules = set()
    for node in imported:
        module = resolve_name("." * node.level + (node.module or ""), package)
        if module not in OTHERS.get(step, ()):
            # A `from package import name` may name a module or something inside one.
            modules |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    modules -= {"mvdiffusion.records"}
    files = {module_file(module) for module in modules} - {None}
    assert files, "the command imports nothing; the test looks at the wrong function"
    assert files <= loaded[name].covered(step)


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


def test_a_recipe_changes_with_each_of_its_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.dvc").write_text("md5: 1")

    def path(
        code: str = "mvdiffusion.records", deciding: int = 0, told: int = 0, unit: str = "a"
    ) -> str:
        recipes = Recipes({"results": "results"})
        recipes.register("first", settings={"x": told}, code=[code], deciding={"y": deciding})
        recipes.register("second", settings={}, code=[], after=["first"], besides=[unit])
        recipes.register("third", settings={}, code=[], reads=["data.dvc"], after=["second"])
        return recipes.steps["third"].path

    assert path() == path(told=1)
    seen = {path(), path(deciding=1), path(code="mvdiffusion.code_closure"), path(unit="b")}
    (tmp_path / "data.dvc").write_text("md5: 2")
    seen.add(path())
    assert len(seen) == 5


def test_a_training_is_told_all_its_settings_and_decided_by_some() -> None:
    def digest(steps: int, log_every: int) -> str:
        training = {"steps": steps, "learning_rate": 1.0, "log_every": log_every}
        recipes = Recipes({"results": "results"})
        settings = {"device": "cpu", "training": training}
        recipes.register_training("vae", settings=settings, code="vae", after=[])
        assert json.loads(recipes.settings("vae")((), [])) == settings
        assert "results/training/vae" in recipes.steps["vae"].makes
        return recipes.steps["vae"].digest

    assert digest(steps=9, log_every=1) == digest(steps=9, log_every=2)
    assert digest(steps=9, log_every=1) != digest(steps=8, log_every=1)
