"""Properties of correspondence-aware attention and of the UNet around it."""

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from mvdiffusion.geometry.cameras import intrinsics, panorama_cameras, rotation
from mvdiffusion.models.attention import CorrespondenceAttention
from mvdiffusion.models.correspondence_geometry import MultiViewGeometry, frequency_code
from mvdiffusion.models.multiview_unet import MultiViewUNet

VARIANTS = ["released", "paper"]


def trained(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give every weight a random value, so that zero-initialized layers matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def geometry(views: int = 8, size: int = 64, variant: str = "released") -> MultiViewGeometry:
    K, R = panorama_cameras(size, size, views)
    return MultiViewGeometry(K[None], R[None], size, size, variant)


def inputs(batch: int, views: int, side: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, views, 4, side, side, generator=generator),
        torch.randint(0, 1000, (batch,), generator=generator),
        torch.randn(batch, views, 5, 16, generator=generator),
    )


def test_parameters_at_stable_diffusion_2_size(sd2_unet_config: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = MultiViewUNet(sd2_unet_config)
    added = sum(parameter.numel() for parameter in model.correspondence_parameters())
    assert added == 147_572_480
    assert sum(parameter.numel() for parameter in model.unet.parameters()) == 865_910_724


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("views", [1, 2, 3, 8])
@torch.no_grad()
def test_untrained_attention_is_exactly_the_identity(
    variant: str, views: int, tiny_unet_config: dict[str, Any]
) -> None:
    unet = UNet2DConditionModel(**tiny_unet_config).eval()
    model = MultiViewUNet.from_unet(unet, variant)
    K, R = panorama_cameras(32, 32, views)
    latents, timesteps, text = inputs(2, views)
    together = model(latents, timesteps, text, model.prepare_geometry(K[None], R[None], 32, 32))
    alone = unet(
        latents.flatten(0, 1), timesteps.repeat_interleave(views), text.flatten(0, 1)
    ).sample
    assert torch.equal(together.sample, model(latents, timesteps, text, None).sample)
    torch.testing.assert_close(together.sample.flatten(0, 1), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_attention_looks_where_the_correspondence_is(variant: str) -> None:
    """A change in one target cell moves only the query cells whose 3 x 3 tokens touch it."""
    layer = trained(CorrespondenceAttention(32, variant))
    cameras = geometry(variant=variant)
    features = torch.randn(8, 32, 8, 8, generator=torch.Generator().manual_seed(0))
    before = layer(features, cameras)
    features[1, :, 4, 2] *= -1  # a cell in the left half of view 1: seen by view 0
    moved = (layer(features, cameras) - before).abs().amax(1) > 1e-6
    assert set(moved.flatten(1).any(1).nonzero().flatten().tolist()) <= {0, 1, 2}
    level = cameras.level(8, 8)
    place = level.targets[0, 0].tolist().index(1)
    tokens = range(9 * place, 9 * place + 9)  # view 0's in view 1
    touching = ((level.places[0, 0, :, tokens] - torch.tensor([2.0, 4.0])).abs() < 1).all(-1)
    touching &= level.valid[0, 0, :, tokens]
    assert torch.equal(moved[0], touching.any(-1).unflatten(0, (8, 8)))
    assert moved[0].any()


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_batch_of_two_is_two_batches_of_one(variant: str, tiny_unet_config: dict[str, Any]) -> None:
    model = trained(MultiViewUNet(tiny_unet_config, variant))
    K, R = panorama_cameras(32, 32, 8)
    shared = model.prepare_geometry(K[None], R[None], 32, 32)
    own = model.prepare_geometry(K.expand(2, -1, -1, -1), R.expand(2, -1, -1, -1), 32, 32)
    latents, timesteps, text = inputs(2, 8)
    both = model(latents, timesteps, text, shared).sample
    torch.testing.assert_close(both, model(latents, timesteps, text, own).sample)
    for sample in range(2):
        one = slice(sample, sample + 1)
        single = model(latents[one], timesteps[one], text[one], shared).sample
        torch.testing.assert_close(single, both[one], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_cyclic_shift_of_the_views_shifts_the_result(tiny_unet_config: dict[str, Any]) -> None:
    # `paper` only: the released code's top frequencies amplify the rounding of each view.
    model = trained(MultiViewUNet(tiny_unet_config, "paper"))
    K, R = panorama_cameras(32, 32, 8)
    cameras = model.prepare_geometry(K[None], R[None], 32, 32)
    latents, timesteps, text = inputs(1, 8)
    plain = model(latents, timesteps, text, cameras).sample
    shifted = model(latents.roll(3, 1), timesteps, text.roll(3, 1), cameras).sample
    torch.testing.assert_close(shifted, plain.roll(3, 1), rtol=1e-3, atol=1e-4)


def test_gradients_against_finite_differences() -> None:
    layer = trained(CorrespondenceAttention(32, "paper")).double()
    cameras = geometry(views=3, size=24, variant="paper")
    features = torch.randn(3, 32, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 32, 3, 3, dtype=torch.float64)
    parameters = [features, layer.to_k.weight, layer.to_out.weight, layer.norm1.weight]

    def value() -> Tensor:
        return (layer(features, cameras) * weight).sum()

    gradients = torch.autograd.grad(value(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            # Features are sampled in float32: the step must stay above its rounding.
            parameter.add_(1e-3 * direction)
            high = value()
            parameter.sub_(2e-3 * direction)
            low = value()
            parameter.add_(1e-3 * direction)
        slope = (gradient * direction).sum()
        torch.testing.assert_close((high - low) / 2e-3, slope, rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_checkpointing_changes_nothing(
    variant: str, tiny_unet_config: dict[str, Any]
) -> None:
    model = trained(MultiViewUNet(tiny_unet_config, variant)).train()
    K, R = panorama_cameras(32, 32, 8)
    cameras = model.prepare_geometry(K[None], R[None], 32, 32)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(*inputs(1, 8), cameras).sample.square().mean().backward()
        return [parameter.grad.clone() for parameter in model.correspondence_parameters()]

    plain = gradients()
    model.enable_gradient_checkpointing()
    for found, expected in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_stays_close(dtype: torch.dtype, tiny_unet_config: dict[str, Any]) -> None:
    model = trained(MultiViewUNet(tiny_unet_config, "paper"))
    K, R = panorama_cameras(32, 32, 8)
    latents, timesteps, text = inputs(1, 8)
    full = model(latents, timesteps, text, model.prepare_geometry(K[None], R[None], 32, 32)).sample
    model.to(dtype)
    cameras = model.prepare_geometry(K[None], R[None], 32, 32)
    half = model(latents.to(dtype), timesteps, text.to(dtype), cameras).sample
    assert half.dtype == dtype
    assert (half.float() - full).abs().mean() < 0.05 * full.abs().mean()


@torch.no_grad()
def test_single_cell_maps_and_odd_sizes_are_finite(tiny_unet_config: dict[str, Any]) -> None:
    layer = trained(CorrespondenceAttention(32))
    assert layer(torch.randn(8, 32, 1, 1), geometry()).isfinite().all()
    model = trained(MultiViewUNet(tiny_unet_config, "paper"))
    K, R = panorama_cameras(28, 36, 8)  # latents 7 x 9: neither level is a power of two
    latents = torch.randn(1, 8, 4, 7, 9)
    out = model(
        latents, 10, torch.randn(1, 8, 5, 16), model.prepare_geometry(K[None], R[None], 28, 36)
    ).sample
    assert out.shape == latents.shape
    assert out.isfinite().all()


def test_paper_targets_are_all_views_that_overlap() -> None:
    yaws = [0.0, 30.0, 60.0, 180.0]
    K = intrinsics(90, 32, 32).expand(1, 4, 3, 3)
    R = torch.stack([rotation(yaw) for yaw in yaws])[None]
    targets, exists = MultiViewGeometry(K, R, 32, 32, "paper").targets
    assert [sorted(row.tolist()) for row in targets[0]] == [[1, 2], [0, 2], [0, 1], [3, 3]]
    assert exists.all(-1).tolist() == [[True, True, True, False]]
    level = MultiViewGeometry(K, R, 32, 32, "paper").level(4, 4)
    assert not level.valid[0, 3].any()


def test_position_code_against_its_formula() -> None:
    xy = torch.tensor([0.25, -1.5])
    code = frequency_code(xy, 16, "released")
    expected = [f(c * 2.0**k) for f in (torch.sin, torch.cos) for c in xy for k in range(4)]
    torch.testing.assert_close(code, torch.stack(expected))


def test_save_and_load_round_trip(tmp_path: Any, tiny_unet_config: dict[str, Any]) -> None:
    model = trained(MultiViewUNet(tiny_unet_config, "paper"))
    model.save_pretrained(tmp_path)
    loaded = MultiViewUNet.from_pretrained(tmp_path)
    assert loaded.config["variant"] == "paper"
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_unknown_parts_are_refused(tiny_unet_config: dict[str, Any]) -> None:
    tiny_unet_config["down_block_types"] = ["AttnDownBlock2D", "DownBlock2D"]
    with pytest.raises(ValueError, match="AttnDownBlock2D"):
        MultiViewUNet(tiny_unet_config)
    with pytest.raises(ValueError, match="divisible by 32"):
        CorrespondenceAttention(48)
    with pytest.raises(ValueError, match="variant"):
        CorrespondenceAttention(32, "other")
