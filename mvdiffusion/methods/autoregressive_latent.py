"""Baseline: view after view, warping the previous view into the next and inpainting the rest.

Like the paper's "Inpainting" baseline (section 5.1), but with the single-view UNet itself as the
inpainter: known latents are noised to each step's level and put back, as RePaint does. After the
last step nothing is put back, so no view holds pixels of another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch
    from mvdiffusion.pipelines.multiview import StepCallback
    from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline

METHOD = Method(
    "autoregressive_latent",
    "Autoregressive inpainting of latents",
    (Task.PANORAMA,),
    place=100,
    color="#e0a458",
)


def panorama(batch: Batch) -> Tensor:
    """Generate views one after the other, each from the one before it."""
    import torch

    from mvdiffusion.geometry.cameras import panorama_cameras
    from mvdiffusion.geometry.homography import homography
    from mvdiffusion.geometry.warping import warp_by_homography

    pipeline, noise = batch.pipeline, batch.noise
    steps, guidance = (batch.sampling[key] for key in ("num_inference_steps", "guidance_scale"))
    negative = batch.sampling["negative_prompt"] if guidance > 1 else None
    K, R = panorama_cameras(num_views=noise.shape[1], fov_deg=batch.dataset.fov_deg, **batch.size)
    embeds = pipeline.encode_prompt(batch.prompts, negative)
    views: list[Tensor] = []
    for view in range(noise.shape[1]):
        start = noise[:, view : view + 1]
        keep_known = None
        if views:
            H = homography(K[view], R[view], K[view - 1], R[view - 1])
            warped, known = warp_by_homography(views[-1][:, 0], H.to(noise.device))
            keep_known = _known_latents(pipeline, warped, known, start)
        latents = pipeline.denoise(
            start,
            embeds[:, view : view + 1],
            None,
            steps,
            guidance,
            generator=[*batch.generators] or None,
            callback_on_step_end=keep_known,
        )
        views.append(pipeline.decode_latents(latents))
    return torch.cat(views, 1)


def _known_latents(
    pipeline: MVDiffusionPanoramaPipeline, warped: Tensor, known: Tensor, noise: Tensor
) -> StepCallback:
    """Make the callback that puts the known latents back, noised to the coming step's level."""
    import torch
    from torch.nn import functional as F

    factor = pipeline.vae_scale_factor
    clean = pipeline.encode_views(2 * warped[:, None] - 1).to(noise.dtype)
    # A latent cell is known if all of its pixels are.
    mask = (-F.max_pool2d(-known[None, None].to(noise), factor)).bool()

    def keep_known(
        pipeline: MVDiffusionPanoramaPipeline, index: int, t: Tensor, tensors: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        timesteps = pipeline.scheduler.timesteps
        if index + 1 == len(timesteps):
            return {}
        noised = pipeline.scheduler.add_noise(clean, noise, timesteps[index + 1 : index + 2])
        return {"latents": torch.where(mask, noised, tensors["latents"])}

    return keep_known
