"""Style by VGG19 and by EfficientNet-Lite0: SyncDiffusion's formula on the same networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor, resize

import mvdiffusion_eval.extractors.style as style
from mvdiffusion import efficientnet_lite
from mvdiffusion.records import InputError
from mvdiffusion_eval.extractors.base import FeatureExtractor
from mvdiffusion_eval.extractors.pretrained import load_extractor
from mvdiffusion_eval.extractors.style import resize_short_side
from mvdiffusion_eval.functional.coherence import squared_distances

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def vgg(*channels: int) -> nn.Module:
    """The first five convolutions of VGG19 with other widths, with random weights."""
    torch.manual_seed(0)
    a, b, c, d, e = channels
    return nn.Sequential(
        *(nn.Conv2d(3, a, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)),
        *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)),
        nn.Conv2d(d, e, 3, padding=1),
    )


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> FeatureExtractor:
    """The extractor with a narrow network: the same code, without a download."""
    monkeypatch.setattr("mvdiffusion_eval.extractors.weights.fetch_known", lambda name: None)
    monkeypatch.setattr(style, "make_vgg19", lambda: vgg(4, 4, 6, 6, 8))
    found = load_extractor("vgg19-style")
    assert isinstance(found, FeatureExtractor)
    return found


def pictures(height: int, width: int) -> np.ndarray:
    rough = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    bicubic = Image.Resampling.BICUBIC
    return np.stack(
        [np.asarray(Image.fromarray(r).resize((width, height), bicubic)) for r in rough]
    )


def style_loss(outputs: list[torch.Tensor]) -> float:
    """Sum over layers of the mean squared difference of two images' Gram matrices."""
    losses = []
    for output in outputs:
        first, second = (one.flatten(1) for one in output)
        grams = [flat @ flat.T / flat.numel() for flat in (first, second)]
        losses.append(float(F.mse_loss(*grams)))
    return sum(losses)


@pytest.mark.parametrize("size", [(512, 512), (64, 64), (64, 96)])
def test_vgg_style_is_the_published_formula(
    narrow: FeatureExtractor, size: tuple[int, int]
) -> None:
    images = pictures(*size)
    found = float(squared_distances(narrow.outputs(images)["features"].double()))
    shrunk = [pil_to_tensor(resize(Image.fromarray(image), [512])) for image in images]
    pixels = ((torch.stack(shrunk) / 255).permute(0, 2, 3, 1) - MEAN) / STD
    pixels, outputs = pixels.permute(0, 3, 1, 2), []
    for layer in vgg(4, 4, 6, 6, 8):
        pixels = F.relu(pixels) if isinstance(layer, nn.ReLU) else layer(pixels)
        outputs += [pixels] if isinstance(layer, nn.Conv2d) else []
    with torch.inference_mode():
        assert found == pytest.approx(style_loss(outputs), rel=1e-3)


def test_what_is_kept_of_vgg19_ends_with_its_fifth_convolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With torchvision's layers but the large ones at the end, which take seconds to make."""

    def made(weights: str) -> torchvision.models.VGG:
        assert torchvision.models.VGG19_Weights[weights].url.endswith("vgg19-dcbb9e9d.pth")
        with torch.device("meta"):
            return vgg19(weights=None)

    vgg19 = torchvision.models.vgg19
    monkeypatch.setattr(torchvision.models, "vgg19", made)
    kept, ours = style.make_vgg19(), vgg(64, 64, 128, 128, 256)
    assert str(kept) == str(ours)


def test_efficientnet_style_is_that_of_its_first_convolutions() -> None:
    """Each convolution and its batch normalization computed anew, layer by layer."""
    images = pictures(224, 224)
    extractor = load_extractor("efficientnet-lite0-style")
    assert isinstance(extractor, FeatureExtractor)
    found = float(squared_distances(extractor.outputs(images)["features"].double()))
    network = efficientnet_lite.load_efficientnet_lite0()
    first, second = network.blocks[0][0], network.blocks[1][0]
    layers = [
        (network.conv_stem, network.bn1, F.relu6),
        (first.conv_dw, first.bn1, F.relu6),
        (first.conv_pw, first.bn2, lambda x: x),
        (second.conv_pw, second.bn1, F.relu6),
        (second.conv_dw, second.bn2, F.relu6),
    ]
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    outputs = []
    for convolution, norm, activation in layers:
        scale = norm.weight / (norm.running_var + 1e-3).sqrt()
        made = convolution(pixels) - norm.running_mean.view(-1, 1, 1)
        outputs.append(made * scale.view(-1, 1, 1) + norm.bias.view(-1, 1, 1))
        pixels = activation(outputs[-1])
    assert found == pytest.approx(style_loss(outputs), rel=1e-3)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (80, 80)])
def test_images_are_resized_as_torchvision_resizes_them(size: tuple[int, int]) -> None:
    images = pictures(*size)
    found = resize_short_side(torch.from_numpy(images).permute(0, 3, 1, 2), 48)
    expected = [pil_to_tensor(resize(Image.fromarray(image), [48])) for image in images]
    torch.testing.assert_close(found, torch.stack(expected).float(), rtol=0, atol=0)
    same = resize_short_side(torch.from_numpy(images).permute(0, 3, 1, 2), min(size))
    assert np.array_equal(same.permute(0, 2, 3, 1).numpy(), images)


def test_missing_weights_are_said_to_belong_where_torchvision_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(name: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr("mvdiffusion_eval.extractors.weights.fetch_known", offline)
    with pytest.raises(InputError, match=r"checkpoints/vgg19-dcbb9e9d\.pth, or"):
        load_extractor("vgg19-style")
