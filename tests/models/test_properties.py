"""What must hold for any cameras, views, sizes and depths (property-based)."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_models import TINY_UNET
from torch import Tensor, nn

from mvdiffusion.geometry.cameras import intrinsics, rotation
from mvdiffusion.geometry.depth import overlaps
from mvdiffusion.models.attention import CorrespondenceAttention
from mvdiffusion.models.correspondence_geometry import (
    CorrespondenceGeometry,
    LevelGeometry,
    MultiViewGeometry,
)
from mvdiffusion.models.depth_geometry import MIN_OVERLAP, DepthGeometry
from mvdiffusion.models.kernels.tokens import Tokens
from mvdiffusion.models.multiview_unet import MultiViewUNet

SCALE = 4  # pixels per latent cell
TASKS = pytest.mark.parametrize("task", ["panorama", "depth"])
VARIANTS = pytest.mark.parametrize("variant", ["released", "paper"])
FEW = settings(max_examples=8, deadline=None)


@dataclass
class Scene:
    """Random cameras of B samples of V views; K, R, pose and depth at SCALE x the latents."""

    latents: Tensor  # [B, V, 4, h, w]
    text: Tensor  # [B, V, 3, 16]
    timesteps: Tensor  # [B]
    K: Tensor
    R: Tensor
    pose: Tensor
    depth: Tensor

    def pick(self, samples: slice | Tensor, views: slice | Tensor = slice(None)) -> "Scene":
        values = (self.latents, self.text, self.K, self.R, self.pose, self.depth)
        latents, text, *cameras = (value[samples][:, views] for value in values)
        return Scene(latents, text, self.timesteps[samples], *cameras)

    def geometry(self, model: MultiViewUNet) -> CorrespondenceGeometry:
        if model.config["task"] == "depth":
            return model.prepare_depth_geometry(self.depth, self.K, self.pose)
        return model.prepare_geometry(self.K, self.R, *self.depth.shape[-2:])

    def run(self, model: MultiViewUNet, together: bool = True) -> Tensor:
        geometry = self.geometry(model) if together else None
        extra = [self.depth[:, :, None, ::SCALE, ::SCALE]] * (model.config["task"] == "depth")
        inputs = torch.cat([self.latents, *extra], 2)
        with torch.no_grad():
            return model(inputs, self.timesteps, self.text, geometry).sample


@st.composite
def scenes(draw: st.DrawFn, samples: int = 1) -> Scene:
    views = draw(st.integers(2, 5))
    h, w = 2 * draw(st.integers(2, 4)), 2 * draw(st.integers(2, 4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    fov_deg = draw(st.floats(50, 100))
    step_deg = draw(st.floats(3, 60))
    angles = (torch.rand(samples, views, 2, generator=random) - 0.5) * 10
    R = torch.stack(
        [
            torch.stack([rotation(step_deg * i + yaw, pitch) for i, (yaw, pitch) in enumerate(row)])
            for row in angles.tolist()
        ]
    )
    pose = torch.eye(4).repeat(samples, views, 1, 1)
    pose[..., :3, :3] = R
    pose[..., :3, 3] = torch.rand(samples, views, 3, generator=random) * 0.3
    height, width = h * SCALE, w * SCALE
    depth = 1.5 + torch.rand(samples, views, height, width, generator=random)
    depth[torch.rand(depth.shape, generator=random) < 0.1] = 0
    return Scene(
        torch.randn(samples, views, 4, h, w, generator=random),
        torch.randn(samples, views, 3, 16, generator=random),
        torch.randint(1000, (samples,), generator=random),
        intrinsics(fov_deg, height, width).expand(samples, views, 3, 3),
        R,
        pose,
        depth,
    )


def model_of(task: str, variant: str, trained: bool = True) -> MultiViewUNet:
    torch.manual_seed(0)
    channels = 5 if task == "depth" else 4
    model = MultiViewUNet({**TINY_UNET, "in_channels": channels}, variant, task).eval()
    if trained:
        train(model)
    return model


def train(module: nn.Module) -> None:
    """Stand in for training: no weight is left at zero."""
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


@TASKS
@VARIANTS
@FEW
@given(scene=scenes(samples=2))
def test_untrained_layers_change_nothing(task: str, variant: str, scene: Scene) -> None:
    model = model_of(task, variant, trained=False)
    assert torch.equal(scene.run(model), scene.run(model, together=False))


@TASKS
@VARIANTS
@FEW
@given(scene=scenes(samples=2))
def test_a_batch_of_two_is_two_batches_of_one(task: str, variant: str, scene: Scene) -> None:
    model = model_of(task, variant)
    ones = [scene.pick(slice(i, i + 1)).run(model) for i in range(2)]
    close(scene.run(model), torch.cat(ones))


@TASKS
@VARIANTS
@FEW
@given(scene=scenes(samples=2), chunk=st.integers(1, 4))
def test_chunks_of_views_give_the_same(task: str, variant: str, scene: Scene, chunk: int) -> None:
    model = model_of(task, variant)
    whole = scene.run(model)
    model.set_view_chunk(chunk)
    close(scene.run(model), whole)


# Not the released code for depth: its position code depends on the order of the views, since it
# takes neighboring values for coordinates of one point.
@pytest.mark.parametrize(
    ("task", "variant"), [("panorama", "released"), ("panorama", "paper"), ("depth", "paper")]
)
@FEW
@given(scene=scenes(), shift=st.integers(1, 4))
def test_views_turned_round_give_results_turned_round(
    task: str, variant: str, scene: Scene, shift: int
) -> None:
    if task == "depth":  # views without a partner take those beside them, which the ends lack
        shares = overlaps(scene.depth, scene.K, scene.pose)[0].fill_diagonal_(0).amax(1)
        assume(bool((shares > MIN_OVERLAP).all()))
    model = model_of(task, variant)
    order = torch.arange(scene.depth.shape[1]).roll(shift)
    turned = scene.pick(slice(None), order).run(model)
    # The released frequencies amplify rounding, which differs with the order of the views.
    torch.testing.assert_close(turned, scene.run(model)[:, order], atol=5e-3, rtol=1e-2)


class NoCode:
    """Geometry without a position code."""

    def _encoded(self, level: LevelGeometry) -> Tokens:
        tokens = level.tokens()
        return replace(tokens, valid=torch.zeros_like(tokens.valid))

    def query_code(self, height: int, width: int, channels: int) -> Tensor:
        return torch.zeros(height * width, channels)


class PanoramaWithoutCode(NoCode, MultiViewGeometry):
    pass


class DepthWithoutCode(NoCode, DepthGeometry):
    pass


def attentions() -> dict[str, CorrespondenceAttention]:
    """Both variants with the same weights."""
    torch.manual_seed(0)
    both = {name: CorrespondenceAttention(32, name) for name in ("released", "paper")}
    train(both["released"])
    both["paper"].load_state_dict(both["released"].state_dict())
    return both


@FEW
@given(half=st.integers(2, 4), views=st.integers(3, 5), seed=st.integers(0, 2**20))
@torch.no_grad()
def test_variants_agree_but_for_code_and_masked_tokens(half: int, views: int, seed: int) -> None:
    """Equal cameras put every token on a cell; without the code only masking tells them apart."""
    size, random = 2 * half, torch.Generator().manual_seed(seed)
    features = torch.randn(views, 32, size, size, generator=random)
    K = intrinsics(90, size * SCALE, size * SCALE).expand(1, views, 3, 3)
    R = torch.eye(3).expand(1, views, 3, 3)
    side = size * SCALE
    found = {
        name: layer(features, PanoramaWithoutCode(K, R, side, side, name))
        for name, layer in attentions().items()
    }
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    if views == 3:  # left and right neighbor are then all other views, as in `paper`
        close(found["released"][inner], found["paper"][inner])
    border = (found["released"] - found["paper"]).abs()
    assert border[:, :, 0].max() > 1e-3


@FEW
@given(views=st.integers(2, 4), seed=st.integers(0, 2**20), meters=st.floats(0.5, 5))
@torch.no_grad()
def test_depth_variants_agree_where_neighborhood_and_code_say_nothing(
    views: int, seed: int, meters: float
) -> None:
    """Even features make every neighborhood alike; equal poses make every token valid."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(views, 32, 1, 1, generator=random).expand(-1, -1, 4, 6)
    K = intrinsics(70, 16, 24).expand(1, views, 3, 3)
    pose, depth = torch.eye(4).expand(1, views, 4, 4), torch.full((1, views, 16, 24), meters)
    found = {
        name: layer(features, DepthWithoutCode(depth, K, pose, name))
        for name, layer in attentions().items()
    }
    close(found["released"], found["paper"])


def test_occluded_points_do_not_correspond_in_the_paper_variant() -> None:
    """A wall 3 m away that the target sees behind a board at 1 m: only `released` attends."""
    K = intrinsics(90, 16, 16).expand(1, 2, 3, 3)
    pose = torch.eye(4).expand(1, 2, 4, 4)
    depth = torch.full((1, 2, 16, 16), 3.0)
    depth[0, 1, :, 8:] = 1.0
    valid = {
        name: DepthGeometry(depth, K, pose, name).level(4, 4).valid[0, 0].unflatten(0, (4, 4))
        for name in ("released", "paper")
    }
    assert valid["released"].all()
    assert valid["paper"][1:3, 0].any(-1).all()
    assert not valid["paper"][:, 3].any()


@VARIANTS
@TASKS
@settings(max_examples=3, deadline=None)
@given(scene=scenes())
def test_gradients_are_finite_differences(task: str, variant: str, scene: Scene) -> None:
    layer = CorrespondenceAttention(32, variant)
    train(layer.double())
    views, _, h, w = scene.latents.shape[1:]
    size = (h * SCALE, w * SCALE)
    geometry: CorrespondenceGeometry = (
        DepthGeometry(scene.depth, scene.K, scene.pose, variant)
        if task == "depth"
        else MultiViewGeometry(scene.K, scene.R, *size, variant)
    )
    random = torch.Generator().manual_seed(1)
    x = torch.randn(views, 32, h, w, generator=random, dtype=torch.float64)
    weight, direction = (torch.randn(x.shape, generator=random).double() for _ in range(2))
    x.requires_grad_(True)
    (layer(x, geometry) * weight).sum().backward()
    slope = (x.grad * direction).sum().item()
    step = 1e-3  # sampling is done in float32
    with torch.no_grad():
        ends = [(layer(x + s * step * direction, geometry) * weight).sum() for s in (1, -1)]
    assert math.isclose((ends[0] - ends[1]).item() / (2 * step), slope, rel_tol=2e-2, abs_tol=2e-2)
