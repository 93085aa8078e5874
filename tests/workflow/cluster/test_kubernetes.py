"""Jobs of the profile for Kubernetes reach pods with all that they need; kubectl is played."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from slurm_programs import Slurm
from workflow_project import ROOT, Project, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None,
        reason="no executor for Kubernetes: pip install -c constraints.txt -e '.[kubernetes]'",
    ),
]

MODEL = "results/models/panorama_stage2/model_index.json"
SEND = ("snakemake", "--workflow-profile", "profiles/kubernetes", "--latency-wait", "1")


@pytest.fixture
def kubectl(tmp_path: Path) -> Slurm:
    """A stand-in for the program that reaches a cluster."""
    folder = tmp_path / "kubernetes"
    folder.mkdir()
    text = (ROOT / "tests/helpers/stand_in_kubectl.py").read_text()
    (folder / "kubectl").write_text(f"#!{sys.executable}\n{text}")
    (folder / "kubectl").chmod(0o755)
    return Slurm(folder)


def sent(kubectl: Slurm, ending: str = "json") -> list[dict[str, Any]]:
    """What was asked of Kubernetes, job by job."""
    return [json.loads(path.read_text()) for path in kubectl.programs.glob(f"jobs/*.{ending}")]


def until(holds: Callable[[], bool]) -> None:
    """Wait for something; other tests may keep the machine busy."""
    end = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_whole_experiment_is_planned(project: Project, kubectl: Slurm) -> None:
    """A dry run asks nothing of Kubernetes, and plans what the machine's own does."""
    plan = ("run", "--dry-run", "--forceall", "--quiet", "rules")
    here = project.snakemake(*plan)
    there = project.run(*SEND, *plan, PATH=kubectl.path)
    counts = [text[text.index("Job stats") :] for text in (here, there)]
    assert "train_stage2" in counts[0]
    assert counts[0] == counts[1]
    assert not sent(kubectl)


def test_pods_ask_for_what_their_jobs_need(project: Project, kubectl: Slurm) -> None:
    """Past a dry run: the command runs where the volume is, with nothing of this environment."""
    before = (project.root / MODEL).read_text()
    (project.root / MODEL).unlink()
    project.set("device", "cuda")
    project.run(*SEND, MODEL, PATH=kubectl.path)
    assert (project.root / MODEL).read_text() == before
    assert project.commands() == ["train stage2 panorama"]
    (job,) = sent(kubectl)
    assert job["spec"]["activeDeadlineSeconds"] == 4 * 3600
    pod = job["spec"]["template"]["spec"]
    # Two tasks share the eight cores that a job may have.
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": 4, "memory": "3000M"},
        "limits": {"memory": "3000M", "nvidia.com/gpu": 1},
    }
    site = yaml.safe_load((ROOT / "profiles/kubernetes/job.yaml").read_text())
    assert pod["volumes"] == site["spec"]["template"]["spec"]["volumes"]


def test_a_job_that_fails_is_sent_again(project: Project, kubectl: Slurm) -> None:
    (project.root / MODEL).unlink()
    said = project.run(
        *SEND, MODEL, "--retries", "1", check=False,
        PATH=kubectl.path, FAIL_AT="train stage2 panorama",
    )  # fmt: skip
    assert len(sent(kubectl)) == 2
    assert project.commands() == ["train stage2 panorama"] * 2
    assert "data/broken.jpg: truncated; copy it again" in said


def test_a_run_that_is_cancelled_ends_its_jobs_and_goes_on_later(
    project: Project, kubectl: Slurm
) -> None:
    before = (project.root / MODEL).read_text()
    (project.root / MODEL).unlink()
    run = subprocess.Popen(
        [*SEND, MODEL], cwd=project.root, start_new_session=True,
        env=environment(PATH=kubectl.path, HANG_AT="panorama_stage2"),
    )  # fmt: skip
    until((project.root / "hanging").exists)
    run.send_signal(signal.SIGINT)  # Ctrl-C
    assert run.wait(timeout=300)
    until(lambda: not sent(kubectl))
    assert len(sent(kubectl, "deleted")) == 1
    project.run(*SEND, MODEL, PATH=kubectl.path)
    assert (project.root / MODEL).read_text() == before
