"""Pictures of a model in training: held-out views, and samples from their captions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines import PIPELINES
from mvdiffusion.pipelines.checks import most_steps
from mvdiffusion.pipelines.loading import shared_parts
from mvdiffusion.training.diffusion import Pictures

STEPS = 12
GUIDANCE = 3.0
OPTIONS = {"guidance_scale": GUIDANCE, "output_type": "pt"}


def make_pipeline(task: str, parts: Any) -> Any:
    """Make a pipeline of the parts; a UNet of single views is given attention that does nothing.

    Args:
        task: "panorama", "outpaint" or "depth".
        parts: single-view pipeline, whose parts are shared.
    """
    kind, unet = PIPELINES[task], parts.unet
    if not isinstance(unet, MultiViewUNet):
        unet = MultiViewUNet.from_unet(unet, task=kind.unet_task)
    pipeline: Any = kind(unet=unet, **shared_parts(parts))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pictures(task: str, data: Any) -> Pictures:
    """Picture the first panorama, or the key frames of the first sequence, of held-out data.

    Args:
        task: "panorama" (from captions), "outpaint" (and the first view) or "depth" (and depth and
            poses).
        data: split of the task's data.
    """

    def draw(training: Any) -> tuple[Tensor, Tensor]:
        if isinstance(data, ScanNetScenes):
            scene = data.scenes[0]
            sample: Any = scene.load(scene.key_frames[: data.num_views])
            given = {key: getattr(sample, key) for key in ("depth", "pose", "K")}
            given["num_views"] = len(sample.frames)
        else:
            sample = data.load(0)
            given = {"height": data.height, "width": data.width, "fov_deg": data.fov_deg}
        if task == "outpaint":
            given |= {"image": sample.views[:1], "keep_given": False}
        generator = torch.Generator().manual_seed(0)  # always the same noise
        pipeline = make_pipeline(task, training.parts)
        steps = min(STEPS, most_steps(pipeline.scheduler))
        options = {**given, **OPTIONS, "num_inference_steps": steps, "generator": generator}
        made = pipeline([sample.prompts], **options)
        return sample.views, made.images[0] * 2 - 1

    return draw
