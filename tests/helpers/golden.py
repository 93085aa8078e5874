"""Reading the golden files: weights of the released model under this project's names."""

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from mvdiffusion.conversion.weights import sort_weights

GOLDEN = Path(__file__).parent.parent / "golden"


def load(name: str) -> tuple[dict[str, Tensor], dict]:
    """Tensors and JSON-decoded settings of a golden file."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    return tensors, metadata


def released_caa_weights(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights of one released attention layer, renamed and in float32."""
    place = "cp_blocks_mid"
    named = {
        key.replace(prefix, place, 1): value
        for key, value in tensors.items()
        if key.startswith(f"{prefix}.")
    }
    return {
        key.removeprefix("correspondence_mid."): value.float()
        for key, value in sort_weights(named).unet.items()
    }


def released_model_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the whole released model, renamed and in float32."""
    return {key: value.float() for key, value in sort_weights(tensors).unet.items()}


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    return ((found - expected).abs().max() / expected.abs().max()).item()
