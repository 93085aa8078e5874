"""The configuration of the ablations, and that no other experiment knows of them."""

from collections.abc import Mapping
from typing import Any

import pytest

from workflow.lib.config import WORKFLOW, read_config
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks


def tasks_of(name: str) -> Tasks:
    config = read_config(WORKFLOW / f"config/{name}.yaml")
    return Tasks(config, Sources(config))


def flat(settings: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        path = f"{under}{key}"
        found |= flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return found


def test_every_ablation_trains_as_the_reference_does_but_for_one_setting() -> None:
    tasks = tasks_of("ablations")
    ablations = tasks.ablations("panorama")
    assert len(ablations) == 9
    section = tasks.config["panorama"]["stage2"]
    reference = flat(tasks.settings("panorama", section))
    of_mini = tasks_of("mini").config["panorama"]["stage2"]
    assert section["training"]["steps"] < of_mini["training"]["steps"]
    for name in ablations:
        told = flat(tasks.training_settings("panorama", name))
        different = [key for key in told if key not in reference or told[key] != reference[key]]
        assert len(different) == 1
        assert different[0].split(".")[0] in ("variant", "attention")
        assert tasks.start("panorama", name) == "panorama_stage1"
        assert tasks.generation("panorama", name) == tasks.generation("panorama", "mvdiffusion")


def test_their_table_reads_the_logs_of_their_trainings() -> None:
    tasks = tasks_of("ablations")
    assert "panorama_ablations.csv" in tasks.tables
    steps = {"panorama/mvdiffusion": "panorama_stage2"} | {
        f"panorama/{name}": f"panorama_{name}_model" for name in tasks.ablations("panorama")
    }
    assert tasks.training_logs == steps
    assert set(steps.values()) < set(tasks.trained)


@pytest.mark.parametrize("name", ["mini", "smoke", "paper"])
def test_they_are_off_elsewhere(name: str) -> None:
    tasks = tasks_of(name)
    assert not any(tasks.ablations(task) for task in tasks.names)
    assert tasks.training_logs == {}
    assert not any("ablations" in table for table in tasks.tables)
