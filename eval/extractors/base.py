"""Feature extractors. Each has an identity (name and hash of its weights) that every number keeps.

Three kinds: `FeatureExtractor` serves Fréchet distances, KID and the Inception score,
`SimilarityExtractor` the CLIP score and CMMD, and `QualityExtractor` judges images one by one.
Those trained by `mvdiffusion-eval train-extractor` are folders; pretrained ones go by name, see
`pretrained`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mvdiffusion.code_closure import code_sha256
from mvdiffusion.records import (
    InputError,
    package_versions,
    read_json,
    settings_sha256,
    sha256_file,
)

from ..folders.faults import FLAT, variation
from .faed import PanoramaAutoencoder, encode
from .networks import Classifier, best_device, make_clip, prepare, ready, tokenize


@dataclass(frozen=True)
class Identity:
    """What made a number: name of the extractor and hash of its weights."""

    name: str
    weights_sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.weights_sha256[:8]})"


@dataclass(frozen=True)
class FeatureExtractor:
    """Features [N, D] and class logits [N, classes] of uint8 RGB images [N, 3, H, W].

    Attributes:
        has_classes: whether the logits mean anything; without them there is no Inception score,
            and `extract` gives none [N, 0].
    """

    identity: Identity
    description: dict[str, Any]
    extract: Callable[[Tensor], tuple[Tensor, Tensor]]
    has_classes: bool = True
    in_batches: ClassVar[bool] = True

    def outputs(self, views: np.ndarray) -> dict[str, Tensor]:
        """Extract "features" and, with classes, "logits" of views uint8 [V, H, W, 3], on CPU."""
        with torch.inference_mode():
            features, logits = self.extract(_as_batch(views))
        kept = {"features": features, "logits": logits if self.has_classes else None}
        return {n: value.cpu().contiguous() for n, value in kept.items() if value is not None}


@dataclass(frozen=True)
class SimilarityExtractor:
    """Embeddings of uint8 RGB images [N, 3, H, W] and of prompts in one space [N, D].

    Attributes:
        context: tokens of a prompt that it reads, in open_clip's vocabulary; the rest is cut off.
            None if it reads all.
    """

    identity: Identity
    description: dict[str, Any]
    encode_images: Callable[[Tensor], Tensor]
    encode_texts: Callable[[Sequence[str]], Tensor]
    context: int | None = None
    in_batches: ClassVar[bool] = True

    def outputs(self, views: np.ndarray) -> dict[str, Tensor]:
        """Embed uint8 views [V, H, W, 3]: "features" [V, D], on the CPU."""
        with torch.inference_mode():
            return {"features": self.encode_images(_as_batch(views)).cpu().contiguous()}

    def outputs_of_texts(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings [N, D] of prompts, on the CPU."""
        with torch.inference_mode():
            return self.encode_texts(prompts).cpu().contiguous()


@dataclass(frozen=True)
class QualityExtractor:
    """Scores of single images without a reference, each computed by itself.

    Attributes:
        score: scores [K] of an image, uint8 RGB [H, W, 3]; NaN where they are undefined.
        scores: their names; none for a single one.
        unit: of the scores.
        better: whether higher is better.
    """

    identity: Identity
    description: dict[str, Any]
    score: Callable[[np.ndarray], Sequence[float]]
    unit: str = ""
    better: bool = False
    scores: tuple[str, ...] = ("",)
    in_batches: ClassVar[bool] = False

    def outputs(self, views: np.ndarray) -> dict[str, Tensor]:
        """Score uint8 views [V, H, W, 3]: "features" float64 [V, K]; NaN of constant views."""
        undefined = [float("nan")] * len(self.scores)
        found = [
            undefined if flat else list(self.score(view))
            for view, flat in zip(views, variation(views) < FLAT, strict=True)
        ]
        return {"features": torch.tensor(found, dtype=torch.float64)}


Extractor = FeatureExtractor | SimilarityExtractor | QualityExtractor


def described(extractor: Any) -> dict[str, Any]:
    """Describe anything with an identity and a description for a score file, weights in full."""
    return {**extractor.description, "weights_sha256": extractor.identity.weights_sha256}


CODE = ("mvdiffusion_eval.extractors.pretrained", "mvdiffusion_eval.folders.crops")
"""Modules whose code, with all that it imports, turns image files into features."""


PACKAGES = ("numpy", "opencv-python-headless", "pillow", "torch")
"""Packages that every image passes; those of one extractor are in its description."""


def extractor_sha256(extractor: Extractor) -> str:
    """Hash all that its outputs depend on beside the image, so that no feature outlives it.

    That is its weights, what it says of its preprocessing, the code and the packages that read,
    cut, resize and compute, and the device.
    """
    identity = extractor.identity
    return settings_sha256(
        {
            "name": identity.name,
            "weights_sha256": identity.weights_sha256,
            "description": extractor.description,
            "code_sha256": code_sha256(*CODE),
            "packages": package_versions(PACKAGES),
            "device": best_device().type,
        }
    )


def _as_batch(views: np.ndarray) -> Tensor:
    return torch.from_numpy(views).permute(0, 3, 1, 2).contiguous().to(best_device())


RECORD = "extractor.json"
"""What a trained extractor is, beside its weights."""


def load_trained(folder: str | Path) -> Extractor:
    """Load a feature extractor from the folder that `train-extractor` wrote.

    Raises:
        InputError: there is none, or its weights are not those that its record names.
    """
    folder = Path(folder)
    record = read_json(folder / RECORD)
    weights_path = folder / "weights.safetensors"
    if not weights_path.is_file() or sha256_file(weights_path) != record["weights_sha256"]:
        raise InputError(
            f"{weights_path}: is missing, or does not contain the weights named in {RECORD}; train "
            "the extractor again."
        )
    if record["kind"] not in LOADERS:
        raise InputError(
            f"{folder / RECORD}: kind is '{record['kind']}'; expected one of {', '.join(LOADERS)}."
        )
    about = ("kind", "image_size", "validation", "settings")
    packages = package_versions(("open-clip-torch",) if record["kind"] == "clip" else ())
    return LOADERS[record["kind"]](
        record,
        load_file(weights_path),
        identity=Identity(record["name"], record["weights_sha256"]),
        description={key: record[key] for key in about} | {"packages": packages},
    )


def _load_classifier(
    record: dict[str, Any], weights: dict[str, Tensor], **about: Any
) -> FeatureExtractor:
    network = Classifier(record["architecture"]["channels"], len(record["classes"]))
    network.load_state_dict(weights)
    ready(network)

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        return network(prepare(images, record["image_size"]))

    return FeatureExtractor(extract=extract, **about)


def _load_clip(
    record: dict[str, Any], weights: dict[str, Tensor], **about: Any
) -> SimilarityExtractor:
    network: Any = make_clip(record["architecture"])
    network.load_state_dict(weights)
    ready(network)
    context = record["architecture"]["text"]["context_length"]

    def encode_images(images: Tensor) -> Tensor:
        return network.encode_image(prepare(images, record["image_size"]))

    def encode_texts(prompts: Sequence[str]) -> Tensor:
        return network.encode_text(tokenize(prompts, context).to(best_device()))

    return SimilarityExtractor(
        encode_images=encode_images,
        encode_texts=encode_texts,
        context=context,
        **about,
    )


def _load_faed(
    record: dict[str, Any], weights: dict[str, Tensor], **about: Any
) -> FeatureExtractor:
    """Load an autoencoder, which takes whole panoramas [N, 3, H, 2 H] and nothing else."""
    network = PanoramaAutoencoder(record["architecture"]["widths"])
    network.load_state_dict(weights)
    ready(network)

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        return encode(network, images, record["image_size"][0]), torch.empty(len(images), 0)

    return FeatureExtractor(extract=extract, has_classes=False, **about)


LOADERS: dict[str, Callable[..., Extractor]] = {
    "classifier": _load_classifier,
    "clip": _load_clip,
    "faed": _load_faed,
}


def state_sha256(network: nn.Module) -> str:
    """Hash names, shapes and values of a network's state (64 hex digits)."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
