"""Reading the golden files: weights of the released model under this project's names."""

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

GOLDEN = Path(__file__).parent.parent / "golden"


def load(name: str) -> tuple[dict[str, Tensor], dict]:
    """Tensors and JSON-decoded settings of a golden file."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    return tensors, metadata


def released_caa_weights(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights of one released attention layer, renamed and in float32."""
    start = f"{prefix}.transformer."
    return {
        key.removeprefix(start).removeprefix("attn1."): value.float()
        for key, value in tensors.items()
        if key.startswith(start)
    }


def released_model_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the whole released model, renamed and in float32."""
    blocks = {
        "cp_blocks_encoder": "correspondence_down",
        "cp_blocks_mid": "correspondence_mid",
        "cp_blocks_decoder": "correspondence_up",
    }
    weights = {}
    for key, value in tensors.items():
        key = key.removeprefix("mv_base_model.")
        if key.endswith("freq_bands") or key.split(".")[0] not in {*blocks, "unet"}:
            continue
        for released, ours in blocks.items():
            key = key.replace(released, ours)
        if not key.startswith("unet."):
            key = key.replace("transformer.", "").replace("attn1.", "")
        weights[key] = value.float()
    return weights
