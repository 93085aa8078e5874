"""Inception-v3 behind FID, KID and the Inception score, and the two ways to bring images to it.

The network and its weights are torch-fidelity's. How an image becomes 299 px wide decides a third
of a FID, so it is written out here: no library's version changes it. Numbers published before
July 2025 are `tf1-bilinear`; torchmetrics resizes with antialiasing since version 1.8.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mvdiffusion.records import package_versions

from .base import FeatureExtractor, Identity, state_sha256
from .networks import ready
from .weights import load_pretrained

IMAGE_SIZE = 299
"""Height and width in pixels that the network sees."""


def tf1_bilinear(images: Tensor, size: int) -> Tensor:
    """Resize as TensorFlow 1 did: pixel i lies at i · length / size, between two neighbors.

    Nothing is averaged when an image shrinks, so that details alias; and pixels sit at the corners
    of their areas, so that the image moves by up to half a pixel. Both belong to FID as published
    (Heusel et al., 2017), and to torch-fidelity, and torchmetrics before 1.8.

    Args:
        images: [N, C, H, W].
        size: height and width of the result in pixels.

    Returns:
        float32 [N, C, size, size] in the range of the images.
    """
    pixels = images.float()
    for axis, shape in ((3, (size,)), (2, (size, 1))):  # columns first, as TensorFlow
        length = pixels.shape[axis]
        place = torch.arange(size, device=pixels.device) * torch.tensor(length / size)
        before = place.long()
        after = (before + 1).clamp(max=length - 1)
        low, high = (pixels.index_select(axis, index) for index in (before, after))
        pixels = low + (high - low) * (place - before).view(shape)
    return pixels


def antialiased_bilinear(images: Tensor, size: int) -> Tensor:
    """Resize as torchmetrics does since 1.8: a shrunk image's pixels are means of what they cover.

    Args:
        images: [N, C, H, W].
        size: height and width of the result in pixels.

    Returns:
        float32 [N, C, size, size] in the range of the images.
    """
    shape = (size, size)
    return nn.functional.interpolate(images.float(), shape, mode="bilinear", antialias=True)


RESIZES: dict[str, tuple[str, Callable[[Tensor, int], Tensor]]] = {
    "inception-v3": ("tf1-bilinear", tf1_bilinear),
    "inception-v3-antialiased": ("antialiased-bilinear", antialiased_bilinear),
}
"""Name and function of the resize that each extractor is known by."""


def load_inception(name: str = "inception-v3") -> FeatureExtractor:
    """Load Inception-v3: 2048 features, and logits without bias, of images resized to 299 px.

    Args:
        name: a key of `RESIZES`.

    Raises:
        InputError: torch-fidelity or its weights could not be loaded.
    """
    network, (resize_name, resize) = load_pretrained(name, _make), RESIZES[name]
    *layers, classifier = ready(network).children()
    trunk = nn.Sequential(*layers)

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        features = trunk((resize(images, IMAGE_SIZE) - 128) / 128).flatten(1)
        return features, features @ classifier.weight.T

    description = {
        "kind": "classifier",
        "image_size": IMAGE_SIZE,
        "resize": resize_name,
        "packages": package_versions(["torch-fidelity"]),
    }
    return FeatureExtractor(Identity(name, state_sha256(network)), description, extract)


def _make() -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
