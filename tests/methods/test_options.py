"""Numbers that only one method has: what reaches it, and where a reader finds them."""

import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
import yaml
from workflow_project import ROOT

from mvdiffusion.methods.base import Batch
from mvdiffusion.methods.registry import methods
from mvdiffusion.models.perceptual import FeatureDistance
from mvdiffusion.pipelines import joint
from mvdiffusion.tasks import Task

WITH_OPTIONS = {name: method for name, method in methods().items() if method.options}
CONFIG = ROOT / "workflow/config"


def defaults() -> dict[tuple[str, str], Any]:
    """Values of all options by method and name."""
    return {
        (name, field.name): field.default
        for name, method in WITH_OPTIONS.items()
        for field in fields(method.options)
    }


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], dict[str, Any]]:
    """What `generate_jointly` is asked for, and a batch without options."""
    asked: list[Any] = []

    def record(*positional: Any, **named: Any) -> None:
        asked.append((positional, named))

    monkeypatch.setattr(joint, "generate_jointly", record)
    pipeline = SimpleNamespace(vae_scale_factor=4, scheduler=diffusers.DDIMScheduler())
    given = {"pipeline": pipeline, "samples": [], "noise": torch.zeros(1, 8, 4, 8, 8)}
    return asked, given | {"sampling": {}, "dataset": SimpleNamespace(fov_deg=90.0)}


def test_windows_are_as_the_options_say(batch: tuple[list[Any], dict[str, Any]]) -> None:
    asked, given = batch
    chosen = {"multidiffusion": {"stride": 0.5}, "syncdiffusion": {"stride": 0.125}}
    chosen["syncdiffusion"] |= {"weight": 3.0, "decay": 0.5}
    for name, values in chosen.items():
        options = WITH_OPTIONS[name].read_options(values)
        WITH_OPTIONS[name].function("panorama")(Batch(**given, options=options))
    assert [positional[-1] for positional, _ in asked] == [0.5, 0.125]
    drawn = asked[1][1]["adjust"]
    assert (drawn.weight, drawn.decay) == (3.0, 0.5)
    assert isinstance(drawn.distance, FeatureDistance)  # of views of 32 pixels


def documented() -> Iterator[tuple[tuple[str, str], str]]:
    """Defaults in the table of docs/configure.md; an empty cell repeats the one above."""
    text = (ROOT / "docs/configure.md").read_text().partition("| method | option |")[2]
    names: list[str] = []
    for line in text.partition("\n\n")[0].splitlines()[2:]:
        method, option, default = (cell.strip() for cell in line.split("|")[1:4])
        names = re.findall("`(.+?)`", method) or names
        yield from (((name, option.strip("`")), default) for name in names)


def test_the_documentation_has_every_option_and_its_default() -> None:
    assert dict(documented()) == {key: str(value) for key, value in defaults().items()}


def test_the_comparison_names_them_all_as_they_are() -> None:
    """In every task that the method has; and so does the paper's configuration of its methods."""
    for name in ("comparison", "paper"):
        config = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())
        for task in Task:
            run = [each for each in config[task]["methods"] if each in WITH_OPTIONS]
            expected = {each: asdict(WITH_OPTIONS[each].options()) for each in run}
            if name == "paper" and "syncdiffusion" in expected:
                expected["syncdiffusion"]["network"] = "lpips"  # what "auto" is at its size
            assert config[task]["options"] == expected
