"""The miniature's autoencoder: what the refinement of decoded pixels changes, and when."""

import torch

from mvdiffusion.models.patch_autoencoder import PatchAutoencoder


def autoencoder() -> PatchAutoencoder:
    torch.manual_seed(0)
    vae = PatchAutoencoder(block_out_channels=(8, 8, 8), layers_per_block=1, sample_size=16)
    torch.nn.init.normal_(vae.decoder_linear.weight)
    return vae


@torch.no_grad()
def test_a_refinement_of_pixels_starts_as_nothing_and_sees_across_patches():
    vae, latents = autoencoder(), torch.randn(1, 4, 4, 4)
    alone = vae.decode(latents).sample
    vae.refine_pixels(4, 1)
    assert torch.equal(vae.decode(latents).sample, alone)

    torch.nn.init.normal_(vae.pixels.conv_out.weight)
    changed = vae.decode(latents).sample
    torch.testing.assert_close(changed, alone + vae.pixels(alone))
    moved = alone.clone()
    moved[..., 3] += 1  # the last column of the first patches
    assert not torch.equal(vae.pixels(moved)[..., 4], vae.pixels(alone)[..., 4])


def test_a_refinement_of_pixels_is_saved_with_the_model(tmp_path):
    vae = autoencoder()
    vae.refine_pixels(4, 1)
    torch.nn.init.normal_(vae.pixels.conv_out.weight)
    vae.save_pretrained(tmp_path)
    loaded = PatchAutoencoder.from_pretrained(tmp_path, use_safetensors=True)
    latents = torch.randn(1, 4, 4, 4)
    assert torch.equal(loaded.decode(latents).sample, vae.decode(latents).sample)
