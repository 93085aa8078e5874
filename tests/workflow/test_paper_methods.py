"""Every method of paper.yaml runs: its models are fetched and trained, its images generated.

The commands are those of the rules, with the paper's ids of Stable Diffusion 2 at their pinned
revisions. Where the hub's client keeps what it downloaded lie models of small width; images, steps
and data are small as well.
"""

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from noise_data import write_rooms, write_scene
from safetensors.torch import load_file
from tiny_stable_diffusion import write_stable_diffusion_2
from tiny_training import start_afresh
from torchmetrics.functional.image import lpips
from workflow_project import ROOT, plan

from mvdiffusion.conversion import base_model
from mvdiffusion.conversion.base_model import copies
from mvdiffusion.generation.sample_folder import read_views
from mvdiffusion.methods.declaration import EXTERNAL
from mvdiffusion.models import perceptual
from mvdiffusion.models.controlnet import controlnet_of
from mvdiffusion.records import read_json
from mvdiffusion.training.diffusion import load_parts

pytestmark = pytest.mark.slow
PAPER = ROOT / "workflow/config/paper.yaml"
CONFIG: dict[str, Any] = yaml.safe_load(PAPER.read_text())
RUNS = {
    task: list(dict.fromkeys([*CONFIG[task]["methods"], *CONFIG[task].get("trainings", {})]))
    for task in CONFIG["tasks"]
}
"""Methods of each task: those that it names, and those for which it holds a training."""
METHODS = [
    (task, name) for task in RUNS for name in RUNS[task] if not name.startswith(EXTERNAL)
]  # those of others run in environments of their own
CHANNELS = {"panorama": 4, "outpaint": 9, "depth": 5}
CONTROLNET = f"somebody/controlnet-of-depth@{40 * 'c'}"
MARK = 0.5  # its weight where it is added to the UNet
VIEWS = {"panorama": 8, "outpaint": 8, "depth": 5}
SIZE = 64
OWN_RULES = re.compile("settings|fetch_base|train_.*|generate")  # the others' results are there


def small(values: Any, key: str = "") -> Any:
    """A section of the configuration with the numbers of a tiny run in its trainings."""
    if key == "training":
        views = values.get("views_per_panorama", 1)
        few = {"steps": 2, "batch_size": 2 * views, "gradient_accumulation_steps": 2}
        return values | few | {"num_workers": 0}
    if isinstance(values, dict):
        return {name: small(value, name) for name, value in values.items()}
    return values


def configuration(root: Path, data: Path) -> Path:
    """Write what a tiny run changes in paper.yaml."""
    config: dict[str, Any] = {
        "results_dir": "results/tiny_paper",
        "data": {
            "views": {"image_size": SIZE},
            "frames": {"height": SIZE, "width": SIZE, "num_views": 3, "num_between": 1},
        },
        "datasets": {
            "matterport3d": {"root": str(data / "matterport3d"), "houses": ["house"]},
            "scannet": {
                "root": str(data / "scannet"),
                "scenes": {"train": ["scene0", "scene1"], "test": ["scene0"]},
                "validation_scenes": 1,
            },
        },
    }
    for task in RUNS:
        config[task] = small(CONFIG[task])
        config[task]["methods"] = RUNS[task]
        config[task]["generation"]["num_inference_steps"] = 2
        config[task] |= {"control_samples": 2} if "control_samples" in config[task] else {}
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def write_data(root: Path) -> None:
    """Write prepared splits of both datasets."""
    for seed, split in enumerate(("train", "validation", "test")):
        write_rooms(root / "matterport3d/prepared", split, [f"{split}0", f"{split}1"], seed)
        write_scene(root / f"scannet/prepared/{split}/scene0", [0, 2, 4], 5, seed)


def write_hub(cache: Path) -> None:
    """Write the paper's three models and a ControlNet as the hub's client keeps them."""

    def place(name: str, revision: str) -> Path:
        return cache / f"models--{name.replace('/', '--')}/snapshots/{revision}"

    for task, name in CONFIG["base"]["pretrained"].items():
        revision = copies(name)[0].revision
        assert revision, f"{name} is at no pinned revision"
        written = write_stable_diffusion_2(place(name, revision), CHANNELS[task])
        if task == "outpaint":
            parts = load_parts(written)
            controlnet = controlnet_of(parts.unet, 4, parts.vae_scale_factor)
            torch.nn.init.constant_(controlnet.controlnet_mid_block.weight, MARK)
            controlnet.save_pretrained(place(*CONTROLNET.split("@")))


def ended_with(module: str, arguments: list[str]) -> Any:
    """Run `python -m module arguments` in this process; return the code with which it ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments])
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            return end.code
    return None


class Run:
    """Jobs of the plan, carried out in this process, each once."""

    def __init__(self, *configfiles: Path, done: set[str]) -> None:
        self.dag, self.done = plan(PAPER, *configfiles), done
        self.methods = {
            (job.wildcards.task, job.wildcards.method): job
            for job in self.dag.jobs
            if job.rule.name == "generate"
        }

    def carry_out(self, job: Any) -> None:
        """Run the rule's own command, after those of the jobs whose results it reads."""
        if not OWN_RULES.fullmatch(job.rule.name) or job.shellcmd in self.done:
            return
        for before in self.dag.dependencies[job]:
            self.carry_out(before)
        command = re.sub(
            r"\$\(dirname (\S+)\)", lambda found: str(Path(found[1]).parent), job.shellcmd
        )
        python, option, module, *arguments = shlex.split(command.partition(" 2>&1")[0])
        assert (python, option) == ("python", "-m")
        start_afresh()
        assert not ended_with(module, arguments), command
        self.done.add(job.shellcmd)

    def images(self, task: str, method: str) -> list[Any]:
        """Generate a method's images with all that comes before; read them."""
        job = self.methods[task, method]
        self.carry_out(job)
        (manifest,) = map(Path, job.output)
        written = read_json(manifest)
        assert (written["task"], written["method"]) == (task, method)
        return [read_views(manifest.parent / name) for name in written["samples"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the commands run: data and the hub's folder are there, the hub is not."""
    root = tmp_path_factory.mktemp("paper")
    write_data(root)
    write_hub(root / "hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root / "hub"))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr(base_model, "_check_hashes", lambda *_: None)  # of the real weights
        yield root


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return Run(configuration(folder, folder), done=set())


def untrained_vgg(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let LPIPS compare these small images, by random weights instead of those of a download."""
    load, loaded = lpips._get_tv_model_features, []

    def untrained(net: str, pretrained: bool) -> Any:
        loaded.append(net)
        return load(net, pretrained=False)

    monkeypatch.setattr(lpips, "_get_tv_model_features", untrained)
    monkeypatch.setattr(perceptual, "SMALL", SIZE)
    return loaded


@pytest.mark.parametrize(("task", "method"), METHODS)
def test_it_runs_with_the_paper_s_models_of_small_width(
    task: str, method: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared_by = untrained_vgg(monkeypatch)
    samples = run.images(task, method)
    assert samples
    for views in samples:
        assert views.shape == (VIEWS[task], 3, SIZE, SIZE)
        assert views.std() > 0.05
    assert set(compared_by) == ({"vgg16"} if method == "syncdiffusion" else set())


@pytest.mark.parametrize("task", CONFIG["tasks"])
def test_models_are_those_of_the_pinned_revisions(task: str, run: Run) -> None:
    (job,) = (job for job in run.dag.jobs if job.output == [
        f"results/tiny_paper/models/{task}_pretrained/model_index.json"
    ])  # fmt: skip
    run.carry_out(job)
    record = read_json(Path(*job.output).with_name("base_model.json"))
    name = CONFIG["base"]["pretrained"][task]
    assert (record["id"], record["revision"]) == (name, copies(name)[0].revision)


def test_a_controlnet_of_the_hub_is_where_the_training_starts(folder: Path, run: Run) -> None:
    changed = folder / "controlnet.yaml"
    changed.write_text(
        yaml.safe_dump({"depth": {"trainings": {"controlnet": {"pretrained": CONTROLNET}}}})
    )
    again = Run(folder / "tiny.yaml", changed, done=run.done)
    assert (
        again.methods["depth", "controlnet"].shellcmd != run.methods["depth", "controlnet"].shellcmd
    )
    assert [len(views) for views in again.images("depth", "controlnet")] == [VIEWS["depth"]]
    trained = Path("results/tiny_paper/models/depth_controlnet_model/controlnet")
    (found,) = (load_file(path) for path in trained.glob("*.safetensors"))
    marked = found["controlnet_mid_block.weight"]  # zero in one that is made of a UNet
    torch.testing.assert_close(marked, torch.full_like(marked, MARK), atol=1e-3, rtol=0)
