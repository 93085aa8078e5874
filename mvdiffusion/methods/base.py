"""What a method gets: a model, samples, noise and the numbers of the sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mvdiffusion.tasks import GIVEN_VIEWS


@dataclass(frozen=True)
class Batch:
    """Samples of one shape whose views a method makes: [B, V, 3, H, W] in 0 … 1.

    Gradients are off: a method that needs them switches them on (`torch.enable_grad`).

    Attributes:
        pipeline: the method's main model (`Method.model`).
        samples: B samples of the task's dataset.
        noise: initial noise [B, V, C, h, w].
        sampling: the pipelines' arguments num_inference_steps, guidance_scale and negative_prompt.
        dataset: has the field of view, or the number of views that are denoised together.
        models: further models by name (`Method.others`).
        generators: of further noise, one per sample; they go on where the initial noise ends.
        options: the method's own numbers, of the class `Method.options`.
    """

    pipeline: Any
    samples: Sequence[Any]
    noise: Tensor
    sampling: Mapping[str, Any]
    dataset: Any
    models: Mapping[str, Any] = field(default_factory=dict)
    generators: Sequence[torch.Generator] = ()
    options: Any = None

    @property
    def prompts(self) -> list[list[str]]:
        """Prompts by sample and view [B][V]."""
        return [list(sample.prompts) for sample in self.samples]

    @property
    def size(self) -> dict[str, int]:
        """Height and width of the views in pixels."""
        height, width = (side * self.pipeline.vae_scale_factor for side in self.noise.shape[-2:])
        return {"height": height, "width": width}

    @property
    def key_frames(self) -> list[int]:
        """Places of the key frames, which all samples of a batch have in common."""
        keys: list[int] = self.samples[0].is_key.nonzero().flatten().tolist()
        return keys

    def stack(self, name: str) -> Tensor:
        """Stack one of the samples' tensors."""
        return torch.stack([getattr(sample, name) for sample in self.samples])

    def panorama(self, **options: Any) -> Tensor:
        """Run the panorama pipeline, or the one of outpainting, with further options."""
        return self._run(
            {**self.size, "fov_deg": self.dataset.fov_deg, "latents": self.noise, **options}
        )

    def outpaint(self, **options: Any) -> Tensor:
        """Run the pipeline of outpainting on the real given views, with further options."""
        image = self.stack("views")[:, list(GIVEN_VIEWS)]
        return self.panorama(image=image, given_views=GIVEN_VIEWS, **options)

    def depth(self, **options: Any) -> Tensor:
        """Run the depth pipeline on the samples' depth and cameras, with further options."""
        inputs = {name: self.stack(name) for name in ("depth", "pose", "K")}
        return self._run(
            {**inputs, "num_views": self.dataset.num_views, "latents": self.noise, **options}
        )

    def _run(self, options: Mapping[str, Any]) -> Tensor:
        further = {"generator": [*self.generators] or None, "output_type": "pt"}
        arguments = {**self.sampling, **further, **options}
        images: Tensor = self.pipeline(self.prompts, **arguments).images
        return images
