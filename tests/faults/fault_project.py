"""An experiment as small as can be with every kind of rule, in a copy of the project."""

from __future__ import annotations

import fcntl
import filecmp
import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config
from workflow_project import ROOT, environment, load_experiment, write_metadata

CONFIG = "faults.yaml"
RESULTS = "results/faults"
CODE = ("Snakefile", "base.dvc", "constraints.txt", "data.dvc", "dvc.yaml", "eval", "mvdiffusion",
        "profiles", "workflow", ".dvc/config", ".dvcignore")  # fmt: skip
# What holds times, or is work in progress: everything else is compared byte by byte.
UNCOMPARED = (
    "benchmarks",
    "curves",
    "features",
    "logs",
    "report.html",
    "report_assets",
    "training",
)
DEBRIS = re.compile(r"^\..*\.(tmp|old)$|\.partial$")
ASIDE = re.compile(r"^[^.].*\.old\d*$")
FEW: dict[str, Any] = {"steps": 3, "checkpoint_every": 1, "validate_every": 3, "batch_size": 4}
PANORAMAS = FEW | {"batch_size": 2, "num_workers": 1}  # a worker that can be killed
SMALLER: dict[str, Any] = {
    "name": "faults",
    "results_dir": RESULTS,
    "tasks": ["panorama", "depth"],
    "data": {
        "rooms": {"num_scenes": {"train": 6, "extractor": 16}},
        "walks": {"num_scenes": {"train": 2, "validation": 1, "test": 2}},
    },
    "base": {"vae": {"training": FEW}, "diffusion": {"training": FEW}},
    "panorama": {
        "methods": ["mvdiffusion"],
        "stage1": {"training": FEW},
        "stage2": {"training": PANORAMAS},
        "generation": {"num_inference_steps": 2, "num_samples": 4, "batch_size": 1},
    },
    "depth": {
        "methods": ["mvdiffusion"],
        "stage1": {"training": FEW},
        "stage2": {"training": PANORAMAS},
        "generation": {"num_inference_steps": 2, "num_samples": 2, "batch_size": 1},
    },
    "evaluation": {"score": {"extractors": [], "jackknife_groups": 2}},
}


@dataclass(frozen=True)
class Ran:
    """A run that has ended: its exit code and all that it printed."""

    code: int
    said: str


@dataclass(frozen=True)
class Project:
    """A copy of the project that runs the experiment."""

    root: Path

    @property
    def results(self) -> Path:
        """The folder of the experiment's results."""
        return self.root / RESULTS

    def start(self, log: Path, target: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start the plain command in a session of its own; what it prints goes to a file."""
        told = environment(HF_HUB_OFFLINE="0", **variables)  # as a user's terminal
        with log.open("wb") as file:
            return subprocess.Popen(
                ["snakemake", "--cores", "1", target, "--configfile", CONFIG],
                cwd=self.root, env=told, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def run(self, target: str = "run") -> Ran:
        """Run the plain command to its end."""
        log = self.root.with_suffix(".run.log")
        code = self.start(log, target).wait()
        return Ran(code, log.read_text(errors="replace"))

    def files(self) -> dict[str, str]:
        """Hashes of all results but those that hold times."""
        found = {}
        for path in sorted(self.results.rglob("*")):
            name = path.relative_to(self.results)
            kept = any(ASIDE.search(part) for part in name.parts)
            if path.is_file() and not kept and name.parts[0] not in UNCOMPARED:
                found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def moved_aside(self) -> list[str]:
        """What a command found in the place of its output and has kept beside it."""
        found = (path.relative_to(self.results) for path in self.results.rglob("*.old*"))
        names = (path for path in found if ASIDE.search(path.name))
        return sorted(str(path) for path in names if path.parts[0] not in UNCOMPARED)

    def debris(self) -> list[str]:
        """Temporary files that nobody owns any more."""
        found = (path.relative_to(self.root) for path in self.results.rglob("*"))
        return sorted(str(path) for path in found if DEBRIS.search(path.name))


def write(root: Path) -> Project:
    """Copy the code as it is now, and write the configuration."""
    for name in CODE:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "dvc-store")
            shutil.copytree(source, target, ignore=ignored, copy_function=renew, dirs_exist_ok=True)
        else:
            renew(source, target)
    if (root / CONFIG).exists():
        return Project(root)
    (root / "workflow/resources").mkdir(exist_ok=True)
    (root / "workflow/resources/dvc-store").symlink_to(ROOT / "workflow/resources/dvc-store")
    (root / "mvdiffusion_eval").symlink_to("eval")  # as an installation has it
    write_metadata(root)
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)  # DVC wants one
    config = yaml.safe_load((ROOT / "workflow/config/smoke.yaml").read_text())
    update_config(config, SMALLER)
    (root / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    return Project(root)


def renew(source: str | Path, target: str | Path) -> None:
    """Copy a file that is not the same already; other names of the target keep the old one."""
    target = Path(target)
    if not (target.exists() and filecmp.cmp(source, target)):
        target.unlink(missing_ok=True)
        shutil.copy2(source, target)


class Reference:
    """The undisturbed run, from whose results all cases start.

    Args:
        folder: where it is, or is made.
    """

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # several sessions of tests may share it
            write(folder)
            ran = self.project.run()
        assert ran.code == 0, ran.said
        self.files = self.project.files()
        self.recipes = load_experiment(folder / CONFIG).recipes

    def seconds(self, step: str) -> float:
        """The time of a processor that the command of a step took."""
        names = {"rooms_": "", "walks_": "", "panorama_real": "export_panorama_real",
                 "panorama_mvdiffusion": "generate_panorama_mvdiffusion",
                 "depth_mvdiffusion": "generate_depth_mvdiffusion"}  # fmt: skip
        folder = self.project.results / "benchmarks"
        for name in (names.get(step, step), f"train_{step}"):
            if (file := folder / f"{name}.tsv").is_file():
                return float(file.read_text().split()[-1])
        return 3.0

    def copy(self, root: Path, step: str | None, features: bool = False) -> Project:
        """Copy the project as it is before a step: what the step and those after it made is gone.

        Args:
            root: the copy.
            step: name of its recipe; None: everything is there.
            features: keep the cache of features.
        """
        shutil.copytree(self.project.root, root, symlinks=True, copy_function=_copy)
        project = Project(root)
        for name, recipe in self.recipes.steps.items():
            if step is not None and self._follows(name, step):
                for pattern in recipe.makes:
                    for path in root.glob(pattern):
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if step is not None and not features:
            shutil.rmtree(project.results / "features", ignore_errors=True)
        return project

    def _follows(self, name: str, step: str) -> bool:
        before = self.recipes.steps[name].before
        return name == step or any(self._follows(other, step) for other in before)


def _copy(source: str, target: str) -> None:
    """Results are to be damaged, so only code is linked."""
    parts = Path(source).parts
    if {"eval", "mvdiffusion", "workflow"} & set(parts) and "results" not in parts:
        os.link(source, target)
    else:
        shutil.copy2(source, target)
