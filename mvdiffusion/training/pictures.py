"""Pictures of a model in training: held-out views, and samples from their captions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines.depth import MVDiffusionDepthPipeline
from mvdiffusion.pipelines.multiview import MultiViewPipeline
from mvdiffusion.pipelines.outpaint import MVDiffusionOutpaintPipeline
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.training.diffusion import Pictures, TextToImage

OPTIONS = {"num_inference_steps": 12, "guidance_scale": 3.0, "output_type": "pt"}


def make_pipeline(kind: type[MultiViewPipeline], parts: TextToImage) -> Any:
    """Make a pipeline of the parts; a UNet of single views is given attention that does nothing.

    Args:
        kind: class of the pipeline.
        parts: parts of the model, which the pipeline shares.
    """
    unet = parts.unet
    if not isinstance(unet, MultiViewUNet):
        unet = MultiViewUNet.from_unet(unet, task=kind.unet_task)
    pipeline = kind(parts.vae, parts.text_encoder, parts.tokenizer, unet, parts.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _sampled(pipeline: Any, *arguments: Any, **options: Any) -> Tensor:
    """Sample the views [V, 3, H, W] of one sample, always from the same noise."""
    generator = torch.Generator().manual_seed(0)
    images: Tensor = pipeline(*arguments, generator=generator, **OPTIONS, **options).images
    return images[0] * 2 - 1


def view_pictures(panoramas: Matterport3DPanoramas) -> Pictures:
    """Picture the first panorama from its captions."""

    def draw(task: Any) -> tuple[Tensor, Tensor]:
        sample = panoramas.load(0)
        pipeline = make_pipeline(MVDiffusionPanoramaPipeline, task.parts)
        size = sample.views.shape[-2:]
        return sample.views, _sampled(pipeline, [sample.prompts], *size, fov_deg=panoramas.fov_deg)

    return draw


def outpaint_pictures(panoramas: Matterport3DPanoramas) -> Pictures:
    """Picture the first panorama from its captions and its first view."""

    def draw(task: Any) -> tuple[Tensor, Tensor]:
        sample = panoramas.load(0)
        pipeline = make_pipeline(MVDiffusionOutpaintPipeline, task.parts)
        size = dict(zip(("height", "width"), sample.views.shape[-2:], strict=True))
        options = {**size, "fov_deg": panoramas.fov_deg, "keep_given": False}
        return sample.views, _sampled(pipeline, [sample.prompts], sample.views[:1], **options)

    return draw


def depth_pictures(scenes: ScanNetScenes) -> Pictures:
    """Picture the key frames of the first sequence from captions, depth and poses."""

    def draw(task: Any) -> tuple[Tensor, Tensor]:
        scene = scenes.scenes[0]
        sample = scene.load(scene.key_frames[: scenes.num_views])
        pipeline = make_pipeline(MVDiffusionDepthPipeline, task.parts)
        samples = _sampled(
            pipeline,
            [sample.prompts],
            sample.depth,
            sample.pose,
            sample.K,
            num_views=len(sample.frames),
        )
        return sample.views, samples

    return draw
