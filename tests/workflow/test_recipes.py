"""Recipes cover everything that a command runs, found by other means than the workflow's own."""

import ast
import copy
from importlib.util import resolve_name
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from workflow_project import ROOT

from mvdiffusion.code_closure import import_closure
from mvdiffusion_eval.metrics.base import LEAST_SAMPLES

PARTS = ("common", "tasks", "sources", "dataset_recipes", "recipes")
# Which function of a command line each step runs.
COMMANDS = {
    "rooms_train": ("mvdiffusion/cli/data.py", "data_rooms"),
    "rooms_evaluator": ("mvdiffusion/cli/data.py", "data_rooms"),
    "walks_train": ("mvdiffusion/cli/data.py", "data_walks"),
    "walks_validation": ("mvdiffusion/cli/data.py", "data_walks"),
    "walks_test": ("mvdiffusion/cli/data.py", "data_walks"),
    "panorama_real": ("mvdiffusion/cli/data.py", "data_export"),
    "outpaint_real": ("mvdiffusion/cli/data.py", "data_export"),
    "depth_real": ("mvdiffusion/cli/data.py", "data_export"),
    "evaluator_rooms": ("mvdiffusion/cli/data.py", "data_export"),
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
    "features": ("eval/cli.py", "score"),
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


def load(
    root: Path, monkeypatch: pytest.MonkeyPatch, recipes: bool = True, name: str = "mini"
) -> dict[str, Any]:
    """Run the plain Python of common.smk, tasks.smk … recipes.smk as Snakemake does."""
    monkeypatch.chdir(root)
    config = yaml.safe_load((ROOT / f"workflow/config/{name}.yaml").read_text())
    if name == "paper":
        config["datasets"]["matterport3d"]["labels"] = ["mp3d_skybox.tar"]
    names = {"config": config, "workflow": SimpleNamespace(cores=2), "WorkflowError": ValueError}
    for part in PARTS if recipes else ("common",):
        text = (ROOT / f"workflow/rules/{part}.smk").read_text()
        exec(compile(text, f"{part}.smk", "exec"), names)
    return names


@pytest.fixture(scope="module")
def loaded() -> dict[str, dict[str, Any]]:
    """Recipes of this repository by configuration; finding all imports takes a second."""
    original = Path.read_text

    def read_text(path: Path, *arguments: Any, **options: Any) -> str:
        return "outs: []" if path.name == "data.dvc" else original(path, *arguments, **options)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Path, "read_text", read_text)
        return {name: load(ROOT, monkeypatch, name=name) for name in ("mini", "paper")}


@pytest.fixture
def real(loaded: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Those of mini, in the folder that their paths belong to."""
    monkeypatch.chdir(ROOT)
    return loaded["mini"]


def covered(names: dict[str, Any], step: str) -> set[str]:
    code = names["RECIPES"][step].code
    files = {file.resolve() for entry in code for file in import_closure(entry)}
    return {file.relative_to(ROOT).as_posix() for file in files}


def module_file(name: str) -> str | None:
    """The file of a module of the project."""
    path = ROOT.joinpath(*name.replace("mvdiffusion_eval", "eval").split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((c.relative_to(ROOT).as_posix() for c in candidates if c.is_file()), None)


@pytest.mark.parametrize("name", ["mini", "paper"])
def test_every_step_has_a_known_command(loaded: dict[str, dict[str, Any]], name: str) -> None:
    found = set(loaded[name]["RECIPES"])
    methods = {"vae_reconstruction", "independent", "autoregressive", "wrong_correspondence"}
    generated = {step for step in found if step.split("_", 1)[-1] in methods}
    scores = {step for step in found if step.startswith("score_")}
    known = set(COMMANDS) | generated | scores
    if name == "mini":
        assert found == known
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
        assert known - found == made_in_miniature | drawn | {"evaluator_rooms"}


@pytest.mark.parametrize(("name", "step"), ALL_COMMANDS)
def test_recipes_cover_the_imports_of_their_command(
    loaded: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    monkeypatch.chdir(ROOT)
    real, (file, function) = loaded[name], (COMMANDS | PAPER_COMMANDS)[step]
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
    assert files <= covered(real, step)


def test_metrics_decide_scores_and_nothing_before(real: dict[str, Any]) -> None:
    metric = "eval/functional/cross_view_psnr.py"
    users = {step for step in real["RECIPES"] if metric in covered(real, step)}
    assert {step for step in users if step.startswith("score_")} == {
        step for step in real["RECIPES"] if step.startswith("score_")
    }
    made = {step for step in real["RECIPES"] if step.startswith(("panorama_", "depth_"))}
    assert not users & {"vae", "base", "classifier", "clip", *made}


@pytest.mark.parametrize("task", READERS)
def test_images_depend_on_the_reader_of_their_data(real: dict[str, Any], task: str) -> None:
    for step in ("real", "mvdiffusion", "stage2"):
        assert READERS[task] in covered(real, f"{task}_{step}")


def test_hashes_of_images_know_what_is_upstream_of_their_task_only(real: dict[str, Any]) -> None:
    def hashes() -> dict[str, str]:
        return {task: real["images_sha256"](task) for task in READERS}

    config, before = real["config"], hashes()
    changes = {
        "depth": [config["data"]["frames"], config["data"]["walks"], config["depth"]["stage2"]],
        "outpaint": [config["outpaint"]["base"], config["outpaint"]["generation"]],
        "panorama": [config["panorama"]["stage1"], config["panorama"]["generation"]],
        "panorama outpaint depth": [config["base"]["vae"], config["data"]["rooms"], config],
    }
    for tasks, sections in changes.items():
        for section in sections:
            section["seed"] = 123
            changed = {task for task, digest in hashes().items() if digest != before[task]}
            assert changed == set(tasks.split()), section
            section["seed"] = 0
            before = hashes()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("tasks", ["panorama", "depth"], True),
        ("tasks", ["outpaint", "depth"], False),
        ("evaluation.score.protocols", ["error-accumulation"], True),
        ("evaluation.score.protocols", ["paper-pano"], False),
        ("panorama.generation.num_samples", LEAST_SAMPLES, True),
        ("panorama.generation.num_samples", LEAST_SAMPLES - 1, False),
        ("panorama.generation.num_samples", None, True),
        ("data.rooms.num_scenes.test", LEAST_SAMPLES - 1, False),
        ("data.views.num_views", 2, False),
        ("data.sources.panorama", "matterport3d", False),
    ],
)
def test_errors_by_step_are_promised_where_they_are_certain(
    real: dict[str, Any], monkeypatch: pytest.MonkeyPatch, key: str, value: object, expected: bool
) -> None:
    config = copy.deepcopy(real["config"])
    *sections, name = key.split(".")
    section = config
    for part in sections:
        section = section[part]
    section[name] = value
    monkeypatch.setitem(real, "config", config)
    monkeypatch.setitem(real, "TASKS", config["tasks"])
    assert real["errors_by_step"]() == expected


def test_where_data_come_from_changes_no_recipe_and_what_they_are_changes_all(
    monkeypatch: pytest.MonkeyPatch, loaded: dict[str, dict[str, Any]]
) -> None:
    monkeypatch.chdir(ROOT)
    real = loaded["paper"]
    settings = real["config"]["datasets"]["matterport3d"]
    before = {task: real["images_sha256"](task) for task in READERS}
    for key in ("root", "downloads", "script", "python", "accept_terms", "keep_downloads"):
        with monkeypatch.context() as patch:
            patch.setitem(settings, key, "elsewhere")
            assert {task: real["images_sha256"](task) for task in READERS} == before
    for key in ("preparation", "splits", "captions"):
        with monkeypatch.context() as patch:
            patch.setitem(settings, key, {**settings[key], "new": 1})
            changed = {task for task in READERS if real["images_sha256"](task) != before[task]}
            assert changed == {"panorama", "outpaint"}


def test_a_recipe_changes_with_each_of_its_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "data.dvc").write_text("md5: 1")

    def path(code: str = "mvdiffusion.records", decides: int = 0, told: int = 0) -> str:
        names = load(tmp_path, monkeypatch, recipes=False)
        names["recipe"]("first", {"x": told}, [code], deciding={"y": decides})
        names["recipe"]("second", {}, [], reads=["data.dvc"], after=["first"])
        return names["RECIPES"]["second"].path

    assert path() == path(told=1)
    seen = {path(), path(decides=1), path(code="mvdiffusion.code_closure")}
    (tmp_path / "data.dvc").write_text("md5: 2")
    seen.add(path())
    assert len(seen) == 4
