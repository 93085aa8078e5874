"""Perceptual distances; the formula of the features' is tested with the VAE's loss."""

from urllib.error import URLError

import pytest
import torch
from torchmetrics.functional.image import lpips

from mvdiffusion.models.perceptual import FeatureDistance, Lpips, perceptual_distance
from mvdiffusion.records import InputError


@pytest.fixture
def pair():
    random = torch.Generator().manual_seed(0)
    return [torch.rand(2, 3, 32, 32, generator=random) * 2 - 1 for _ in range(2)]


def test_features_are_compared_image_by_image(pair):
    distance = FeatureDistance()
    found = distance(*pair)
    assert found.shape == (2,)
    torch.testing.assert_close(found[1:], distance(*(each[1:] for each in pair)))
    assert (distance(pair[0], pair[0]) == 0).all()


def test_the_size_of_images_or_the_reader_chooses_and_a_network_is_loaded_once():
    chosen = [perceptual_distance("auto", 64), perceptual_distance("features", 512)]
    assert isinstance(chosen[0], FeatureDistance)
    assert chosen[0] is chosen[1]


@pytest.mark.slow
def test_lpips_is_the_weighted_distance_of_vgg_s_features(pair):
    torch.manual_seed(0)
    distance = Lpips(pnet_rand=True)  # no download
    pair[0].requires_grad_()
    found = distance(*pair)
    assert (distance(pair[1], pair[1]) == 0).all()
    network, expected = distance.network, torch.zeros(2)
    features = [network.net(network.scaling_layer(images)) for images in pair]
    for first, second, layer in zip(*features, network.lins, strict=True):
        a, b = (each / each.norm(dim=1, keepdim=True) for each in (first, second))
        weights = layer.model[-1].weight[0]
        expected = expected + (weights * (a - b).square()).sum(1).mean((1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert torch.autograd.grad(found.sum(), pair[0])[0].abs().sum() > 0
    assert not any(weight.requires_grad for weight in distance.parameters())


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(lpips, "_get_tv_model_features", offline)
    for choice in (("auto", 512), ("lpips", 64)):
        with pytest.raises(InputError, match=r"no network.*vgg16-397923af\.pth.*torch\.hub"):
            perceptual_distance(*choice)
