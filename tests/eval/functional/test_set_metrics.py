"""Distances between sets of features against other libraries, closed forms and themselves."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from set_metrics import cmmd, frechet_distance, inception_score, kernel_distance
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from mvdiffusion_eval.functional import fid
from mvdiffusion_eval.functional.cmmd import gaussian_sums
from mvdiffusion_eval.functional.fid import Moments
from mvdiffusion_eval.functional.inception_score import SplitSums, assign_splits
from mvdiffusion_eval.functional.kernel_sums import gathered
from mvdiffusion_eval.functional.kid import draw_subsets, polynomial_sums


def features(count: int, size: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Like a network's: not negative, correlated, of different scales, one that never fires."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=torch.Generator().manual_seed(99))
    mixing *= torch.logspace(0, -3, size)
    found = torch.randn(count, size, generator=generator) @ mixing + shift
    found[:, 0] = 0
    return found.clamp(min=0).double()


def test_fid_of_a_set_with_itself_is_nothing() -> None:
    for count in (40, 3000):
        preds = features(count, 64, 0)
        scale = preds.var(0).sum().item()
        assert frechet_distance(preds, preds) < 1e-6 * min(1, scale)
        assert frechet_distance(preds, preds[torch.randperm(count)]) < 1e-6 * min(1, scale)


def test_fid_is_scipys_closed_form() -> None:
    preds, target = features(700, 32, 0)[:, 1:], features(900, 32, 1, 0.3)[:, 1:]
    (mean_p, cov_p), (mean_t, cov_t) = ((x.mean(0), np.cov(x.numpy().T)) for x in (preds, target))
    root_p = scipy.linalg.sqrtm(cov_p)
    cross = np.trace(scipy.linalg.sqrtm(root_p @ cov_t @ root_p)).real
    expected = (mean_p - mean_t).square().sum() + np.trace(cov_p) + np.trace(cov_t) - 2 * cross
    assert frechet_distance(preds, target) == pytest.approx(float(expected), rel=1e-6)


def test_fid_is_torchmetrics_on_the_same_features() -> None:
    class Flat(torch.nn.Module):
        num_features = 48

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    metric = FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 4, 4))
    metric.set_dtype(torch.float64)
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(300, 3, 4, 4, generator=generator) ** power for power in (1, 1.3)]
    for number, batch in enumerate(images):
        metric.update(batch.double(), real=bool(number))
    preds, target = (batch.flatten(1) for batch in images)
    assert frechet_distance(preds, target) == pytest.approx(float(metric.compute()), rel=1e-6)


@pytest.mark.parametrize("counts", [(40, 50), (40, 900), (900, 40)])
def test_fid_of_fewer_images_than_features(counts: tuple[int, int]) -> None:
    """Against the eigenvalues of the product of the covariances, most of which are zero."""
    preds, target = features(counts[0], 64, 0), features(counts[1], 64, 1, 0.3)
    cov_p, cov_t = (torch.cov(x.T) for x in (preds, target))
    values = torch.linalg.eigvals(cov_p @ cov_t).real.sort(descending=True).values
    cross = values[: min(counts) - 1].clamp(min=0).sqrt().sum()
    apart = (preds.mean(0) - target.mean(0)).square().sum()
    expected = float(apart + cov_p.trace() + cov_t.trace() - 2 * cross)
    assert frechet_distance(preds, target) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [50, 2500])
def test_moments_do_not_depend_on_the_blocks(count: int) -> None:
    preds, target = features(count, 64, 0) + 1e3, features(count, 64, 1, 0.1) + 1e3
    whole = frechet_distance(preds, target)
    for size in (7, 64, 1000):
        sides = [Moments.of(x.split(size)) for x in (preds, target)]
        assert sides[0].count == count
        torch.testing.assert_close(sides[0].mean, preds.mean(0), rtol=1e-13, atol=0)
        scatter = sides[0].root.T @ sides[0].root / (count - 1)
        torch.testing.assert_close(scatter, preds.T.cov(), rtol=1e-9, atol=1e-10)
        assert len(sides[0].root) <= max(64, size)
        assert fid.frechet_distance(*sides) == pytest.approx(whole, rel=1e-9)


def test_a_weight_of_two_is_an_image_twice() -> None:
    sets = features(300, 24, 0), features(310, 24, 1, 0.1)
    weights = [1 + torch.arange(len(x)).double() % 3 for x in sets]
    pairs = list(zip(sets, weights, strict=True))
    weighed = [Moments.of(x.split(100), w.split(100)) for x, w in pairs]
    repeated = [x.repeat_interleave(w.long(), 0) for x, w in pairs]
    assert fid.frechet_distance(*weighed) == pytest.approx(frechet_distance(*repeated), rel=1e-9)


def closed_form(preds: np.ndarray, weights: np.ndarray, target: np.ndarray) -> float:
    """The distance as it is published, of weighed images from others."""
    means = weights @ preds / weights.sum(), target.mean(0)
    apart = preds - means[0]
    covariances = (apart.T * weights) @ apart / (weights.sum() - 1), np.cov(target.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    traces = [np.trace(x) for x in (*covariances, root)]
    return float(np.square(means[0] - means[1]).sum()) + traces[0] + traces[1] - 2 * traces[2]


def test_slopes_of_fid_are_those_of_scipys_closed_form() -> None:
    preds, target = features(60, 6, 0)[:, 1:], features(80, 6, 1, 0.3)[:, 1:]
    of_preds, of_target = fid.frechet_slopes(Moments.of([preds]), Moments.of([target]))
    for slopes, one, other in ((of_preds, preds, target), (of_target, target, preds)):
        found = slopes(one)
        for image in (0, 7, 31):
            step = 1e-4 * np.eye(len(one))[image]
            ends = [closed_form(one.numpy(), 1 + s, other.numpy()) for s in (step, -step)]
            expected = (ends[0] - ends[1]) / 2e-4
            assert float(found[image]) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_slopes_of_fid_where_covariances_are_singular() -> None:
    """Fewer images than features, with weights of all images: a root of no full rank is smooth."""
    preds, target = features(20, 64, 0), features(24, 64, 1, 0.3)
    slopes = fid.frechet_slopes(Moments.of([preds]), Moments.of([target]))[0](preds)
    direction = torch.linspace(-1, 1, 20, dtype=torch.float64)
    ends = [
        fid.frechet_distance(Moments.of([preds], [1 + step * direction]), Moments.of([target]))
        for step in (1e-4, -1e-4)
    ]
    assert float(slopes @ direction) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4)


def test_a_single_image_has_no_distance() -> None:
    one = Moments.of([torch.ones(1, 3)])
    with pytest.raises(ValueError, match="at least two"):
        fid.frechet_distance(one, one)
    with pytest.raises(ValueError, match="at least one block"):
        Moments.of([])


@pytest.mark.parametrize("count", [300, 120])
def test_kid_is_torch_fidelitys(count: int) -> None:
    preds, target = features(count, 32, 0), features(count + 50, 32, 1, 0.2)
    theirs = kid_features_to_metric(
        preds, target, kid_subsets=7, kid_subset_size=120, rng_seed=3, verbose=False
    )
    drawn = draw_subsets(len(preds), len(target), 120, 7, seed=3)
    ours = np.mean([kernel_distance(preds[i], target[j]) for i, j in drawn])
    assert ours == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-6)


def test_kid_is_torchmetrics_and_unbiased() -> None:
    preds, target = features(200, 32, 0), features(200, 32, 1, 0.2)
    expected = float(poly_mmd(target, preds))
    assert kernel_distance(preds, target) == pytest.approx(expected, rel=1e-6)
    found = [kernel_distance(features(50, 16, i), features(50, 16, 1000 + i)) for i in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 300**0.5
    assert min(found) < 0


def test_one_subset_where_it_is_all_there_is() -> None:
    drawn = list(draw_subsets(20, 20, 1000, 100, seed=0))
    assert len(drawn) == 1
    assert sorted(drawn[0][0]) == sorted(drawn[0][1]) == list(range(20))
    assert len(list(draw_subsets(20, 21, 1000, 100, seed=0))) == 100


def test_cmmd_is_the_mean_over_all_pairs() -> None:
    preds, target = (features(40, 8, seed) + 0.1 for seed in (0, 1))

    def mean_kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        x, y = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
        return float(np.mean([np.exp(-float((a - b).square().sum()) / 200) for a in x for b in y]))

    within = mean_kernel(preds, preds) + mean_kernel(target, target)
    expected = 1000 * (within - 2 * mean_kernel(preds, target))
    assert cmmd(preds, target) == pytest.approx(expected, rel=1e-6)
    assert cmmd(preds, 5 * target) == pytest.approx(expected, rel=1e-6)  # lengths do not matter
    assert cmmd(preds, preds) == pytest.approx(0, abs=1e-9)


def test_kernel_sums_give_the_distance_without_a_group() -> None:
    preds, target = features(60, 16, 0), features(60, 16, 1, 0.2)
    groups = torch.arange(60) % 4
    kept, others = groups != 2, torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    by_group = polynomial_sums((preds, groups), (target, groups), 4)
    expected = float(poly_mmd(preds[kept], target[kept]))
    assert by_group.mmd2(others, unbiased=True).item() == pytest.approx(expected, rel=1e-9)
    sides = [list(zip(x.split(25), groups.split(25), strict=True)) for x in (preds, target)]
    in_blocks = gaussian_sums(lambda: sides[0], lambda: sides[1], 4)
    expected = cmmd(preds[kept], target[kept])
    assert 1000 * in_blocks.mmd2(others, unbiased=False).item() == pytest.approx(expected, rel=1e-9)


def test_inception_score_without_a_group_is_that_of_the_rest() -> None:
    logits = torch.randn(90, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups, splits = torch.arange(90) % 5, assign_splits(90, 3, seed=1)
    sums = SplitSums(5, 3)
    for part in torch.arange(90).split(17):
        sums.add(logits[part], groups[part], splits[part])
    assert sums.score(torch.arange(5)) == pytest.approx(inception_score(logits, splits), rel=1e-12)
    kept = groups != 3
    p = [logits[kept][splits[kept] == s].softmax(-1) for s in range(3)]
    expected = np.mean([float((x * (x / x.mean(0)).log()).sum(1).mean().exp()) for x in p])
    assert sums.score(torch.tensor([0, 1, 2, 4])) == pytest.approx(expected, rel=1e-9)


def test_distances_grow_with_what_is_changed() -> None:
    preds = features(400, 32, 0)
    shifts = [preds + amount for amount in (0, 0.05, 0.2, 0.8)]
    for distance in (frechet_distance, kernel_distance):
        found = [distance(shifted, features(400, 32, 1)) for shifted in shifts]
        assert found == sorted(found)


def test_sums_of_subsets_are_kept_bit_by_bit() -> None:
    torch.manual_seed(0)
    sides, groups = torch.randn(3, 2, 16, 5), torch.arange(16) % 4
    made = [polynomial_sums((p, groups), (t, groups), 4) for p, t in sides]
    kept = gathered(iter(made), 3)
    assert len(kept) == 3
    for one, other in zip(made, kept, strict=True):
        assert all(torch.equal(value, vars(other)[name]) for name, value in vars(one).items())
    assert kept[0].cross.untyped_storage().data_ptr() == kept[2].cross.untyped_storage().data_ptr()
