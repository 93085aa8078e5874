"""Tiny random models of the three tasks, and the command line as a function."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from tiny_models import TASKS, single_view_unet
from torch.nn.functional import interpolate

from mvdiffusion.cli import main
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.models.patch_autoencoder import PatchAutoencoder
from mvdiffusion.training.base import build_text_encoder, build_tokenizer

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved pipelines of the three tasks; views of 32 x 32 pixels, VAE factor 4."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["a red wall"], 16)
    vae = PatchAutoencoder(block_out_channels=(8, 8, 8), norm_num_groups=2)
    smooth = interpolate(torch.rand(64, 3, 4, 4), size=16, mode="bicubic")
    vae.initialize_linear(smooth * 2 - 1)
    folders = {}
    for task, (kind, _) in TASKS.items():
        unet = single_view_unet(task)
        text_encoder = build_text_encoder(TEXT, tokenizer).eval()
        multi_view = MultiViewUNet.from_unet(unet, task=kind.unet_task)
        with torch.no_grad():
            for parameter in multi_view.correspondence_parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        folders[task] = tmp_path_factory.mktemp(task)
        pipeline = kind(vae, text_encoder, tokenizer, multi_view.eval(), DDIMScheduler())
        pipeline.save_pretrained(folders[task])
    return folders


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run `mvdiffusion …` in this process; give its exit code and all that it said."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mvdiffusion", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run
