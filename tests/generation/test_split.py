"""Methods over a split: seeds, restart, baselines."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipelines import model_of, own_methods
from tiny_stable_diffusion import SDE
from torch.nn.functional import interpolate

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.generation.sample_folder import SampleFolder, read_views, split_manifest
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.generation.split import (
    draw_noise,
    generate_split,
    load_pipeline,
    sample_seed,
)
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion.geometry.homography import homography
from mvdiffusion.geometry.warping import warp_by_homography
from mvdiffusion.methods import autoregressive_latent
from mvdiffusion.methods.base import Batch
from mvdiffusion.methods.registry import find_method
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError, folder_sha256, read_json
from mvdiffusion.settings import parse
from mvdiffusion.tasks import Task

SETTINGS = GenerationSettings(num_inference_steps=2, guidance_scale=2.0, batch_size=2, device="cpu")


def generate(
    method: str, model: Path, dataset: Matterport3DPanoramas, root: Path, **changes: object
) -> SampleFolder:
    settings = GenerationSettings(**{**vars(SETTINGS), **changes})  # type: ignore[arg-type]
    manifest = split_manifest(Task.PANORAMA, method, dataset, settings.num_samples, "0" * 64)
    folder = SampleFolder(root, manifest, {})
    generate_split(find_method(method, "panorama"), model, dataset, settings, folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("method", own_methods("panorama"))
def test_every_method_writes_scorable_samples(
    method: str, models: dict[str, Path], dataset: Matterport3DPanoramas, tmp_path: Path
) -> None:
    made_with = find_method(method, "panorama")
    model = model_of(made_with, made_with.model, "panorama", models)
    folder = generate(method, model, dataset, tmp_path / "out")
    manifest = read_json(folder.root / "manifest.json")
    assert manifest["method"] == method
    assert manifest["samples"] == ["a", "b", "c"]
    for name in manifest["samples"]:
        assert read_views(folder.root / name).shape == (8, 3, 16, 16)
        assert len((folder.root / name / "prompt.txt").read_text().splitlines()) == 8
        assert read_json(folder.root / name / "sample.json")["seed"] == sample_seed(0, name)


def test_vae_reconstruction_returns_the_real_views(
    model: Path, dataset: Matterport3DPanoramas, tmp_path: Path
) -> None:
    """Colors and their range survive: a wrong range or channel order would not."""
    folder = generate("vae_reconstruction", model, dataset, tmp_path / "out")
    for index, name in enumerate(["a", "b", "c"]):
        error = read_views(folder.root / name) - dataset.load(index).views
        assert error.square().mean() < 0.05


def test_a_killed_run_ends_with_the_same_files(
    model: Path, dataset: Matterport3DPanoramas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate("mvdiffusion", model, dataset, tmp_path / "whole")
    write, written = SampleFolder.write_sample, []

    def die_after_the_first(self: SampleFolder, sample_id: str, *rest: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(sample_id)
        write(self, sample_id, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SampleFolder, "write_sample", die_after_the_first)
        with pytest.raises(KeyboardInterrupt):
            generate("mvdiffusion", model, dataset, tmp_path / "killed")
    assert not (tmp_path / "killed" / "manifest.json").exists()
    finished = tmp_path / "killed" / written[0] / "0.png"
    before = finished.stat().st_mtime_ns
    again = generate("mvdiffusion", model, dataset, tmp_path / "killed")
    assert finished.stat().st_mtime_ns == before
    assert folder_sha256(whole.root) == folder_sha256(again.root)


def test_first_view_of_the_autoregressive_baseline_is_the_independent_one(
    model: Path, dataset: Matterport3DPanoramas, tmp_path: Path
) -> None:
    alone = generate("independent", model, dataset, tmp_path / "a")
    chained = generate("autoregressive_latent", model, dataset, tmp_path / "b")
    first, second = (np.asarray(Image.open(f.root / "a" / "0.png"), int) for f in (alone, chained))
    assert np.abs(first - second).max() <= 1
    first, second = (np.asarray(Image.open(f.root / "a" / "1.png"), int) for f in (alone, chained))
    assert np.abs(first - second).max() > 8


def test_each_sample_starts_from_its_own_noise(
    pipeline: MVDiffusionPanoramaPipeline, dataset: Matterport3DPanoramas
) -> None:
    assert sample_seed(0, "a") == 59427965909845092
    generators = [torch.Generator().manual_seed(sample_seed(0, name)) for name in "ab"]
    noise = draw_noise(pipeline, [dataset.load(0), dataset.load(1)], 16, 16, generators)
    assert not torch.isclose(noise[0], noise[1]).any(-1).all()
    assert abs(torch.corrcoef(noise.flatten(1))[0, 1]) < 0.1


@pytest.mark.long
@pytest.mark.parametrize("method", ["mvdiffusion", "independent", "autoregressive_latent"])
@pytest.mark.parametrize("sampler", [{"scheduler": "DDPMScheduler"}, SDE], ids=["ddpm", "sde"])
def test_a_stochastic_sampler_draws_of_each_samples_own_noise(
    sampler: dict[str, str],
    method: str,
    model: Path,
    dataset: Matterport3DPanoramas,
    tmp_path: Path,
) -> None:
    """Again, and in other batches, it makes the same images."""
    made = [
        generate(method, model, dataset, tmp_path / name, **sampler, **size)
        for name, size in (("a", {}), ("b", {}), ("c", {"batch_size": 1}))
    ]
    first, again, alone = (read_views(folder.root / "b") for folder in made)
    assert torch.equal(first, again)
    assert (first - alone).abs().max() <= 2 / 255 + 1e-6


def test_the_solver_is_the_named_one_and_no_other_schedulers(model: Path) -> None:
    settings = GenerationSettings(**{**vars(SETTINGS), **SDE})
    scheduler = load_pipeline("panorama", model, settings).scheduler
    assert scheduler.config.algorithm_type == "sde-dpmsolver++"
    with pytest.raises(InputError, match=r"'algorithm_type' .* only DPMSolverMultistepScheduler"):
        parse(GenerationSettings, {"algorithm_type": "sde-dpmsolver++"})


@pytest.mark.parametrize(("capability", "dtype"), [("AVX512", "bfloat16"), ("AVX2", "float32")])
def test_the_unet_computes_in_the_precision_that_is_fast(
    model: Path, monkeypatch: pytest.MonkeyPatch, capability: str, dtype: str
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    settings = GenerationSettings(**{**vars(SETTINGS), "dtype": "auto"})
    pipeline = load_pipeline("panorama", model, settings)
    assert pipeline.unet.dtype == getattr(torch, dtype)
    assert pipeline.vae.dtype == torch.float32


def test_steps_are_spaced_as_the_model_says(model: Path) -> None:
    scheduler = load_pipeline("panorama", model, SETTINGS).scheduler
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [800, 600, 400, 200, 0]


def test_the_control_turns_the_cameras_the_other_way(
    model: Path, dataset: Matterport3DPanoramas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, used = MVDiffusionPanoramaPipeline.__call__, []

    def record(self: MVDiffusionPanoramaPipeline, prompts: object, **options: object) -> object:
        used.append(options.get("R"))
        return call(self, prompts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MVDiffusionPanoramaPipeline, "__call__", record)
    control = generate("wrong_correspondence", model, dataset, tmp_path / "a", num_samples=1)
    plain = generate("mvdiffusion", model, dataset, tmp_path / "b", num_samples=1)
    right = panorama_cameras(16, 16)[1]
    torch.testing.assert_close(used[0], right[[0, 7, 6, 5, 4, 3, 2, 1]])
    assert not torch.equal(read_views(control.root / "a"), read_views(plain.root / "a"))


class RealViews:
    """A stand-in for the pipeline: "generates" the real views one after the other."""

    vae_scale_factor = 1

    def __init__(self, views: torch.Tensor) -> None:
        self.views = iter(views)

    def encode_prompt(self, prompts: list[list[str]], _: object) -> torch.Tensor:
        return torch.zeros(1, len(prompts[0]), 1, 1)

    def denoise(self, start: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        return start

    def decode_latents(self, _: torch.Tensor) -> torch.Tensor:
        return next(self.views)[None, None]


def test_the_view_before_is_warped_onto_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real views of one room agree where the baseline says that the next view is known."""
    K, R = panorama_cameras(64, 64)
    noise = torch.rand(1, 3, 6, 12, generator=torch.Generator().manual_seed(0))
    views = equirectangular_to_views(
        interpolate(noise, (128, 256), mode="bicubic")[0], K, R, 64, 64
    )
    warped = []
    monkeypatch.setattr(
        autoregressive_latent, "_known_latents", lambda _, *rest: warped.append(rest[:2])
    )
    start = torch.zeros(1, 8, 3, 64, 64)
    samples = [SimpleNamespace(prompts=["a room"] * 8)]
    sampling = {"num_inference_steps": 1, "guidance_scale": 1.0, "negative_prompt": ""}
    dataset = SimpleNamespace(fov_deg=90.0)
    autoregressive_latent.panorama(Batch(RealViews(views), samples, start, sampling, dataset))
    assert len(warped) == 7
    for view, (image, known) in enumerate(warped, 1):
        assert 0.3 < known.float().mean() < 0.5
        assert (image[0] - views[view]).abs()[:, known].mean() < 0.01


def test_warping_against_opencv() -> None:
    K, R = panorama_cameras(32, 32)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    H = homography(K[1], R[1], K[0], R[0])
    warped, known = warp_by_homography(image, H)
    options = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP}
    expected = cv2.warpPerspective(
        image[0].permute(1, 2, 0).numpy(), H.numpy(), (32, 32), **options
    )
    inside = cv2.warpPerspective(np.ones((32, 32), np.float32), H.numpy(), (32, 32), **options) == 1
    assert 0.3 < inside.mean() < 0.5
    assert known.numpy()[inside].all()
    # OpenCV rounds source pixels to 1/32.
    assert np.abs(warped[0].permute(1, 2, 0).numpy() - expected)[inside].max() < 0.05


def test_nothing_is_pasted_after_the_last_step(pipeline: MVDiffusionPanoramaPipeline) -> None:
    pipeline.scheduler.set_timesteps(3)
    noise = torch.randn(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    known = torch.zeros(16, 16, dtype=torch.bool)
    known[:, :9] = True  # the fifth column of latents is only half known
    keep = autoregressive_latent._known_latents(pipeline, torch.rand(1, 3, 16, 16), known, noise)
    latents = torch.full_like(noise, 7.0)
    replaced = keep(pipeline, 0, torch.tensor(0), {"latents": latents})["latents"] != 7
    assert replaced[..., :4].all()
    assert not replaced[..., 4:].any()
    assert keep(pipeline, 2, torch.tensor(0), {"latents": latents}) == {}


def test_wrong_settings_are_named(
    model: Path, dataset: Matterport3DPanoramas, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="guidance"):
        parse(GenerationSettings, {"guidance": 2})
    with pytest.raises(
        InputError, match="'scheduler' is 'NoScheduler'; expected one of 'DDIMScheduler'"
    ):
        parse(GenerationSettings, {"scheduler": "NoScheduler"})
    with pytest.raises(InputError, match="float8"):
        parse(GenerationSettings, {"dtype": "float8"})
    with pytest.raises(InputError, match="'batch_size' is 0; expected a whole number, at least 1"):
        parse(GenerationSettings, {"batch_size": 0})
    with pytest.raises(InputError, match=r"method warp: expected a method of the task pano"):
        find_method("warp", "panorama")
    with pytest.raises(InputError, match="_latent: expected a method of the task outpaint; k"):
        find_method("autoregressive_latent", "outpaint")
    with pytest.raises(InputError, match="num_samples"):
        generate("vae_reconstruction", model, dataset, tmp_path / "a", num_samples=4)
    with pytest.raises(InputError, match=r"model_index\.json"):
        generate("vae_reconstruction", tmp_path, dataset, tmp_path / "b")
    with pytest.raises(InputError, match=r"`num_inference_steps` in 1 … 1000, .* got 1001"):
        load_pipeline("panorama", model, GenerationSettings(num_inference_steps=1001))
