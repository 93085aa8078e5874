"""Samplers in the form of diffusers pipelines."""

from mvdiffusion.pipelines.depth import MVDiffusionDepthPipeline
from mvdiffusion.pipelines.multiview import MultiViewOutput
from mvdiffusion.pipelines.outpaint import MVDiffusionOutpaintPipeline
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline

__all__ = [
    "MVDiffusionDepthPipeline",
    "MVDiffusionOutpaintPipeline",
    "MVDiffusionPanoramaPipeline",
    "MultiViewOutput",
]
