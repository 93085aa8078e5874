"""The paper's "ControlNet (depth)" (section 5.2): frame after frame, warped, inpainted by depth.

All frames are made in the order of the walk, key frames and those between alike. The first is
sampled by the single-view depth model, as RePaint's. Into each next one the picture of the frame
before is warped by depth and pose, where that frame sees the same point; an inpainting model paints
the rest, with a ControlNet that shows it the depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdiffusion.methods.declaration import Method, Training
from mvdiffusion.methods.inpainting import InpaintingOptions
from mvdiffusion.settings import NonNegative, settings
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from mvdiffusion.methods.base import Batch


@settings
class ControlNetOptions(InpaintingOptions):
    """How a frame is painted, and how much its depth counts.

    Attributes:
        conditioning_scale: factor of what the ControlNet adds to the UNet; 1 is as it was trained.
    """

    conditioning_scale: NonNegative = 1.0


METHOD = Method(
    "controlnet",
    "ControlNet",
    (Task.DEPTH,),
    model="controlnet",
    others=("single-view",),
    training=Training(
        "controlnet",
        start="inpainting",
        pipeline="mvdiffusion.pipelines.controlnet:ControlNetInpaintPipeline",
    ),
    place=80,
    published="ControlNet (depth) with SD inpainting",
    color="#2a9d8f",
    options=ControlNetOptions,
)


def depth(batch: Batch) -> Tensor:
    """Generate the frames of a walk one after the other."""
    import torch

    from mvdiffusion.geometry.depth import normalized_inverse_depth
    from mvdiffusion.geometry.warping import depth_views, warp_by_depth
    from mvdiffusion.models.controlnet import control_image
    from mvdiffusion.pipelines.sequential import decode_view, inpaint_view, sample_view

    noise, sampling = batch.noise, batch.sampling
    frames = depth_views(*(batch.stack(name).to(noise.device) for name in ("depth", "K", "pose")))
    prompts = list(zip(*batch.prompts, strict=True))  # by frame and sample
    generator = [*batch.generators] or None
    plain = batch.models["single-view"]
    batch.pipeline.conditioning_scale = batch.options.conditioning_scale
    channel = normalized_inverse_depth(frames[0].depth[:, None], *noise.shape[-2:])
    first = sample_view(
        plain, prompts[0], noise[:, 0], sampling, extra_channels=channel, generator=generator
    )
    made = [decode_view(plain, first)]
    for frame in range(1, len(frames)):
        given = (prompts[frame], noise[:, frame], sampling)
        warped = warp_by_depth(made[-1], frames[frame - 1], frames[frame])
        control = control_image(frames[frame].depth)[:, None]
        made.append(
            inpaint_view(
                batch.pipeline,
                *given,
                warped,
                batch.options.dilation,
                image_condition=control,
                generator=generator,
            )
        )
    return torch.stack(made, 1)
