"""The panorama pipeline: results do not depend on batches, files or the form of the prompts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline

PROMPTS = [[f"a red room {view}" for view in range(8)], ["a room"] * 8]
STEPS = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "pt"}


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def sample(
    pipeline: MVDiffusionPanoramaPipeline, prompts: Any, seeds: list[int], **more: Any
) -> Tensor:
    return pipeline(prompts, generator=generators(*seeds), **{**STEPS, **more}).images


def test_a_panorama_does_not_depend_on_its_batch(pipeline: MVDiffusionPanoramaPipeline) -> None:
    both = sample(pipeline, PROMPTS, [1, 2])
    alone = sample(pipeline, PROMPTS[1], [2])
    assert both.shape == (2, 8, 3, 16, 16)
    torch.testing.assert_close(alone[0], both[1], atol=1e-4, rtol=1e-4)


def test_views_know_of_each_other_only_through_attention(
    pipeline: MVDiffusionPanoramaPipeline,
) -> None:
    changed = [["a red room", *PROMPTS[1][1:]]]
    apart = {"correspondence_attention": False}
    moved = sample(pipeline, PROMPTS[1], [1], **apart) != sample(pipeline, changed, [1], **apart)
    assert moved[0].flatten(1).any(1).tolist() == [True] + [False] * 7
    moved = sample(pipeline, PROMPTS[1], [1]) != sample(pipeline, changed, [1])
    assert moved[0].flatten(1).any(1).tolist()[1]
    assert moved[0].flatten(1).any(1).tolist()[7]


def test_save_and_load(pipeline: MVDiffusionPanoramaPipeline, model: Path) -> None:
    loaded = MVDiffusionPanoramaPipeline.from_pretrained(model)
    loaded.set_progress_bar_config(disable=True)
    found, expected = (sample(each, PROMPTS, [1, 2]) for each in (loaded, pipeline))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_any_scheduler_and_callbacks(pipeline: MVDiffusionPanoramaPipeline, model: Path) -> None:
    other = MVDiffusionPanoramaPipeline.from_pretrained(model)
    other.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    other.set_progress_bar_config(disable=True)
    seen: list[int] = []

    def record(step: int, t: Tensor, latents: Tensor) -> Tensor:
        seen.append(step)
        return latents

    found = sample(other, "a room", [1], callback_on_step_end=record)
    assert found.isfinite().all()
    assert seen == [0, 1]


def test_output_types(pipeline: MVDiffusionPanoramaPipeline) -> None:
    tensor = sample(pipeline, "a room", [1])
    array = sample(pipeline, "a room", [1], output_type="np")
    images = sample(pipeline, "a room", [1], output_type="pil")
    latents = sample(pipeline, "a room", [1], output_type="latent")
    assert array.shape == (1, 8, 16, 16, 3)
    assert (torch.from_numpy(array).movedim(-1, 2) - tensor).abs().max() < 1e-6
    assert [len(views) for views in images] == [8]
    assert images[0][0].size == (16, 16)
    assert latents.shape == (1, 8, 4, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": [["a"], ["a", "b"]]}, "same number of prompts"),
        ({"prompt": []}, "non-empty prompt"),
        ({"prompt": "a", "height": 15}, "divisible by 2"),
        ({"prompt": "a", "K": torch.eye(3).expand(8, 3, 3)}, "together"),
        ({"prompt": "a", "K": torch.eye(3), "R": torch.eye(3)}, r"shape \(8, 3, 3\)"),
        ({"prompt": "a", "generator": generators(1, 2)}, "one generator per panorama"),
        ({"prompt": "a", "output_type": "jpeg"}, "output_type"),
        ({"prompt": "a", "latents": torch.zeros(1, 8, 4, 9, 9)}, "latents"),
    ],
)
def test_wrong_inputs_are_named(
    pipeline: MVDiffusionPanoramaPipeline, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**arguments, num_inference_steps=1)
