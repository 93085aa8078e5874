"""What the pipelines of all three tasks have in common."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.callbacks import SDCFGCutoffCallback
from noise_data import walk
from tiny_models import TASKS, single_view_unet
from torch import Tensor
from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.records import InputError

Make = Callable[..., Any]
SEVEN = walk(7)
INPUTS: dict[str, dict[str, Any]] = {
    "panorama": {"num_views": 3, "fov_deg": 130.0},
    "outpaint": {"num_views": 3, "fov_deg": 130.0, "image": torch.ones(1, 3, 16, 16) / 2},
    "depth": {**SEVEN, "num_views": 4, "key_frames": [0, 3, 6]},
}


def sample(pipeline: Any, task: str, **more: Any) -> Tensor:
    options = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "pt"}
    generator = torch.Generator().manual_seed(1)
    inputs = {**INPUTS[task], **options, "generator": generator, **more}
    return pipeline("a room", **inputs).images


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("task", TASKS)
def test_save_and_load(task: str, make: Make, models: dict[str, Path]) -> None:
    loaded = TASKS[task][0].from_pretrained(models[task])
    loaded.set_progress_bar_config(disable=True)
    torch.testing.assert_close(sample(loaded, task), sample(make(task), task), atol=1e-5, rtol=0)
    half = TASKS[task][0].from_pretrained(models[task], torch_dtype=torch.bfloat16)
    assert {half.unet.dtype, half.vae.dtype, half.text_encoder.dtype} == {torch.bfloat16}


@pytest.mark.parametrize(
    "name", ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
             "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DDPMScheduler"]
)  # fmt: skip
@pytest.mark.parametrize("task", TASKS)
def test_any_scheduler(task: str, name: str, make: Make, parts: dict[str, Any]) -> None:
    kind = getattr(diffusers, name)
    pipeline = make(task, scheduler=kind.from_config(parts["scheduler"].config))
    first, second = (sample(pipeline, task, output_type="latent") for _ in range(2))
    assert torch.equal(first, second)  # the noise between steps comes from the generator too
    assert first.isfinite().all()


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("offset", [0, 1])
def test_as_many_steps_as_the_schedule_has(
    spacing: str, offset: int, make: Make, parts: dict[str, Any]
) -> None:
    """Stable Diffusion has an offset of 1: as many steps as in training are one too many."""
    changed = {"timestep_spacing": spacing, "steps_offset": offset, "num_train_timesteps": 6}
    scheduler = diffusers.DDIMScheduler.from_config(parts["scheduler"].config, **changed)
    pipeline = make("panorama", scheduler=scheduler)
    most = 6 - (offset if spacing == "leading" else 0)
    for steps in range(1, most + 1):
        assert sample(pipeline, "panorama", num_inference_steps=steps).isfinite().all()
    with pytest.raises(InputError, match=f"`num_inference_steps` in 1 … {most}, .* got {most + 1}"):
        sample(pipeline, "panorama", num_inference_steps=most + 1)


@pytest.mark.parametrize("task", TASKS)
def test_eulers_steps_are_ddims(task: str, make: Make, parts: dict[str, Any]) -> None:
    """Both are the same steps in other units: noise level and scaling of inputs must be right."""
    changed = {"timestep_spacing": "leading", "steps_offset": 1, "clip_sample": False}
    config = parts["scheduler"].config
    results = []
    for name in ("DDIMScheduler", "EulerDiscreteScheduler"):
        pipeline = make(task, scheduler=getattr(diffusers, name).from_config(config, **changed))
        results.append(sample(pipeline, task, num_inference_steps=5, output_type="latent"))
    assert relative_error(results[1], results[0]) < 1e-3


@pytest.mark.parametrize("task", TASKS)
def test_callbacks(task: str, make: Make) -> None:
    pipeline, calls = make(task), []

    def stop_noise(found: Any, step: int, t: Tensor, tensors: dict[str, Tensor]) -> dict:
        assert found is pipeline
        calls.append((step, int(t), sorted(tensors)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 1 else {}

    names = ["latents", "prompt_embeds"]
    latents = sample(
        pipeline,
        task,
        output_type="latent",
        callback_on_step_end=stop_noise,
        callback_on_step_end_tensor_inputs=names,
    )
    groups = 3 if task == "depth" else 1
    assert calls == [(0, 500, names), (1, 0, names)] * groups
    assert not latents[:, 1:].any()  # the first view of outpainting is the given one


def test_callbacks_of_diffusers(make: Make) -> None:
    """Its guide's two: guidance that ends halfway, and a sampling that is broken off."""
    pipeline, batches = make("panorama"), []
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    cutoff = SDCFGCutoffCallback(cutoff_step_ratio=0.5)
    options = {"callback_on_step_end_tensor_inputs": ["prompt_embeds"], "num_inference_steps": 4}
    sample(pipeline, "panorama", callback_on_step_end=cutoff, **options)
    assert batches == [2, 2, 2, 1]  # two branches until the step with the index 2 is done
    assert (pipeline.num_timesteps, pipeline.guidance_scale) == (4, 0.0)

    def stop(found: Any, step: int, t: Tensor, tensors: dict[str, Tensor]) -> dict:
        found._interrupt = step == 1
        return {}

    batches.clear()
    sample(pipeline, "panorama", callback_on_step_end=stop, num_inference_steps=4)
    assert pipeline.interrupt
    assert len(batches) == 2
    sample(pipeline, "panorama", num_inference_steps=4)
    assert len(batches) == 2 + 4


def test_the_guidance_that_a_callback_sets_counts(make: Make) -> None:
    def halve(found: Any, step: int, t: Tensor, tensors: dict[str, Tensor]) -> dict:
        found._guidance_scale = 3.0
        return {}

    def images(**more: Any) -> Tensor:
        return sample(make("panorama"), "panorama", output_type="latent", **more)

    first_alone = images(guidance_scale=6.0, callback_on_step_end=halve)
    assert not torch.equal(first_alone, images(guidance_scale=6.0))
    assert not torch.equal(first_alone, images(guidance_scale=3.0))


@pytest.mark.parametrize("task", TASKS)
def test_prompts_that_the_tokenizer_cuts_are_named(
    task: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline, long = make(task), " ".join(["red"] * 14 + ["room", "a"])  # 16 words, 16 tokens fit
    shared = {**INPUTS[task], "num_inference_steps": 1, "output_type": "latent"}
    pipeline(long, **shared)
    pipeline(long, **shared)
    (record,) = caplog.records
    assert "18 tokens, of which the model sees 16; cut off: 'room a'" in record.message
    caplog.clear()
    pipeline(" ".join(["red"] * 14), **shared)
    assert not caplog.records


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("task", TASKS)
def test_view_chunks_give_the_same_result(task: str, variant: str, make: Make) -> None:
    pipeline = make(task, variant)
    expected = sample(pipeline, task)
    for chunk in (1, 2, None):
        pipeline.set_view_chunk(chunk)
        assert relative_error(sample(pipeline, task), expected) < 1e-4
    with pytest.raises(ValueError, match="view_chunk"):
        pipeline.set_view_chunk(0)


@pytest.mark.parametrize("task", TASKS)
def test_stable_diffusions_vae_and_slicing(task: str, make: Make) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4,
    )
    pipeline = make(task, vae=vae.eval())
    together = sample(pipeline, task)
    pipeline.enable_vae_slicing()
    seen = []
    vae.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    torch.testing.assert_close(sample(pipeline, task), together, atol=1e-5, rtol=1e-4)
    assert set(seen) == {1}
    pipeline.disable_vae_slicing()
    sample(pipeline, task)
    assert max(seen) > 1


def recorded(name: str, load: Callable[..., Any], order: list[str]) -> Callable[..., Any]:
    def load_and_record(*inputs: Any, **options: Any) -> Any:
        order.extend([name] if order[-1:] != [name] else [])
        return load(*inputs, **options)

    return load_and_record


@pytest.mark.parametrize("task", TASKS)
def test_offloading_follows_the_order_of_use(task: str, make: Make) -> None:
    pipeline = make(task)
    expected = sample(pipeline, task)
    pipeline.enable_model_cpu_offload(device="cpu")
    order: list[str] = []
    for name in ("text_encoder", "unet", "vae"):
        hook = getattr(pipeline, name)._hf_hook
        hook.pre_forward = recorded(name, hook.pre_forward, order)
    assert torch.equal(sample(pipeline, task), expected)
    usual = ["text_encoder", "unet", "vae"]
    given = ["text_encoder", "vae", "unet", "vae"]
    assert order == {"panorama": usual, "outpaint": given, "depth": 3 * usual}[task]
    pipeline.remove_all_hooks()


@pytest.mark.parametrize("task", TASKS)
def test_progress_bar(task: str, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = make(task)
    pipeline.set_progress_bar_config(disable=False)
    sample(pipeline, task)
    assert "2/2" in capsys.readouterr().err


PARTS = {"unet": "unet.conv_out.weight", "text_encoder": "", "vae": "decoder_linear.weight"}


def with_weights(make: Make, parts: dict[str, Any], task: str, part: str, value: float) -> Any:
    """Set the weights of one layer of a part."""
    pipeline = make(task, **{name: deepcopy(parts[name]) for name in ("text_encoder", "vae")})
    weights = dict(getattr(pipeline, part).named_parameters())
    torch.nn.init.constant_(weights[PARTS[part] or next(iter(weights))], value)
    return pipeline


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("task", TASKS)
def test_damaged_weights_make_no_black_images(
    task: str, part: str, make: Make, parts: dict[str, Any]
) -> None:
    pipeline = with_weights(make, parts, task, part, torch.nan)
    with pytest.raises(InputError, match=r"got NaN or infinite ones: .* weights are damaged"):
        sample(pipeline, task)


def test_overflows_of_half_precision_make_no_black_images(
    make: Make, parts: dict[str, Any]
) -> None:
    for part in ("unet", "vae"):
        pipeline = with_weights(make, parts, "panorama", part, 3e4)
        assert sample(pipeline, "panorama").isfinite().all()
        getattr(pipeline, part).half()
        with pytest.raises(InputError, match="float16 overflows; use bfloat16 or float32"):
            sample(pipeline, "panorama")


def save_single_view(task: str, name: str, parts: dict[str, Any], folder: Path) -> None:
    """Write a model as Stable Diffusion's text to image, inpainting or depth pipeline does."""
    extra: dict[str, Any] = {}
    if "Depth" in name:
        small = DPTConfig(
            hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=8,
            image_size=16, patch_size=8, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
            backbone_out_indices=[0, 1, 2, 3], reassemble_factors=[4, 2, 1, 0.5],
        )  # fmt: skip
        extra = {"depth_estimator": DPTForDepthEstimation(small)}
        extra["feature_extractor"] = DPTImageProcessor()
    else:
        extra = {"safety_checker": None, "feature_extractor": None}
        extra["requires_safety_checker"] = False
    kind = getattr(diffusers, name)
    scheduler = (
        diffusers.DDIMScheduler()
    )  # of its own, because diffusers changes steps_offset in it
    kind(**{**parts, "scheduler": scheduler}, unet=single_view_unet(task), **extra).save_pretrained(
        folder
    )


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("panorama", "StableDiffusionPipeline"),
        ("outpaint", "StableDiffusionInpaintPipeline"),
        ("outpaint", "StableDiffusionPipeline"),
        ("depth", "StableDiffusionDepth2ImgPipeline"),
        ("depth", "StableDiffusionPipeline"),
    ],
)
@torch.no_grad()
def test_from_a_single_view_model(
    task: str, name: str, parts: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_single_view(task, name, parts, tmp_path)
    pipeline = TASKS[task][0].from_single_view(tmp_path, variant="paper")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet.config["variant"] == "paper"
    together = sample(pipeline, task)
    alone = sample(pipeline, task, correspondence_attention=False)
    torch.testing.assert_close(together, alone)  # untrained attention is the identity
    half = TASKS[task][0].from_single_view(tmp_path, torch_dtype=torch.bfloat16)
    half.to(torch.float32).to(torch.bfloat16)
    assert not re.search("kept in float32|Expected types", caplog.text)  # both alarm over nothing
    assert half.unet.dtype == torch.bfloat16
    with pytest.raises(InputError, match=r"got a UNet2DConditionModel: .* by `from_single_view`"):
        TASKS[task][0](**parts, unet=single_view_unet(task))
    wrong = "depth" if task == "outpaint" else "outpaint"
    with pytest.raises(ValueError, match=f"input channels for MVD.*, got .* {TASKS[task][1]}"):
        TASKS[wrong][0].from_single_view(tmp_path)


@torch.no_grad()
def test_half_precision_on_the_disk_is_float32_in_memory(
    make: Make, parts: dict[str, Any], tmp_path: Path
) -> None:
    """Weights are those of the disk, the arithmetic is float32, in all parts."""
    whole = make("panorama", **{key: deepcopy(value) for key, value in parts.items()})
    whole.to(torch.float16).save_pretrained(tmp_path / "multi")
    save_single_view("panorama", "StableDiffusionPipeline", deepcopy(parts), tmp_path / "single")
    single = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "single")
    single.to(torch.float16).save_pretrained(tmp_path / "half")
    kind = TASKS["panorama"][0]
    loaded = [kind.from_pretrained(tmp_path / "multi"), kind.from_single_view(tmp_path / "half")]
    for pipeline in loaded:
        parameters = [p for name in ("vae", "text_encoder", "unet")
                      for p in getattr(pipeline, name).parameters()]  # fmt: skip
        assert {p.dtype for p in parameters} == {torch.float32}
        assert torch.equal(parameters[0], parameters[0].half().float())
    expected = sample(whole.to(torch.float32), "panorama")  # rounded before
    loaded[0].set_progress_bar_config(disable=True)
    torch.testing.assert_close(sample(loaded[0], "panorama"), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", TASKS)
def test_one_step_at_64_latents_in_bfloat16(task: str, make: Make) -> None:
    pipeline = make(task)
    pipeline.unet.to(torch.bfloat16)
    inputs: dict[str, Any] = {"height": 128, "width": 128, "num_views": 2}
    if task == "outpaint":
        inputs["image"] = torch.zeros(1, 3, 128, 128)
    if task == "depth":
        cameras = walk(3, height=128, width=128)
        inputs = {**cameras, "num_views": 3, "key_frames": [0, 2]}
    latents = sample(pipeline, task, **inputs, num_inference_steps=1, output_type="latent")
    assert latents.shape[-2:] == (64, 64)
    assert latents.dtype == torch.float32
    assert latents.isfinite().all()
    pipeline.unet.to(torch.float32)


SD2 = {
    "sample_size": 64,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}


@pytest.mark.parametrize(
    ("task", "added", "condition"),
    [
        ("panorama", 147_572_480, 0),
        ("outpaint", 147_572_480, 0),
        ("depth", 341_394_560, 27_900_800),
    ],
)
def test_stable_diffusion_2_sizes(
    task: str, added: int, condition: int, parts: dict[str, Any]
) -> None:
    kind, channels = TASKS[task]
    with torch.device("meta"):
        unet = MultiViewUNet.from_unet(
            UNet2DConditionModel(**SD2, in_channels=channels), task=kind.unet_task
        )
        vae = AutoencoderKL(
            block_out_channels=[128, 256, 512, 512],
            layers_per_block=2,
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
        )
    pipeline = kind(**{**parts, "unet": unet, "vae": vae})
    assert pipeline.vae_scale_factor == 8
    assert pipeline.default_size() == (512, 512)
    assert sum(weight.numel() for weight in unet.correspondence_parameters()) == added
    layers = unet.image_conditioning
    found = sum(weight.numel() for weight in layers.parameters()) if layers is not None else 0
    assert found == condition
