"""Outpainting and sequences with depth over a split."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from noise_data import HEIGHT, WIDTH
from tiny_models import single_view_unet
from tiny_pipelines import model_of, own_methods

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.generation.sample_folder import SampleFolder, read_views, split_manifest
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.generation.split import generate_split, sample_seed
from mvdiffusion.methods.registry import find_method
from mvdiffusion.pipelines import MVDiffusionDepthPipeline, MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError, folder_sha256, read_json
from mvdiffusion.tasks import Task

SETTINGS: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 2.0, "device": "cpu"}
SCENES = ["scene_a-0000", "scene_b-0000", "scene_c-0000"]


def generate(
    task: str,
    method: str,
    model: Path,
    dataset: Any,
    root: Path,
    others: dict[str, Path] | None = None,
    **changes: Any,
) -> SampleFolder:
    settings = GenerationSettings(**{**SETTINGS, "batch_size": 3, **changes})
    manifest = split_manifest(Task(task), method, dataset, settings.num_samples, "0" * 64)
    folder = SampleFolder(root, manifest, {})
    generate_split(find_method(method, task), model, dataset, settings, folder, others)
    return folder


@pytest.mark.parametrize("method", own_methods("outpaint"))
def test_outpainting_keeps_the_real_view(
    method: str, models: dict[str, Path], dataset: Matterport3DPanoramas, tmp_path: Path
) -> None:
    folder = generate("outpaint", method, models["outpaint"], dataset, tmp_path / "out")
    bound = "vae_reconstruction"
    reconstruction = generate("outpaint", bound, models["outpaint"], dataset, tmp_path / bound)
    manifest = read_json(folder.root / "manifest.json")
    assert manifest["task"] == "outpaint"
    assert manifest["samples"] == ["a", "b", "c"]
    for name in manifest["samples"]:
        views, reconstructed = (read_views(each.root / name) for each in (folder, reconstruction))
        assert views.shape == (8, 3, 16, 16)
        assert (views[0] - reconstructed[0]).abs().max() <= 2 / 255 + 1e-6
        assert method == bound or (views[1] - reconstructed[1]).abs().max() > 0.1


@pytest.mark.parametrize("method", own_methods("depth"))
def test_depth_methods_write_whole_sequences(
    method: str, models: dict[str, Path], walks: ScanNetScenes, tmp_path: Path
) -> None:
    made_with = find_method(method, "depth")
    model, *others = (model_of(made_with, name, "depth", models) for name in made_with.models)
    named = dict(zip(made_with.others, others, strict=True))
    folder = generate("depth", method, model, walks, tmp_path / "out", named)
    manifest = read_json(folder.root / "manifest.json")
    assert manifest["task"] == "depth"
    assert manifest["samples"] == SCENES
    for index, name in enumerate(SCENES):
        sample, views = walks.load(index), read_views(folder.root / name)
        assert views.shape == (5, 3, 12, 16)
        assert read_json(folder.root / name / "sample.json")["seed"] == sample_seed(0, name)
        if method == "vae_reconstruction":
            assert (views - sample.views).square().mean() < 0.05


def test_a_base_that_knows_no_depth_makes_frames_from_their_captions(
    parts: dict[str, Any], walks: ScanNetScenes, tmp_path: Path
) -> None:
    unused = dict.fromkeys(("safety_checker", "feature_extractor"))
    options = {"unet": single_view_unet("panorama"), "requires_safety_checker": False}
    StableDiffusionPipeline(**parts, **unused, **options).save_pretrained(tmp_path / "base")
    settings = {"num_samples": 1, "guidance_scale": 1.0}
    made = generate(
        "depth", "independent_base", tmp_path / "base", walks, tmp_path / "a", **settings
    )
    pipeline = MVDiffusionPanoramaPipeline.from_single_view(tmp_path / "base")
    sample = walks.load(0)
    alone = pipeline(
        [list(sample.prompts)],
        *(HEIGHT, WIDTH, SETTINGS["num_inference_steps"], 1.0),
        correspondence_attention=False,
        generator=torch.Generator().manual_seed(sample_seed(0, sample.sample_id)),
        output_type="pt",
    ).images[0]
    assert (read_views(made.root / sample.sample_id) / 2 + 0.5 - alone).abs().max() <= 1 / 255


def test_sequences_of_other_layouts_run_apart(
    models: dict[str, Path], walks: ScanNetScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches hold sequences with the same key frames; what is written is the same."""
    call, seen = MVDiffusionDepthPipeline.__call__, []

    def record(self: MVDiffusionDepthPipeline, prompts: Any, **options: Any) -> Any:
        seen.append((len(prompts), options["key_frames"], options["num_views"]))
        return call(self, prompts, **options)

    monkeypatch.setattr(MVDiffusionDepthPipeline, "__call__", record)
    together = generate("depth", "mvdiffusion", models["depth"], walks, tmp_path / "a")
    assert seen == [(2, [0, 2, 4], 3), (1, [0, 1, 4], 3)]
    alone = generate("depth", "mvdiffusion", models["depth"], walks, tmp_path / "b", batch_size=1)
    for name in SCENES:
        first, second = (read_views(each.root / name) for each in (together, alone))
        assert (first - second).abs().max() <= 2 / 255 + 1e-6


def test_the_control_mirrors_the_walk(
    models: dict[str, Path], walks: ScanNetScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, poses = MVDiffusionDepthPipeline.__call__, []

    def record(self: MVDiffusionDepthPipeline, prompts: Any, **options: Any) -> Any:
        poses.append(options["pose"])
        return call(self, prompts, **options)

    monkeypatch.setattr(MVDiffusionDepthPipeline, "__call__", record)
    generate("depth", "wrong_correspondence", models["depth"], walks, tmp_path / "a", num_samples=1)
    found, real = poses[0][0], walks.load(0).pose
    assert torch.equal(found[:, :3, 3], real[:, :3, 3] * torch.tensor([-1.0, 1.0, 1.0]))
    turn, real_turn = (pose[0, :3, :3].T @ pose[1, :3, :3] for pose in (found, real))
    torch.testing.assert_close(turn, real_turn.T)  # turns about the vertical, the other way


def test_a_killed_depth_run_ends_with_the_same_files(
    models: dict[str, Path], walks: ScanNetScenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models["depth"]
    whole = generate("depth", "mvdiffusion", model, walks, tmp_path / "whole")
    write, written = SampleFolder.write_sample, []

    def die_after_the_first(self: SampleFolder, sample_id: str, *rest: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(sample_id)
        write(self, sample_id, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(SampleFolder, "write_sample", die_after_the_first)
        with pytest.raises(KeyboardInterrupt):
            generate("depth", "mvdiffusion", model, walks, tmp_path / "killed")
    again = generate("depth", "mvdiffusion", model, walks, tmp_path / "killed")
    assert folder_sha256(whole.root) == folder_sha256(again.root)


def test_a_model_of_another_task_is_named(
    models: dict[str, Path], walks: ScanNetScenes, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no model of the task depth: .* input channels"):
        generate("depth", "mvdiffusion", models["outpaint"], walks, tmp_path / "a")
