"""Configuration files: reading, and one readable sentence about each mistake."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from snakemake.utils import update_config
from snakemake_interface_common.exceptions import WorkflowError

from mvdiffusion.methods.registry import find_method, method_names
from mvdiffusion.tasks import Task

WORKFLOW = Path(__file__).parents[1]
SCHEMA = WORKFLOW / "schemas/config.schema.yaml"
MINI = WORKFLOW / "config/mini.yaml"


def read_yaml(path: str | Path) -> Any:
    """Parse safely, in C where PyYAML was built with it: all starts of Snakemake wait."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(path).read_text(), Loader=loader)


@cache
def read_schema() -> Any:
    """Read the schema of configurations."""
    return read_yaml(SCHEMA)


def has_all_sections(config: Mapping[str, Any]) -> bool:
    """Whether a configuration stands for itself; otherwise it is to change another."""
    return set(read_schema()["required"]) <= set(config)


def checked(config: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the configuration if it fits the schema; otherwise say which key to fix."""
    validator = Draft202012Validator(read_schema())
    errors = sorted(validator.iter_errors(config), key=lambda error: list(error.path))
    mistakes = [config_error(error) for error in errors] or list(contradictions(config))
    if mistakes:
        sentences = "\n".join(f"  {source}: {mistake}" for mistake in mistakes[:5])
        raise WorkflowError(f"the configuration cannot be used\n{sentences}")
    return config


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each pair of keys that do not go together."""
    data, base, datasets = config["data"], config["base"], config.get("datasets", {})
    if ("pretrained" in base) == bool({"vae", "diffusion"} & set(base)):
        yield "'base' needs either 'pretrained', or both 'vae' and 'diffusion' to be trained"
    elif "pretrained" not in base and not {"vae", "diffusion"} <= set(base):
        yield "'base' lacks 'vae' or 'diffusion'; give both, or 'pretrained' alone"
    for key, source in data["sources"].items():
        if source in ("matterport3d", "scannet"):
            if source not in datasets:
                yield f"'data.sources.{key}' is '{source}'; describe it in 'datasets.{source}'"
        elif not {source, "expected_sha256"} <= set(data):
            yield f"'data.sources.{key}' is '{source}'; add 'data.{source}' and its hashes"
    if config["evaluation"]["extractors"] and not {"rooms", "expected_sha256"} <= set(data):
        yield "'evaluation.extractors' are trained on rooms; add 'data.rooms' and its hashes"
    scans = datasets.get("scannet", {"scenes": {"train": None}})
    if scans["scenes"]["train"] and len(scans["scenes"]["train"]) <= scans["validation_scenes"]:
        yield "'datasets.scannet.scenes.train' has no more scenes than 'validation_scenes' takes"
    if config.get("dataset") and config["dataset"] not in datasets:
        yield f"'dataset' is '{config['dataset']}'; describe it in 'datasets.{config['dataset']}'"
    for task, key in (("outpaint", "base"), ("depth", "stage1")):
        if config[task][key] is None and "pretrained" not in base:
            yield f"'{task}.{key}' is null; only a pretrained base knows the task without training"
    for task in Task:
        yield from unknown_methods(task, config[task])


def unknown_methods(task: Task, section: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each method of a task's section that cannot run."""
    known = method_names(task)
    for name in section["methods"]:
        if name not in known:
            yield f"'{task}.methods' names {name!r}; expected some of {', '.join(known)}"
        elif find_method(name, task).is_control and "control_samples" not in section:
            yield f"'{task}.methods' names the control {name!r}; add '{task}.control_samples'"


def config_error(error: Any) -> str:
    """One sentence for a validation error: the key, what was found, what is expected."""
    path = [str(part) for part in error.absolute_path]
    key, wanted = ".".join(path), error.validator_value
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        return "; ".join(
            unknown_key(path, name, known) for name in error.instance if name not in known
        )
    if error.validator == "required":
        missing = [".".join([*path, name]) for name in wanted if name not in error.instance]
        return f"missing: {', '.join(missing)}"
    if error.validator == "enum":
        return f"'{key}' is {error.instance!r}; expected one of {', '.join(map(str, wanted))}"
    if error.validator == "type":
        kinds = wanted if isinstance(wanted, str) else " or ".join(wanted)
        return f"'{key}' is {error.instance!r}; expected a value of type {kinds}"
    return f"'{key}': {error.message}"


def unknown_key(path: list[str], key: str, known: Iterable[str]) -> str:
    """One sentence about a key that nothing reads."""
    close = get_close_matches(str(key), known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
    return f"unknown key '{'.'.join([*path, str(key)])}'; {hint}"


def read_config(path: str | Path) -> dict[str, Any]:
    """Read and check a configuration file, which may change some keys of mini."""
    config = read_yaml(path)
    if not has_all_sections(config):
        changes, config = config, read_yaml(MINI)
        update_config(config, changes)
    return checked(config, str(path))


def configuration_files(paths: Iterable[str | Path]) -> str:
    """Name the files that a configuration is made of, the deciding one first."""
    return ", ".join(os.path.relpath(path) for path in paths)
