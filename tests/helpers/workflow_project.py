"""The experiment that Snakemake builds, and a small copy of the project for quick runs.

The commands of the copy are stand-ins, so that a run takes seconds.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.api import SnakemakeApi, WorkflowApi
from snakemake.dag import DAG
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)
from snakemake.workflow import Workflow

from mvdiffusion.code_closure import import_closure
from mvdiffusion.methods.registry import GROUP
from workflow.lib.recipes import Recipes
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "tests/workflow/profile"
STORE = ROOT / "workflow/resources/dvc-store/files/md5"
STAND_IN = ROOT / "tests/helpers/stand_in.py"
PROJECT_FILES = (
    "Snakefile", "workflow", "dvc.yaml", "constraints.txt",
    ".dvc/config", ".dvcignore", ".gitignore",
    "mvdiffusion/preparation/lists", "mvdiffusion/code_closure.py", "mvdiffusion/records.py",
    "mvdiffusion/attention_settings.py", "mvdiffusion/locks.py", "mvdiffusion/pins.py",
    "mvdiffusion/tasks.py", "mvdiffusion/methods", "mvdiffusion/parallel",
    "mvdiffusion/settings.py", "mvdiffusion/generation/settings.py",
    "mvdiffusion/preparation/settings.py", "mvdiffusion/training/settings.py",
    "mvdiffusion/training/baselines/settings.py",
    "mvdiffusion/training/networks.py", "eval/settings.py",
    "eval/plugins.py", "eval/protocols/names.py", "eval/protocols/definitions",
    "profiles",
)  # fmt: skip

COMMANDS = {
    "mvdiffusion/cli/data.py": ["data_rooms", "data_walks", "data_export", "open_dataset"],
    "mvdiffusion/cli/datasets.py": ["data_labels", "data_prepare", "data_splits", "data_caption"],
    "mvdiffusion/cli/external.py": ["external_run", "external_import"],
    "mvdiffusion/cli/generate.py": ["generate_split"],
    "mvdiffusion/cli/tools.py": ["fetch_base", "release_base"],
    "mvdiffusion/cli/train.py": [
        "train_vae", "train_decoder", "train_base", "train_inpainting", "train_stage1",
        "train_stage2", "train_controlnet", "train_panorama_finetune",
    ],
    "eval/cli/leaderboard.py": ["leaderboard"],
    "eval/cli/results.py": ["tables", "figures", "report"],
    "eval/cli/scoring.py": ["score"],
    "eval/cli/training.py": ["train_extractor"],
}  # fmt: skip

MODULES = {
    **{file: "".join(f"def {name}(): 0\n" for name in names) for file, names in COMMANDS.items()},
    "mvdiffusion/preparation/captions.py": "",
    "mvdiffusion/preparation/labels.py": "",
    "mvdiffusion/preparation/matterport3d.py": "",
    "mvdiffusion/preparation/scannet.py": "",
    "mvdiffusion/preparation/splits.py": "",
    "mvdiffusion/preparation/rooms/__init__.py": "",
    "mvdiffusion/data/matterport3d.py": "from mvdiffusion.data import rooms\n",
    "mvdiffusion/preparation/rooms/walks.py": "",
    "mvdiffusion/data/scannet.py": "",
    "mvdiffusion/external/install.py": "",
    "mvdiffusion/external/generate.py": "",
    "mvdiffusion/external/importing.py": "",
    "mvdiffusion/generation/export.py": "",
    "mvdiffusion/training/loop.py": "",
    "mvdiffusion/training/vae.py": "from mvdiffusion.training.loop import train\n",
    "mvdiffusion/training/base.py": "from .loop import train\n",
    "mvdiffusion/training/stage1.py": "from mvdiffusion.training import loop\n",
    "mvdiffusion/training/baselines/controlnet.py": "from mvdiffusion.training.loop import train\n",
    "mvdiffusion/training/baselines/panorama_finetune.py": "",
    "mvdiffusion/training/stage2.py": "def run():\n    import mvdiffusion.training.loop\n",
    "mvdiffusion/pipelines/panorama.py": "",
    "mvdiffusion/conversion/base_model.py": "",
    "mvdiffusion/release/base.py": "",
    "mvdiffusion/generation/split.py": "from mvdiffusion.pipelines.panorama import Pipeline\n",
    "eval/functional/psnr.py": "",
    "eval/extractors/train.py": "",
    "eval/api.py": "from .scoring import score\n",
    "eval/scoring/score.py": "from mvdiffusion_eval.functional.psnr import psnr\n",
    "eval/tables/results.py": 'PUBLISHED = "published.yaml"\n',
    "eval/claims/claims.py": "",
    "eval/scoring/score_files.py": "",
    "eval/tables/published.yaml": "{}\n",
    "eval/report/figures.py": "",
    "eval/folders/opening.py": "",
    "eval/claims/remarks.py": "",
    "eval/tables/seeds.py": "",
    "eval/report/leaderboard.py": "from mvdiffusion_eval.tables.results import PUBLISHED\n",
    "eval/report/page.py": "",
}

METHODS = {
    "panorama": ["independent", "mvdiffusion"],
    "outpaint": ["vae_reconstruction"],
    "depth": ["mvdiffusion"],
}


def embedded_files(tracked: str) -> dict[str, Path]:
    """Files of a folder that the repository embeds, by the listing that "<folder>.dvc" names."""
    digest = yaml.safe_load((ROOT / tracked).read_text())["outs"][0]["md5"]
    listed = json.loads((STORE / digest[:2] / digest[2:]).read_text())
    return {file["relpath"]: STORE / file["md5"][:2] / file["md5"][2:] for file in listed}


class Project:
    """The copy: runs commands in it, edits its configuration, reads its results."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str, check: bool = True, **variables: str) -> str:
        """Run a command with this interpreter's programs; return all that it printed."""
        done = subprocess.run(
            command, cwd=self.root, env=environment(**variables), text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def snakemake(self, *targets: str, check: bool = True, **variables: str) -> str:
        """Run targets, many jobs at once: stand-ins wait for Snakemake more than they compute."""
        return self.run("snakemake", "--cores", "8", *targets, check=check, **variables)

    def commands(self) -> list[str]:
        """The project's commands that ran since the last call."""
        log = self.root / "commands.log"
        names = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return names

    def set(self, key: str, value: object, config: str = "mini") -> None:
        """Change one key (dotted) of a configuration."""
        path = self.root / f"workflow/config/{config}.yaml"
        values = yaml.safe_load(path.read_text())
        *sections, name = key.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[name] = value
        path.write_text(yaml.safe_dump(values, sort_keys=False))

    def append(self, path: str, text: str = "EDITED = True\n") -> None:
        """Edit a file of the project."""
        with open(self.root / path, "a") as file:
            file.write(text)

    def results(self, folder: str = "results") -> dict[str, str]:
        """What a person would look at."""
        root = self.root / folder
        files = [root / "metrics.json", *sorted(root.glob("tables/*"))]
        files += [root / "leaderboard.html", root / "report.html"]
        return {file.name: file.read_text() for file in files if file.exists()}


def environment(**variables: str) -> dict[str, str]:
    """Environment of a new terminal: no profile, this interpreter's programs first."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SNAKEMAKE")}
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]])
    git = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_CONFIG_GLOBAL": os.devnull}
    committer = {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}
    own = {"PATH": path, "PYTHONPATH": "", "SNAKEMAKE_PROFILE": str(PROFILE)}
    return inherited | git | committer | own | variables


def write_project(root: Path) -> Project:
    """Copy the workflow, put stand-ins for the commands, embed a data set, commit."""
    for name in PROJECT_FILES:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    shutil.rmtree(root / "workflow/resources", ignore_errors=True)
    for name, text in MODULES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in ("mvdiffusion", "eval"):
        for folder in {path.parent for path in (root / package).rglob("*.py")} | {root / package}:
            (folder / "__init__.py").touch()
    (root / "mvdiffusion_eval").symlink_to("eval")  # as an installation has it
    for name in ("mvdiffusion/cli/__main__.py", "eval/__main__.py"):
        shutil.copy(STAND_IN, root / name)
    write_metadata(root)
    project = Project(root)
    for task in ("panorama", "outpaint", "depth"):
        project.set(f"{task}.methods", METHODS[task])
        project.set(f"{task}.methods", ["mvdiffusion"], config="smoke")
    project.set("data.embedded_md5", None)
    scratch = yaml.safe_load((root / "workflow/config/base.yaml").read_text())["base"]
    project.set("base", scratch)  # whatever mini starts from
    (root / "data").mkdir()
    for split in ("test", "validation"):
        (root / f"data/{split}.npy").write_text(split)
    return project


def write_metadata(root: Path) -> None:
    """Install the copy: whatever is installed beside it has other entry points."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folder = root / "mvdiffusion-0.dist-info"
    folder.mkdir()
    named = f"Name: {about['name']}\nVersion: 0\n"
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\n{named}")
    lines = [f"{name} = {place}" for name, place in about["entry-points"][GROUP].items()]
    (folder / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))


def load_json(path: Path) -> dict[str, object]:
    """Read a JSON file."""
    return json.loads(path.read_text())


@dataclass
class Experiment:
    """What the rules of an experiment share."""

    config: dict[str, Any]
    recipes: Recipes
    sources: Sources
    tasks: Tasks

    def covered(self, step: str) -> set[str]:
        """Files, below the repository, of the code that decides a step."""
        modules = [name for name in self.recipes.steps[step].code if ":" not in name]
        files = {file.resolve() for module in modules for file in import_closure(module)}
        return {file.relative_to(ROOT).as_posix() for file in files}


def load_workflow(*configfiles: Path) -> Workflow:
    """Read the Snakefile of this repository as `snakemake --configfile` does."""
    with _snakefile(configfiles) as loaded:
        loaded.list_rules()
        return loaded._workflow_store


def load_experiment(*configfiles: Path) -> Experiment:
    """What the rules of a configuration share."""
    names = load_workflow(*configfiles).globals
    return Experiment(**{name: names[name] for name in Experiment.__annotations__})


def plan(*configfiles: Path) -> DAG:
    """Plan the target `run` as `snakemake --dry-run --configfile` does: jobs and their order."""
    with _snakefile(configfiles) as loaded:
        loaded.dag(DAGSettings(targets={"run"})).execute_workflow(executor="dryrun")
        return loaded._workflow_store.dag


@contextlib.contextmanager
def _snakefile(configfiles: Sequence[Path]) -> Iterator[WorkflowApi]:
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(io.StringIO()):
        monkeypatch.chdir(ROOT)
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            yield api.workflow(
                resource_settings=ResourceSettings(cores=2),
                config_settings=ConfigSettings(configfiles=list(configfiles)),
                snakefile=ROOT / "Snakefile",
            )
