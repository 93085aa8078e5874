"""What texts and conditions alone decide is computed once a sampling, and changes nothing."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from noise_data import walk
from torch import Tensor

STEPS = 3
INPUTS: dict[str, dict[str, Any]] = {
    "panorama": {"num_views": 3, "fov_deg": 130.0},
    "depth": {**walk(3), "key_frames": [0, 2]},  # then the frame between, with a condition
}


def sample(pipeline: Any, task: str, **options: Any) -> Tensor:
    options = {"guidance_scale": 2.0, "output_type": "latent", **options}
    seeded = torch.Generator().manual_seed(1)
    return pipeline(
        "a room", **INPUTS[task], num_inference_steps=STEPS, generator=seeded, **options
    ).images


def without_memory(pipeline: Any, task: str, **options: Any) -> Tensor:
    pipeline.unet.during_sampling = nullcontext
    try:
        return sample(pipeline, task, **options)
    finally:
        del pipeline.unet.during_sampling


def wake(pipeline: Any) -> None:
    """Give untrained layers weights, so that what they are given matters."""
    torch.manual_seed(3)
    for value in pipeline.unet.correspondence_parameters():
        torch.nn.init.normal_(value, std=0.1)


def text_layers(pipeline: Any) -> list[Any]:
    modules = pipeline.unet.unet.named_modules()
    return [layer for name, layer in modules if name.endswith("attn2")]


def calls(module: Any) -> list[int]:
    found: list[int] = []
    own = module.forward

    def counted(*inputs: Any) -> Any:
        found.append(len(inputs[0]))
        return own(*inputs)

    module.forward = counted
    return found


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("task", INPUTS)
def test_the_result_is_the_same_bit_for_bit(
    task: str, chunk: int | None, make: Callable[..., Any]
) -> None:
    pipeline = make(task)
    wake(pipeline)
    pipeline.set_view_chunk(chunk)
    assert torch.equal(sample(pipeline, task), without_memory(pipeline, task))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_in_half_precision_too(
    dtype: torch.dtype, autocast: bool, make: Callable[..., Any]
) -> None:
    """As on a GPU: weights of half precision, or autocast of those in float32."""
    pipeline = make("depth")
    wake(pipeline)
    expected = sample(pipeline, "depth")
    if not autocast:
        pipeline.unet.to(dtype)
    with torch.autocast("cpu", dtype, enabled=autocast):
        found = sample(pipeline, "depth")
        assert torch.equal(found, without_memory(pipeline, "depth"))
    assert found.dtype == torch.float32  # small steps would be lost in half precision
    assert 0 < (found - expected).abs().max() < 0.2 * expected.abs().max()


@pytest.mark.parametrize(("task", "samplings"), [("panorama", 1), ("depth", 2)])
def test_texts_are_projected_once_a_sampling(
    task: str, samplings: int, make: Callable[..., Any]
) -> None:
    pipeline = make(task)
    layer = text_layers(pipeline)[0]
    keys, values, queries = calls(layer.to_k), calls(layer.to_v), calls(layer.to_q)
    sample(pipeline, task)
    assert (len(keys), len(values), len(queries)) == (samplings, samplings, samplings * STEPS)
    sample(pipeline, task)
    assert len(keys) == 2 * samplings  # nothing stays for the next one


def test_the_condition_is_encoded_once_and_for_both_branches(make: Callable[..., Any]) -> None:
    pipeline = make("depth")
    sizes = calls(pipeline.unet.image_conditioning)
    sample(pipeline, "depth")
    assert sizes == [3]  # one sample's three frames, in two branches and at every step


def test_a_condition_of_one_branch_is_that_of_all(make: Callable[..., Any]) -> None:
    pipeline = make("depth")
    wake(pipeline)
    unet = pipeline.unet
    latents, text = torch.randn(4, 3, 5, 4, 4), torch.randn(4, 3, 7, 32)
    condition = torch.randn(2, 3, 5, 4, 4)
    condition[:, :, -1] = 0
    condition[0, 0, -1] = 1  # of the second sample nothing is known
    with torch.no_grad():
        found = unet(latents, 500, text, None, condition).sample
        assert torch.equal(
            found, unet(latents, 500, text, None, condition.repeat(2, 1, 1, 1, 1))[0]
        )
        assert torch.equal(found[1::2], unet(latents[1::2], 500, text[1::2], None).sample)
        assert not torch.equal(found[::2], unet(latents[::2], 500, text[::2], None).sample)


@pytest.mark.parametrize("in_place", [False, True])
def test_texts_that_a_callback_changes_count(in_place: bool, make: Callable[..., Any]) -> None:
    pipeline = make("panorama")

    def change(_: Any, step: int, __: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        text = tensors["prompt_embeds"]
        return {"prompt_embeds": text.mul_(-1) if in_place else -text} if step == 0 else {}

    options = {
        "callback_on_step_end": change,
        "callback_on_step_end_tensor_inputs": ["prompt_embeds"],
    }
    found = sample(pipeline, "panorama", **options)
    assert torch.equal(found, without_memory(pipeline, "panorama", **options))
    assert not torch.equal(found, sample(pipeline, "panorama"))


def change_weights(pipeline: Any) -> None:
    with torch.no_grad():
        for layer in text_layers(pipeline):
            layer.to_k.weight.mul_(-1)


def add_hook(pipeline: Any) -> None:
    for layer in text_layers(pipeline):
        layer.to_v.register_forward_hook(lambda *given: -given[2])


def add_lora(pipeline: Any) -> None:
    peft = pytest.importorskip("peft")
    random = torch.Generator().manual_seed(5)
    for name in ("first", "second"):
        config = peft.LoraConfig(r=2, target_modules=["to_k", "to_v"])
        pipeline.unet.unet.add_adapter(config, adapter_name=name)
    for name, weights in pipeline.unet.unet.named_parameters():
        if "lora_" in name:
            weights.data = torch.randn(weights.shape, generator=random)
    pipeline.unet.unet.set_adapter("first")


def switch_lora(pipeline: Any) -> None:
    pipeline.unet.unet.set_adapter("second")


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (None, change_weights),
        (None, add_hook),
        (add_lora, switch_lora),
        (add_lora, lambda pipeline: pipeline.unet.unet.set_adapters(["first"], [0.2])),
    ],
)
def test_layers_that_a_callback_changes_count(
    before: Any, change: Any, make: Callable[..., Any]
) -> None:
    """LoRAs are switched on the way, such as one for the layout and then one for the style."""

    def at_first_step(pipeline: Any, step: int, *_: Any) -> dict[str, Tensor]:
        if step == 0:
            change(pipeline)
        return {}

    found = []
    for run in (sample, without_memory, sample):
        pipeline = make("panorama")
        (before or (lambda _: None))(pipeline)
        callback = at_first_step if len(found) < 2 else None
        found.append(run(pipeline, "panorama", callback_on_step_end=callback))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_processors_are_those_of_before(make: Callable[..., Any]) -> None:
    pipeline = make("panorama")
    first, *others = text_layers(pipeline)
    first.processor, seen = AttnProcessor(), []
    own = first.processor

    def fail(*_: Any) -> dict[str, Tensor]:
        seen.append([type(layer.processor).__name__ for layer in (first, others[0])])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(pipeline, "panorama", callback_on_step_end=fail)
    assert seen == [["AttnProcessor", "_KeepingProcessor"]]
    assert first.processor is own
    assert all(type(layer.processor) is AttnProcessor2_0 for layer in others)
    pipeline.unet.set_attn_processor(AttnProcessor2_0())
    pipeline.unet.set_default_attn_processor()  # refuses processors that diffusers does not know


def test_gradients_reach_the_texts_during_a_sampling(make: Callable[..., Any]) -> None:
    """Methods that optimize along the way, as SyncDiffusion, run within a sampling."""
    unet = make("panorama").unet
    latents, text = torch.randn(1, 3, 4, 4, 4), torch.randn(1, 3, 7, 32, requires_grad=True)
    with unet.during_sampling():
        with torch.no_grad():
            unet(latents, 500, text, None)
        unet(latents, 500, text, None).sample.sum().backward()
    assert text.grad is not None
    assert text.grad.abs().sum() > 0
