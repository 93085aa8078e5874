"""The terms of the VAE's loss, each against its formula written out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from mvdiffusion.efficientnet_lite import load_efficientnet_lite0
from mvdiffusion.training.settings import VaeLossSettings
from mvdiffusion.training.vae_loss import VaeLoss, gradient_l1

ZERO = {"gradient_weight": 0.0, "kl_weight": 0.0}


@pytest.fixture
def pair():
    random = torch.Generator().manual_seed(0)
    return [torch.rand(2, 3, 32, 32, generator=random) * 2 - 1 for _ in range(2)]


def test_gradient_error_is_that_of_finite_differences():
    preds, target = torch.rand(2, 2, 3, 5, 7).numpy()
    across = np.abs(np.diff(preds, axis=3) - np.diff(target, axis=3)).mean()
    down = np.abs(np.diff(preds, axis=2) - np.diff(target, axis=2)).mean()
    got = gradient_l1(torch.from_numpy(preds), torch.from_numpy(target)).item()
    assert got == pytest.approx(float(across + down), rel=1e-5)


def test_pixels_edges_and_divergence_add_up(pair):
    decoded, pixels = pair
    loss = VaeLoss(VaeLossSettings(gradient_weight=0.5, kl_weight=0.1))
    expected = np.abs((decoded - pixels).numpy()).mean() + 0.5 * gradient_l1(decoded, pixels).item()
    expected += 0.1 * 20 / (3 * 32 * 32)  # the mean divergence, per value of an image
    assert loss(decoded, pixels, torch.tensor([10.0, 30.0]), 0.0).item() == pytest.approx(expected)


@pytest.mark.parametrize(("stages", "scale"), [(3, 1), (5, 2)])
def test_perceptual_term_is_the_distance_of_normalized_features(pair, stages, scale):
    decoded, pixels = pair
    chosen = {"perceptual_stages": stages, "perceptual_scale": scale}
    loss = VaeLoss(VaeLossSettings(perceptual_weight=2.0, **chosen, **ZERO))
    network = load_efficientnet_lite0()
    # The network's stages whose ends halve the size; those between keep it.
    ends = (0, 1, 2, 4, 6)[:stages]

    def features(images: torch.Tensor) -> list[np.ndarray]:
        if scale > 1:
            images = interpolate(images, scale_factor=scale, mode="bicubic")
        x = network.bn1(network.conv_stem(((images + 1) * 127.5 - 127) / 128))
        maps = []
        for stage in range(ends[-1] + 1):
            x = network.blocks[stage](x)
            maps += [x.numpy()] if stage in ends else []
        return [f / (np.sqrt((f**2).mean(1, keepdims=True)) + 1e-3) for f in maps]

    with torch.no_grad():
        distance = sum(
            ((a - b) ** 2).mean() for a, b in zip(features(decoded), features(pixels), strict=True)
        )
        got = loss(decoded, pixels, torch.zeros(2), 0.5).item()
    expected = np.abs((decoded - pixels).numpy()).mean() + 2 * distance
    assert got == pytest.approx(float(expected), rel=1e-4)
    assert not any(value.requires_grad for value in loss.parameters())


def test_each_side_of_the_adversarial_term_learns_from_its_own_loss(pair):
    decoded, pixels = pair
    decoded.requires_grad_()
    loss = VaeLoss(VaeLossSettings(adversarial_weight=3.0, **ZERO))
    critic = loss.discriminator
    (loss(decoded, pixels, torch.zeros(2), 0.5) - (decoded - pixels).abs().mean()).backward()

    (expected,) = torch.autograd.grad(-3 * critic(decoded).mean(), decoded)
    torch.testing.assert_close(decoded.grad, expected)
    hinge = nn.ReLU()
    own = hinge(1 - critic(pixels)).mean() + hinge(1 + critic(decoded.detach())).mean()
    for value, expected in zip(
        critic.parameters(), torch.autograd.grad(0.1 * own, list(critic.parameters())), strict=True
    ):
        torch.testing.assert_close(value.grad, expected)


def test_critics_of_features_judge_every_place_of_every_stage(pair):
    decoded, pixels = pair
    decoded.requires_grad_()
    loss = VaeLoss(VaeLossSettings(feature_adversarial_weight=3.0, perceptual_stages=2, **ZERO))
    critics = loss.feature_discriminator
    made, real = (loss.distance.features(images) for images in (decoded, pixels))
    assert [stage.shape[1] for stage in made] == [16, 24]

    def scores(stages: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([critic(x).flatten() for critic, x in zip(critics, stages, strict=True)])

    hinge = nn.ReLU()
    expected = (decoded - pixels).abs().mean() - 3 * scores(made).mean()
    expected = expected + 0.1 * (hinge(1 - scores(real)).mean() + hinge(1 + scores(made)).mean())
    got = loss(decoded, pixels, torch.zeros(2), 0.0)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)

    got.backward()  # the VAE learns from the verdict alone, the critics from their own loss alone
    judged = (decoded - pixels).abs().mean() - 3 * scores(loss.distance.features(decoded)).mean()
    (for_the_vae,) = torch.autograd.grad(judged, decoded)
    torch.testing.assert_close(decoded.grad, for_the_vae)
    own = hinge(1 - scores(real)).mean() + hinge(1 + scores([x.detach() for x in made])).mean()
    trained = list(critics.parameters())
    for value, gradient in zip(trained, torch.autograd.grad(0.1 * own, trained), strict=True):
        torch.testing.assert_close(value.grad, gradient)


def test_the_discriminator_comes_in_at_its_time(pair):
    loss = VaeLoss(VaeLossSettings(adversarial_weight=3.0, adversarial_start=0.5, **ZERO))
    pixels_alone = (pair[0] - pair[1]).abs().mean()
    assert loss(*pair, torch.zeros(2), 0.49).item() == pytest.approx(pixels_alone.item())
    assert loss(*pair, torch.zeros(2), 0.5).item() != pytest.approx(pixels_alone.item())
