"""Tiny rooms and models, so that every stage trains in seconds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from noise_data import write_rooms

from mvdiffusion.training.base import train_base
from mvdiffusion.training.runs import Places
from mvdiffusion.training.vae import train_vae

VIEW = {"image_size": 16, "num_views": 4, "fov_deg": 90.0}


def start_afresh() -> None:
    """One thread gives one order of summation; accelerate keeps settings per process."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


@pytest.fixture(autouse=True)
def fresh_start():
    start_afresh()


@pytest.fixture(scope="session")
def rooms(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rooms")
    write_rooms(root, "train", [f"train{index}" for index in range(6)], 0)
    write_rooms(root, "validation", ["validation0", "validation1"], 1)
    return root


def settings(**changes: Any) -> dict[str, Any]:
    """Settings that all stages share; `training__x=1` changes training.x."""
    training = {"steps": 3, "batch_size": 2, "learning_rate": 1e-3, "num_workers": 0}
    training |= {
        key.removeprefix("training__"): changes.pop(key)
        for key in list(changes)
        if key.startswith("training__")
    }
    return {"seed": 5, "device": "cpu", "data": VIEW, "training": training, **changes}


VAE_MODEL = {"block_out_channels": [8, 8], "norm_num_groups": 2, "latent_channels": 4}
BASE_PARTS = {
    "tokenizer": {"model_max_length": 16},
    "text_encoder": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "unet": {
        "block_out_channels": [32, 32],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": [2, 2],
        "norm_num_groups": 4,
    },
    "scheduler": {"prediction_type": "v_prediction"},
}


def places(root: Path, data: Path, **more: Any) -> Places:
    """Where a run reads its data, and writes its output, checkpoints and logs."""
    written = {"output": root / "output", "checkpoints": root / "checkpoints"}
    return Places(**{"data": data, "validation": data, "log_dir": root / "log", **written, **more})


@pytest.fixture(scope="session")
def vae_folder(rooms, tmp_path_factory) -> Path:
    start_afresh()
    root = tmp_path_factory.mktemp("vae")
    train_vae(settings(model=VAE_MODEL), places(root, rooms))
    return root / "output"


@pytest.fixture(scope="session")
def base_folder(rooms, vae_folder, tmp_path_factory) -> Path:
    start_afresh()
    root = tmp_path_factory.mktemp("base")
    train_base(settings(**BASE_PARTS), vae_folder, places(root, rooms))
    return root / "output"
