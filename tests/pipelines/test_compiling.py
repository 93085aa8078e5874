"""`torch.compile` makes one graph of the multi-view UNet, which computes the same."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from noise_data import walk
from tiny_models import TASKS
from torch import Tensor

INPUTS: dict[str, dict[str, Any]] = {
    "panorama": {"num_views": 3, "fov_deg": 130.0},
    "outpaint": {"num_views": 3, "fov_deg": 130.0, "image": torch.ones(1, 3, 16, 16) / 2},
    "depth": {**walk(3), "key_frames": [0, 2]},
}


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def sample(pipeline: Any, task: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    options = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "latent"}
    return pipeline("a room", **INPUTS[task], **options, generator=generator).images


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() < 1e-4 * expected.abs().max())


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("task", TASKS)
def test_a_complete_geometry_is_left_as_it_is(
    task: str, chunk: int | None, make: Callable[..., Any]
) -> None:
    """What a pass computed of it would cut a compiled pass into pieces."""
    pipeline, found = make(task), []
    pipeline.set_view_chunk(chunk)

    def watch(_: Any, inputs: Any) -> None:
        found.append(inputs[3])
        before.append(state(inputs[3]))

    before: list[Any] = []
    pipeline.unet.register_forward_pre_hook(watch)
    sample(pipeline, task)
    assert before[0][0]
    assert [state(geometry) for geometry in found] == before


def state(geometry: Any) -> tuple[set[Any], set[Any], set[Any]]:
    """What has been computed: levels, tokens, and frequencies of their codes."""
    return set(geometry._levels), set(geometry._tokens), set(geometry._bands)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "variant", "backend"),
    [
        ("panorama", "released", "eager"),
        ("panorama", "paper", "eager"),
        ("outpaint", "released", "eager"),
        ("depth", "released", "eager"),
        ("depth", "paper", "eager"),
        ("panorama", "released", "aot_eager"),
        ("depth", "released", "aot_eager"),
    ],
)
def test_the_unet_is_one_graph(
    task: str, variant: str, backend: str, make: Callable[..., Any]
) -> None:
    pipeline = make(task, variant)
    expected = sample(pipeline, task)
    # Key frames and what lies between them are of different numbers, each with a graph of its own.
    dynamic = False if task == "depth" else None
    pipeline.unet = torch.compile(pipeline.unet, backend=backend, fullgraph=True, dynamic=dynamic)
    assert close(sample(pipeline, task), expected)
    with torch.compiler.set_stance("fail_on_recompile"):  # new cameras of the same number
        assert close(sample(pipeline, task), expected)


def test_repeated_blocks_are_compiled_alone(make: Callable[..., Any]) -> None:
    compare_blocks(make("panorama"), "eager")


@pytest.mark.slow
def test_repeated_blocks_by_inductor(make: Callable[..., Any]) -> None:
    compare_blocks(make("panorama"), "inductor")


def compare_blocks(pipeline: Any, backend: str) -> None:
    expected, seen = sample(pipeline, "panorama"), set()
    pipeline.unet.compile_repeated_blocks(backend=backend, fullgraph=True)
    for module in pipeline.unet.modules():
        if module._compiled_call_impl is not None:
            seen.add(type(module).__name__)
    assert seen == {"BasicTransformerBlock", "CorrespondenceAttention"}
    assert close(sample(pipeline, "panorama"), expected)
