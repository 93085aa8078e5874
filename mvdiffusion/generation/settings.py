"""Settings of a sampling run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from mvdiffusion.settings import Count, Precision, Seed, UsableDevice, mistake, settings

# Those of diffusers that solve the equation of DDIM's own noise schedule, in any number of steps.
# Not among them: PNDM, which cannot take fewer than four; EDM, whose noise levels are others; and
# DPM-Solver SDE, which needs the package torchsde.
Scheduler = Literal[
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "UniPCMultistepScheduler",
]
Solver = Literal["dpmsolver++", "sde-dpmsolver++"]


@settings
class ExportSettings:
    """Settings of an export of real images, beside how they are cut.

    Attributes:
        num_samples: number of samples, from the start of the split; null means all.
    """

    num_samples: Count | None = None


@settings
class Generation(ExportSettings):
    """Numbers of a sampling run (paper: DDIM, 50 steps, guidance 9, negative prompt "").

    Attributes:
        num_inference_steps: denoising steps.
        guidance_scale: scale of classifier-free guidance; 1 or less is none.
        negative_prompt: text of the unconditional branch.
        scheduler: name of the diffusers scheduler class; its numbers come from the model.
        algorithm_type: solver of DPMSolverMultistepScheduler; sde-dpmsolver++ adds fresh noise at
            every step; null means dpmsolver++, and no other scheduler takes one.
        batch_size: samples at once. Batches are cut from the whole list, whatever is finished.
        dtype: precision of the UNet; all else is float32. "auto" is bfloat16 where the device has
            instructions for it, and float32 elsewhere.
    """

    num_inference_steps: Count = 50
    guidance_scale: Annotated[float, Field(ge=0, le=100)] = 9.0
    negative_prompt: str = ""
    scheduler: Scheduler = "DDIMScheduler"
    algorithm_type: Solver | None = None
    batch_size: Count = 1
    dtype: Precision = "float32"

    def __post_init__(self) -> None:
        """Refuse a solver of another scheduler."""
        if self.algorithm_type and self.scheduler != "DPMSolverMultistepScheduler":
            because = "as only DPMSolverMultistepScheduler takes one"
            raise mistake("algorithm_type", self.algorithm_type, f"null, {because}")


@settings
class GenerationSettings(Generation):
    """All that a sampling run needs: its numbers, its seed and where it runs.

    Attributes:
        seed: base of the per-sample seeds.
        device: where to run; "auto" takes a GPU if there is one.
        view_chunk: views at a time in the layers that know no other views: less memory, the same
            images but for rounding; null means all. Attention between views bounds its memory
            itself.
    """

    seed: Seed = 0
    device: UsableDevice = "auto"
    view_chunk: Count | None = None

    def deciding(self) -> dict[str, Any]:
        """What decides the images; the device and the chunks do not."""
        passing = ("device", "view_chunk")
        return {key: value for key, value in asdict(self).items() if key not in passing}

    def sampling(self) -> dict[str, Any]:
        """Arguments that every pipeline is called with."""
        return {
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "negative_prompt": self.negative_prompt,
        }
