"""The released depth model's outputs, reproduced (tolerances of the golden files)."""

import pytest
import torch
from golden import load, relative_error, released_caa_weights, released_model_weights

from mvdiffusion.geometry.depth import depth_correspondences, overlaps
from mvdiffusion.models.attention import CorrespondenceBlock
from mvdiffusion.models.depth_geometry import MIN_OVERLAP, DepthGeometry
from mvdiffusion.models.multiview_unet import MultiViewUNet


def cameras(tensors: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    views = tensors["depths"].shape[1]
    return tensors["depths"], tensors["K"][:, None].expand(-1, views, -1, -1), tensors["poses"]


def test_correspondences() -> None:
    tensors, settings = load("depth_geometry")
    depth, K, pose = cameras(tensors)
    xy, z = (
        value.unflatten(3, depth.shape[-2:]) for value in depth_correspondences(depth, K, pose)
    )
    stride = settings["stride"]
    xy, z = xy[:, :, :, ::stride, ::stride], z[:, :, :, ::stride, ::stride]
    known = depth[:, :, None, ::stride, ::stride].expand_as(z) > 0
    expected = tensors["xy"]
    assert torch.equal((expected > -1e5).all(-1), known)
    seen = (z > 0) & ((expected - 96).abs() < 500).all(-1)  # in front, not far outside
    assert seen.sum() > 1000
    assert relative_error(xy[seen], expected[seen]) < 1e-4


def test_overlap_graph() -> None:
    tensors, settings = load("depth_geometry")
    assert settings["overlap_filter"] == MIN_OVERLAP
    linked = overlaps(*cameras(tensors)) > MIN_OVERLAP
    assert torch.equal(linked, tensors["overlap_mask"].bool())


@torch.no_grad()
def test_attention_block() -> None:
    tensors, _ = load("depth_caa")
    block = CorrespondenceBlock(64)
    block.load_state_dict(released_caa_weights(tensors, "caa"))
    found = block(tensors["x"], DepthGeometry(*cameras(tensors)))
    assert relative_error(found, tensors["y"]) < 1e-4


@pytest.fixture(scope="module")
def model() -> MultiViewUNet:
    tensors, settings = load("depth_unet")
    unet = MultiViewUNet(settings["unet_config"], task="depth")
    unet.load_state_dict(released_model_weights(tensors))
    return unet.eval()


@pytest.mark.parametrize(
    ("condition", "expected"), [(None, "noise_pred"), ("condition", "noise_pred_interpolation")]
)
@torch.no_grad()
def test_unet(model: MultiViewUNet, condition: str | None, expected: str) -> None:
    tensors, _ = load("depth_unet")
    geometry = model.prepare_depth_geometry(*cameras(tensors))
    inputs = tensors["latents"], tensors["timesteps"], tensors["prompt_embeds"]
    given = None if condition is None else tensors[condition]
    assert relative_error(model(*inputs, geometry, given).sample, tensors[expected]) < 1e-4
