"""Perceptual distances: how far two images lie apart in the features of a pretrained network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mvdiffusion.efficientnet_lite import load_efficientnet_lite0, normalize
from mvdiffusion.records import InputError

SMALL = 256  # pixels; in lower images VGG, which halves them four times, has little to see
VGG16 = "https://download.pytorch.org/models/vgg16-397923af.pth"


class FeatureDistance(nn.Module):
    """Squared distance of EfficientNet-Lite0's normalized features, summed over its stages.

    LPIPS without learned weights: what small images need, and its weights come from a package.
    """

    def __init__(self, stages: int = 3, scale: int = 1) -> None:
        """Load the network, frozen.

        Args:
            stages: how many of its five stages are compared, the first ones.
            scale: how many times larger it sees the images.

        Raises:
            InputError: the package with its weights is not installed.
        """
        super().__init__()
        self.network = load_efficientnet_lite0()
        self.stages, self.scale = stages, scale

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Return the distance of each pair [N].

        Args:
            images: [N, 3, H, W] in −1 … 1.
            others: likewise; no gradient goes to them.
        """
        with torch.no_grad():
            target = self.features(others)
        return self.between(self.features(images), target)

    @staticmethod
    def between(found: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """Return the distance of each pair [N] from the features of both, by stage.

        Args:
            found: features [N, C, h, w] of each stage.
            target: those of the other images.
        """
        pairs = zip(found, target, strict=True)
        return torch.stack([(a - b).square().mean((1, 2, 3)) for a, b in pairs]).sum(0)

    @property
    def channels(self) -> list[int]:
        """Number of features of each stage."""
        stages: list[dict[str, int]] = self.network.feature_info  # type: ignore[assignment]
        return [stage["num_chs"] for stage in stages[: self.stages]]

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the features of each stage [N, C, h, w] of images in −1 … 1."""
        # In bf16 the depth-wise convolutions are slower on a CPU.
        with torch.autocast(images.device.type, enabled=False):
            pixels = normalize((images + 1) * 127.5)
            if self.scale > 1:
                pixels = interpolate(pixels, scale_factor=self.scale, mode="bicubic")
            found = self.network.forward_intermediates(  # type: ignore[operator]
                pixels, indices=list(range(self.stages)), intermediates_only=True, stop_early=True
            )
        return [each / (each.square().mean(1, keepdim=True).sqrt() + 1e-3) for each in found]


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018) with VGG, of torchmetrics; its weights are downloaded."""

    def __init__(self, **options: Any) -> None:
        """Load the network, frozen; `options` go to torchmetrics.

        Raises:
            InputError: its weights cannot be downloaded.
        """
        from torchmetrics.functional.image.lpips import _LPIPS

        super().__init__()
        try:
            self.network = _LPIPS(net="vgg", **options)
        except OSError as error:
            raise InputError(
                f"the weights of VGG16, by which LPIPS compares images, could not be downloaded "
                f"({error}); download {VGG16} into the folder 'checkpoints' of torch.hub."
            ) from None

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Return the distance of each pair [N] of images [N, 3, H, W] in −1 … 1.

        Args:
            images: [N, 3, H, W] in −1 … 1.
            others: likewise.
        """
        distances: Tensor = self.network(images, others)
        return distances.flatten()


def perceptual_distance(network: str, height: int) -> nn.Module:
    """Load a distance, which later calls return again.

    Args:
        network: "lpips" or "features"; "auto" takes features for small images.
        height: of the images in pixels.

    Raises:
        InputError: the package with the network's weights is not installed, or they cannot be
            downloaded.
    """
    small = height < SMALL if network == "auto" else network == "features"
    return _loaded(FeatureDistance if small else Lpips)


@cache
def _loaded(distance: type[nn.Module]) -> nn.Module:
    return distance()
