"""Sequences from depth: key frames, then everything between them."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from noise_data import HEIGHT, WIDTH, walk
from torch import Tensor

from mvdiffusion.pipelines import MVDiffusionDepthPipeline
from mvdiffusion.pipelines.depth import FrameGroup, frame_groups, key_frame_condition

STEPS = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "pt"}


def sample(pipeline: MVDiffusionDepthPipeline, frames: int = 7, **more: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    arguments = {**walk(frames), "generator": generator, "num_views": 4, **STEPS, **more}
    return pipeline("a room", **arguments).images


@pytest.mark.parametrize(
    ("keys", "num_views", "expected"),
    [
        ([0, 1, 2], 12, [([0, 1, 2], False)]),
        ([0, 4, 5], 12, [([0, 4, 5], False), ([0, 1, 2, 3, 4], True)]),
        (
            [0, 3, 9],
            4,
            [
                ([0, 3, 9], False),
                ([0, 1, 2, 3], True),
                ([3, 4, 5, 9], True),
                ([3, 6, 7, 9], True),
                ([3, 8, 9], True),
            ],
        ),
        ([0, 1, 2, 3, 4], 4, [([0, 1, 2], False), ([3, 4], False)]),
        ([*range(17)], None, [([*range(17)], False)]),  # all together, as released
        (
            [0, 14],
            None,
            [
                ([0, 14], False),
                ([0, 1, 2, 3, 4, 5, 6, 7, 14], True),
                ([0, 8, 9, 10, 11, 12, 13, 14], True),
            ],
        ),
    ],
)
def test_plan(
    keys: list[int], num_views: int | None, expected: list[tuple[list[int], bool]]
) -> None:
    groups = frame_groups(keys, num_views)
    assert [(group.frames, group.given) for group in groups] == expected
    made = [frame for group in groups for frame in group.new]
    assert sorted(made) == list(range(keys[-1] + 1))
    bound = num_views or max(12, len(keys))
    assert all(len(group.frames) <= bound for group in groups)


@given(steps=st.lists(st.integers(1, 30), min_size=1, max_size=12), num_views=st.integers(3, 12))
def test_every_frame_is_made_once_and_after_its_key_frames(
    steps: list[int], num_views: int
) -> None:
    keys = [0, *itertools.accumulate(steps)]
    made: list[int] = []
    for group in frame_groups(keys, num_views):
        assert group.frames == sorted(group.frames)
        assert len(group.frames) <= num_views
        if group.given:  # what is known already frames what is new
            assert {group.frames[0], group.frames[-1]} <= set(made)
        made += group.new
    assert sorted(made) == list(range(keys[-1] + 1))


def test_the_whole_sequence_is_generated(depth: MVDiffusionDepthPipeline) -> None:
    keys = [0, 3, 6]
    steps = {**walk(7), "num_views": 4, **STEPS}
    generator = torch.Generator().manual_seed(1)
    parts = list(depth.iterate("a room", key_frames=keys, generator=generator, **steps))
    assert [frames for frames, _ in parts] == [[0, 3, 6], [1, 2], [4, 5]]
    seen: list[int] = []
    hook = depth.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    whole = sample(depth, key_frames=keys)
    hook.remove()
    assert max(seen) == 4  # never more at once than asked for
    assert whole.shape == (1, 7, 3, HEIGHT, WIDTH)
    for frames, images in parts:
        assert torch.equal(whole[:, frames], images)


def test_key_frames_do_not_know_of_the_frames_between(depth: MVDiffusionDepthPipeline) -> None:
    keys, frames = [0, 3, 6], walk(7)
    noise = torch.randn(1, 7, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    whole = sample(depth, key_frames=keys, latents=noise)
    alone = sample(
        depth, **{name: value[keys] for name, value in frames.items()}, latents=noise[:, keys]
    )
    torch.testing.assert_close(whole[:, keys], alone)


def test_frames_between_follow_their_key_frames(depth: MVDiffusionDepthPipeline) -> None:
    """Key frames 0 and 2 share a group, 4 and 6 another; a new text for 0 moves what is beside."""

    def images(text: str, **more: Any) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        texts = [text, *["a room"] * 6]
        options = {**walk(7), **STEPS, "num_views": 3, "generator": generator, **more}
        return depth(texts, key_frames=[0, 2, 4, 6], **options).images[0].flatten(1)

    moved = (images("a room") != images("a red room")).any(1)
    assert moved.tolist() == [True] * 4 + [False] * 3
    apart = {"correspondence_attention": False}
    moved = (images("a room", **apart) != images("a red room", **apart)).any(1)
    assert moved.tolist() == [True] + [False] * 6


def test_image_condition_holds_the_two_key_frames() -> None:
    keys = {2: torch.full((1, 4, 2, 3), 5.0), 6: torch.full((1, 4, 2, 3), 7.0)}
    condition = key_frame_condition(keys, FrameGroup([2, 3, 6], True))
    assert condition.shape == (1, 3, 5, 2, 3)
    assert condition[0, :, :4].flatten(1).mean(1).tolist() == [5, 0, 7]
    assert condition[0, :, 4].flatten(1).mean(1).tolist() == [1, 0, 1]


def test_a_sequence_does_not_depend_on_its_batch(depth: MVDiffusionDepthPipeline) -> None:
    first, second = walk(5), walk(5, step=0.2)
    both = {name: torch.stack([first[name], second[name]]) for name in first}
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    together = sample(depth, **both, key_frames=[0, 4], generator=seeds)
    alone = sample(depth, **second, key_frames=[0, 4], generator=seeds[1].manual_seed(2))
    torch.testing.assert_close(alone[0], together[1], atol=1e-4, rtol=1e-4)


def test_all_key_frames_see_each_other(
    depth: MVDiffusionDepthPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """Thirteen key frames: a new text for the first moves the last, unless they are split."""

    def last(text: str, **more: Any) -> Tensor:
        # Cameras that stand together: every frame attends to every other one.
        together = walk(13, step=0.0) | {"pose": torch.eye(4).repeat(13, 1, 1)}
        options = {**together, **STEPS, "generator": torch.Generator().manual_seed(1), **more}
        return depth([text, *["a room"] * 12], **options).images[0, -1]

    assert not torch.equal(last("a room"), last("a red room"))
    last("a room", num_views=12, correspondence_attention=False)  # nothing is lost
    assert not caplog.records
    assert torch.equal(last("a room", num_views=12), last("a red room", num_views=12))
    assert "13 key frames are denoised in 2 groups that see nothing of each" in caplog.text


def test_one_camera_for_all_frames(depth: MVDiffusionDepthPipeline) -> None:
    torch.testing.assert_close(sample(depth, K=walk(7)["K"][0]), sample(depth))


def test_per_frame_texts(depth: MVDiffusionDepthPipeline) -> None:
    noise = torch.randn(1, 5, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    options = {**walk(5), "latents": noise, "key_frames": [0, 4], "num_views": 4, **STEPS}
    one = depth("a room", negative_prompt="red", **options).images
    each = depth(["a room"] * 5, negative_prompt=["red"] * 5, **options).images
    torch.testing.assert_close(one, each)
    other = depth(["a room"] * 4 + ["red"], negative_prompt=["red"] * 5, **options).images
    assert not torch.allclose(one, other)


def test_output_types(depth: MVDiffusionDepthPipeline) -> None:
    keys = {"key_frames": [0, 2, 4], "frames": 5}
    tensor = sample(depth, **keys)
    array = sample(depth, **keys, output_type="np")
    assert (torch.from_numpy(array).movedim(-1, 2) - tensor).abs().max() < 1e-6
    images = sample(depth, **keys, output_type="pil")
    assert [len(frames) for frames in images] == [5]
    assert images[0][1].size == (WIDTH, HEIGHT)
    pixels = torch.from_numpy(np.array(images[0][1]))
    assert (pixels.permute(2, 0, 1) / 255 - tensor[0, 1]).abs().max() < 1 / 254
    latents = sample(depth, **keys, output_type="latent")
    torch.testing.assert_close(depth.decode_latents(latents), tensor, atol=1e-5, rtol=1e-5)


def changed(name: str, place: tuple[Any, ...], value: float) -> dict[str, Tensor]:
    tensor = walk(4)[name].clone()
    tensor[place] = value
    return {name: tensor}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": torch.ones(8, 8)}, r"`depth` of shape .* got \(8, 8\)"),
        ({"pose": torch.eye(4)[None]}, r"`pose` of shape \(1, 4, 4, 4\), got \(1, 1, 4, 4\)"),
        ({"K": torch.eye(4)}, r"`K` of shape \(1, 4, 3, 3\), got \(1, 4, 4, 4\)"),
        ({"depth": torch.ones(4, 11, 16)}, "divisible by 2, got 11 x 16"),
        (changed("depth", (2,), 0.0), "`depth` .* got nothing but 0 in view 2"),
        (changed("depth", (1, 5, 5), -1.0), "`depth` .* got negative in view 1"),
        (changed("depth", (3, 5, 5), float("inf")), "`depth` .* infinite or NaN in view 3"),
        (changed("pose", (1, 0, 3), float("nan")), "finite `pose`s, .* in view 1"),
        (changed("pose", (2, 3, 3), 2.0), r"last row \(0, 0, 0, 1\), .* in view 2"),
        (changed("pose", (1, 0, slice(0, 3)), 0.0), "`pose`, .* determinant 0 in view 1"),
        ({"pose": walk(4)["pose"] @ torch.diag(torch.tensor([1, 1, -1.0, 1]))}, "determinant -1"),
        (changed("K", (0, 0, 0), 0.0), "`K` with positive focal lengths"),
        ({"key_frames": [0, 2]}, r"the first and the last view \(0 and 3\) among `key_frames`"),
        ({"key_frames": [1, 3]}, r"the first and the last view \(0 and 3\) among `key_frames`"),
        ({"key_frames": [0, 2, 2, 3]}, "increasing `key_frames`"),
        ({"key_frames": [0, 4]}, r"`key_frames` in 0 … 3, got \[0, 4\]"),
        ({"key_frames": []}, "`key_frames` in 0 … 3, got "),
        ({"key_frames": [0, 3], "num_views": 2}, "`num_views` of 3 or more at once, got 2"),
        ({"num_views": 0}, "`num_views` of 1 or more at once, got 0"),
        ({"prompt": ["a"] * 3}, "4 views' `prompt`, got 3"),
        ({"prompt": [["a"] * 4] * 2}, "`prompt` for 1 samples, got it for 2"),
        ({"negative_prompt": ["a"]}, "one `negative_prompt` or 4, one per view, got 1"),
        ({"output_type": "jpeg"}, "`output_type`"),
        ({"latents": torch.zeros(1, 4, 4, 6, 6)}, "`latents` of shape"),
    ],
)
def test_wrong_inputs_are_named_at_once(
    depth: MVDiffusionDepthPipeline, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        depth.iterate(**{"prompt": "a", **walk(4), **arguments})
