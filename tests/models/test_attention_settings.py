"""Every option of the attention against a formula of its own; the defaults change no number."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvdiffusion.attention_settings import AttentionSettings
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.models.attention import CorrespondenceAttention, CrossViewAttention
from mvdiffusion.models.correspondence_geometry import MultiViewGeometry
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse

CHANNELS, CELLS, SIZE, VIEWS = 32, 4, 32, 8
VARIANTS = pytest.mark.parametrize("variant", ["released", "paper"])


def layer(kind: type = CorrespondenceAttention, variant: str = "released") -> Any:
    torch.manual_seed(0)
    made = kind(CHANNELS, variant).eval().requires_grad_(False)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made


def features() -> Tensor:
    return torch.randn(VIEWS, CHANNELS, CELLS, CELLS, generator=torch.Generator().manual_seed(1))


def geometry(
    variant: str = "released", views: int = VIEWS, fov_deg: float = 90.0, **options: Any
) -> MultiViewGeometry:
    K, R = panorama_cameras(SIZE, SIZE, views, fov_deg)
    attention = AttentionSettings(**options) if options else None
    return MultiViewGeometry(K[None], R[None], SIZE, SIZE, variant, attention)


def respond(made: Any, x: Tensor, query: Tensor, tokens: Tensor) -> Tensor:
    """The transformer block for one cell x [C], its query and its tokens [N, C] given."""
    scores = made.to_k(tokens) @ made.to_q(query) / 32**0.5
    cell = x + made.to_out(scores.softmax(0) @ made.to_v(tokens))
    return cell + made.ff(made.norm2(cell))


def bilinear(feature: Tensor, x: float, y: float) -> Tensor:
    """Features [C, h, w] at a place in cells, zero outside."""
    total = torch.zeros(len(feature))
    for column, row in ((int(x // 1) + i, int(y // 1) + j) for i in (0, 1) for j in (0, 1)):
        if 0 <= column < CELLS and 0 <= row < CELLS:
            total += feature[:, row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


@VARIANTS
def test_defaults_are_the_variants(variant: str) -> None:
    """Numbers of before there were options, and the same by options that say what they are."""
    targets, outside = (
        ("neighbors", "zeroed") if variant == "released" else ("overlapping", "masked")
    )
    named = geometry(variant, neighborhood=3, targets=targets, outside=outside)
    made, x = layer(variant=variant), features()
    found = made(x, geometry(variant))
    assert torch.equal(found, made(x, named))
    mean, size = {"released": (-0.0817606, 0.8555446), "paper": (-0.0224039, 0.9151347)}[variant]
    assert found.mean().item() == pytest.approx(mean, abs=1e-5)
    assert found.abs().mean().item() == pytest.approx(size, abs=1e-5)


def test_one_cell_is_one_bilinear_sample() -> None:
    """K = 1 and one target: the softmax is over one token, which is read as it is."""
    made, x = layer(), features()
    cameras = geometry(neighborhood=1, outside="masked", closed_loop=False)
    found, f = made(x, cameras), SIZE / 2
    answered = 0
    for row, column in ((r, c) for r in range(CELLS) for c in range(CELLS)):
        # The last view has one neighbor left, 45 degrees to its left.
        u, v = (8 * column + 4 - 15.5) / f, (8 * row + 4 - 15.5) / f
        s = 0.5**0.5
        right, ahead = s * u + s, s - s * u  # in the camera turned by −45 degrees
        if ahead <= 0:
            continue
        pixel = torch.tensor([f * right / ahead + 15.5, f * v / ahead + 15.5])
        if not ((pixel > 0) & (pixel < SIZE)).all():
            continue
        answered += 1
        place = (pixel / 8 - 0.5).tolist()
        zero = torch.cat([torch.zeros(16), torch.ones(16)])  # γ(0): the point itself
        token = made.norm1(bilinear(x[-2], *place) + zero)
        cell = x[-1, :, row, column] + made.to_out(made.to_v(token))
        expected = cell + made.ff(made.norm2(cell))
        torch.testing.assert_close(found[-1, :, row, column], expected, rtol=2e-3, atol=2e-3)
    assert answered >= 4


def test_a_wider_neighborhood_holds_the_narrower_ones() -> None:
    levels = {side: geometry(neighborhood=side).level(CELLS, CELLS) for side in (1, 3, 5)}
    # By target, then columns, then rows, around the correspondence.
    wide = levels[5].places.unflatten(3, (-1, 5, 5))
    torch.testing.assert_close(wide[..., 1:4, 1:4, :].flatten(3, 5), levels[3].places)
    torch.testing.assert_close(wide[..., 2, 2, :].flatten(3, 3), levels[1].places)
    steps = wide - wide[..., 2:3, 2:3, :]
    for x, y in ((x, y) for x in range(5) for y in range(5)):
        moved = steps[..., x, y, :] - torch.tensor([x - 2.0, y - 2.0])
        assert moved.abs().max() < 1e-2


@VARIANTS
@pytest.mark.parametrize("outside", ["zeroed", "masked"])
def test_tokens_outside_count_as_zero_or_not_at_all(variant: str, outside: str) -> None:
    made, x = layer(variant=variant), features()
    cameras = geometry(variant, targets="neighbors", outside=outside)
    found, level = made(x, cameras), cameras.level(CELLS, CELLS)
    code = cameras.tokens(CELLS, CELLS).code(cameras.bands(CHANNELS)).unflatten(0, (VIEWS, -1))
    own = torch.cat([torch.zeros(16), torch.ones(16)])
    released, some = variant == "released", 0
    for view, cell in ((1, c) for c in range(CELLS**2)):
        valid = level.valid[0, view, cell]
        if not valid.any() or valid.all():
            continue
        some += 1
        tokens = []
        for index in valid.nonzero().flatten().tolist():
            place = level.places[0, view, cell, index].tolist()
            seen = x[level.targets[0, view, index // 9]]
            if released:
                tokens.append(made.norm1(bilinear(seen, *place) + code[view, cell, index]))
            else:
                normed = made.norm1(seen.movedim(0, -1)).movedim(-1, 0)
                tokens.append(bilinear(normed, *place) + code[view, cell, index])
        if outside == "zeroed":
            nothing = torch.zeros(CHANNELS)
            tokens += [made.norm1(nothing) if released else nothing] * int((~valid).sum())
        center = x[view, :, cell // CELLS, cell % CELLS]
        query = made.norm1(center + own) if released else made.norm1(center) + own
        expected = respond(made, center, query, torch.stack(tokens))
        torch.testing.assert_close(
            found[view, :, cell // CELLS, cell % CELLS], expected, rtol=1e-3, atol=1e-3
        )
    assert some >= 4


@VARIANTS
@pytest.mark.parametrize("targets", ["neighbors", "overlapping"])
@pytest.mark.parametrize("closed", [True, False])
def test_an_open_loop_keeps_first_and_last_view_apart(
    variant: str, targets: str, closed: bool
) -> None:
    made, x = layer(variant=variant), features().requires_grad_()
    cameras = geometry(variant, targets=targets, outside="zeroed", closed_loop=closed)
    for asking, other in ((0, VIEWS - 1), (VIEWS - 1, 0)):
        (gradient,) = torch.autograd.grad(made(x, cameras)[asking].square().sum(), x)
        assert gradient[other].any() == closed
        assert gradient[1 if asking == 0 else VIEWS - 2].any()
    counted = cameras.level(CELLS, CELLS).counted
    if closed:
        assert counted is None
    else:  # what fills up the first and the last view is no token at all, not even a zero
        assert counted[0, :, 0].sum(-1).tolist() == [9, *[18] * (VIEWS - 2), 9]


@pytest.mark.parametrize(
    ("views", "fov_deg"), [(8, 90.0), (8, 100.0), (12, 90.0), (16, 90.0), (4, 60.0)]
)
def test_overlapping_views_are_those_less_than_a_field_of_view_apart(
    views: int, fov_deg: float
) -> None:
    targets, exists = geometry(
        views=views, fov_deg=fov_deg, targets="overlapping", closed_loop=True
    ).targets
    for view in range(views):
        apart = {j: min((j - view) % views, (view - j) % views) * 360 / views for j in range(views)}
        expected = {j for j, angle in apart.items() if 0 < angle < fov_deg}
        assert set(targets[0, view][exists[0, view]].tolist()) == expected


def test_eight_views_of_ninety_degrees_overlap_their_two_neighbors_alone() -> None:
    """The miniature's and the paper's layout: nothing that an ablation could add."""
    made, x = layer(variant="paper"), features()
    both = [made(x, geometry("paper", targets=name)) for name in ("neighbors", "overlapping")]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-5)


@VARIANTS
def test_without_correspondences_it_is_plain_self_attention(variant: str) -> None:
    """The same layers, hence parameters; no camera matters; PyTorch's own attention agrees."""
    made, x = layer(CrossViewAttention, variant), features()
    assert made.load_state_dict(layer(variant=variant).state_dict(), strict=True)
    cameras = geometry(variant, correspondences="none")
    found = made(x, cameras)
    assert torch.equal(found, made(x, geometry(variant, fov_deg=60.0)))

    cells = x.permute(0, 2, 3, 1).reshape(-1, CHANNELS)
    bands = 2.0 ** torch.arange(8)  # of both variants, for 32 channels
    places = [
        (view * CELLS + c, r) for view in range(VIEWS) for r in range(CELLS) for c in range(CELLS)
    ]
    xy = torch.tensor(places, dtype=torch.float32) / CELLS  # in views
    angles = [xy[:, i : i + 1] * bands for i in (0, 1)]
    code = torch.cat([*(a.sin() for a in angles), *(a.cos() for a in angles)], 1)
    tokens = made.norm1(cells + code) if variant == "released" else made.norm1(cells) + code
    projections = torch.cat([made.to_q.weight, made.to_k.weight, made.to_v.weight])
    read, _ = F.multi_head_attention_forward(
        *[tokens[:, None]] * 3, CHANNELS, 1, projections, None, None, None, False, 0.0,
        made.to_out.weight, made.to_out.bias, need_weights=False,
    )  # fmt: skip
    expected = cells + read[:, 0]
    expected = expected + made.ff(made.norm2(expected))
    expected = expected.reshape(VIEWS, CELLS, CELLS, CHANNELS).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_mirrored_cameras_turn_the_other_way() -> None:
    K, R = panorama_cameras(SIZE, SIZE, VIEWS)
    turned = MultiViewGeometry(K[None], R[None].inverse(), SIZE, SIZE)
    found = geometry(correspondences="mirrored")
    assert torch.equal(found.targets[0], turned.targets[0])
    one, other = (each.level(CELLS, CELLS) for each in (found, turned))
    torch.testing.assert_close(one.places, other.places, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(one.places, geometry().level(CELLS, CELLS).places, atol=0.1)


@pytest.mark.parametrize(
    ("blocks", "parts"), [("all", "down mid up"), ("no_middle", "down up"), ("decoder", "up")]
)
@torch.no_grad()
def test_blocks_without_attention_have_no_weights(
    blocks: str, parts: str, tiny_unet_config: dict[str, Any]
) -> None:
    whole = MultiViewUNet(tiny_unet_config)
    model = MultiViewUNet(tiny_unet_config, attention={"blocks": blocks}).eval()
    there = tuple(f"correspondence_{part}." for part in parts.split())
    expected = {k: v for k, v in whole.state_dict().items() if k.startswith(("unet.", *there))}
    assert model.state_dict().keys() == expected.keys()
    counts = [sum(p.numel() for p in m.correspondence_parameters()) for m in (whole, model)]
    assert counts[1] == sum(v.numel() for k, v in expected.items() if k[:5] != "unet.")
    assert (counts[1] < counts[0]) == (blocks != "all")

    for parameter in model.correspondence_parameters():
        parameter.add_(0.1)
    K, R = panorama_cameras(32, 32, 4)
    x = torch.randn(1, 4, 4, 8, 8), 10, torch.randn(1, 4, 5, 16)
    together = model(*x, model.prepare_geometry(K[None], R[None], 32, 32)).sample
    assert not torch.allclose(together, model(*x, None).sample)


def test_a_saved_model_remembers_and_an_old_one_loads(
    tmp_path: Any, tiny_unet_config: dict[str, Any]
) -> None:
    options = AttentionSettings(neighborhood=5, closed_loop=False, blocks="decoder")
    model = MultiViewUNet(tiny_unet_config, attention=options.changes())
    model.save_pretrained(tmp_path)
    loaded = MultiViewUNet.from_pretrained(tmp_path)
    assert loaded.attention == options
    K, R = panorama_cameras(32, 32, 4)
    assert loaded.prepare_geometry(K[None], R[None], 32, 32).attention.neighborhood == 5
    assert loaded.state_dict().keys() == model.state_dict().keys()
    # As models were saved before there were options.
    old = {"unet_config": tiny_unet_config, "variant": "paper", "task": "panorama"}
    assert MultiViewUNet.from_config(old).attention == AttentionSettings()


def test_options_that_mean_nothing_together_are_refused(tiny_unet_config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"'neighborhood' is 5; expected 3, as correspondences"):
        AttentionSettings(correspondences="none", neighborhood=5)
    with pytest.raises(InputError, match="'neighborhood' is 4; expected one of 1, 3, 5"):
        parse(AttentionSettings, {"neighborhood": 4})
    with pytest.raises(ValueError, match="no `attention` for the task 'depth'"):
        MultiViewUNet(tiny_unet_config, task="depth", attention={"neighborhood": 1})
