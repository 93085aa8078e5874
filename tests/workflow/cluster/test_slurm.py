"""The profile for Slurm on a real Slurm: jobs get what they ask for, and faults end well.

The commands of the workflow are stand-ins; one of them hangs until a test lets it go on.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_programs import Slurm, needs_the_executor
from workflow_project import Project, environment

pytestmark = [pytest.mark.slow, needs_the_executor]

MODEL = "results/models/panorama_stage2/model_index.json"
COMMAND = (
    *("snakemake", "--workflow-profile", "profiles/slurm", MODEL, "--latency-wait", "5"),
    # There is no accounting here, and nothing to wait for.
    *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"),
)
HANG = {"HANG_AT": "panorama_stage2"}


def until(holds: Callable[[], bool], what: str, seconds: int = 900) -> None:
    """Wait for something, no shorter than the checks let all of these tests take."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} seconds for: {what}"
        time.sleep(0.2)


@pytest.fixture
def unmade(project: Project, slurm: Slurm) -> str:
    """Content of the model before it was deleted, which a run makes again."""
    content = (project.root / MODEL).read_text()
    (project.root / MODEL).unlink()
    return content


class Run:
    """A workflow that sends jobs to Slurm, in a group of processes of its own."""

    def __init__(self, project: Project, slurm: Slurm, **variables: str) -> None:
        self.project, self.slurm = project, slurm
        self.log = project.root / f"run-{time.monotonic_ns()}.log"
        with open(self.log, "w") as file:
            self.process = subprocess.Popen(
                COMMAND, cwd=project.root, stdout=file, stderr=file, start_new_session=True,
                env=environment(PATH=slurm.path, **variables),
            )  # fmt: skip

    @property
    def jobs(self) -> list[str]:
        """Numbers of the jobs that were sent."""
        return re.findall(r"SLURM jobid (\d+)", self.log.read_text())

    def state(self, job: str) -> str:
        """What Slurm says of a job."""
        return self.slurm.ask(
            "squeue", "--states=all", "--noheader", "--format=%T", "--job", job
        ).strip()

    def wait_for_the_hanging_command(self) -> str:
        """Wait until the command of the newest job hangs; return the job's number."""
        mark = self.project.root / "hanging"
        until(mark.exists, "a command that hangs")
        mark.unlink()
        return self.jobs[-1]

    def wait(self) -> tuple[int, str]:
        """Wait for the end; return the exit status and what was printed."""
        return self.process.wait(timeout=900), self.log.read_text()


def commands_at_work(project: Project) -> list[int]:
    """Processes of the workflow's commands in a project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = os.readlink(process / "cwd") == str(project.root)
        except OSError:
            continue
        if here and b"mvdiffusion.cli" in words and b"-m" in words[:3]:
            found.append(int(process.name))
    return found


def test_memory_time_and_gpus_reach_the_job(project: Project, slurm: Slurm, unmade: str) -> None:
    project.set("device", "cuda")
    run = Run(project, slurm)
    status, said = run.wait()
    assert status == 0, said
    assert (project.root / MODEL).read_text() == unmade
    (job,) = run.jobs
    shown = slurm.ask("scontrol", "show", "job", job)
    assert "JobState=COMPLETED" in shown
    assert "TRES=cpu=4,mem=3000M,node=1" in shown
    assert "TresPerJob=gres:gpu:1" in shown
    assert "TimeLimit=04:00:00" in shown
    assert project.commands() == ["train stage2 panorama"]


def test_a_job_that_is_killed_is_sent_again_and_goes_on(
    project: Project, slurm: Slurm, unmade: str
) -> None:
    """First by scancel, then its process alone; the third finds what the first has begun."""
    run = Run(project, slurm, **HANG)
    first = run.wait_for_the_hanging_command()
    slurm.ask("scancel", first)
    second = run.wait_for_the_hanging_command()
    (process,) = commands_at_work(project)
    os.kill(process, signal.SIGKILL)
    third = run.wait_for_the_hanging_command()
    (project.root / "go_on").touch()
    status, said = run.wait()
    assert status == 0, said
    assert run.jobs == [first, second, third]
    assert [run.state(job) for job in run.jobs] == ["CANCELLED", "FAILED", "COMPLETED"]
    assert (project.root / MODEL).read_text() == unmade
    assert project.commands() == ["train stage2 panorama"] * 3


def test_a_run_that_is_cancelled_ends_its_jobs_and_goes_on_later(
    project: Project, slurm: Slurm, unmade: str
) -> None:
    run = Run(project, slurm, **HANG)
    job = run.wait_for_the_hanging_command()
    run.process.send_signal(signal.SIGINT)  # Ctrl-C
    status, _ = run.wait()
    assert status != 0
    until(lambda: run.state(job) == "CANCELLED" and not commands_at_work(project), "the job's end")
    assert not (project.root / MODEL).exists()
    again = Run(project, slurm)
    assert again.wait()[0] == 0
    assert (project.root / MODEL).read_text() == unmade


def test_a_run_that_is_killed_leaves_jobs_and_no_other_begins_before_they_end(
    project: Project, slurm: Slurm, unmade: str
) -> None:
    run = Run(project, slurm, **HANG)
    job = run.wait_for_the_hanging_command()
    os.killpg(run.process.pid, signal.SIGKILL)
    run.wait()
    assert run.state(job) == "RUNNING"
    status, said = Run(project, slurm).wait()
    assert status == 1
    assert "results/.lock: another Snakemake is at work in this folder, or jobs of one" in said
    slurm.ask("scancel", job)
    until(lambda: not commands_at_work(project), "the job's end")
    again = Run(project, slurm)
    assert again.wait()[0] == 0
    assert (project.root / MODEL).read_text() == unmade
