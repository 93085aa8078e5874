"""ResNet-50 of Places365 (Zhou et al., 2017), whose 365 classes of scenes serve an Inception score.

DiT360 prints an Inception score "by a ResNet of Places365"; which one, and of which images, it does
not say. This is CSAIL's ResNet-50 with the preprocessing of its demo: 256 px, the middle 224 px.
No SHA-256 of the file is known: who downloads it has to vouch for it (`weights.Weights.vouched`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mvdiffusion.records import InputError, package_versions

from .base import FeatureExtractor, Identity, state_sha256
from .networks import ready
from .weights import known_weights, load_pretrained

NAME = "places365-resnet50"
NUM_CLASSES = 365
RESIZED, SEEN = 256, 224
"""Height and width in pixels to which an image is resized, and those of the middle that is seen."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREFIX = "module."
"""In front of every name of the file, from training on several GPUs."""


def load_places365(path: str | Path | None = None) -> FeatureExtractor:
    """Load the network: 2048 pooled features and logits of 365 classes of scenes.

    Args:
        path: CSAIL's checkpoint, which is then taken as it is; by default the one in PyTorch's
            cache, for which its user has to vouch.

    Raises:
        InputError: the file is missing, nobody vouches for it, or it holds something else.
    """
    made = load_pretrained(NAME, lambda: _make(path), is_local=path is not None)
    *trunk, classifier = ready(made).children()
    features_of = nn.Sequential(*trunk, nn.Flatten())

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        features = features_of(prepare(images))
        return features, classifier(features)

    about = {
        "kind": "classifier",
        "model": "torchvision's resnet50",
        "image_size": SEEN,
        "resize": f"Pillow bilinear, 8 bits, to {RESIZED} px; middle",
        "packages": package_versions(("pillow", "torchvision")),
    }
    return FeatureExtractor(Identity(NAME, state_sha256(made)), about, extract)


def _make(path: str | Path | None) -> nn.Module:
    from torchvision.models import resnet50

    file = Path(path) if path is not None else known_weights()[NAME].fetch()
    network = resnet50(weights=None, num_classes=NUM_CLASSES)
    try:
        network.load_state_dict(_state(torch.load(file, "cpu", weights_only=True)))
    except (MemoryError, OSError):
        raise
    except Exception as error:  # whatever reading another file raises
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{file}: could not be read as the ResNet-50 of Places365 ({reason}); expected "
            f"{known_weights()[NAME].file} of CSAIL, with 'state_dict'."
        ) from None
    return network


def _state(content: Any) -> dict[str, Tensor]:
    return {key.removeprefix(PREFIX): value for key, value in content["state_dict"].items()}


def prepare(images: Tensor) -> Tensor:
    """Bring uint8 images [N, 3, H, W] to what the network sees [N, 3, 224, 224], as CSAIL's demo.

    Args:
        images: of any shape; all of each is resized to a square, of which the middle is kept.
    """
    from PIL import Image

    resized = [
        np.asarray(Image.fromarray(array).resize((RESIZED, RESIZED), Image.Resampling.BILINEAR))
        for array in images.permute(0, 2, 3, 1).cpu().numpy()
    ]
    edge = (RESIZED - SEEN) // 2
    middle = np.stack(resized)[:, edge : edge + SEEN, edge : edge + SEEN]
    pixels = torch.from_numpy(middle).permute(0, 3, 1, 2).to(images.device) / 255
    shift, scale = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (MEAN, STD))
    return (pixels - shift) / scale
