"""Learned perceptual distance (LPIPS; Zhang et al., 2018) of the pixels that two images share.

Network and linear layers are torchmetrics'; the backbone's weights are torchvision's, fetched on
first use and checked before each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mvdiffusion.records import InputError, package_versions
from mvdiffusion.settings import suggest

from .base import Identity, state_sha256
from .networks import best_device
from .weights import fetch_known, told_where

NETWORKS = ("alex", "vgg", "squeeze")
"""Backbones by name."""


@dataclass(frozen=True)
class Lpips:
    """LPIPS by one network, which maps images [N, 3, H, W] in -1 … 1 to a map [N, 1, H, W]."""

    identity: Identity
    network: nn.Module

    @property
    def description(self) -> dict[str, Any]:
        """What decides its numbers beside the weights: the packages that hold the layers."""
        return {"kind": "lpips", "packages": package_versions(("torchmetrics", "torchvision"))}

    def __call__(self, preds: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
        """Mean of the distance map over the pixels of a mask.

        Outside the mask both networks see `preds`, so that only what is compared differs; near the
        mask's edge, within the network's field of view, distances come out somewhat small.

        Args:
            preds, target: images [H, W, 3] in [0, 1].
            mask: pixels to compare [H, W].

        Returns:
            Distance, 0 for equal images; NaN if the mask is empty.
        """
        if not mask.any():
            return float("nan")
        filled = np.where(mask[..., None], target, preds)
        with torch.inference_mode():
            distance = self.network(_batch(preds), _batch(filled))[0, 0]
        return float(distance.cpu().double().numpy()[mask].mean())

    def between(self, preds: np.ndarray, target: np.ndarray) -> float:
        """Distance of two whole images, each layer's map averaged at its own size, as published.

        Args:
            preds, target: images [H, W, 3] in [0, 1].
        """
        with torch.inference_mode():
            return float(self.network(_batch(preds), _batch(target)).mean().cpu())


def _batch(image: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(image)).float().permute(2, 0, 1)[None]
    return (2 * pixels - 1).to(best_device())


def load_lpips(name: str, spatial: bool = True) -> Lpips:
    """Load LPIPS with a backbone trained on ImageNet.

    Args:
        name: "alex", "vgg" or "squeeze".
        spatial: one distance per pixel, for masks; False for `Lpips.between` alone.

    Raises:
        InputError: another name, or weights that could not be loaded.
    """
    if name not in NETWORKS:
        raise InputError(f"lpips: unknown network '{name}'{suggest(name, NETWORKS)}")
    instead = "leave the setting 'lpips' empty"
    with told_where(f"lpips-{name}", f"lpips: the weights of '{name}'", instead):
        network = make_network(name, spatial)
    network.to(best_device())
    return Lpips(Identity(f"lpips-{name}", state_sha256(network)), network)


def make_network(name: Any, spatial: bool) -> nn.Module:
    """Make the pretrained network, its distances one per pixel or one per image.

    Args:
        name: one of `NETWORKS`.
        spatial: one per pixel.
    """
    from torchmetrics.functional.image.lpips import _LPIPS

    fetch_known(f"lpips-{name}")  # into the folder where torchvision expects it
    return _LPIPS(net=name, spatial=spatial)
