"""Tiny random pipelines of the three tasks and a few rooms of noise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionControlNetInpaintPipeline
from noise_data import HEIGHT, WIDTH, write_rooms, write_scene
from tiny_models import TASKS, single_view_unet
from torch.nn.functional import interpolate
from transformers import CLIPTextConfig, CLIPTextModel

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.methods.declaration import Method
from mvdiffusion.methods.registry import method_names, methods
from mvdiffusion.models.controlnet import controlnet_of
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.models.patch_autoencoder import PatchAutoencoder
from mvdiffusion.pipelines import (
    MVDiffusionDepthPipeline,
    MVDiffusionOutpaintPipeline,
    MVDiffusionPanoramaPipeline,
)
from mvdiffusion.training.base import build_tokenizer


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def parts() -> dict[str, Any]:
    """VAE, text encoder, tokenizer and scheduler; they serve all tasks."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a red room"], 16)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vae = PatchAutoencoder(block_out_channels=(8, 8), norm_num_groups=2, scaling_factor=0.7)
    smooth = interpolate(torch.rand(64, 3, 4, 4), size=16, mode="bicubic")
    vae.initialize_linear(smooth * 2 - 1)
    return {
        "vae": vae,
        "text_encoder": CLIPTextModel(config).eval(),
        "tokenizer": tokenizer,
        "scheduler": DDIMScheduler(),
    }


@pytest.fixture(scope="session")
def make(parts: dict[str, Any]) -> Callable[..., Any]:
    """Make a task's pipeline; all weights random, those of the attention between views too."""

    def make(task: str, variant: str = "released", **changed: Any) -> Any:
        kind = TASKS[task][0]
        unet = MultiViewUNet.from_unet(single_view_unet(task), variant, kind.unet_task)
        torch.manual_seed(2)
        with torch.no_grad():
            for parameter in unet.correspondence_parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        pipeline = kind(**{**parts, "unet": unet.eval(), **changed})
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    return make


@pytest.fixture(scope="session")
def pipeline(make: Callable[..., Any]) -> MVDiffusionPanoramaPipeline:
    return make("panorama")


@pytest.fixture(scope="session")
def outpaint(make: Callable[..., Any]) -> MVDiffusionOutpaintPipeline:
    return make("outpaint")


@pytest.fixture(scope="session")
def depth(make: Callable[..., Any]) -> MVDiffusionDepthPipeline:
    return make("depth")


@pytest.fixture(scope="session")
def models(make: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved models of the three tasks, and those of methods that train one of their own."""
    folders = {task: tmp_path_factory.mktemp(task) for task in TASKS}
    for task, folder in folders.items():
        make(task).save_pretrained(folder)
    folders["controlnet"] = tmp_path_factory.mktemp("controlnet")
    _save_controlnet(make("outpaint"), folders["controlnet"])
    return folders


def _save_controlnet(inpainting: MVDiffusionOutpaintPipeline, folder: Path) -> None:
    unet = inpainting.unet.unet
    parts = {name: getattr(inpainting, name) for name in ("vae", "text_encoder", "tokenizer")}
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    StableDiffusionControlNetInpaintPipeline(
        **parts,
        unet=unet,
        scheduler=inpainting.scheduler,
        controlnet=controlnet_of(unet, 4, inpainting.vae_scale_factor),
        **none,
    ).save_pretrained(folder)


def own_methods(task: str) -> list[str]:
    """Names of the methods of a task that this package runs itself."""
    return sorted(name for name in method_names(task) if not methods()[name].is_external)


def model_of(method: Method, name: str, task: str, models: dict[str, Path]) -> Path:
    """Find the saved model that a method knows by a name: one of its own, or one of a task."""
    return models.get(name) or models[method.pipeline(name, task)]


@pytest.fixture(scope="session")
def model(models: dict[str, Path]) -> Path:
    return models["panorama"]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Matterport3DPanoramas:
    root = tmp_path_factory.mktemp("rooms")
    write_rooms(root, "test", ["a", "b", "c"], 0)
    return Matterport3DPanoramas(root, "test", image_size=16)


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory) -> ScanNetScenes:
    """Two scenes of five frames with the same key frames, one with others."""
    root = tmp_path_factory.mktemp("walks")
    for name, keys in (("scene_a", [0, 2, 4]), ("scene_b", [0, 2, 4]), ("scene_c", [0, 1, 4])):
        write_scene(root / "test" / name, keys, 5, len(name) + ord(name[-1]))
    return ScanNetScenes(root, "test", HEIGHT, WIDTH, num_views=3)
