"""Samplers in the form of diffusers pipelines."""

from mvdiffusion.pipelines.depth import MVDiffusionDepthPipeline
from mvdiffusion.pipelines.multiview import MultiViewOutput, MultiViewPipeline
from mvdiffusion.pipelines.outpaint import MVDiffusionOutpaintPipeline
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline

PIPELINES: dict[str, type[MultiViewPipeline]] = {
    "panorama": MVDiffusionPanoramaPipeline,
    "outpaint": MVDiffusionOutpaintPipeline,
    "depth": MVDiffusionDepthPipeline,
}

__all__ = [
    "PIPELINES",
    "MVDiffusionDepthPipeline",
    "MVDiffusionOutpaintPipeline",
    "MVDiffusionPanoramaPipeline",
    "MultiViewOutput",
    "MultiViewPipeline",
]
