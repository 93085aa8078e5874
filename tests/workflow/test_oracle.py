"""What the workflow accepts, every command accepts: configurations at random, and chosen ones."""

import collections
import copy
import random
import re
from collections.abc import Callable
from typing import get_args

import diffusers
import pytest
import yaml
from configuration_oracle import (
    BASES,
    Config,
    is_accepted,
    owner,
    refusals,
    structural_mutation,
    value_mutation,
)
from snakemake_interface_common.exceptions import WorkflowError
from workflow_project import ROOT, Project, embedded_files

from mvdiffusion.generation.settings import Scheduler
from mvdiffusion.models.attention import HEAD_CHANNELS
from mvdiffusion.preparation.rooms.design import KINDS
from mvdiffusion.preparation.settings import ROOM_KINDS
from mvdiffusion.settings import read_settings
from mvdiffusion.training import networks
from mvdiffusion_eval.extractors.pretrained import STANDARD_EXTRACTORS
from mvdiffusion_eval.protocols.names import protocol_extractors, protocol_tasks
from mvdiffusion_eval.protocols.protocol import protocols
from workflow.lib.config import checked, numbers_of
from workflow.lib.sources import EMBEDDED

pytestmark = pytest.mark.long

Mutation = Callable[[random.Random], Config]


def accepted_then_refused(mutate: Mutation, count: int, seed: int) -> tuple[int, list[str]]:
    """How many configurations are accepted, and what the commands say of those."""
    rng, accepted, said = random.Random(seed), 0, collections.Counter[str]()
    for _ in range(count):
        config = mutate(rng)
        if is_accepted(config):
            accepted += 1
            said.update(refusals(config))
    return accepted, list(said)


@pytest.mark.parametrize(
    ("mutate", "count"), [(structural_mutation, 200), (value_mutation, 100)]
)  # fmt: skip
def test_what_is_accepted_runs(mutate: Mutation, count: int) -> None:
    accepted, said = accepted_then_refused(mutate, count, seed=0)
    assert said == []
    assert 0.1 * count < accepted < 0.5 * count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutate", "count"), [(structural_mutation, 3000), (value_mutation, 1500)]
)  # fmt: skip
def test_what_is_accepted_runs_in_thousands(mutate: Mutation, count: int) -> None:
    accepted, said = accepted_then_refused(mutate, count, seed=1)
    assert said == []
    assert 0.1 * count < accepted < 0.5 * count


def test_the_oracle_itself_finds_what_is_wrong() -> None:
    """Of settings that were accepted once, each is found by what the command would build."""
    wrong = {
        "base.vae.model.norm_num_groups": 7,
        "base.diffusion.unet.block_out_channels": [96, 160, 225],
        "base.diffusion.scheduler.num_train_timesteps": 100_000,
        "base.diffusion.scheduler.prediction_type": "sample",
        "panorama.generation.scheduler": "utils",
        "panorama.generation.num_inference_steps": 20.0,
        "panorama.generation.num_samples": 100,
        "panorama.stage1.training.views_per_panorama": 16,
        "data.views.image_size": 60,
        "data.views.fov_deg": 44.0,
        "evaluation.score.protocols": ["papr-pano"],
        "evaluation.claims.closing_margin_db": float("inf"),
        "evaluation.extractors.clip.vision_width": 7,
        "not_run": [{"method": float("nan")}],
    }
    for key, value in wrong.items():
        config = change(key, value)
        assert refusals(config), key
        assert not is_accepted(config), key


def change(key: str, value: object) -> Config:
    """The miniature, with a small base of its own, and another value of a key (dotted)."""
    config = yaml.safe_load((ROOT / "workflow/config/mini.yaml").read_text())
    config["base"] = copy.deepcopy(BASES["smoke"]["base"])
    config["base"]["vae"]["model"]["block_out_channels"] = [16, 16, 32, 32]  # 8 pixels per cell
    place = tuple(key.split("."))
    owner(config, place)[place[-1]] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("results_dir", "my eval run", "is 'my eval run'; expected 'results' or a folder below it"),
        ("results_dir", "results/x$(touch P)", "expected 'results' or a folder below it, named "),
        ("results_dir", "results/../eval", "expected 'results' or a folder below it, named with "),
        ("results_dir", "eval", "is 'eval'; expected 'results' or a folder below it, named with "),
        ("results_dir", "results/reference/mini", "but not results/reference"),
        ("datasets.matterport3d.root", "my eval data", "expected text, matching ^[A-Za-z0-9._/]"),
        ("datasets.scannet.root", "-rf", "expected text, matching ^[A-Za-z0-9._/]"),
        ("panorama.generation.num_inference_steps", 5000, "is 5000; expected at most 1000."),
        ("outpaint.generation.num_samples", 65, "is 65; expected at most 64, those of the test "),
        ("panorama.trainings.panorama_finetune.circular_padding", True,
         "is True; expected none, as the method has False"),
        ("panorama.control_samples", 65, "is 65; expected at most 64, those of the test split"),
        ("depth.generation.num_samples", 361, "is 361; expected at most 360, those of the test "),
        ("data.views.image_size", 60, "is 60; expected a multiple of 8, the pixels of a latent "),
        ("data.frames.width", 63, "is 63; expected a multiple of 8, the pixels of a latent cell."),
        ("data.frames.num_views", 73, "is 73; expected at most the 72 frames of a walk."),
        ("data.views.fov_deg", 45.0, "is 45.0; expected enough for the 8 views, 45 degrees apart"),
        ("base.vae.model.norm_num_groups", 7, "expected a divisor of the last channels, 32."),
        ("base.diffusion.unet.norm_num_groups", 5, "a divisor of all channels, [32, 32, 64]."),
        ("base.diffusion.unet.attention_head_dim", [3, 5], "expected as many entries as "),
        ("base.diffusion.text_encoder.hidden_size", 98, "expected a multiple of the 4 heads."),
        ("base.diffusion.scheduler.prediction_type", "epsilon", "expected 'v_prediction', as "),
        ("base.diffusion.scheduler.beta_end", 0.5, "expected less noise: with 1000 timesteps, "),
        ("panorama.stage1.training.batch_size", 12, "is 12; expected a multiple of "),
        ("panorama.stage1.training.views_per_panorama", 16, "is 16; expected at most data.num_v"),
        ("evaluation.extractors.classifier.classes", ["a", "b"], "expected the kinds of rooms, ea"),
        ("evaluation.extractors.clip.batch_size", 5000, "is 5000; expected at most the 4320 view"),
        ("evaluation.extractors.clip.held_out", 0.0001, "expected a share that leaves some of the"),
        ("evaluation.score.protocols", ["papr-pano"], "is 'papr-pano'; expected some of "),
        ("evaluation.score.protocols", ["paper-pano"], "at least one for the task 'outpaint': out"),
        ("evaluation.score.extractors", ["inception"], "is 'inception'; expected a folder, or "),
    ],
)  # fmt: skip
def test_keys_of_different_sections_agree(key: str, value: object, sentence: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        checked(change(key, value), "mine.yaml")
    first = str(caught.value).splitlines()[1]
    assert first.startswith(f"  mine.yaml: setting '{key}' ")
    assert sentence in first


def test_facts_that_the_workflow_knows_without_networks_are_the_packages() -> None:
    assert tuple(KINDS) == ROOM_KINDS
    assert networks.HEAD_CHANNELS == HEAD_CHANNELS
    assert {name: list(p.tasks) for name, p in protocols().items()} == dict(protocol_tasks())
    assert set(protocol_extractors()) == set(STANDARD_EXTRACTORS)
    assert set(get_args(Scheduler)) < set(diffusers.DDIMScheduler._compatibles)
    assert {split: len(embedded_rooms(split)) for split in EMBEDDED} == EMBEDDED


def embedded_rooms(split: str) -> set[str]:
    """Rooms of a split in the embedded data, which DVC lists by the hash in data.dvc."""
    folders = {name.partition("/")[0] for name in embedded_files("data.dvc") if "/" in name}
    return {name for name in folders if name.startswith(f"{split}-")}


@pytest.mark.parametrize(
    "text", ["seed: 1\nname: x\nseed: 2\n", "data: {views: {fov_deg: 1, fov_deg: 90.0}}\n",
             '{"seed": 1, "seed": 2}']
)  # fmt: skip
def test_a_key_that_is_there_twice_is_refused(project: Project, text: str) -> None:
    (project.root / "mine.yaml").write_text(text)
    printed = project.snakemake("-n", "run", "--configfile", "mine.yaml", check=False)
    assert re.search(r"'mine.yaml' \(the key '(seed|fov_deg)' is (in line 1|there twice)", printed)


def test_values_of_the_command_line_are_numbers_and_its_mistakes_its_own(project: Project) -> None:
    def planned(value: str) -> str:
        return project.snakemake("-n", "run", "--config", f"panorama={value}", check=False)

    assert "generate" in planned("{generation: {guidance_scale: 4.5}}")
    assert "--config: setting 'panorama.generation.guidance_scale' is -1" in planned(
        "{generation: {guidance_scale: -1}}"
    )
    assert "--config: unknown setting 'panorama.generaton'" in planned("{generaton: {a: 1}}")
    assert numbers_of({"a": ["1", "x", "true"], "b": 2}) == {"a": [1, "x", True], "b": 2}


def test_configurations_hold_no_key_twice() -> None:
    for name in BASES:
        path = ROOT / f"workflow/config/{name}.yaml"
        assert read_settings(str(path)) == yaml.safe_load(path.read_text())
