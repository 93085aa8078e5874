"""The base model of checkpoints as small as the golden weights."""

from pathlib import Path

import pytest
import torch
from released_checkpoints import write_base
from transformers import CLIPTextModel


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion folder; tests may not change it."""
    torch.set_num_threads(1)
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def vocabulary(base: Path) -> int:
    return CLIPTextModel.from_pretrained(base / "text_encoder").config.vocab_size
