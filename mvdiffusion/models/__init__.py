"""The multi-view denoiser: a shared UNet with correspondence-aware attention."""
