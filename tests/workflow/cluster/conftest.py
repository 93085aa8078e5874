"""A Slurm to send jobs to: a real one of one node, and a stand-in where there is none."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_programs import Slurm
from workflow_project import ROOT

HERE = Path(__file__).parent
PROGRAMS = ("sbatch", "srun", "squeue", "sacct", "scancel", "sacctmgr", "sinfo", "scontrol")


@pytest.fixture
def stand_in(tmp_path: Path) -> Slurm:
    """Slurm's programs, played here."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    text = (ROOT / "tests/helpers/stand_in_slurm.py").read_text()
    for name in PROGRAMS:
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(0o755)
    return Slurm(folder)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A real Slurm, which ends with the tests."""
    folder = tmp_path_factory.mktemp("slurm") / "one_node"
    started = subprocess.run([HERE / "slurm.sh", "start", folder], capture_output=True, text=True)
    if started.returncode == 3:
        pytest.skip(f"no Slurm here: {started.stderr.strip()}")
    assert not started.returncode, started.stderr
    yield Slurm(folder / "bin")
    subprocess.run([HERE / "slurm.sh", "stop", folder], check=True)
