"""Feature extractors. Each has an identity (name and hash of its weights) that every number keeps.

Two kinds: `FeatureExtractor` serves FID and Inception score, `SimilarityExtractor` the CLIP score.
The miniature's own are folders made by `evaluator`; the standard pretrained ones go by name:
`inception-v3`, `clip-vit-l-14`, `clip-vit-b-16`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eval.metrics.clip_score import clip_score
from eval.networks import Classifier, best_device, make_clip, prepare, tokenize
from eval.settings import suggest
from mvdiffusion.records import InputError, read_json, sha256_file


@dataclass(frozen=True)
class Identity:
    """What made a number: name of the extractor and hash of its weights."""

    name: str
    weights_sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.weights_sha256[:8]})"


@dataclass(frozen=True)
class FeatureExtractor:
    """Features [N, D] and class logits [N, classes] of uint8 RGB images [N, 3, H, W]."""

    identity: Identity
    description: dict[str, Any]
    extract: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, views: np.ndarray) -> tuple[Tensor, Tensor]:
        """Extract from uint8 views [V, H, W, 3]; results in float64 on the CPU."""
        with torch.inference_mode():
            features, logits = self.extract(_as_batch(views))
        return features.double().cpu(), logits.double().cpu()


@dataclass(frozen=True)
class SimilarityExtractor:
    """CLIP score of uint8 RGB images [N, 3, H, W], each with its own prompt."""

    identity: Identity
    description: dict[str, Any]
    encode: Callable[[Tensor, Sequence[str]], tuple[Tensor, Tensor]]

    def __call__(self, views: np.ndarray, prompts: Sequence[str]) -> Tensor:
        """CLIP scores [V] of uint8 views [V, H, W, 3] with their prompts."""
        with torch.inference_mode():
            image_features, text_features = self.encode(_as_batch(views), prompts)
            return clip_score(image_features.double(), text_features.double()).cpu()


Extractor = FeatureExtractor | SimilarityExtractor


def _as_batch(views: np.ndarray) -> Tensor:
    return torch.from_numpy(views).permute(0, 3, 1, 2).contiguous().to(best_device())


def load_evaluator(folder: str | Path) -> Extractor:
    """Load an evaluator that `evaluator` trained.

    Raises:
        InputError: no evaluator there, or its weights are not those its record names.
    """
    folder = Path(folder)
    record = read_json(folder / "evaluator.json")
    weights_path = folder / "weights.safetensors"
    if not weights_path.is_file() or sha256_file(weights_path) != record["weights_sha256"]:
        raise InputError(
            f"{weights_path}: missing, or not the weights that evaluator.json names; "
            "train the evaluator again."
        )
    loaders: dict[str, Callable[..., Extractor]] = {
        "classifier": _load_classifier,
        "clip": _load_clip,
    }
    if record["kind"] not in loaders:
        raise InputError(f"{folder}/evaluator.json: unknown kind '{record['kind']}'.")
    return loaders[record["kind"]](record, load_file(weights_path))


def _load_classifier(record: dict[str, Any], weights: dict[str, Tensor]) -> FeatureExtractor:
    architecture = record["architecture"]
    network = Classifier(architecture["channels"], len(record["classes"]))
    _ready(network, weights)

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        return network(prepare(images, record["image_size"]))

    return FeatureExtractor(_identity(record), _description(record), extract)


def _load_clip(record: dict[str, Any], weights: dict[str, Tensor]) -> SimilarityExtractor:
    network: Any = _ready(make_clip(record["architecture"]), weights)
    context = record["architecture"]["text"]["context_length"]

    def encode(images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = tokenize(prompts, context).to(images.device)
        pixels = prepare(images, record["image_size"])
        return network.encode_image(pixels), network.encode_text(tokens)

    return SimilarityExtractor(_identity(record), _description(record), encode)


def _ready(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False).to(best_device())


def _identity(record: dict[str, Any]) -> Identity:
    return Identity(record["name"], record["weights_sha256"])


def _description(record: dict[str, Any]) -> dict[str, Any]:
    kept = ("kind", "image_size", "validation", "settings")
    return {key: record[key] for key in kept}


def load_inception() -> FeatureExtractor:
    """Load torchmetrics' Inception-v3: 2048 features, resized to 299 px as torchmetrics does.

    Raises:
        InputError: torch-fidelity or its weights could not be had.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    outputs = ["2048", "logits_unbiased"]
    network = _pretrained("inception-v3", NoTrainInceptionV3, "inception-v3-compat", outputs)

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = network._torch_fidelity_forward(images)
        return features, logits

    identity = Identity("inception-v3", state_sha256(network))
    description = {"kind": "classifier", "image_size": 299, "resize": "bilinear, antialiased"}
    return FeatureExtractor(identity, description, extract)


def load_open_clip(name: str, model: str, pretrained: str = "openai") -> SimilarityExtractor:
    """Load a pretrained open_clip model, with its own preprocessing and tokenizer.

    Raises:
        InputError: its weights could not be had.
    """
    import open_clip
    from PIL import Image

    network, _, preprocess = _pretrained(
        name, open_clip.create_model_and_transforms, model, pretrained=pretrained
    )
    network.eval()
    tokenizer = open_clip.get_tokenizer(model)

    def encode(images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        pixels = torch.stack([preprocess(Image.fromarray(array)) for array in arrays])
        tokens = tokenizer(list(prompts)).to(images.device)
        return network.encode_image(pixels.to(images.device)), network.encode_text(tokens)

    identity = Identity(name, state_sha256(network))
    description = {"kind": "clip", "model": model, "pretrained": pretrained}
    return SimilarityExtractor(identity, description, encode)


def _pretrained(name: str, make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        made = make(*arguments, **options)
    except (OSError, RuntimeError, ModuleNotFoundError) as error:
        raise InputError(
            f"extractor '{name}': its pretrained weights could not be loaded ({error}); they are "
            "downloaded on first use, so connect once, or score with --evaluators instead."
        ) from error
    network = made[0] if isinstance(made, tuple) else made
    network.to(best_device())
    return made


STANDARD_EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "inception-v3": load_inception,
    "clip-vit-l-14": lambda: load_open_clip("clip-vit-l-14", "ViT-L-14-quickgelu"),
    "clip-vit-b-16": lambda: load_open_clip("clip-vit-b-16", "ViT-B-16-quickgelu"),
}
"""Pretrained extractors by name. OpenAI's weights need the QuickGELU they were trained with."""


def load_standard(name: str) -> Extractor:
    """Load a pretrained extractor by name.

    Raises:
        InputError: unknown name, or weights that could not be had.
    """
    if name not in STANDARD_EXTRACTORS:
        raise InputError(f"extractors: unknown '{name}'{suggest(name, STANDARD_EXTRACTORS)}")
    return STANDARD_EXTRACTORS[name]()


def state_sha256(network: nn.Module) -> str:
    """Hash names, shapes and values of a network's state (64 hex digits)."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
