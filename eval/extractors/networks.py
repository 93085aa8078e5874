"""The miniature's two feature extractors: a small classifier and a small CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mvdiffusion.settings import Device, torch_device


class Classifier(nn.Module):
    """A plain convolutional classifier whose pooled features serve FID.

    Args:
        channels: width of each stage; every stage halves the resolution.
        num_classes: classes told apart.
    """

    def __init__(self, channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        stages, width = [], 3
        for out in channels:
            stages += [_convolution(width, out, stride=2), _convolution(out, out, stride=1)]
            width = out
        # Two convolutions at full resolution of the first stage would cost more than all the rest.
        del stages[1]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features [N, channels[-1]] and logits of images [N, 3, H, W] in [-1, 1]."""
        features = self.stages(images).mean((2, 3))
        return features, self.head(features)


def _convolution(width: int, out: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(width, out, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def make_clip(architecture: dict[str, Any]) -> nn.Module:
    """Build an open_clip model: `embed_dim`, `vision` and `text` as CLIPVisionCfg, CLIPTextCfg."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    return CLIP(
        architecture["embed_dim"],
        CLIPVisionCfg(**architecture["vision"]),
        CLIPTextCfg(**architecture["text"]),
    )


def tokenize(prompts: Sequence[str], context_length: int) -> Tensor:
    """Tokens [N, context_length] of open_clip's own byte-pair vocabulary.

    Args:
        prompts: N texts.
        context_length: tokens of each; longer texts are cut.
    """
    import open_clip

    return open_clip.tokenize(list(prompts), context_length)


def num_tokens(prompt: str) -> int:
    """Count a prompt's tokens in open_clip's own vocabulary, with those of start and end."""
    from open_clip.tokenizer import _tokenizer  # what `tokenize` uses, with its vocabulary

    return len(_tokenizer.encode(prompt)) + 2


def prepare(images: Tensor, image_size: int) -> Tensor:
    """Bring uint8 images [N, 3, H, W] to [N, 3, image_size, image_size] in [-1, 1].

    Args:
        images: uint8 [N, 3, H, W].
        image_size: height and width that a network sees, in pixels.
    """
    scaled = images.float() / 127.5 - 1
    if images.shape[-2:] == (image_size, image_size):
        return scaled
    size = (image_size, image_size)
    return nn.functional.interpolate(scaled, size, mode="bilinear", antialias=True)


def ready(network: Any) -> Any:
    """Put a network where it computes, never to be trained again."""
    return network.eval().requires_grad_(False).to(best_device())


_chosen: list[torch.device] = []  # by `compute_on`


def compute_on(device: Device) -> None:
    """Choose where the networks of this process compute, before any is loaded.

    Raises:
        InputError: no known device, or one that is not there.
    """
    _chosen[:] = [torch.device(torch_device(device))]


def best_device() -> torch.device:
    """The device chosen; without a choice, CUDA where there is one, else the CPU."""
    return _chosen[0] if _chosen else torch.device(torch_device("auto"))
