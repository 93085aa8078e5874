"""Options of diffusers' `StableDiffusionPipeline` do here what they do there.

One view without attention to others is an image of Stable Diffusion: of the same parts both
pipelines make the same pictures.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, SDCFGCutoffCallback, SDXLCFGCutoffCallback
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from noise_data import walk
from tiny_models import TASKS, single_view_unet
from torch import Tensor

from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.pipelines import MVDiffusionOutpaintPipeline, MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError

PROMPT, NEGATIVE = "a red room", "a room"
STEPS: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "pt"}
INPUTS: dict[str, dict[str, Any]] = {
    "panorama": {"num_views": 3, "fov_deg": 130.0},
    "outpaint": {"num_views": 3, "fov_deg": 130.0, "image": torch.ones(1, 3, 16, 16) / 2},
    "depth": {**walk(3), "key_frames": [0, 2]},
}


@pytest.fixture
def both(parts: dict[str, Any]) -> tuple[StableDiffusionPipeline, MVDiffusionPanoramaPipeline]:
    """Stable Diffusion, and a multi-view model of equal parts of its own."""
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    theirs = StableDiffusionPipeline(
        **{**deepcopy(parts), "scheduler": scheduler},
        unet=single_view_unet("panorama"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    own = deepcopy({**parts, "scheduler": scheduler})
    unet = MultiViewUNet.from_unet(single_view_unet("panorama")).eval()
    ours = MVDiffusionPanoramaPipeline(**own, unet=unet)
    for pipeline in (theirs, ours):
        pipeline.set_progress_bar_config(disable=True)
    return theirs, ours


def their_image(pipeline: StableDiffusionPipeline, seed: int = 1, **options: Any) -> Tensor:
    shared = {**STEPS, "generator": torch.Generator().manual_seed(seed)}
    given = {"prompt": PROMPT, "negative_prompt": NEGATIVE, **shared, **options}
    return pipeline(**given).images


def our_image(pipeline: Any, seed: int = 1, **options: Any) -> Tensor:
    """One view, as [B, 3, H, W]."""
    shared = {**STEPS, "generator": torch.Generator().manual_seed(seed), "num_views": 1}
    given = {"prompt": PROMPT, "negative_prompt": NEGATIVE, **shared, **options}
    return pipeline(**given).images[:, 0]


def equal(found: Tensor, expected: Tensor) -> bool:
    assert found.shape == expected.shape
    return torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "matters"),
    [
        ({}, False),
        ({"guidance_scale": 1.0}, True),
        ({"guidance_rescale": 0.7}, True),
        ({"eta": 0.6}, True),
        ({"eta": 1.0, "num_images_per_prompt": 2}, True),
        ({"num_images_per_prompt": 3}, True),
    ],
    ids=str,
)
def test_an_option_does_what_it_does_in_diffusers(
    both: Any, options: dict[str, Any], matters: bool
) -> None:
    theirs, ours = both
    expected, found = their_image(theirs, **options), our_image(ours, **options)
    assert equal(found, expected)
    plain = our_image(ours)
    assert (found.shape != plain.shape or not equal(found, plain)) == matters


def test_embeddings_take_the_place_of_texts_as_in_diffusers(both: Any) -> None:
    theirs, ours = both
    generator = torch.Generator().manual_seed(3)
    embeds, negative = (torch.randn(1, 16, 32, generator=generator) for _ in range(2))
    given = {"prompt": None, "negative_prompt": None, "prompt_embeds": embeds}
    alone = their_image(theirs, **given)
    given["negative_prompt_embeds"] = negative
    expected = their_image(theirs, **given)
    of_one_sample = {**given, "negative_prompt": ""}
    assert equal(our_image(ours, **of_one_sample), expected)
    of_a_batch = {"prompt_embeds": embeds[None], "negative_prompt_embeds": negative[None]}
    assert equal(our_image(ours, **{**of_one_sample, **of_a_batch}), expected)
    without = {**of_one_sample, "negative_prompt_embeds": None}
    assert equal(our_image(ours, **without), alone)
    texts = ours.encode_prompt([[PROMPT]], NEGATIVE)
    assert equal(
        our_image(ours, prompt=None, prompt_embeds=texts[1:], negative_prompt_embeds=texts[:1]),
        their_image(theirs),
    )


def test_clip_skip_takes_the_hidden_states_of_an_earlier_layer(both: Any) -> None:
    """Of prompts alone, and with the encoder's last norm, as diffusers describes it."""
    theirs, ours = both
    encoder = ours.text_encoder
    tokens = ours.tokenizer(
        [PROMPT], padding="max_length", max_length=16, return_tensors="pt"
    ).input_ids
    states = encoder(tokens, output_hidden_states=True).hidden_states
    norm = next(m for n, m in encoder.named_modules() if n.endswith("final_layer_norm"))
    for skip in (0, 1):
        expected = their_image(theirs, prompt=None, prompt_embeds=norm(states[-1 - skip]).detach())
        assert equal(our_image(ours, clip_skip=skip), expected)
    assert not equal(our_image(ours, clip_skip=1), our_image(ours))


def sample(pipeline: Any, task: str, **more: Any) -> Any:
    options = {**STEPS, "num_inference_steps": 2, **more}
    generator = torch.Generator().manual_seed(1)
    prompt = options.pop("prompt", "a room")
    return pipeline(prompt, **{**INPUTS[task], "generator": generator, **options})


@pytest.mark.parametrize("task", TASKS)
def test_every_task_takes_the_options(task: str, make: Callable[..., Any]) -> None:
    pipeline = make(task)
    plain = sample(pipeline, task).images
    (images,) = sample(pipeline, task, return_dict=False)
    assert torch.equal(images, plain)
    embeds = pipeline.encode_prompt([["a room"] * 3], "")
    given = {"prompt": None, "prompt_embeds": embeds[1:], "negative_prompt_embeds": embeds[:1]}
    torch.testing.assert_close(sample(pipeline, task, **given).images, plain)
    torch.testing.assert_close(sample(pipeline, task, **given, num_views=3).images, plain)
    for changed in ({"guidance_rescale": 0.5}, {"eta": 0.5}, {"clip_skip": 1}):
        images = sample(pipeline, task, **changed).images
        assert images.isfinite().all()
        assert not torch.allclose(images, plain, atol=1e-4)
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    two = sample(pipeline, task, num_images_per_prompt=2, generator=seeds).images
    assert two.shape == (2, *plain.shape[1:])
    torch.testing.assert_close(two[0], plain[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(two[1], two[0], atol=1e-2)


def test_samples_of_one_prompt_lie_together(pipeline: Any) -> None:
    prompts = [["a red room"] * 3, ["a room"] * 3]
    seeds = [torch.Generator().manual_seed(seed) for seed in range(4)]
    more = {"num_images_per_prompt": 2, "generator": seeds, "correspondence_attention": False}
    four = pipeline(prompts, fov_deg=130.0, **{**STEPS, **more}).images
    seeds = [torch.Generator().manual_seed(2)]
    one = pipeline(prompts[1], fov_deg=130.0, **{**STEPS, **more, "generator": seeds,
                   "num_images_per_prompt": 1}).images  # fmt: skip
    torch.testing.assert_close(four[2], one[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_official_callbacks_name_their_tensors_themselves(
    task: str, make: Callable[..., Any]
) -> None:
    """Guidance that ends is what it is in diffusers: from there on there is one branch."""
    pipeline, batches = make(task), []
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    cutoff = SDCFGCutoffCallback(cutoff_step_ratio=0.5)
    groups = 2 if task == "depth" else 1
    for callback in (cutoff, MultiPipelineCallbacks([cutoff])):
        batches.clear()
        sample(pipeline, task, callback_on_step_end=callback, num_inference_steps=4)
        assert batches == [2, 2, 2, 1] * groups
    with pytest.raises(InputError, match="got 'add_text_embeds'"):
        sample(pipeline, task, callback_on_step_end=SDXLCFGCutoffCallback(cutoff_step_ratio=0.5))
    with pytest.raises(InputError, match="fits one sample at a time"):
        sample(pipeline, task, callback_on_step_end=cutoff, num_images_per_prompt=2)


@pytest.mark.parametrize("task", TASKS)
def test_interrupting_leaves_out_the_steps_that_follow(task: str, make: Callable[..., Any]) -> None:
    pipeline, calls = make(task), []
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: calls.append(1))

    def stop(found: Any, step: int, t: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        found._interrupt = step == 1
        return {}

    options = {"num_inference_steps": 3}
    images = sample(pipeline, task, callback_on_step_end=stop, **options).images
    assert len(calls) == 2
    assert images.isfinite().all()
    calls.clear()
    sample(pipeline, task, **options)
    assert len(calls) == 3 * (2 if task == "depth" else 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": None}, "either `prompt` or `prompt_embeds`, got neither"),
        ({"prompt_embeds": torch.zeros(3, 16, 32)}, "`prompt` or `prompt_embeds`, got both"),
        ({"guidence_rescale": 0.5}, "`guidence_rescale`; did you mean 'guidance_rescale'"),
        ({"prompt": None, "prompt_embeds": torch.zeros(16, 32)}, r"`prompt_embeds` of shape \(V"),
        ({"prompt": None, "prompt_embeds": torch.zeros(3, 16, 8)}, "of width 32, .* got 8"),
        ({"negative_prompt_embeds": torch.zeros(2, 16, 32)}, "`negative_prompt_embeds` of shape"),
        ({"num_images_per_prompt": 0}, "`num_images_per_prompt` of 1 or more, got 0"),
        ({"guidance_rescale": float("nan")}, "`guidance_rescale` in 0 … 1, got nan"),
        ({"eta": 2.0}, "`eta` in 0 … 1, got 2.0"),
        ({"clip_skip": -1}, "`clip_skip` of 0 or more, got -1"),
        ({"clip_skip": 9}, "`clip_skip` in 0 … 1, the text encoder's layers, got 9"),
    ],
)
def test_wrong_options_are_named(pipeline: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample(pipeline, "panorama", **options)


def test_embeddings_of_another_number_of_views_are_named(pipeline: Any) -> None:
    given = {"prompt_embeds": torch.zeros(8, 16, 32), "prompt": None}
    with pytest.raises(InputError, match="Expected 3 views' `prompt`, got 8"):
        sample(pipeline, "panorama", **given)


def test_embeddings_of_two_samples_are_not_views_that_lie_apart(pipeline: Any) -> None:
    """Of shape [samples, tokens, width], as diffusers itself takes them."""
    with pytest.raises(InputError, match="Expected prompts for views that overlap, got 2"):
        pipeline(None, prompt_embeds=torch.zeros(2, 16, 32), num_inference_steps=1)


def test_embeddings_of_one_sample_are_those_of_all_images(models: dict[str, Path]) -> None:
    pipeline = MVDiffusionOutpaintPipeline.from_pretrained(models["outpaint"])
    size = {"height": 32, "width": 32, "num_views": 3, "num_inference_steps": 1}
    images = torch.stack([torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)])
    embeds, negative = (
        pipeline.encode_prompt([["a room"] * 3], "a face").unflatten(0, (2, 1)).flip(0)
    )
    found, expected = (
        pipeline(
            **given, **size, image=images, generator=torch.manual_seed(0), output_type="pt"
        ).images
        for given in (
            {"prompt": None, "prompt_embeds": embeds, "negative_prompt_embeds": negative},
            {"prompt": "a room", "negative_prompt": "a face"},
        )
    )
    assert torch.equal(found, expected)


def test_attention_processors_are_those_of_the_shared_unet(both: Any) -> None:
    theirs, ours = both
    assert ours.unet.attn_processors.keys() == theirs.unet.attn_processors.keys()
    expected = our_image(ours)
    seen: list[Any] = []

    class Recording(AttnProcessor):
        def __call__(self, *args: Any, word: Any = None, **options: Any) -> Tensor:
            seen.append(word)
            return super().__call__(*args, **options)

    ours.unet.set_attn_processor(Recording())
    kinds = {type(processor) for processor in ours.unet.attn_processors.values()}
    assert kinds == {Recording}
    assert equal(our_image(ours, cross_attention_kwargs={"word": 7}), expected)
    assert set(seen) == {7}
    ours.unet.set_attn_processor(AttnProcessor2_0())
    assert equal(our_image(ours), expected)


def test_tiles_of_stable_diffusions_vae(both: Any) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4,
        sample_size=8,  # a quarter of the images
    ).eval()
    theirs, ours = both
    theirs.vae, ours.vae = vae, deepcopy(vae)
    whole = our_image(ours)
    assert equal(whole, their_image(theirs))
    theirs.vae.enable_tiling()
    ours.enable_vae_tiling()
    tiled = our_image(ours)
    assert equal(tiled, their_image(theirs))
    assert not torch.equal(tiled, whole)
    ours.disable_vae_tiling()
    assert torch.equal(our_image(ours), whole)


def test_textual_inversions_of_stable_diffusion_are_words(both: Any) -> None:
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(5))
    for pipeline in both:
        pipeline.load_textual_inversion({"<room>": vectors})
    prompt = {"prompt": "a <room>"}
    expected = their_image(both[0], **prompt)
    assert equal(our_image(both[1], **prompt), expected)
    both[1].unload_textual_inversion()
    assert not equal(our_image(both[1], **prompt), expected)


def random_lora(theirs: StableDiffusionPipeline, folder: Path, seed: int) -> Path:
    """Write a LoRA of Stable Diffusion's UNet and text encoder, random in all of its weights."""
    peft = pytest.importorskip("peft")
    targets = {"unet": ["to_q", "to_k", "to_v"], "text_encoder": ["q_proj", "v_proj"]}
    layers = {}
    torch.manual_seed(seed)
    for name, modules in targets.items():
        part = deepcopy(getattr(theirs, name))
        config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=modules)
        part.add_adapter(config)
        for key, weights in part.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(weights, std=0.5)
        layers[f"{name}_lora_layers"] = peft.get_peft_model_state_dict(part)
    StableDiffusionPipeline.save_lora_weights(folder, **layers)
    return folder


def test_loras_of_stable_diffusion_fit(both: Any, tmp_path: Path) -> None:
    theirs, ours = both
    plain = our_image(ours)
    files = [random_lora(theirs, tmp_path / str(seed), seed) for seed in (1, 2)]
    for pipeline in both:
        for name, file in zip(("first", "second"), files, strict=True):
            pipeline.load_lora_weights(file, adapter_name=name)
    seen = []
    for scale in ({}, {"cross_attention_kwargs": {"scale": 0.3}}):
        for names, weights in ((["first"], [1.0]), (["first", "second"], [0.4, 0.9])):
            for pipeline in both:
                pipeline.set_adapters(names, weights)
            assert ours.get_active_adapters() == names
            expected, found = their_image(theirs, **scale), our_image(ours, **scale)
            assert equal(found, expected)
            seen.append(found)
    assert (torch.pdist(torch.stack([plain, *seen]).flatten(1)) > 1e-2).all()  # all differ
    for pipeline in both:
        pipeline.fuse_lora(lora_scale=0.5)
    assert equal(our_image(ours), their_image(theirs))
    assert ours.get_list_adapters() == theirs.get_list_adapters()
    for pipeline in both:
        pipeline.unfuse_lora()
        pipeline.disable_lora()
    assert equal(our_image(ours), plain)
    ours.unload_lora_weights()
    assert equal(our_image(ours), plain)
