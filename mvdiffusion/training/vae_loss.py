"""What the miniature's VAE is trained on: pixels, edges, pretrained features and a discriminator.

The recipe of latent diffusion (Rombach et al. 2022, appendix G): a pixel-wise error alone rewards
blur, a perceptual and an adversarial term reward edges. Here the features are EfficientNet-Lite0's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import l1_loss, relu

from mvdiffusion.models.perceptual import FeatureDistance
from mvdiffusion.training.settings import VaeLossSettings

DISCRIMINATOR_CHANNELS = 48
DISCRIMINATOR_WEIGHT = 0.1  # of its own loss, which shares the VAE's optimizer and learning rate


class VaeLoss(nn.Module):
    """L1 error of the pixels plus weighted terms.

    Its parameters are those of the discriminator, if there is one: they are trained by the same
    step as the VAE, each on its own loss.
    """

    def __init__(self, weights: VaeLossSettings) -> None:
        """Load or build the networks that the weights ask for.

        Raises:
            InputError: the perceptual term's pretrained network is not installed.
        """
        super().__init__()
        self.weights = weights
        self.distance = None
        if weights.perceptual_weight:
            self.distance = FeatureDistance(weights.perceptual_stages, weights.perceptual_scale)
        self.discriminator = PatchDiscriminator() if weights.adversarial_weight else None

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
        if self.distance is not None:
            loss = loss + weights.perceptual_weight * self.distance(decoded, pixels).mean()
        if self.discriminator is not None and progress >= weights.adversarial_start:
            loss = loss + self._adversarial(self.discriminator, decoded, pixels)
        return loss

    def _adversarial(self, critic: PatchDiscriminator, decoded: Tensor, pixels: Tensor) -> Tensor:
        """Hinge losses: the VAE's, for which the critic is fixed, and the critic's own."""
        fixed = {name: value.detach() for name, value in critic.named_parameters()}
        judged: Tensor = functional_call(critic, fixed, (decoded,))
        own = relu(1 - critic(pixels)).mean() + relu(1 + critic(decoded.detach())).mean()
        return DISCRIMINATOR_WEIGHT * own - self.weights.adversarial_weight * judged.float().mean()


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


def gradient_l1(preds: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical finite differences; inputs [N, C, H, W]."""
    return l1_loss(preds.diff(dim=-1), target.diff(dim=-1)) + l1_loss(
        preds.diff(dim=-2), target.diff(dim=-2)
    )
