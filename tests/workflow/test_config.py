"""Configuration files: complete, documented, and every mistake named in one readable line."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import ROOT, Project

WORKFLOW = ROOT / "workflow"


class WorkflowError(Exception):
    """Takes the place of Snakemake's."""


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The workflow's own check of a configuration."""
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {"WorkflowError": WorkflowError, "workflow": SimpleNamespace()}
    path = WORKFLOW / "rules/config.smk"
    exec(compile(path.read_text(), path, "exec"), names)
    return names["checked"]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((WORKFLOW / f"config/{name}.yaml").read_text())


def keys(values: Any, path: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield f"{path}{key}"
            yield from keys(value, f"{path}{key}.")


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)


def test_configurations_hold_the_same_keys_and_fit_the_schema(checked: Any) -> None:
    assert list(keys(read("smoke"))) == list(keys(read("mini")))
    for name in ("mini", "smoke"):
        assert checked(read(name), name) == read(name)


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    schema = yaml.safe_load((WORKFLOW / "schemas/config.schema.yaml").read_text())
    found = list(objects(schema))
    assert len(found) > 20
    assert all(part["additionalProperties"] is False and part["description"] for part in found)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("panorama.generation.guidance_scal", 2.0,
         "unknown key 'panorama.generation.guidance_scal'; did you mean 'guidance_scale'?"),
        ("depth.generation.xyz", 1,
         "unknown key 'depth.generation.xyz'; known keys: num_inference_steps, "),
        ("panorama.stage1.training.steps", "many",
         "'panorama.stage1.training.steps' is 'many'; expected a value of type integer"),
        ("outpaint.base.training.mixed_precision", False,
         "'outpaint.base.training.mixed_precision' is False; expected one of no, bf16, fp16"),
        ("base.vae.loss.kl_weight", -1, "'base.vae.loss.kl_weight': -1 is less than the minimum"),
        ("panorama.methods", ["magic"],
         "'panorama.methods.0' is 'magic'; expected one of codec, independent, "),
        ("depth.methods", ["autoregressive"],
         "'depth.methods.0' is 'autoregressive'; expected one of codec, independent, mvdiffusion"),
        ("tasks", ["video"],
         "'tasks.0' is 'video'; expected one of panorama, outpaint, depth"),
        ("tasks", [], "'tasks': [] should be non-empty"),
        ("tasks", "depth", "'tasks' is 'depth'; expected a value of type array"),
        ("data.walks.num_scenes.extra", 5, "unknown key 'data.walks.num_scenes.extra'; did you "),
        ("seed", None, "missing: seed"),
    ],
)  # fmt: skip
def test_mistakes_are_named(checked: Any, key: str, value: object, sentence: str) -> None:
    config = read("mini")
    *sections, name = key.split(".")
    part = config
    for section in sections:
        part = part[section]
    if value is None:
        del part[name]
    else:
        part[name] = value
    with pytest.raises(WorkflowError) as caught:
        checked(config, "mine.yaml")
    assert f"mine.yaml: {sentence}" in str(caught.value)


def test_snakemake_prints_the_sentence_and_nothing_is_written(project: Project) -> None:
    (project.root / "mine.yaml").write_text("panorama: {generation: {guidance_scal: 3}}\n")
    before = sorted(project.root.rglob("results/**/*"))
    printed = project.snakemake("run", "--configfile", "mine.yaml", check=False)
    assert "'panorama.generation.guidance_scal'; did you mean 'guidance_scale'?" in printed
    assert "mine.yaml" in printed
    assert sorted(project.root.rglob("results/**/*")) == before


def test_smoke_can_be_given_as_a_configuration(project: Project) -> None:
    overlay = ("run", "--dry-run", "--configfile", "workflow/config/smoke.yaml")
    assert "results/smoke/metrics.json" in project.snakemake(*overlay)


def test_profiles_are_accepted(project: Project) -> None:
    profile = ("--workflow-profile", "workflow/profiles/default")
    assert project.run("snakemake", *profile, "--dry-run", "run")
    slurm = yaml.safe_load(Path(WORKFLOW / "profiles/slurm/profile.yaml").read_text())
    rules = subprocess.run(
        ["snakemake", "--list-rules"], cwd=project.root, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(slurm["set-resources"]) | set(slurm["set-threads"]) <= set(rules)
