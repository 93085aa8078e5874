"""Jobs of the profile for Slurm reach a cluster with all that they need; Slurm itself is played."""

import itertools

import pytest
import yaml
from slurm_programs import Slurm, needs_the_executor
from workflow_project import ROOT, Project

pytestmark = [pytest.mark.slow, needs_the_executor]

MODEL = "results/models/panorama_stage2/model_index.json"
NOW = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "1")
SEND = ("snakemake", "--workflow-profile", "profiles/slurm", *NOW)


def test_the_command_of_the_documentation_sends_jobs_with_what_they_need(
    project: Project, stand_in: Slurm
) -> None:
    """Past a dry run, which has a core whatever a profile says."""
    before = (project.root / MODEL).read_text()
    (project.root / MODEL).unlink()
    project.set("device", "cuda")
    site = ("--default-resources", "slurm_account=lab", "slurm_partition=gpu")
    project.run(*SEND, MODEL, *site, PATH=stand_in.path)
    assert (project.root / MODEL).read_text() == before
    assert project.commands() == ["train stage2 panorama"]
    (words,) = stand_in.calls("sbatch")
    profile = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
    asked = dict(itertools.pairwise(words))
    assert asked["-A"] == "lab"
    assert asked["-p"] == "gpu"
    assert asked["-t"] == "240"
    assert asked["--mem"] == "3000"  # no pixels of the passes: they are in the GPU's memory
    assert "--gpus=1" in words
    # Two tasks share the cores on one machine, and on the cluster's node as many are asked for.
    assert f"--cpus-per-task={profile['cores'] // 2}" in words
    (step,) = [call for call in stand_in.calls("srun") if "snakemake" in call]
    assert "--gpus=1" in step
    assert f"--cpus-per-task={profile['cores'] // 2}" in step


def test_a_job_that_fails_is_sent_again(project: Project, stand_in: Slurm) -> None:
    (project.root / MODEL).unlink()
    said = project.run(
        *SEND, MODEL, "--retries", "1", check=False,
        PATH=stand_in.path, FAIL_AT="train stage2 panorama",
    )  # fmt: skip
    assert len(stand_in.calls("sbatch")) == 2
    assert project.commands() == ["train stage2 panorama"] * 2
    assert "data/broken.jpg: truncated; copy it again" in said
