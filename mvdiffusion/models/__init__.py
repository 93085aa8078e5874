"""The multi-view denoiser and the miniature's VAE.

Both are imported here because diffusers loads a saved component only from a module that is there.
"""

from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.models.patch_autoencoder import PatchAutoencoder

__all__ = ["MultiViewUNet", "PatchAutoencoder"]
