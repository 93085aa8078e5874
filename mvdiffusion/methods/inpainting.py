"""The paper's "Inpainting" (section 5.1): view after view, each warped from the one before it.

As in Text2Room and SceneScape, the next view is what the view before shows of it, and a model of
inpainting fills in the rest (see `pipelines.sequential.inpaint_view`). Each view sees one other
alone, as in the paper: nobody tells the last view of a panorama of the first one, so the loop stays
open. The first view is the same model's, which paints all of it (the paper takes the text-to-image
model): one model makes all views, and a mask of everything is among those that it was trained on.

For outpainting it goes from the given view both ways round: to the right up to the opposite view,
and to the left up to the view beside that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.settings import Share, settings
from mvdiffusion.tasks import GIVEN_VIEWS, Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch


@settings
class InpaintingOptions:
    """How a view is painted into what the one before shows of it.

    Attributes:
        dilation: how far the mask of what is painted is dilated into the known pixels, as a share
            of the height, and at least a pixel; 0 is not at all. There, pixels of warped views are
            interpolated with nothing. 1/64 is a latent cell of Stable Diffusion at 512 pixels.
    """

    dilation: Share = 1 / 64


METHOD = Method(
    "inpainting",
    "Inpainting",
    (Task.PANORAMA, Task.OUTPAINT),
    model="inpainting",
    place=10,
    published="Inpainting (Text2Room style)",
    color="#d1702a",
    options=InpaintingOptions,
)


def panorama(batch: Batch) -> Tensor:
    """Paint views to the right, each from the one to its left."""
    views = batch.noise.shape[1]
    return _paint(batch, {}, [(0, None), *((view, view - 1) for view in range(1, views))])


def outpaint(batch: Batch) -> Tensor:
    """Paint views to the right and to the left of the given one, which goes through the VAE."""
    from mvdiffusion.pipelines.sequential import decode_view

    (given,), views = GIVEN_VIEWS, batch.noise.shape[1]
    image = batch.stack("views")[:, given].to(batch.noise.device)
    opposite = views // 2
    steps = [*range(1, opposite + 1), *range(-1, opposite - views, -1)]
    order = [
        ((given + step) % views, (given + step - (1 if step > 0 else -1)) % views) for step in steps
    ]
    painted = _paint(batch, {given: image / 2 + 0.5}, order)
    latents = batch.pipeline.encode_views(image[:, None])[:, 0]
    painted[:, given] = decode_view(batch.pipeline, latents)
    return painted


def _paint(batch: Batch, views: dict[int, Tensor], order: list[tuple[int, int | None]]) -> Tensor:
    """Paint the views that are missing.

    Args:
        views: images [B, 3, H, W] in 0 … 1 of those that are there.
        order: each view to paint with the view that is warped into it.

    Returns:
        All views [B, V, 3, H, W].
    """
    import torch

    from mvdiffusion.geometry.cameras import panorama_cameras
    from mvdiffusion.geometry.homography import homography
    from mvdiffusion.geometry.warping import warp_by_homography
    from mvdiffusion.pipelines.sequential import inpaint_view

    count, fov_deg = batch.noise.shape[1], batch.dataset.fov_deg
    options = {"dilation": batch.options.dilation, "generator": [*batch.generators] or None}
    K, R = panorama_cameras(num_views=count, fov_deg=fov_deg, **batch.size)
    for view, source in order:
        warped = None
        if source is not None:
            H = homography(K[view], R[view], K[source], R[source]).to(batch.noise.device)
            image, known = warp_by_homography(views[source], H)
            warped = image, known[None]
        prompts = [texts[view] for texts in batch.prompts]
        given = (prompts, batch.noise[:, view], batch.sampling, warped)
        views[view] = inpaint_view(batch.pipeline, *given, **options)
    return torch.stack([views[view] for view in range(count)], 1)
