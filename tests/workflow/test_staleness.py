"""No stale result: what a reproduction suite must never do is show old numbers as new."""

import operator
import os
import re
import shutil
import signal
import subprocess
import time
from functools import reduce
from pathlib import Path

import pytest
import yaml
from workflow_project import METHODS, Project, environment

from mvdiffusion.locks import processes
from workflow.lib.contents import content_sha256
from workflow.lib.process import LOCK

pytestmark = pytest.mark.long


def seeds(project: Project) -> set[str]:
    """The seeds that went into what is shown, by way of any file."""
    shown = " ".join(project.results().values())
    return {word for word in shown.replace('"', " ").split() if word.startswith("seed=")}


def features(project: Project) -> dict[str, str]:
    """What scores keep of each image."""
    files = sorted((project.root / "results/features").glob("*/*"))
    return {str(file): f"{file.stat().st_mtime_ns} {file.read_text()}" for file in files}


def delete_rooms(project: Project) -> None:
    """Delete all that was rendered."""
    for rendered in ("rooms", "walks"):
        shutil.rmtree(project.root / "results" / rendered)


def test_nothing_to_do_after_a_run(project: Project) -> None:
    assert "Nothing to be done" in project.snakemake("run")
    delete_rooms(project)
    assert "Nothing to be done" in project.snakemake(), "the models have been trained on them"
    assert project.commands() == []


@pytest.mark.slow
def test_pulled_results_with_another_seed_are_not_shown_as_new(
    made_project: Project, clone: Project
) -> None:
    made_project.run("dvc", "repro", "--quiet")
    made_project.run("dvc", "push", "--quiet")
    made_project.run("git", "add", "--all")
    made_project.run("git", "commit", "--quiet", "--message", "results")
    clone.run("git", "pull", "--quiet")
    clone.run("dvc", "pull", "--quiet")
    assert seeds(clone) == {"seed=0"}  # old tables are there, scores are not
    clone.set("seed", 7)
    clone.snakemake("run")
    assert seeds(clone) == {"seed=7"}


@pytest.mark.slow
def test_changed_seed_without_snakemake_state(project: Project) -> None:
    before = project.results()
    shutil.rmtree(project.root / ".snakemake")
    project.set("seed", 7)
    project.snakemake("tables")
    assert seeds(project) == {"seed=7"}
    assert "report.html" not in project.results(), "the old report must not outlive its numbers"
    shutil.rmtree(project.root / ".snakemake")
    project.set("seed", 0)
    project.snakemake("run")
    assert project.results() == before


@pytest.mark.parametrize(
    ("edited", "rerun"),
    [
        ("eval/functional/psnr.py", {"score", "tables", "figures", "leaderboard", "report"}),
        ("eval/tables/published.yaml", {"tables", "leaderboard", "report"}),
    ],
)
def test_code_edits_rerun_what_uses_the_code(
    project: Project, edited: str, rerun: set[str]
) -> None:
    before = features(project)
    project.append(edited)
    project.snakemake("run")
    assert {name.split()[0] for name in project.commands()} == rerun
    after = features(project)
    assert before.items() <= after.items()
    new = [image for image in after if image not in before]
    assert len(new) == (len(before) if "score" in rerun else 0), "other code, other features"


def test_edits_of_a_command_rerun_the_steps_that_run_it(project: Project) -> None:
    edited = {"eval/cli/results.py": "tables", "mvdiffusion/cli/data.py": "data_walks"}
    for name, command in edited.items():
        path = project.root / name
        path.write_text(path.read_text().replace(f"def {command}(): 0", f"def {command}(): 1"))
    planned = project.snakemake("-n", "run")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", planned, re.MULTILINE))
    assert counts["make_tables"] == "1"
    assert counts["render_walks"] == "3"
    assert counts["train_stage2"] == "1", "of depth alone"
    assert "render_rooms" not in counts


def test_other_packages_are_scored_with_again_and_train_nothing(
    project: Project, tmp_path: Path
) -> None:
    installed = tmp_path / "site/torchmetrics-99.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchmetrics\nVersion: 99.0\n"
    )
    project.snakemake("run", PYTHONPATH=str(installed.parent))
    names = {name.split()[0] for name in project.commands()}
    assert names == {"train-extractor", "score", "tables", "figures", "leaderboard", "report"}
    assert "Nothing to be done" in project.snakemake("run", PYTHONPATH=str(installed.parent))


def test_models_and_archives_that_are_replaced_under_their_name_are_seen(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    (project.root / "mybase").mkdir()
    weights, archive = project.root / "mybase/weights", project.root / "labels.tar"
    digests = []
    for text in ("one", "two", "two", None):
        if text:
            weights.write_text(text)
            archive.write_text(text)
        else:
            archive.unlink()
        digests.append((content_sha256("mybase"), content_sha256("labels.tar")))
    assert digests[0][0] != digests[1][0]
    assert digests[0][1] != digests[1][1]
    assert digests[1] == digests[2] == digests[3], "an archive may go once it is extracted"
    assert content_sha256("stabilityai/stable-diffusion-2-base") == ""

    base = dict.fromkeys(("panorama", "outpaint", "depth"), "mybase")
    trained = dict.fromkeys(("vae", "decoder", "diffusion", "unet"))
    mine = {"base": {**trained, "pretrained": base}}
    (project.root / "mine.yaml").write_text(yaml.safe_dump(mine))
    options = ("results/models/panorama_pretrained/model_index.json", "--configfile", "mine.yaml")
    project.snakemake(*options)
    project.commands()
    assert "Nothing to be done" in project.snakemake(*options)
    weights.write_text("three")
    project.snakemake(*options)
    assert project.commands() == ["fetch-base"]


def test_guidance_scale_reruns_generation_and_what_follows(project: Project) -> None:
    project.set("panorama.generation.guidance_scale", 3.5)
    before, kept = project.results(), features(project)
    project.snakemake("run")
    ran = set(project.commands())
    assert kept.items() < features(project).items(), "features of the same images are kept"
    made = {"generate split panorama independent", "generate split panorama mvdiffusion"}
    # Real views are exported again to carry the hash that all scores of a table must agree on.
    shown = {"tables", "figures", "leaderboard", "report"}
    assert ran == made | {"data export panorama", "score"} | shown
    assert project.results()["metrics.json"] != before["metrics.json"]


@pytest.mark.slow
def test_outdated_results_are_moved_aside_and_the_log_says_so(project: Project) -> None:
    model = project.root / "results/models/panorama_stage2/model_index.json"
    before, settings = model.read_text(), project.root / "results/settings"
    (old,) = (path.stem for path in settings.glob("panorama_stage2-*.json"))
    project.set("panorama.stage2.variant", "released")
    printed = project.snakemake("run")
    aside = project.root / "results/.old" / old
    assert f"results of other settings or code were moved to results/.old/{old}" in printed
    assert (aside / "models/panorama_stage2/model_index.json").read_text() == before
    assert (aside / "curves/panorama_stage2.jsonl").exists()
    assert (aside / f"settings/{old}.json").exists()
    assert model.read_text() != before
    project.set("panorama.stage2.variant", "paper")
    project.snakemake("run")
    assert model.read_text() == before
    assert (aside / "models/panorama_stage2/model_index.json").read_text() == before


def test_settings_that_decide_no_weights_rerun_no_training(project: Project) -> None:
    for key, value in {"log_every": 7, "num_workers": 5, "validate_every": 9}.items():
        project.set(f"base.vae.training.{key}", value)
        project.set(f"depth.stage2.training.{key}", value)
    project.set("depth.stage2.training.checkpoint_every", 3)
    project.snakemake("run")
    assert project.commands() == ["report"], "it shows the configuration"
    shutil.rmtree(project.root / ".snakemake")
    assert "Nothing to be done" in project.snakemake("run")


def test_settings_that_decide_no_weights_reach_a_training_that_goes_on(project: Project) -> None:
    project.set("panorama.stage2.variant", "released")
    kill(start_and_wait(project, HANG_AT="training/panorama_stage2"))
    project.set("panorama.stage2.training.log_every", 7)
    target = "results/models/panorama_stage2/model_index.json"
    assert '"log_every": 7' in project.snakemake(target, "--printshellcmds")
    moved = list(project.root.glob("results/.old/panorama_stage2-*"))
    assert len(moved) == 1, "the paper's; the other goes on"


def test_settings_of_one_task_leave_the_images_of_the_others(project: Project) -> None:
    project.set("depth.stage2.variant", "released")
    project.set("data.walks.overlap", 0.5)
    project.snakemake("run")
    made = {name for name in project.commands() if name.split()[0] in ("data", "train", "generate")}
    assert made == {
        "data walks", "data export depth", "train stage1 depth", "train stage2 depth",
        "generate split depth mvdiffusion",
    }  # fmt: skip


def test_a_task_left_out_disappears_and_comes_back_without_work(project: Project) -> None:
    before = project.results()
    project.set("tasks", ["panorama"])
    project.snakemake("run")
    assert set(project.commands()) == {"tables", "figures", "leaderboard", "report"}
    assert "panorama_main.md" in project.results()
    assert "depth_main.md" not in project.results(), "left out tasks must not be shown"
    project.set("tasks", ["panorama", "outpaint", "depth"])
    project.snakemake("run")
    assert set(project.commands()) == {"tables", "figures", "leaderboard", "report"}
    assert project.results() == before


@pytest.mark.slow
def test_deleted_rooms_are_rendered_again_for_a_training_alone(project: Project) -> None:
    delete_rooms(project)
    project.set("panorama.generation.guidance_scale", 3.5)
    project.snakemake("run")
    assert not {"data rooms", "data walks"} & set(project.commands())
    project.snakemake("data")
    assert set(project.commands()) == {"data rooms", "data walks"}
    assert "Nothing to be done" in project.snakemake("run"), "the same rooms, only newer"
    project.set("panorama.stage2.variant", "released")
    project.snakemake("run")
    assert [name for name in project.commands() if "train" in name] == ["train stage2 panorama"]


@pytest.mark.parametrize(
    ("task", "own"),
    [
        ("panorama", {"train stage1 panorama", "train stage2 panorama"}),
        ("outpaint", {"train inpainting", "train stage2 outpaint"}),
        ("depth", {"data walks", "train stage1 depth", "train stage2 depth"}),
    ],
)
def test_one_task_runs_what_it_needs_and_nothing_else(
    project: Project, task: str, own: set[str]
) -> None:
    options = ("--dry-run", "--forceall", "--printshellcmds", "--config", f"tasks=[{task}]")
    printed = project.snakemake("run", *options)
    command = r"python -m mvdiffusion\.cli (\w+ \w+)(?: --task (\w+))?(?: --method (\w+))?"
    made = {" ".join(filter(None, parts)) for parts in re.findall(command, printed)}
    shared = {"data rooms", "data export panorama", "train vae", "train base"}
    generated = {f"generate split {task} {method}" for method in METHODS[task]}
    assert made == shared | own | generated | {f"data export {task}"}


def test_a_target_of_a_task_that_is_left_out_is_refused_in_words(project: Project) -> None:
    project.set("tasks", ["panorama", "outpaint"])
    target = "results/models/outpaint_stage1/model_index.json"
    assert "'outpaint_stage1' belongs to none of the tasks" in project.snakemake(
        target, check=False
    )


def test_kill_9_and_run_again_gives_the_same_bytes(made_project: Project, clone: Project) -> None:
    process = start_and_wait(clone, HANG_AT="training/panorama_stage1")
    second = clone.snakemake("run", check=False)
    assert "another Snakemake is at work in this folder" in second
    kill(process)
    clone.commands()
    clone.snakemake("run")
    assert "train base" not in clone.commands(), "finished steps are not repeated"
    assert clone.results() == made_project.results()


@pytest.mark.slow
@pytest.mark.parametrize("at", ["training/panorama_stage2", "images/panorama/mvdiffusion"])
def test_jobs_that_outlive_a_killed_snakemake_write_into_no_other_run(
    made_project: Project, project: Project, at: str
) -> None:
    """Snakemake alone is killed; then other settings, while its job still writes."""
    project.set("panorama.stage2.variant", "released")
    process = start_and_wait(project, HANG_AT=at)
    process.send_signal(signal.SIGKILL)
    process.wait()
    project.set("panorama.stage2.variant", "paper")
    for _ in range(2):
        refused = project.snakemake("run", check=False)
        assert "jobs of one that was killed (processes " in refused
        assert "Nothing to be done" not in refused
    let_jobs_end(project)
    project.snakemake("run")
    assert project.results() == made_project.results()


def let_jobs_end(project: Project) -> None:
    """Let commands that hang go on, and wait until no job of a killed run is left."""
    (project.root / "go_on").touch()
    deadline = time.monotonic() + 60
    while jobs := processes(project.root / LOCK):
        assert time.monotonic() < deadline, jobs
        time.sleep(0.05)
    (project.root / "go_on").unlink()


WAYS = ("snakemake alone", "all processes", "one command")
PLACES = {
    "training/panorama_stage1": ("panorama.stage1.training.weight_decay", 0.3),
    "training/panorama_stage2": ("panorama.stage2.variant", "released"),
    "images/panorama/independent": ("panorama.generation.guidance_scale", 3.5),
    "images/panorama/mvdiffusion": ("panorama.generation.guidance_scale", 3.5),
    "training/depth_stage2": ("depth.stage2.training.weight_decay", 0.3),
    "images/depth/mvdiffusion": ("depth.generation.num_inference_steps", 3),
    "results/features": ("outpaint.generation.guidance_scale", 4.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_kills_with_other_settings_before_and_after(
    made_project: Project, project: Project, way: str
) -> None:
    """Seven kills each: what is shown at the end is that of an undisturbed run, byte for byte."""
    for place, (key, value) in PLACES.items():
        config = yaml.safe_load((project.root / "workflow/config/mini.yaml").read_text())
        before = reduce(operator.getitem, key.split("."), config)
        assert value != before, place
        project.set(key, value)
        process = start_and_wait(project, HANG_AT=place)
        kill_by(way, project, process)
        project.set(key, before)
        if way == "snakemake alone":
            said = project.snakemake("run", check=False)
            assert "jobs of one that was killed" in said, place
        let_jobs_end(project)
        project.snakemake("run")
        assert project.results() == made_project.results(), place


def kill_by(way: str, project: Project, process: subprocess.Popen) -> None:
    """Kill -9 a run that hangs: Snakemake alone, all of it, or the command of a job."""
    if way == "all processes":
        kill(process)
    elif way == "snakemake alone":
        process.send_signal(signal.SIGKILL)
        process.wait()
    else:
        for pid in processes(project.root / LOCK):
            if b"mvdiffusion" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0-m\0")[-1]:
                os.kill(pid, signal.SIGKILL)
        assert process.wait() == 1


def test_dry_runs_and_lists_change_nothing(project: Project) -> None:
    """Not even what a kill left, which a run would move aside or make again."""
    project.set("panorama.stage2.variant", "released")
    kill(start_and_wait(project, HANG_AT="images/panorama/mvdiffusion"))
    project.set("panorama.stage2.variant", "paper")
    assert list((project.root / ".snakemake/incomplete").iterdir())
    before = files(project)
    assert "train stage2" in project.snakemake("run", "--dry-run", "--printshellcmds")
    for words in (["--list-rules"], ["--summary", "run"], ["--dry-run", "--forceall", "smoke"]):
        project.snakemake(*words)
    assert files(project) == before


def files(project: Project) -> dict[str, int]:
    """Times of all files but the logs and Python's caches."""
    found = (path for path in project.root.rglob("*") if path.is_file())
    kept = (path for path in found if not {"log", "iocache", "__pycache__"} & {*path.parts})
    return {str(path): path.stat().st_mtime_ns for path in kept}


@pytest.mark.slow
def test_unfinished_work_of_other_settings_is_not_resumed(
    made_project: Project, project: Project
) -> None:
    project.set("panorama.stage2.variant", "released")
    kill(start_and_wait(project, HANG_AT="training/panorama_stage2"))
    project.set("panorama.stage2.variant", "paper")
    project.snakemake("run")
    assert project.results() == made_project.results()


def test_a_dry_run_after_a_kill_changes_nothing(project: Project) -> None:
    project.set("panorama.stage2.variant", "released")
    kill(start_and_wait(project, HANG_AT="training/panorama_stage2"))
    model = project.root / "results/models/panorama_stage2/model_index.json"
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_text("written by the killed job")
    before = {path: path.stat().st_mtime_ns for path in project.root.rglob("results/**/*")}
    assert "train_stage2" in project.snakemake("-n", "run")
    after = {path: path.stat().st_mtime_ns for path in project.root.rglob("results/**/*")}
    assert after == before


def test_failure_shows_the_command_s_message_and_keeps_nothing(project: Project) -> None:
    project.set("panorama.generation.num_inference_steps", 3)
    name = "generate split panorama mvdiffusion"
    output = project.snakemake("run", check=False, FAIL_AT=name)
    assert "data/broken.jpg: truncated; copy it again" in output
    assert not (project.root / "results/images/panorama/mvdiffusion/manifest.json").exists()
    assert not (project.root / "results/metrics.json").exists()


def test_what_the_workflow_writes_is_ignored_by_git(project: Project) -> None:
    reference = project.root / "results/reference/mini/metrics.json"
    reference.parent.mkdir(parents=True)
    reference.write_text("{}")
    status = project.run("git", "status", "--porcelain", "--untracked-files=all").split()
    assert "results/reference/mini/metrics.json" in status
    assert not [path for path in status if path.startswith("results/") and "reference" not in path]
    rules = project.run("snakemake", "--dry-run", "--forceall", "run")
    assert "results/reference" not in rules


def start_and_wait(project: Project, **variables: str) -> subprocess.Popen:
    """Start a run in a session of its own; return when a command hangs."""
    marker = project.root / "hanging"
    marker.unlink(missing_ok=True)  # of a run before
    process = subprocess.Popen(
        ["snakemake", "--cores", "all", "run"], cwd=project.root, start_new_session=True,
        env=environment(**variables), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    while not marker.exists():
        assert time.monotonic() < deadline, "the run did not get there"
        assert process.poll() is None, "the run ended early"
        time.sleep(0.05)
    marker.unlink()
    return process


def kill(process: subprocess.Popen) -> None:
    """Kill the run and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
