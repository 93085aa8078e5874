"""Convolutions that look across the left and right edges."""

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from mvdiffusion.models.closing import closed_convolutions


def test_padding_is_what_is_at_the_other_edge():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(2, 3, 3, padding=1), torch.rand(1, 2, 5, 6)
    wider = torch.cat([x[..., -1:], x, x[..., :1]], -1)
    with torch.no_grad():
        zeros, expected = conv(x), conv(wider)[..., 1:-1]
        with closed_convolutions(conv):
            torch.testing.assert_close(conv(x), expected)
        with closed_convolutions(conv, closed=False):
            assert torch.equal(conv(x), zeros)
        with pytest.raises(RuntimeError), closed_convolutions(conv):
            conv(torch.rand(1, 5, 4, 4))
        assert torch.equal(conv(x), zeros)
        assert conv.padding == (1, 1)


def test_stable_diffusion_s_vae_sees_no_edge() -> None:
    """The latents of a panorama that is turned by whole cells are its latents, turned, and back."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        norm_num_groups=4,
    ).eval()
    images, cells = torch.rand(1, 3, 32, 64) * 2 - 1, 3
    for closed in (True, False):
        with torch.no_grad(), closed_convolutions(vae, closed):
            latents = [vae.encode(each).latent_dist.mean for each in (images, images.roll(24, -1))]
            made = [vae.decode(each).sample for each in (latents[0], latents[0].roll(cells, -1))]
        assert latents[0].shape == (1, 4, 4, 8)
        assert torch.allclose(latents[1], latents[0].roll(cells, -1), atol=1e-5) == closed
        assert torch.allclose(made[1], made[0].roll(8 * cells, -1), atol=1e-5) == closed
    assert not any(module._forward_pre_hooks for module in vae.modules())
