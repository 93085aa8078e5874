"""The paper's "RePaint" (section 5.2): frame after frame, known latents warped from the one before.

All frames are made in the order of the walk, key frames and those between alike. The first is
sampled as it is by the single-view depth model. Into each next one the latents of the frame before
are warped by depth and pose, where that frame sees the same point, and RePaint fills in the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method
from mvdiffusion.settings import Count, InnerShare, settings
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch


@settings
class RePaintOptions:
    """How often RePaint denoises again.

    Attributes:
        jump_share: how far it climbs at a time (RePaint's j, 10 of 250 steps), as a share of the
            sampler's steps; at least one step.
        times: how often each level of noise is denoised; 1 never climbs. RePaint's r is 10, which
            costs ten times plain sampling, for every frame.
    """

    jump_share: InnerShare = 1 / 25
    times: Count = 4


METHOD = Method(
    "repaint",
    "RePaint",
    (Task.DEPTH,),
    place=70,
    published="RePaint",
    color="#6b8e23",
    options=RePaintOptions,
)


def depth(batch: Batch) -> Tensor:
    """Generate the frames of a walk one after the other."""
    import torch

    from mvdiffusion.geometry.depth import normalized_inverse_depth
    from mvdiffusion.geometry.warping import depth_views, warp_by_depth
    from mvdiffusion.pipelines.repaint import Resampling, repaint
    from mvdiffusion.pipelines.sequential import encode_view, sample_view

    pipeline, noise, sampling = batch.pipeline, batch.noise, batch.sampling
    size = noise.shape[-2:]
    frames = depth_views(*(batch.stack(name).to(noise.device) for name in ("depth", "K", "pose")))
    steps, guidance = (sampling[key] for key in ("num_inference_steps", "guidance_scale"))
    jump_length = max(1, round(batch.options.jump_share * steps))
    resampling = Resampling(jump_length, batch.options.times)
    made: list[Tensor] = []
    for frame, here in enumerate(frames):
        prompts, start = [texts[frame] for texts in batch.prompts], noise[:, frame]
        channel = normalized_inverse_depth(here.depth[:, None], *size)
        if not made:
            options = {"extra_channels": channel, "generator": [*batch.generators]}
            made.append(sample_view(pipeline, prompts, start, sampling, **options))
            continue
        views = (frames[frame - 1].resized(*size), here.resized(*size))
        image, known = warp_by_depth(made[-1], *views, "nearest")
        latents = repaint(
            pipeline,
            start[:, None],
            encode_view(pipeline, prompts, sampling),
            image[:, None],
            known[:, None, None],
            steps,
            guidance,
            resampling,
            batch.generators,
            channel,
        )
        made.append(latents[:, 0])
    images: Tensor = pipeline.decode_latents(torch.stack(made, 1))
    return images
