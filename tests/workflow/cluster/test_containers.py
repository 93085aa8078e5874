"""Jobs in an image, by a stand-in for the program that runs it."""

import sys
from pathlib import Path

import pytest
from slurm_programs import Slurm
from workflow_project import Project

pytestmark = pytest.mark.long

MODEL = "results/models/panorama_stage2/model_index.json"
APPTAINER = f"""#!{sys.executable}
import json, os, sys
with open("apptainer.jsonl", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "--version":
    print("apptainer version 1.3.4")
elif sys.argv[1] == "exec":
    words = sys.argv[sys.argv.index("mvdiffusion.sif") + 1 :]
    os.execvp(words[0], words)
"""


@pytest.fixture
def apptainer(tmp_path: Path) -> Slurm:
    """A stand-in that runs commands outside of any image."""
    folder = tmp_path / "apptainer"
    folder.mkdir()
    (folder / "apptainer").write_text(APPTAINER)
    (folder / "apptainer").chmod(0o755)
    return Slurm(folder)


def test_every_job_runs_in_the_image(project: Project, apptainer: Slurm) -> None:
    before = (project.root / MODEL).read_text()
    (project.root / MODEL).unlink()
    (project.root / "mvdiffusion.sif").touch()
    words = ("--software-deployment-method", "apptainer", "--apptainer-args=--nv")
    project.snakemake(MODEL, *words, PATH=apptainer.path)
    assert (project.root / MODEL).read_text() == before
    calls = (project.root / "apptainer.jsonl").read_text().splitlines()
    runs = [call for call in calls if "python -m mvdiffusion.cli train stage2" in call]
    assert runs
    assert all(call.startswith('["exec"') and '"--nv"' in call for call in runs)
