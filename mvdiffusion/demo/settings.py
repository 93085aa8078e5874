"""What the demo's operator decides: how models are sampled, and how much a visitor may ask for."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.records import read_json
from mvdiffusion.settings import Count, settings


@settings
class Limits:
    """Bounds of what a visitor of the page may ask for.

    Attributes:
        prompt_characters: length of one prompt.
        frames: key frames of a sequence that are generated, from its first.
        steps: denoising steps.
        image_bytes: size of an uploaded file.
        image_pixels: width times height of an uploaded image.
        waiting: requests in the queue, beside the one that is generated.
        kept_bytes: uploads and results that lie on the disk at one time; the oldest results go
            first, and an upload beyond it is refused.
    """

    prompt_characters: Count = 500
    frames: Count = 12
    steps: Count = 100
    image_bytes: Count = 20_000_000
    image_pixels: Count = 40_000_000
    waiting: Count = 8
    kept_bytes: Count = 2_000_000_000


@settings
class Sampling:
    """How a model is sampled: what its training and its paper recommend.

    Attributes:
        generation: numbers of the sampling; of these the page offers steps, guidance scale and
            seed, beginning with the ones here.
        prompt_prefix: text put before every prompt, as in the model's training.
        frame_height, frame_width: of the frames of a sequence in pixels.
    """

    generation: GenerationSettings
    prompt_prefix: str = ""
    frame_height: Count = 192
    frame_width: Count = 256

    def asked(self, **numbers: Any) -> GenerationSettings:
        """Return the settings of a request.

        Args:
            numbers: what a visitor chose, by the names of `GenerationSettings`.

        Raises:
            InputError: a number out of its range.
        """
        names = (field.name for field in fields(GenerationSettings))
        values = {name: getattr(self.generation, name) for name in names}
        return GenerationSettings(**{**values, **numbers})


PAPER = Sampling(GenerationSettings())

MINIATURE = Sampling(
    GenerationSettings(
        num_inference_steps=20,
        guidance_scale=2.0,
        scheduler="DPMSolverMultistepScheduler",
        algorithm_type="sde-dpmsolver++",
    ),
    prompt_prefix="This is one view of a scene. ",
    frame_height=48,
    frame_width=64,
)
"""That of workflow/config/mini.yaml, with which the models of the miniature are evaluated."""


def recommended(model: Path, **chosen: Any) -> Sampling:
    """Tell how a model is sampled, by its autoencoder: the miniature's has one of its own.

    Args:
        model: folder of a pipeline.
        chosen: what the operator decided otherwise, by the names of `Sampling` or of
            `GenerationSettings`; None leaves what is recommended.
    """
    parts = read_json(model / "model_index.json")
    base = MINIATURE if "PatchAutoencoder" in parts.get("vae", ()) else PAPER
    given = {name: value for name, value in chosen.items() if value is not None}
    own = {field.name for field in fields(Sampling)} & set(given)
    sampling = replace(base, **{name: given.pop(name) for name in own})
    return replace(sampling, generation=sampling.asked(**given))
