"""Baselines of the task "panorama": on Stable Diffusion 2's parts, and what each of them is."""

from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
from noise_data import write_rooms
from tiny_stable_diffusion import few_noisy_steps, write_stable_diffusion_2

from mvdiffusion.data.captions import join_captions
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.generation.sample_folder import SampleFolder, read_views, split_manifest
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.generation.split import generate_split
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.resampling import sphere_rays, view_rays
from mvdiffusion.methods.base import Batch
from mvdiffusion.methods.registry import find_method
from mvdiffusion.methods.whole_panorama.panorama_finetune import cut_from_panoramas
from mvdiffusion.models import perceptual
from mvdiffusion.models.perceptual import Lpips
from mvdiffusion.pipelines import equirectangular
from mvdiffusion.pipelines.equirectangular import generate_equirectangular
from mvdiffusion.tasks import Task

BASELINES = (
    "autoregressive_latent",
    "independent",
    "independent_base",
    "independent_finetuned",
    "multidiffusion",
    "syncdiffusion",
    "panorama_finetune",
    "panorama_finetune_closed",
)


@pytest.fixture(scope="module")
def stable_diffusion_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stable_diffusion_2(tmp_path_factory.mktemp("sd2"))


@pytest.fixture(scope="module")
def large_views(tmp_path_factory: pytest.TempPathFactory) -> Matterport3DPanoramas:
    root = tmp_path_factory.mktemp("rooms")
    write_rooms(root, "test", ["a", "b"], 0)
    return Matterport3DPanoramas(root, "test", image_size=64)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASELINES)
def test_it_runs_on_stable_diffusion_2_and_no_sample_depends_on_its_batch(
    name: str, stable_diffusion_2: Path, large_views: Matterport3DPanoramas, tmp_path: Path
) -> None:
    found = []
    for batch_size in (1, 2):
        settings = few_noisy_steps(batch_size)
        count = None if batch_size == 2 else 1
        manifest = split_manifest(Task.PANORAMA, name, large_views, count, "0" * 64)
        folder = SampleFolder(tmp_path / str(batch_size), manifest, {})
        method = find_method(name, "panorama")
        generate_split(method, stable_diffusion_2, large_views, settings, folder)
        found.append(read_views(folder.root / "a"))
    assert found[0].shape == (8, 3, 64, 64)
    assert found[0].std() > 0.05
    assert (found[0] - found[1]).abs().max() < 0.02


@pytest.mark.slow
def test_large_windows_are_compared_by_lpips(
    stable_diffusion_2: Path,
    large_views: Matterport3DPanoramas,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As at the paper's size, with random weights in the place of those of the download."""
    made: list[torch.nn.Module] = []

    def untrained() -> torch.nn.Module:
        made.append(Lpips(pnet_rand=True))
        return made[-1]

    monkeypatch.setattr(perceptual, "Lpips", untrained)
    settings = GenerationSettings(num_inference_steps=2, guidance_scale=2.0, device="cpu")
    found = {}
    for name, given in (("multidiffusion", {}), ("syncdiffusion", {"network": "lpips"})):
        manifest = split_manifest(Task.PANORAMA, name, large_views, 2, "0" * 64)
        folder = SampleFolder(tmp_path / name, manifest, {})
        method = find_method(name, "panorama")
        options = method.read_options(given)
        generate_split(method, stable_diffusion_2, large_views, settings, folder, options=options)
        found[name] = read_views(folder.root / "a")
    assert len(made) == 1, "loaded once for two batches"
    assert torch.isfinite(found["syncdiffusion"]).all()
    assert (found["syncdiffusion"] - found["multidiffusion"]).abs().max() > 1 / 255


def rays_of(image: torch.Tensor) -> torch.Tensor:
    """The direction of each pixel of an equirectangular image [H, W, 3]."""
    height, width = image.shape[-2:]
    latitude = (0.5 - (torch.arange(height) + 0.5) / height) * torch.pi
    longitude = ((torch.arange(width) + 0.5) / width - 0.5) * 2 * torch.pi
    return sphere_rays(latitude, longitude)


def test_crops_are_the_directions_that_a_panorama_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panorama painted with each pixel's direction shows each view's directions."""
    painted = rays_of(torch.empty(64, 128)).movedim(-1, 0) * 0.4 + 0.5
    asked = []

    def generate(_: object, prompts: list[str], noise: torch.Tensor, **options: object):
        asked.append((prompts, noise, options))
        return painted[None]

    monkeypatch.setattr(equirectangular, "generate_equirectangular", generate)
    noise = torch.randn(1, 8, 4, 8, 8)
    samples = [SimpleNamespace(prompts=[f"a {view}" for view in "abcdefgh"])]
    pipeline = SimpleNamespace(vae_scale_factor=8, tokenizer=words(100))
    dataset = SimpleNamespace(fov_deg=90.0, prompt_prefix="a ")
    views = cut_from_panoramas(Batch(pipeline, samples, noise, {}, dataset))
    rays = view_rays(*panorama_cameras(64, 64), 64, 64)
    expected = (rays / rays.norm(dim=-1, keepdim=True)).movedim(-1, 1) * 0.4 + 0.5
    assert views.shape == (1, 8, 3, 64, 64)
    assert (views[0] - expected).abs().max() < 2e-3
    (prompts, given, options), *_ = asked
    assert prompts == ["a. b. c. d. e. f. g. h"]
    assert torch.equal(given, torch.cat([noise[:, 0], noise[:, 1]], -1))
    assert options == {"circular_padding": False, "generator": None}


def words(most: int) -> object:
    """A tokenizer of words and of the text's start and end."""

    def tokenize(text: str, **_: object) -> object:
        return SimpleNamespace(input_ids=["start", *text.split(), "end"])

    tokenize.model_max_length = most  # type: ignore[attr-defined]
    return tokenize


def test_captions_that_do_not_fit_are_left_out_evenly() -> None:
    prompts = [f"one view: {name}" for name in ("a", "b", "b", "c", "d", "e", "f", "g")]
    joined = {most: join_captions(prompts, "one view: ", words(most)) for most in (9, 8, 6, 5, 2)}
    assert joined == {
        9: "a. b. c. d. e. f. g",
        8: "a. b. c. d. e. f",
        6: "a. b. d. f",
        5: "a. b. e",
        2: "a",
    }


def test_the_seam_is_there_without_circular_padding(make) -> None:
    """With it no column is special: turned noise gives the turned panorama."""
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4,
    )
    pipeline = make("panorama", vae=vae.eval())
    noise = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    for closed in (True, False):
        still, turned = (
            generate_equirectangular(
                pipeline, ["a red room"], each, 2, 2.0, circular_padding=closed
            )
            for each in (noise, noise.roll(4, -1))
        )
        assert still.shape == (1, 3, 16, 32)
        assert torch.allclose(turned, still.roll(8, -1), atol=1e-4) == closed
