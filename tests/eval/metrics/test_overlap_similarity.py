"""SSIM and LPIPS of overlaps: torchmetrics, closed forms, and which way they move."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import toy
import walks
from scipy.ndimage import map_coordinates
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.functional.image.lpips import _LPIPS

import mvdiffusion_eval
import mvdiffusion_eval.extractors.lpips as lpips_module
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.extractors.lpips import load_lpips
from mvdiffusion_eval.functional.ssim import C1, masked_ssim
from mvdiffusion_eval.settings import ScoreSettings

RNG = np.random.default_rng(0)
ALL = np.ones((48, 64), bool)


def picture(seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).random((12, 16, 3))
    return np.clip(cv2.resize(rough, (64, 48), interpolation=cv2.INTER_CUBIC), 0, 1)


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.clip(image + np.random.default_rng(1).normal(0, sigma, image.shape), 0, 1)


def as_batch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def test_ssim_of_a_whole_image_matches_torchmetrics_inside() -> None:
    """Far from the border nothing is renormalized: a large image must agree closely."""
    rough = RNG.random((40, 40, 3))
    preds = np.clip(cv2.resize(rough, (400, 400), interpolation=cv2.INTER_CUBIC), 0, 1)
    target = noisy(preds, 0.05)
    theirs = float(
        structural_similarity_index_measure(as_batch(preds), as_batch(target), data_range=1.0)
    )
    whole = np.ones(preds.shape[:2], bool)
    assert masked_ssim(preds, target, whole) == pytest.approx(theirs, abs=1e-3)


def by_pixel(preds: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """The definition, pixel by pixel: weighted statistics of the mask's pixels in the window."""
    offsets = np.arange(-5, 6)
    gauss = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    rows = []
    for y, x in zip(*np.nonzero(mask), strict=True):
        v, u = np.meshgrid(y + offsets, x + offsets, indexing="ij")
        inside = (v >= 0) & (u >= 0) & (v < mask.shape[0]) & (u < mask.shape[1])
        v, u, w = v[inside], u[inside], gauss[inside]
        w = w * mask[v, u]
        for c in range(3):
            p, t = preds[v, u, c], target[v, u, c]
            mp, mt = np.average(p, weights=w), np.average(t, weights=w)
            vp, vt = (np.average((z - m) ** 2, weights=w) for z, m in ((p, mp), (t, mt)))
            cov = np.average((p - mp) * (t - mt), weights=w)
            top = (2 * mp * mt + 1e-4) * (2 * cov + 9e-4)
            rows.append(top / ((mp**2 + mt**2 + 1e-4) * (vp + vt + 9e-4)))
    return float(np.mean(rows))


def test_ssim_over_a_ragged_mask_is_the_definition() -> None:
    preds, target = picture()[:20, :24], noisy(picture(), 0.2)[:20, :24]
    mask = np.random.default_rng(2).random((20, 24)) < 0.4
    assert masked_ssim(preds, target, mask) == pytest.approx(by_pixel(preds, target, mask), 1e-6)


def test_ssim_of_plain_images_is_the_closed_form() -> None:
    preds, target = np.full((48, 64, 3), 0.2), np.full((48, 64, 3), 0.6)
    expected = (2 * 0.2 * 0.6 + C1) / (0.2**2 + 0.6**2 + C1)
    assert masked_ssim(preds, target, ALL) == pytest.approx(expected)
    assert np.isnan(masked_ssim(preds, target, ~ALL))


@pytest.fixture
def random_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS with untrained backbones: the same code, without a download."""

    def make(name: str, spatial: bool) -> torch.nn.Module:
        torch.manual_seed(0)
        return _LPIPS(net=name, spatial=spatial, pnet_rand=True)

    monkeypatch.setattr(lpips_module, "make_network", make)


@pytest.mark.usefixtures("random_lpips")
@pytest.mark.parametrize("metric", ["ssim", "lpips"])
def test_only_the_mask_counts_and_damage_shows(metric: str) -> None:
    compare, sign = (masked_ssim, 1) if metric == "ssim" else (load_lpips("alex"), -1)
    image, mask = picture(), ALL.copy()
    mask[:, :24] = False
    elsewhere = np.where(mask[..., None], image, 1 - image)
    assert compare(image, elsewhere, mask) == pytest.approx(1 if sign > 0 else 0, abs=1e-6)
    blurred = cv2.GaussianBlur(image, (0, 0), 3)
    for damaged in (noisy(image, 0.1), blurred, np.roll(image, 6, 1), image[..., ::-1]):
        worse = compare(image, np.ascontiguousarray(damaged), mask)
        assert sign * worse < sign * compare(image, image, mask) - 1e-4
    levels = [sign * compare(image, noisy(image, sigma), mask) for sigma in (0.02, 0.1, 0.4)]
    assert levels == sorted(levels, reverse=True)
    assert np.isnan(compare(image, image, ~ALL))


@pytest.mark.usefixtures("random_lpips")
def test_lpips_of_a_whole_image_is_torchmetrics_average() -> None:
    """The mean of the map is the spatial average, up to how the map is enlarged."""
    ours = load_lpips("squeeze")
    torch.manual_seed(0)
    theirs = _LPIPS(net="squeeze", spatial=False, pnet_rand=True)
    preds, target = picture(), noisy(picture(), 0.2)
    batches = (as_batch(image).float() for image in (preds, target))
    expected = float(theirs(*batches, normalize=True))
    assert ours(preds, target, ALL) == pytest.approx(expected, rel=0.05)


@pytest.mark.usefixtures("random_lpips")
def test_a_score_says_which_packages_lpips_is_from(world: Path) -> None:
    """Its layers are torchmetrics', so that two versions of it are told apart."""
    settings = ScoreSettings(consistency_resolution=toy.SIZE, lpips="squeeze")
    found = mvdiffusion_eval.score(
        world / "real", protocols=["consistency-images"], settings=settings
    )
    described = found["extractors"][found["metrics"]["cross_view_lpips"]["extractor"]]
    assert described["packages"] == {
        name: metadata.version(name) for name in ("torchmetrics", "torchvision")
    }


def test_lpips_says_where_its_weights_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, spatial: bool) -> None:
        raise OSError("no network")

    monkeypatch.setattr(lpips_module, "make_network", offline)
    with pytest.raises(lpips_module.InputError, match=r"checkpoints/alexnet-owt-\w+\.pth, or"):
        load_lpips("alex")
    with pytest.raises(lpips_module.InputError, match="unknown network 'alexnet'; did you mean"):
        load_lpips("alexnet")


def score(folder: Path, output: Path, **settings: Any) -> dict[str, Any]:
    chosen = {**json.loads(toy.SCORE_SETTINGS), "protocols": ["consistency-images"], **settings}
    arguments = ("--generated", str(folder), "--output", str(output))
    toy.run("score", *arguments, "--settings", json.dumps(chosen))
    return json.loads(output.read_text())["metrics"]


@pytest.mark.usefixtures("random_lpips")
@pytest.mark.parametrize("task", ["panorama", "outpaint", "depth"])
def test_methods_come_out_in_the_order_they_were_made_to(
    world: Path, tmp_path: Path, task: str
) -> None:
    found = {
        method: score(world.parent / task / method, tmp_path / f"{method}.json", lpips="squeeze")
        for method in ("real", "mvdiffusion", "independent")
    }
    similarity = [found[method]["cross_view_ssim"]["value"] for method in found]
    assert similarity == sorted(similarity, reverse=True)
    assert similarity[0] > 0.95
    distance = found["independent"]["cross_view_lpips"]
    assert found["real"]["cross_view_lpips"]["value"] < distance["value"]
    assert distance["extractor"].startswith("lpips-squeeze (")
    size = "@24" if task == "depth" else "@32"
    assert (distance["protocol"], distance["version"]) == (f"consistency-images{size}", 1)
    assert ("cross_view_ssim_closing" in found["real"]) == (task != "depth")


def test_the_structure_of_key_frames_is_that_computed_by_hand(world: Path, tmp_path: Path) -> None:
    """The wall hides nothing: all that counts is where its points lie in the other frame."""
    root = world.parent / "depth" / "independent"
    found = score(root, tmp_path / "s.json")["cross_view_ssim"]["values"][1]
    views = [cv2.imread(str(root / "walk001" / f"{i}.png"))[..., ::-1] / 255 for i in range(7)]
    each = []
    for query, target in ((0, 3), (3, 6)):
        camera = walks.poses()[target]
        points = walks.wall_points(walks.poses()[query])[0]
        local = (points - camera[:3, 3]) @ camera[:3, :3] @ walks.K.T
        x, y = np.moveaxis(local[..., :2] / local[..., 2:], -1, 0)
        mask = (x >= 0) & (x <= walks.WIDTH - 1) & (y >= 0) & (y <= walks.HEIGHT - 1)
        seen = [map_coordinates(views[target][..., c], [y, x], order=1) for c in range(3)]
        each.append(by_pixel(views[query], np.stack(seen, -1), mask))
    assert found == pytest.approx(np.mean(each), abs=2e-3)  # depth on disk is in millimeters


def test_without_lpips_nothing_is_loaded_and_a_wrong_name_is_one_error(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not any("lpips" in name for name in score(world / "real", tmp_path / "s.json"))
    chosen = {"protocols": ["consistency-images"], "lpips": "alx"}
    settings = json.dumps({**json.loads(toy.SCORE_SETTINGS), **chosen})
    arguments = ["score", "--generated", str(world / "real"), "--output", str(tmp_path / "t.json")]
    with pytest.raises(SystemExit):
        main([*arguments, "--settings", settings])
    assert "setting 'lpips' is 'alx'; expected one of '', 'alex'" in capsys.readouterr().err
    assert not (tmp_path / "t.json").exists()
