"""What DVC holds is what the workflow made of the settings beside it, whole and undamaged."""

import os
import re
import shutil
import threading

import pytest
from workflow_project import ROOT, Project, load_experiment
from zc.lockfile import LockFile

pytestmark = pytest.mark.long

RECORD = ("python", "-m", "workflow.scripts.record_run")


def record(project: Project, message: str) -> None:
    """Record a run as `make run` does, and commit it."""
    project.run(*RECORD)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", message)
    project.run("git", "tag", message)


@pytest.mark.slow
def test_results_of_an_older_commit_are_neither_shown_nor_recorded_as_current(
    project: Project,
) -> None:
    record(project, "A")
    project.set("evaluation.claims.fid_margin", 0.1)
    project.snakemake("run")
    record(project, "B")
    recorded, current = (project.root / "dvc.lock").read_text(), project.results()
    project.run("git", "checkout", "--quiet", "A")
    project.run("dvc", "checkout", "--quiet")
    assert project.results()["metrics.json"] != current["metrics.json"]
    project.run("git", "checkout", "--quiet", "B")
    assert "finish `make run` first" in project.run(*RECORD, check=False)
    project.commands()
    project.snakemake("run")
    assert sorted(project.commands()) == ["report", "tables"]
    assert project.results() == current
    project.run(*RECORD)
    assert (project.root / "dvc.lock").read_text() == recorded
    assert "Nothing to be done" in project.snakemake("run")


@pytest.mark.parametrize(
    "name",
    [
        "metrics.json",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("tables/claims.csv", "figures/overview_depth.csv")
        ),
    ],
)
def test_what_was_edited_is_neither_shown_nor_recorded(project: Project, name: str) -> None:
    project.run(*RECORD)
    edited = project.root / "results" / name
    times = edited.stat()
    project.append(f"results/{name}", "0")
    os.utime(edited, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a disk would
    shown = project.results()["report.html"]
    printed = project.snakemake("run", check=False)
    assert f"results/{name}: is not what the workflow has written there" in printed
    seal = re.search(r"delete (results/\w+/recipe-\w+\.json) and run", printed)
    assert seal
    assert project.results()["report.html"] == shown, "the page of what the workflow wrote"
    assert project.run(*RECORD, check=False)
    (project.root / seal[1]).unlink()
    project.snakemake("run")
    project.run(*RECORD)
    assert project.results()["report.html"] == shown


def test_damage_in_the_store_ends_the_pull(clone: Project) -> None:
    files = [path for path in (clone.root / "workflow/resources").rglob("*") if path.is_file()]
    (damaged,) = [path for path in files if path.read_text() == "test"]  # data/test.npy
    damaged.chmod(0o644)
    damaged.write_text("tesT")
    printed = clone.snakemake("fetch_data", check=False)
    assert "failed" in printed or "corrupted" in printed
    assert not (clone.root / "data/test.npy").exists()
    damaged.write_text("test")
    clone.snakemake("fetch_data")
    assert (clone.root / "data/test.npy").read_text() == "test"


@pytest.mark.slow
def test_a_pull_waits_for_another_one(clone: Project) -> None:
    """Rooms and base are fetched side by side, and DVC gives up on its lock after 3 seconds."""
    (clone.root / ".dvc/tmp").mkdir(exist_ok=True)
    lock = LockFile(str(clone.root / ".dvc/tmp/lock"))
    release = threading.Timer(30.0, lock.close)
    release.start()
    clone.snakemake("fetch_data")
    assert (clone.root / "data/test.npy").read_text() == "test"
    release.join()


def test_dvc_keeps_its_state_inside_the_project(project: Project) -> None:
    shutil.rmtree(project.root / ".dvc/tmp")
    project.run("dvc", "status", "--quiet", "data.dvc")
    assert list((project.root / ".dvc/tmp/site").iterdir())
    assert not project.run("git", "status", "--porcelain")


def test_other_embedded_rooms_are_fetched_and_compared_with_the_configuration(
    project: Project,
) -> None:
    assert load_experiment().sources.embedded_md5("data") in (ROOT / "data.dvc").read_text()
    recorded = (project.root / "data.dvc").read_text()
    (md5,) = re.findall(r"md5: (\w+\.dir)", recorded)
    project.set("data.embedded_md5", md5)
    project.snakemake("run")
    (project.root / "data/test.npy").write_text("other")
    project.run("dvc", "add", "--quiet", "data")
    project.run("dvc", "push", "--quiet")
    printed = project.snakemake("run", check=False)
    assert f"'data.embedded_md5' is {md5}; write the new hash there" in printed
    (other,) = re.findall(r"md5: (\w+\.dir)", (project.root / "data.dvc").read_text())
    project.set("data.embedded_md5", other)
    os.utime(project.root / "data.dvc", (0, 0))  # as `rsync -a` and release archives do
    planned = project.snakemake("-n", "run")
    assert re.search(r"fetch_data +1", planned)
    assert re.search(r"train_stage2 +3", planned)
    assert "modified" in project.run("dvc", "status", "run")
