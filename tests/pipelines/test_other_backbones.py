"""Pipelines of Stable Diffusion 1.5 and SDXL: untrained, each view is an image of diffusers'."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from noise_data import walk
from other_backbones import PROJECTION, tiny_single_view, write_single_view
from torch import Tensor

from mvdiffusion.pipelines import (
    MVDiffusionDepthPipeline,
    MVDiffusionOutpaintPipeline,
    MVDiffusionPanoramaPipeline,
)
from mvdiffusion.pipelines.loading import load_single_view
from mvdiffusion.records import InputError

FAMILIES = ("sd15", "sdxl")
VIEWS = ["a red room", "a room", "a red red room"]
STEPS: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "pt"}
FIELD = 130.0


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("single")
    return {family: write_single_view(root / family, family) for family in FAMILIES}


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def loaded(folders: dict[str, Path]) -> dict[str, tuple[Any, Any]]:
    """The pipeline of diffusers, and the one of this package, both from the same folder."""
    kinds = (load_single_view, MVDiffusionPanoramaPipeline.from_single_view)
    return {
        family: tuple(quiet(load(folder)) for load in kinds) for family, folder in folders.items()
    }


@pytest.fixture
def both(request: pytest.FixtureRequest, loaded: dict[str, Any]) -> tuple[Any, Any]:
    """Copies of the two, which a test may change."""
    return deepcopy(loaded[request.param])


both_families = pytest.mark.parametrize("both", FAMILIES, indirect=True)
slowly_both = pytest.mark.parametrize(
    "both", [pytest.param("sd15", marks=pytest.mark.slow), "sdxl"], indirect=True
)
sdxl_alone = pytest.mark.parametrize("both", ["sdxl"], indirect=True)


def noise(size: int = 8) -> Tensor:
    return torch.randn(1, len(VIEWS), 4, size, size, generator=torch.Generator().manual_seed(3))


def their_views(pipeline: Any, negative: str | None = None, size: int = 8, **more: Any) -> Tensor:
    """One image after the other, [V, 3, H, W]."""
    given = {**STEPS, **more, "height": 2 * size, "width": 2 * size, "negative_prompt": negative}
    starts = noise(size)[0].split(1)
    images = [
        pipeline(text, latents=start, **given).images
        for text, start in zip(VIEWS, starts, strict=True)
    ]
    return torch.cat(images)


def our_views(pipeline: Any, negative: str = "", size: int = 8, **more: Any) -> Tensor:
    """All views together, [V, 3, H, W]."""
    given = {**STEPS, **more, "height": 2 * size, "width": 2 * size, "negative_prompt": negative}
    return pipeline(VIEWS, fov_deg=FIELD, latents=noise(size), **given).images[0]


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@both_families
@pytest.mark.parametrize(
    ("size", "negative", "guidance"),
    [
        (8, None, 3.0),
        pytest.param(8, "a room", 3.0, marks=pytest.mark.slow),
        pytest.param(12, None, 1.0, marks=pytest.mark.slow),
    ],
)
def test_untrained_every_view_is_an_image_of_diffusers(
    both: Any, size: int, negative: str | None, guidance: float
) -> None:
    """At another size than the model's, too: SDXL is told it."""
    theirs = their_views(both[0], negative, size, guidance_scale=guidance)
    assert_equal(our_views(both[1], negative or "", size, guidance_scale=guidance), theirs)


@sdxl_alone
def test_an_empty_text_is_zeros_if_the_model_says_so(both: Any, folders: dict[str, Path]) -> None:
    """Without zeros, diffusers' default negative prompt is the empty text."""
    theirs, ours = both
    zeros = our_views(ours)
    for pipeline in both:
        pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    assert_equal(our_views(ours), their_views(theirs))
    assert not torch.allclose(our_views(ours), zeros, atol=1e-4)


@slowly_both
def test_trained_attention_makes_the_views_depend_on_each_other(both: Any) -> None:
    ours = both[1]
    plain = our_views(ours)
    torch.manual_seed(2)
    with torch.no_grad():
        for weights in ours.unet.correspondence_parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    assert not torch.allclose(our_views(ours), plain, atol=1e-3)
    assert_equal(our_views(ours, correspondence_attention=False), plain)
    together = our_views(ours)
    ours.set_view_chunk(1)
    assert_equal(our_views(ours), together)


@slowly_both
def test_saved_folders_load_again(both: Any, tmp_path: Path) -> None:
    """By this package, and by diffusers through the folder's own files."""
    family = len(both[1].text.encoders)
    expected = our_views(both[1])
    both[1].save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert sum(name.startswith("text_encoder") for name in index) == family
    assert index.get("force_zeros_for_empty_prompt") == (True if family == 2 else None)
    ours = MVDiffusionPanoramaPipeline.from_pretrained(tmp_path)
    theirs = DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True)
    assert set(ours.components) == set(theirs.components) >= {"text_encoder", "text_encoder_2"}
    for pipeline in (ours, theirs):
        assert_equal(our_views(quiet(pipeline)), expected)
    encoders = "text encoders" if family == 2 else "text encoder"
    count = sum(encoder.num_parameters() for encoder in both[1].text.encoders)
    assert f"{encoders} {count:,}" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_outpainting_and_depth_start_from_the_text_model_or_their_own(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    kinds: list[tuple[Any, int]] = [
        (MVDiffusionOutpaintPipeline, 9),
        (MVDiffusionDepthPipeline, 5),
    ]
    for kind, channels in kinds:
        inputs: dict[str, Any] = walk(3)
        if kind is MVDiffusionOutpaintPipeline:
            inputs = {"image": torch.ones(1, 3, 16, 16) / 2, "num_views": 3, "fov_deg": FIELD}
        own = write_single_view(tmp_path / str(channels), "sdxl", channels)
        for source, options in ((own, {}), (folders["sdxl"], {"ignore_condition": True})):
            pipeline = quiet(kind.from_single_view(source, **options))
            images = pipeline("a room", **inputs, **STEPS).images
            assert images.isfinite().all()
        with pytest.raises((InputError, ValueError), match=f"with {channels} input channels"):
            kind.from_single_view(folders["sdxl"])


def embeddings(theirs: Any, text: str, negative: str) -> dict[str, Tensor]:
    """What diffusers' pipelines make of texts, by the names of their arguments, for one view."""
    names = ["prompt_embeds", "negative_prompt_embeds"]
    if isinstance(theirs, StableDiffusionXLPipeline):
        names += ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
        found = theirs.encode_prompt(text, negative_prompt=negative)
    else:
        found = theirs.encode_prompt(text, "cpu", 1, True, negative)
    return {name: value.detach() for name, value in zip(names, found, strict=True)}


@slowly_both
def test_embeddings_of_diffusers_take_the_place_of_texts(both: Any) -> None:
    theirs, ours = both
    given = [embeddings(theirs, text, "a room") for text in VIEWS]
    stacked = {name: torch.cat([one[name] for one in given]) for name in given[0]}
    options = {**STEPS, "fov_deg": FIELD, "latents": noise(), **stacked}
    assert_equal(ours(None, **options).images[0], our_views(ours, "a room"))
    if "pooled_prompt_embeds" not in stacked:
        return
    with pytest.raises(InputError, match=r"`pooled_prompt_embeds` beside embeddings.*got none"):
        ours(None, **{**options, "pooled_prompt_embeds": None})
    with pytest.raises(
        InputError, match=rf"`negative_pooled_prompt_embeds` of shape .*{PROJECTION}"
    ):
        ours(None, **{**options, "negative_pooled_prompt_embeds": torch.zeros(3, PROJECTION + 1)})


@pytest.mark.slow
@sdxl_alone
def test_clip_skip_counts_from_the_layer_before_the_last(both: Any) -> None:
    theirs, ours = both
    assert_equal(our_views(ours, clip_skip=1), their_views(theirs, clip_skip=1))
    assert not torch.allclose(our_views(ours, clip_skip=1), our_views(ours), atol=1e-5)
    with pytest.raises(InputError, match=r"`clip_skip` in 0 … 2, .* got 3"):
        our_views(ours, clip_skip=3)


def random_lora(theirs: Any, folder: Path) -> Path:
    """Write a LoRA of UNet and text encoders, random in all of its weights."""
    peft = pytest.importorskip("peft")
    targets = {"unet": ["to_q", "to_k", "to_v"], "text_encoder": ["q_proj", "v_proj"]}
    if isinstance(theirs, StableDiffusionXLPipeline):
        targets["text_encoder_2"] = ["q_proj", "v_proj"]
    layers = {}
    torch.manual_seed(7)
    for name, modules in targets.items():
        part = deepcopy(getattr(theirs, name))
        part.add_adapter(peft.LoraConfig(r=2, lora_alpha=2, target_modules=modules))
        for key, weights in part.named_parameters():
            if "lora_" in key:
                torch.nn.init.normal_(weights, std=0.5)
        layers[f"{name}_lora_layers"] = peft.get_peft_model_state_dict(part)
    type(theirs).save_lora_weights(folder, **layers)
    return folder


@pytest.mark.slow
@sdxl_alone
def test_loras_fit_text_encoders_and_shared_unet(both: Any, tmp_path: Path) -> None:
    theirs, ours = both
    plain = our_views(ours)
    file = random_lora(theirs, tmp_path)
    for pipeline in both:
        pipeline.load_lora_weights(file, adapter_name="mine")
    full = our_views(ours)
    assert_equal(full, their_views(theirs))
    scaled = {"cross_attention_kwargs": {"scale": 0.3}}
    assert_equal(our_views(ours, **scaled), their_views(theirs, **scaled))
    assert not torch.allclose(full, plain, atol=1e-3)
    for pipeline in both:
        pipeline.fuse_lora(lora_scale=0.5)
    assert_equal(our_views(ours), their_views(theirs))
    ours.unfuse_lora()
    ours.unload_lora_weights()
    assert_equal(our_views(ours), plain)


@pytest.mark.slow
@sdxl_alone
def test_attention_processors_are_those_of_the_shared_unet(both: Any) -> None:
    theirs, ours = both
    assert ours.unet.attn_processors.keys() == theirs.unet.attn_processors.keys()
    expected = our_views(ours)
    seen: list[Any] = []

    class Recording(AttnProcessor):
        def __call__(self, *args: Any, word: Any = None, **options: Any) -> Tensor:
            seen.append(word)
            return super().__call__(*args, **options)

    ours.unet.set_attn_processor(Recording())
    assert_equal(our_views(ours, cross_attention_kwargs={"word": 7}), expected)
    assert set(seen) == {7}
    ours.unet.set_attn_processor(AttnProcessor2_0())
    assert_equal(our_views(ours), expected)


@pytest.mark.slow
@sdxl_alone
def test_textual_inversions_fit_both_text_encoders(both: Any) -> None:
    theirs, ours = both
    generator = torch.Generator().manual_seed(5)
    for part in ("", "_2"):
        encoder = f"text_encoder{part}"
        width = getattr(theirs, encoder).config.hidden_size
        vectors = torch.randn(2, width, generator=generator)
        for pipeline in both:
            pipeline.load_textual_inversion(
                {"<room>": vectors},
                text_encoder=getattr(pipeline, encoder),
                tokenizer=getattr(pipeline, f"tokenizer{part}"),
            )
    options = {**STEPS, "height": 16, "width": 16, "latents": noise()[:, 0]}
    expected = theirs("a <room>", **options).images
    options["latents"] = noise()[:, :1]
    assert_equal(ours("a <room>", num_views=1, negative_prompt="", **options).images[0], expected)


@pytest.mark.slow
@sdxl_alone
def test_the_vae_of_sdxl_leaves_half_precision(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in diffusers; afterwards it is in half precision again."""
    ours = both[1]
    seen: list[torch.dtype] = []
    decode = type(ours.vae).decode

    def recorded(vae: Any, *args: Any, **options: Any) -> Any:
        seen.append(vae.dtype)
        return decode(vae, *args, **options)

    monkeypatch.setattr(type(ours.vae), "decode", recorded)
    exact = our_views(ours)
    ours.vae.to(torch.float16)
    assert torch.allclose(our_views(ours), exact, atol=2e-3)
    assert seen == [torch.float32] * 2
    assert ours.vae.dtype == torch.float16


def test_the_scale_of_the_latents_is_the_vaes() -> None:
    assert tiny_single_view("sdxl").vae.config.scaling_factor == 0.13025
