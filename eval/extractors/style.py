"""Style of images: Gram matrices of a network's first five convolutions (Gatys et al., 2016).

Features whose squared distance is the style distance; see `functional.coherence.gram_features`.
Outputs of convolutions are taken before the activation, with their bias or batch normalization.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvdiffusion import efficientnet_lite
from mvdiffusion.records import package_versions

from ..functional.coherence import gram_features
from .base import FeatureExtractor, Identity, state_sha256
from .networks import ready
from .weights import load_pretrained

VGG_STYLE, EFFICIENTNET_STYLE = "vgg19-style", "efficientnet-lite0-style"
CONVOLUTIONS = 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_vgg19_style() -> FeatureExtractor:
    """Load the style of VGG19's first five convolutions, of images with a short side of 512 px.

    As in SyncDiffusion's evaluation (arXiv 2306.05178; eval_code/eval_style_loss.py at 2b48377):
    torchvision's network and its normalization, and Pillow's bilinear resize in 8 bits.

    Raises:
        InputError: its weights could not be loaded.
    """
    network = ready(load_pretrained(VGG_STYLE, make_vgg19))

    def layers(images: Tensor) -> list[Tensor]:
        shift, scale = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (MEAN, STD))
        pixels, found = (images / 255 - shift) / scale, []
        for layer in network:
            pixels = layer(pixels)
            if isinstance(layer, nn.Conv2d):
                found.append(pixels.clone())  # the activation after it works in place
        return found[:CONVOLUTIONS]

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        shrunk = resize_short_side(images, 512)  # one at a time: a layer takes 67 MB each
        features = torch.cat([gram_features(layers(one[None])) for one in shrunk])
        return features, features[:, :0]

    return _extractor(VGG_STYLE, network, extract, 512, ("pillow", "torchvision"))


def make_vgg19() -> nn.Module:
    """Make the part of the pretrained network that ends with its fifth convolution."""
    from torchvision.models import vgg19

    return vgg19(weights="IMAGENET1K_V1").features[:11]


def load_efficientnet_style() -> FeatureExtractor:
    """Load the style of EfficientNet-Lite0's first five convolutions, of images of 224 px.

    Of ours, where VGG19's weights cannot be downloaded; another scale, compared with itself alone.

    Raises:
        InputError: the optional package of its weights is missing or damaged.
    """
    size = efficientnet_lite.IMAGE_SIZE
    network: Any = ready(efficientnet_lite.load_efficientnet_lite0())
    first, second = network.blocks[0][0], network.blocks[1][0]
    found: list[Tensor] = []

    def keep(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        state = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        found.append(F.batch_norm(inputs[0], *state, eps=norm.eps))

    for norm in (network.bn1, first.bn1, first.bn2, second.bn1, second.bn2):
        norm.register_forward_pre_hook(keep)

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        found.clear()
        pixels = efficientnet_lite.normalize(resize_short_side(images, size))
        second(first(network.bn1(network.conv_stem(pixels))))
        features = gram_features(found)
        return features, features[:, :0]

    return _extractor(EFFICIENTNET_STYLE, network, extract, size, ("pillow", "timm"))


def resize_short_side(images: Tensor, size: int) -> Tensor:
    """Resize as torchvision resizes Pillow's images: bilinear, antialiased, rounded to 8 bits.

    Args:
        images: uint8 [N, 3, H, W].
        size: short side of the result in pixels.

    Returns:
        float32 [N, 3, h, w] in 0 … 255, where the images are.
    """
    from PIL import Image

    height, width = images.shape[-2:]
    shape = (max(size, size * width // height), max(size, size * height // width))
    if (width, height) == shape:
        return images.float()
    arrays = (Image.fromarray(array) for array in images.permute(0, 2, 3, 1).cpu().numpy())
    resized = np.stack([np.asarray(a.resize(shape, Image.Resampling.BILINEAR)) for a in arrays])
    return torch.from_numpy(resized).permute(0, 3, 1, 2).float().to(images.device)


def _extractor(
    name: str, network: nn.Module, extract: Any, size: int, packages: tuple[str, ...]
) -> FeatureExtractor:
    about = {
        "kind": "style",
        "image_size": size,
        "resize": "Pillow bilinear, 8 bits",
        "packages": package_versions(packages),
    }
    identity = Identity(name, state_sha256(network))
    return FeatureExtractor(identity, about, extract, has_classes=False)
