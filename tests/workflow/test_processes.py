"""Several processes in a job: the command is told, and no result depends on it."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from snakemake_interface_common.exceptions import WorkflowError
from workflow_project import Project, load_experiment, plan

from workflow.lib.config import read_config

KINDS = {
    "training": ("train_stage1", "train_stage2", "train_method", "train_inpainting"),
    "generation": ("generate",),
    "scoring": ("score",),
}


def configuration(folder: Path, **processes: int) -> Path:
    changes = {"processes": processes} if processes else {}
    methods = {"methods": ["mvdiffusion", "panorama_finetune"]}
    path = folder / f"{'-'.join(map(str, processes.values()))}.yaml"
    path.write_text(yaml.safe_dump({"panorama": methods, **changes}))
    return path


def told(configfile: Path) -> dict[str, set[str]]:
    """Numbers of processes in the commands that would run, by rule."""
    numbers: dict[str, set[str]] = {}
    for job in plan(configfile).jobs:
        found = re.findall(r"--processes (\S+)", job.shellcmd or "")
        assert len(found) <= 1
        numbers.setdefault(job.rule.name, set()).update(found)
    return numbers


@pytest.mark.long
def test_commands_are_told_how_many_processes_share_their_work(tmp_path: Path) -> None:
    alone = told(configuration(tmp_path))
    several = told(configuration(tmp_path, training=2, generation=3, scoring=4))
    counts = {"training": "2", "generation": "3", "scoring": "4"}
    for kind, rules in KINDS.items():
        for rule in rules:
            assert alone[rule] == {"1"}, rule
            assert several[rule] == {counts[kind]}, rule
    of_kinds = {rule for rules in KINDS.values() for rule in rules}
    assert not any(numbers for rule, numbers in several.items() if rule not in of_kinds)


def test_no_recipe_depends_on_them(tmp_path: Path) -> None:
    one, two = (
        load_experiment(configuration(tmp_path, training=count, generation=count)).recipes.steps
        for count in (1, 2)
    )
    assert {name: step.path for name, step in one.items()} == {
        name: step.path for name, step in two.items()
    }


@pytest.mark.long
def test_a_finished_run_stays_finished_with_other_processes(project: Project) -> None:
    """By Snakemake's own records, too: neither commands, parameters nor inputs have changed."""
    project.set("processes", {"training": 2, "generation": 4, "scoring": 3})
    assert "Nothing to be done" in project.snakemake("run")
    assert project.commands() == []


def test_processes_that_cannot_divide_a_batch_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=r"'processes\.training' is 4; expected a number of"):
        read_config(configuration(tmp_path, training=4))
    paper = yaml.safe_load(Path("workflow/config/paper.yaml").read_text())
    path = tmp_path / "paper.yaml"  # whose batches of four are four parts
    path.write_text(yaml.safe_dump(paper | {"processes": {"training": 4}}))
    assert read_config(path)["processes"] == {"training": 4}
    path.write_text(yaml.safe_dump(paper | {"processes": {"training": 8}}))
    with pytest.raises(
        WorkflowError, match=r"divide panorama\.stage2\.training evenly: 4 panoramas"
    ):
        read_config(path)


def test_options_are_words_of_the_shell(tmp_path: Path) -> None:
    """The settings of a training stay one word beside the number of processes."""
    jobs = {job.rule.name: job for job in plan(configuration(tmp_path, training=2)).jobs}
    words = re.search(r"--settings .*? --base", jobs["train_stage2"].shellcmd, re.DOTALL)
    assert words
    script = f"for word in {words[0]}; do printf '%s\\n' \"$word\"; done"
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    option, settings, *rest = shown.stdout.splitlines()
    assert option == "--settings"
    assert settings.startswith("{")
    assert settings.endswith("}")
    assert rest == ["--processes", "2", "--base"]


def test_a_batch_of_a_methods_own_training_is_checked_if_it_is_run(tmp_path: Path) -> None:
    path = configuration(tmp_path, training=2)
    told = yaml.safe_load(path.read_text())
    training = {"trainings": {"panorama_finetune": {"training": {"batch_size": 33}}}}
    path.write_text(yaml.safe_dump(told | {"panorama": told["panorama"] | training}))
    named = r"divide panorama\.trainings\.panorama_finetune\.training evenly: 33 panoramas"
    with pytest.raises(WorkflowError, match=named):
        read_config(path)
    path.write_text(yaml.safe_dump(told | {"panorama": training}))
    assert read_config(path)["processes"] == {"training": 2}
