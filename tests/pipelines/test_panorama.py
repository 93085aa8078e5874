"""The panorama pipeline: results do not depend on batches, files or the form of the prompts."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.pipelines import MVDiffusionPanoramaPipeline

PROMPTS = [[f"a red room {view}" for view in range(8)], ["a room"] * 8]
STEPS = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "pt"}
K, R = panorama_cameras(16, 16)


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


def test_forms_of_prompts_and_cameras_agree(pipeline: MVDiffusionPanoramaPipeline) -> None:
    one = sample(pipeline, "a room", [1], negative_prompt="red")
    each = sample(pipeline, ["a room"] * 8, [1], negative_prompt=["red"] * 8, K=K, R=R)
    torch.testing.assert_close(one, each)
    other = sample(pipeline, "a room", [1], negative_prompt=["red"] * 7 + ["room"])
    assert not torch.allclose(one, other)
    unguided = sample(pipeline, "a room", [1], guidance_scale=1.0)
    other = sample(pipeline, "a room", [1], guidance_scale=1.0, negative_prompt="red")
    assert torch.equal(unguided, other)


def test_stated_numbers_of_views_may_lie_apart(pipeline: MVDiffusionPanoramaPipeline) -> None:
    assert sample(pipeline, ["a", "b"], [1], num_views=2).shape == (1, 2, 3, 16, 16)
    assert sample(pipeline, [["a", "b"]], [1]).shape == (1, 2, 3, 16, 16)
    assert sample(pipeline, "a", [1], K=K[:3], R=R[:3]).shape == (1, 3, 3, 16, 16)
    assert sample(pipeline, ["a"] * 3, [1], K=K[:3], R=R[:3]).shape == (1, 3, 3, 16, 16)


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
        ({"prompt": [["a"], ["a", "b"]]}, r"same number of prompts per sample, got \[1, 2\]"),
        ({"prompt": []}, "at least one `prompt` per sample"),
        ({"prompt": [["a"], []]}, "at least one `prompt` per sample"),
        (
            {"prompt": ["a", "b"], "num_views": 8},
            r"8 views' `prompt`, got 2; .* such lists",
        ),
        ({"prompt": ["a"] * 8, "num_views": 6}, "6 views' `prompt`, got 8"),
        ({"prompt": [["a"] * 8] * 2, "num_views": 6}, "6 views' `prompt`, got 8"),
        ({"prompt": ["a", "b"]}, r"views that overlap, got 2: .* the number, too, .*`num_views`"),
        ({"prompt": ["a"] * 6, "fov_deg": 60}, "views that overlap, got 6"),
        ({"num_views": 0}, "`num_views` of 1 or more, got 0"),
        ({"num_views": -2}, "`num_views` of 1 or more, got -2"),
        ({"height": 0}, "`height` and `width` divisible by 2, got 0 x 16"),
        ({"fov_deg": 180.0}, "`fov_deg` between 0 and 180"),
        ({"num_inference_steps": 2000}, "`num_inference_steps` in 1 … 1000, .* got 2000"),
        ({"guidance_scale": float("nan")}, "finite `guidance_scale`, got nan"),
        ({"guidance_scale": float("inf")}, "finite `guidance_scale`, got inf"),
        ({"height": 15}, "`height` and `width` divisible by 2, got 15 x 16"),
        ({"K": K}, "`K` and `R` together, got only `K`"),
        ({"R": R}, "`K` and `R` together, got only `R`"),
        ({"K": K[0], "R": R[0]}, r"`K` of shape \(8, 3, 3\), got \(3, 3\)"),
        ({"K": K, "R": 2 * R}, "rotations in `R`, .* determinant 8 in view 0"),
        ({"K": K, "R": R.flip(-1)}, "rotations in `R`, .* determinant -1 in view 0"),
        ({"K": K, "R": R * torch.nan}, "rotations in `R`, .* in view 0"),
        ({"K": -K, "R": R}, "`K` with positive focal lengths"),
        ({"generator": generators(1, 2)}, r"one `generator`, or one per sample \(1\), got 2"),
        ({"output_type": "jpeg"}, "`output_type` 'pil', 'np', 'pt' or 'latent', got 'jpeg'"),
        ({"latents": torch.zeros(1, 8, 4, 9, 9)}, "`latents` of shape"),
        ({"negative_prompt": ["a"] * 3}, "one `negative_prompt` or 8, one per view, got 3"),
        ({"num_inference_steps": 0}, "`num_inference_steps` in 1 … 1000, .* got 0"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "got 'noise'"),
    ],
)
def test_wrong_inputs_are_named(
    pipeline: MVDiffusionPanoramaPipeline, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**{"prompt": "a", "num_inference_steps": 1, **arguments})
