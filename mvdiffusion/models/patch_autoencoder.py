"""The miniature's VAE: small enough to be trained on a laptop's processor.

It takes the place of Stable Diffusion's `AutoencoderKL` behind the same interface. Patches are
encoded by a linear map, set to their principal components before training, plus a convolutional
refinement that starts at zero. These convolutions see the latents' resolution, where a step costs a
tenth of an `AutoencoderKL`'s; and training starts at the principal components' quality. A small
refinement of the decoded pixels may come last: it closes the borders between patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn
from torch.nn import functional as F

INITIAL_LOGVAR = -6.0  # posterior standard deviation 0.05


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """A variational autoencoder of image patches with a linear and a convolutional path."""

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        latent_channels: int = 4,
        block_out_channels: Sequence[int] = (128, 128, 128),
        layers_per_block: int = 2,
        decoder_channels: int | None = None,
        decoder_layers: int | None = None,
        pixel_channels: int = 0,
        pixel_layers: int = 2,
        norm_num_groups: int = 4,
        scaling_factor: float = 1.0,
        sample_size: int = 64,
    ) -> None:
        """Build an untrained autoencoder.

        Args:
            in_channels: channels of the images.
            latent_channels: channels of the latents.
            block_out_channels: as in `AutoencoderKL`, their number n gives the patch size
                2^(n−1), the VAE factor; the last is the width of the encoder's refinement.
            layers_per_block: ResNet blocks in the encoder's refinement.
            decoder_channels: width of the decoder's refinement, None for the encoder's. Training
                on latents encodes every view and decodes none, so the decoder may be the larger.
            decoder_layers: ResNet blocks in the decoder's refinement, None for the encoder's.
            pixel_channels: width of a further refinement of the decoded pixels, which sees across
                the borders of patches; 0 for none.
            pixel_layers: ResNet blocks in that one.
            norm_num_groups: groups of the group norms.
            scaling_factor: 1 / standard deviation of the latents, measured after training.
            sample_size: image size it was trained at, pixels.
        """
        super().__init__()
        self.patch = 2 ** (len(block_out_channels) - 1)
        width, pixels = block_out_channels[-1], in_channels * self.patch**2
        self.encoder_linear = nn.Conv2d(pixels, latent_channels, 1)
        self.decoder_linear = nn.Conv2d(latent_channels, pixels, 1)
        layers, groups = layers_per_block, norm_num_groups
        self.encoder = Refinement(pixels, 2 * latent_channels, width, layers, groups)
        width, layers = decoder_channels or width, decoder_layers or layers
        self.decoder = Refinement(latent_channels, pixels, width, layers, groups)
        self.encoder.set_output_bias(slice(latent_channels, None), INITIAL_LOGVAR)
        self.pixels: Refinement | None = None
        if pixel_channels:
            self.refine_pixels(pixel_channels, pixel_layers)

    def refine_pixels(self, channels: int, layers: int) -> None:
        """Add the refinement of the decoded pixels, untrained: it changes nothing yet.

        Args:
            channels: width of its blocks.
            layers: number of its ResNet blocks.
        """
        colors, groups = self.config["in_channels"], self.config["norm_num_groups"]
        self.pixels = Refinement(colors, colors, channels, layers, groups)
        self.register_to_config(pixel_channels=channels, pixel_layers=layers)

    @torch.no_grad()
    def initialize_linear(self, images: Tensor) -> None:
        """Set the linear path to the principal components of the images' patches.

        Args:
            images: [N, C, H, W] in −1 … 1; some thousand are enough.
        """
        patches = F.pixel_unshuffle(images.double(), self.patch).movedim(1, -1).flatten(0, -2)
        mean = patches.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov((patches - mean).T))
        count = self.config["latent_channels"]
        axes = axes.flip(-1)[:, :count]
        # Half-whitened: strong components stay stronger, without drowning the weak ones.
        scale = variances.flip(-1)[:count].clamp(min=1e-12) ** 0.25
        _set(self.encoder_linear, (axes / scale).T, -(mean @ axes) / scale)
        _set(self.decoder_linear, axes * scale, mean)

    def forward(self, sample: Tensor, return_dict: bool = True) -> Any:
        """Encode and decode images [N, C, H, W]."""
        return self.decode(self.encode(sample).latent_dist.mode(), return_dict)

    @apply_forward_hook  # CPU offload must notice what goes around `forward`
    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """Encode images [N, C, H, W] in −1 … 1 as a distribution over latents [N, c, h, w]."""
        patches = F.pixel_unshuffle(x, self.patch)
        mean, logvar = self.encoder(patches).chunk(2, 1)
        moments = torch.cat([mean + self.encoder_linear(patches), logvar], 1)
        posterior = DiagonalGaussianDistribution(moments)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @apply_forward_hook
    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> Any:
        """Decode latents [N, c, h, w] as images [N, C, H, W]; `generator` is not needed."""
        sample = F.pixel_shuffle(self.decoder_linear(z) + self.decoder(z), self.patch)
        if self.pixels is not None:
            sample = sample + self.pixels(sample)
        return DecoderOutput(sample=sample) if return_dict else (sample,)


class Refinement(nn.Module):
    """A small ResNet whose output starts at zero."""

    def __init__(
        self, channels: int, out_channels: int, width: int, layers: int, groups: int
    ) -> None:
        """Make `layers` ResNet blocks of `width` channels.

        Args:
            channels: channels of the input.
            out_channels: channels of the output.
            width: channels of the blocks.
            layers: number of blocks.
            groups: number of groups of their normalization.
        """
        super().__init__()
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        self.resnets = nn.ModuleList(
            ResnetBlock2D(in_channels=width, temb_channels=None, groups=groups)
            for _ in range(layers)
        )
        self.norm_out = nn.GroupNorm(groups, width)
        self.conv_out = nn.Conv2d(width, out_channels, 3, padding=1)
        _set(self.conv_out, torch.zeros(()), torch.zeros(()))

    @torch.no_grad()
    def set_output_bias(self, channels: slice, value: float) -> None:
        """Start some output channels at a value other than zero."""
        self.conv_out.get_parameter("bias")[channels] = value

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, h, w] to [N, out_channels, h, w]."""
        x = self.conv_in(x)
        for resnet in self.resnets:
            x = resnet(x, None)
        return self.conv_out(F.silu(self.norm_out(x)))


@torch.no_grad()
def _set(layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Give a convolution its weight, [out, in] for all of its pixels, and its bias."""
    layer.weight.copy_(weight[..., None, None])
    layer.get_parameter("bias").copy_(bias)
