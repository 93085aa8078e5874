"""Real data: planned without them, fetched and prepared once, never deleted, never published."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_project import Project

pytestmark = pytest.mark.long

PAPER = "workflow/config/paper.yaml"
HOUSES = ["houseA", "houseB"]
SCENES = {"train": ["scene0000_00", "scene0001_00"], "test": ["scene0707_00"]}


def overlay(project: Project, **changes: Any) -> tuple[str, ...]:
    """Options for a run of the paper's configuration with a few houses and scans."""
    script: dict[str, Any] = {"script": "owner.py", "accept_terms": True}
    datasets = {
        "matterport3d": script | {"houses": HOUSES},
        "scannet": script | {"scenes": SCENES, "validation_scenes": 1},
    }
    for key, value in changes.items():
        datasets["matterport3d"][key] = value
        datasets["scannet"][key] = value
    (project.root / "few.yaml").write_text(yaml.safe_dump({"datasets": datasets}))
    return ("--configfile", PAPER, "few.yaml")


def tree(root: Path) -> dict[str, bytes]:
    """All files but marks."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path): path.read_bytes() for path in files if path.name != ".prepared"}


def jobs(printed: str) -> dict[str, int]:
    """Numbers of jobs by rule in what a dry run printed."""
    table = printed.rpartition("Job stats:")[2].split("\n\n")[0].splitlines()
    rows = [line.split() for line in table]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


def test_the_paper_is_planned_without_data_and_network(clone: Project) -> None:
    before = os.times()
    planned = jobs(clone.run("snakemake", "--dry-run", "run", "--configfile", PAPER))
    after = os.times()  # of the processor: other work on the machine does not count
    assert after.children_user - before.children_user < 90
    units = {"fetch_house": 90, "prepare_house": 90, "fetch_scene": 1613, "prepare_scene": 1613}
    assert {name: planned.get(name) for name in units} == units
    assert planned["fetch_base"] == 3, "every task starts from a model of its own"
    assert planned["train_stage1"] == 1, "only depth has a first stage"
    assert planned["train_stage2"] == 3
    made_in_miniature = {"train_vae", "train_base", "train_inpainting", "train_extractor"}
    assert not set(planned) & {*made_in_miniature, "render_rooms", "render_walks", "fetch_data"}


@pytest.mark.slow
def test_the_paper_with_a_few_houses_and_scans_runs_to_its_tables(project: Project) -> None:
    options = overlay(project)
    project.snakemake("run", *options)
    ran = project.commands()
    assert "fetch-base" in ran
    assert {name for name in ran if name.startswith("train")} == {
        "train stage2 panorama", "train stage2 outpaint", "train stage1 depth",
        "train stage2 depth", "train panorama-finetune", "train controlnet",
    }  # fmt: skip
    assert not {name for name in ran if name.startswith("train-extractor")}
    assert "depth_main.md" in project.results("results/paper")
    assert "datasets" not in project.run("git", "status", "--porcelain", "--untracked-files=all")
    assert "Nothing to be done" in project.snakemake("run", *options)
    report = next((project.root / "results/paper/settings").glob("report-*.json")).read_text()
    assert "owner.py" not in report, "what is of this machine is not shown"
    assert "Nothing to be done" in project.snakemake("run"), "mini's results are left alone"


@pytest.mark.slow
def test_a_dataset_is_made_whatever_the_tasks_and_then_kept(project: Project) -> None:
    options = ("data", "--config", "dataset=matterport3d", *overlay(project))
    project.snakemake(*options)
    assert sorted(project.commands()) == sorted(
        [f"data {do} matterport3d {house}" for house in HOUSES for do in ("fetch", "prepare")]
        + ["data splits matterport3d houseA houseB", *["data caption panorama"] * 3]
    )
    prepared = project.root / "datasets/matterport3d/prepared"
    (prepared / "houseA/blip3").mkdir()
    (prepared / "houseA/blip3/caption.txt").write_text("a room")
    before = tree(prepared)
    project.append("mvdiffusion/preparation/matterport3d.py")
    failing = "data prepare matterport3d houseA"
    assert "truncated" in project.snakemake(*options, check=False, FAIL_AT=failing)
    houses = [prepared / house for house in HOUSES]
    assert all(tree(house).items() <= before.items() and tree(house) for house in houses)
    project.commands()
    project.snakemake(*options)
    ran = set(project.commands())
    assert "kept houseA" in ran, "records outlive failures and changed code"
    assert not {name for name in ran if name.startswith("data fetch")}
    assert tree(prepared) == before
    moved = ("data", "--config", "dataset=matterport3d", *overlay(project, script="moved.py"))
    project.snakemake(*moved)
    found = {name.rpartition(" ")[0] for name in project.commands()}
    assert found == {"data fetch matterport3d"}, "where data come from decides nothing"
    assert "Nothing to be done" in project.snakemake(*moved)


def test_at_most_four_downloads_run_at_once(project: Project) -> None:
    for cores in (7, 16):  # up to four, as many downloads as cores
        options = ("data", "--dry-run", "--cores", str(cores), "--config", "dataset=matterport3d")
        planned = project.snakemake(*options, *overlay(project))
        fetching = planned.partition("rule fetch_house:")[2].partition("resources:")[0]
        threads = int((re.search(r"threads: (\d+)", fetching) or [0, 1])[1])
        assert cores // threads <= 4


def test_without_the_script_the_command_says_what_to_sign(project: Project) -> None:
    options = overlay(project, script=None)
    printed = project.snakemake("data", "--config", "dataset=scannet", *options, check=False)
    assert "no such file. Sign https://terms.example" in printed
    assert not list(project.root.glob("datasets/*/prepared/*/*/prepared.json"))


@pytest.mark.slow
def test_downloads_are_deleted_only_if_asked_and_only_own_ones(project: Project) -> None:
    given = project.root / "given"
    given.mkdir()
    for house in HOUSES:
        (given / f"{house}.zip").write_text(house)
    options = overlay(project, downloads="given", script=None, keep_downloads=False)
    project.snakemake("data", "--config", "dataset=matterport3d", *options)
    assert len(tree(given)) == 2
    options = overlay(project, keep_downloads=False)
    target = ("data", "--config", "dataset=scannet", *options)
    project.snakemake(*target)
    assert tree(project.root / "datasets/scannet/downloads") == {}
    assert tree(project.root / "datasets/scannet/fetched") == {}
    assert "Nothing to be done" in project.snakemake(*target)


@pytest.mark.slow
def test_labels_are_read_before_what_uses_them(project: Project) -> None:
    (project.root / "mp3d_skybox.tar").write_text("labels")
    options = overlay(project, labels=["mp3d_skybox.tar"])
    project.snakemake("data", "--config", "dataset=scannet", *options)
    ran = project.commands()
    assert ran.index("data labels scannet") < ran.index("data prepare scannet scene0000_00")
    extracted = project.root / "datasets/scannet/labels"
    assert (extracted / "labels.txt").read_text() == "labels"
    (extracted / "mp3d_skybox").mkdir()
    (project.root / "mp3d_skybox.tar").rename(project.root / "other.tar")
    options = overlay(project, labels=["other.tar"])
    project.snakemake("data", "--config", "dataset=scannet", *options)
    assert [path.name for path in extracted.iterdir()] == ["labels.txt"], "no other archive's stay"


@pytest.mark.parametrize(
    ("source", "other", "own"),
    [("panorama", "depth", "matterport3d"), ("depth", "panorama", "scannet")],
)
def test_one_source_can_be_real_while_the_other_is_not(
    project: Project, source: str, other: str, own: str
) -> None:
    project.set(f"data.sources.{source}", own)
    project.set("tasks", [source])
    project.set(f"datasets.{own}.script", "owner.py")
    few = {"matterport3d": {"houses": HOUSES}, "scannet": {"scenes": SCENES}}[own]
    for key, value in {**few, **({"validation_scenes": 1} if own == "scannet" else {})}.items():
        project.set(f"datasets.{own}.{key}", value)
    planned = project.snakemake("run", "--dry-run")
    assert f"datasets/{own}/prepared/captions_train.json" in planned
    unused = {"matterport3d": "scannet", "scannet": "matterport3d"}[own]
    assert f"datasets/{unused}" not in planned
    trained = jobs(planned)
    assert trained["train_stage2"] == 1
    # The base learns from rooms unless panoramas are real; the extractors always do.
    assert trained.get("train_base", 0) == (source == "panorama")
    assert "train_extractor" not in trained


def test_dvc_compares_prepared_data_and_holds_none_of_them(project: Project) -> None:
    for key, value in {"script": "owner.py", "accept_terms": True, "houses": HOUSES}.items():
        project.set(f"datasets.matterport3d.{key}", value)
    stage = "workflow/datasets/dvc.yaml:matterport3d"
    project.run("dvc", "repro", stage)
    lock = (project.root / "workflow/datasets/dvc.lock").read_text()
    assert "datasets/matterport3d/prepared" in lock
    assert "owner.py" not in lock
    assert "up to date" in project.run("dvc", "status", stage)
    cache = tree(project.root / ".dvc/cache")
    assert not [path for path, data in cache.items() if data == b"houseA"]
    changed = project.root / "datasets/matterport3d/prepared/houseA/data"
    changed.write_text("other bytes")
    printed = project.run("dvc", "status", stage, check=False)
    assert "modified" in printed
    assert "datasets/matterport3d/prepared" in printed
    project.run("dvc", "repro", stage)
    assert changed.read_text() == "other bytes", "DVC does not delete what it only compares"
