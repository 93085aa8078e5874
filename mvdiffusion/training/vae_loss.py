"""What the miniature's VAE is trained on: pixels, edges, pretrained features and discriminators.

The recipe of latent diffusion (Rombach et al. 2022, appendix G): a pixel-wise error alone rewards
blur, a perceptual and an adversarial term reward edges. Here the features are EfficientNet-Lite0's,
and a second discriminator judges them in the place of pixels (projected GANs, Sauer et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import l1_loss, relu

from mvdiffusion.models.perceptual import FeatureDistance
from mvdiffusion.training.settings import VaeLossSettings

DISCRIMINATOR_CHANNELS = 48
FEATURE_DISCRIMINATOR_CHANNELS = 64
DISCRIMINATOR_WEIGHT = 0.1  # of its own loss, which shares the VAE's optimizer and learning rate


class VaeLoss(nn.Module):
    """L1 error of the pixels plus weighted terms.

    Its parameters are those of the discriminators, if there are any: they are trained by the same
    step as the VAE, each on its own loss.
    """

    def __init__(self, weights: VaeLossSettings) -> None:
        """Load or build the networks that the weights ask for.

        Raises:
            InputError: a term of features needs the pretrained network, which is not installed.
        """
        super().__init__()
        self.weights = weights
        self.distance = None
        if weights.perceptual_weight or weights.feature_adversarial_weight:
            self.distance = FeatureDistance(weights.perceptual_stages, weights.perceptual_scale)
        self.discriminator = PatchDiscriminator() if weights.adversarial_weight else None
        self.feature_discriminator = None
        if self.distance is not None and weights.feature_adversarial_weight:
            self.feature_discriminator = FeatureDiscriminator(self.distance.channels)

    def forward(self, decoded: Tensor, pixels: Tensor, kl: Tensor, progress: float) -> Tensor:
        """Return the loss, a scalar.

        Args:
            decoded: reconstructions [N, 3, H, W].
            pixels: the images themselves, in −1 … 1.
            kl: KL divergences of the latents [N], summed over all their values.
            progress: share of the training that is over.
        """
        weights = self.weights
        loss = l1_loss(decoded, pixels) + weights.gradient_weight * gradient_l1(decoded, pixels)
        loss = loss + weights.kl_weight * kl.mean() / pixels[0].numel()
        judges = progress >= weights.adversarial_start
        if self.discriminator is not None and judges:
            own = _adversarial(self.discriminator, [decoded], [pixels], weights.adversarial_weight)
            loss = loss + own
        if self.distance is not None:
            found = self.distance.features(decoded)
            with torch.no_grad():
                target = self.distance.features(pixels)
            loss = loss + weights.perceptual_weight * self.distance.between(found, target).mean()
            if (critic := self.feature_discriminator) is not None and judges:
                weight = weights.feature_adversarial_weight
                loss = loss + _adversarial(critic, found, target, weight)
        return loss


def _adversarial(
    critic: nn.Module, made: list[Tensor], real: list[Tensor], weight: float
) -> Tensor:
    """Hinge losses: the VAE's, for which the critic is fixed, and the critic's own."""
    fixed = {name: value.detach() for name, value in critic.named_parameters()}
    judged: Tensor = functional_call(critic, fixed, tuple(made))
    own = relu(1 - critic(*real)).mean() + relu(1 + critic(*[x.detach() for x in made])).mean()
    return DISCRIMINATOR_WEIGHT * own - weight * judged.float().mean()


class PatchDiscriminator(nn.Sequential):
    """A critic of patches (Isola et al. 2017), one score for each 4 × 4 pixels."""

    def __init__(self, channels: int = DISCRIMINATOR_CHANNELS) -> None:
        """Build it untrained; `channels` is the width of the first layer."""
        wide = 4 * channels
        super().__init__(
            nn.Conv2d(3, channels, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, 2, 1),
            nn.GroupNorm(4, 2 * channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, wide, 3, 1, 1),
            nn.GroupNorm(4, wide),
            nn.LeakyReLU(0.2),
            nn.Conv2d(wide, 1, 3, 1, 1),
        )


class FeatureDiscriminator(nn.ModuleList):
    """Critics of a pretrained network's features, one of each stage (Sauer et al. 2021)."""

    def __init__(self, channels: Sequence[int], wide: int = FEATURE_DISCRIMINATOR_CHANNELS) -> None:
        """Build them untrained.

        Args:
            channels: number of channels of each stage.
            wide: number of channels of the critics' hidden layers.
        """
        super().__init__(
            nn.Sequential(
                nn.Conv2d(number, wide, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(wide, wide, 3, 1, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(wide, 1, 1),
            )
            for number in channels
        )

    def forward(self, *features: Tensor) -> Tensor:
        """Return the scores of all places of all stages, from features [N, C, h, w] by stage."""
        stages = zip(self, features, strict=True)
        return torch.cat([critic(stage).flatten() for critic, stage in stages])


def gradient_l1(preds: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical finite differences; inputs [N, C, H, W]."""
    return l1_loss(preds.diff(dim=-1), target.diff(dim=-1)) + l1_loss(
        preds.diff(dim=-2), target.diff(dim=-2)
    )
