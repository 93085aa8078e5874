"""Error accumulation: slopes and curves against numpy's own, and worlds that drift or do not."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.linalg
import toy
from PIL import Image

from mvdiffusion_eval.extractors.base import load_trained
from mvdiffusion_eval.statistics import jackknife, slope

pytestmark = pytest.mark.long

STEPS = np.arange(8)


def content_of(scores: Path, method: str) -> dict[str, Any]:
    return json.loads((scores / f"{method}.json").read_text())


def curve(content: dict[str, Any], metric: str) -> list[dict[str, Any]]:
    return [row for row in content["steps"] if row["metric"] == metric]


def views_of(world: Path, method: str) -> np.ndarray:
    """All views of a method, uint8 [8, 8, H, W, 3]."""
    rooms = sorted(path for path in (world / method).iterdir() if path.is_dir())
    return np.stack(
        [[np.asarray(Image.open(room / f"{view}.png")) for view in STEPS] for room in rooms]
    )


def test_the_slope_is_numpys_least_squares() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7))
    expected = [np.polyfit(np.arange(7), row, 1)[0] for row in values]
    np.testing.assert_allclose(slope(values), expected, rtol=1e-9)


def test_a_jackknife_of_several_numbers_is_one_of_each() -> None:
    values = np.random.default_rng(1).normal(size=(20, 3))
    whole, pseudo = jackknife(lambda kept: values[kept].var(0), 20, 6)
    for column in range(3):
        alone = jackknife(lambda kept, c=column: float(values[kept, c].var()), 20, 6)
        assert whole[column] == pytest.approx(alone[0])
        np.testing.assert_allclose(pseudo[:, column], alone[1])


def test_consistency_by_step_is_that_of_the_pairs_without_the_closing_one(scores: Path) -> None:
    content = content_of(scores, "autoregressive_latent")
    rows = curve(content, "psnr_db")
    assert [row["angle_deg"] for row in rows] == [45.0 * step for step in STEPS]
    assert [row["closes_the_loop"] for row in rows] == [False] * 7 + [True]
    pairs = [row["psnr_db"] for row in content["pairs"]]
    assert [row["value"] for row in rows] == pytest.approx(pairs)
    found = content["metrics"]["per_step_psnr"]
    assert found["value"] == pytest.approx(np.polyfit(np.arange(7), pairs[:7], 1)[0])
    assert found["se"] == pytest.approx(np.std(found["values"], ddof=1) / 8**0.5)
    assert (found["protocol"], found["version"]) == ("error-accumulation@32", 2)


def test_gradient_energy_by_step_is_that_of_the_pixels(world: Path, scores: Path) -> None:
    content = content_of(scores, "mvdiffusion")
    images = views_of(world, "mvdiffusion") / 255
    by_hand = (np.diff(images, axis=-2) ** 2).mean((-3, -2, -1))
    by_hand += (np.diff(images, axis=-3) ** 2).mean((-3, -2, -1))
    rows = curve(content, "gradient_energy")
    assert [row["value"] for row in rows] == pytest.approx(by_hand.mean(0), rel=1e-5)
    expected = [np.polyfit(STEPS, row, 1)[0] for row in by_hand]
    found = content["metrics"]["per_step_gradient_energy"]["values"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)


def closed_form(preds: np.ndarray, target: np.ndarray) -> float:
    (mean_p, cov_p), (mean_t, cov_t) = ((x.mean(0), np.cov(x.T)) for x in (preds, target))
    # Slightly off singular, as the root of a singular product is not stable.
    root = scipy.linalg.sqrtm((cov_p + 1e-9 * np.eye(len(cov_p))) @ cov_t).real
    return ((mean_p - mean_t) ** 2).sum() + np.trace(cov_p) + np.trace(cov_t) - 2 * np.trace(root)


def test_the_distance_of_a_step_is_that_of_its_views_alone(
    world: Path, scores: Path, extractors: list[Path]
) -> None:
    content = content_of(scores, "autoregressive_latent")
    classifier = load_trained(extractors[0])
    sets = []
    for method in ("autoregressive_latent", "real"):
        views = views_of(world, method)
        sets.append([toy.features_of(classifier, views[:, n]).numpy() for n in STEPS])
    expected = np.array([closed_form(*pair) for pair in zip(*sets, strict=True)])
    rows = curve(content, "fid")
    found = [row["value"] for row in rows]
    assert found == pytest.approx(expected, rel=0.02, abs=1e-3)
    rise = content["metrics"]["per_step_fid"]
    assert rise["value"] == pytest.approx(np.polyfit(STEPS, found, 1)[0] / np.mean(found))
    assert rise["protocol"] == "error-accumulation@miniature-classifier"
    assert (rise["values_per"], len(rise["values"])) == ("group", 4)


def test_the_clip_score_of_the_steps_averages_to_that_of_the_views(scores: Path) -> None:
    content = content_of(scores, "independent")
    mean = np.mean([row["value"] for row in curve(content, "clip_score")])
    assert mean == pytest.approx(content["metrics"]["clip_score"]["value"])


def test_real_views_have_no_distance_from_themselves(scores: Path) -> None:
    content = content_of(scores, "real")
    assert not curve(content, "fid")
    assert "per_step_fid" not in content["metrics"]


def drifting(count: int) -> dict[str, np.ndarray]:
    """Views that lose more of their detail, and agree less with the next, with every step."""
    made = {}
    for name, views in toy.real_samples(count).items():
        rng = np.random.default_rng(len(made))
        worse = [
            cv2.GaussianBlur(view, (0, 0), 0.1 + 0.4 * n) + rng.normal(0, 3 * n, view.shape)
            for n, view in enumerate(views)
        ]
        made[name] = np.clip(worse, 0, 255).astype(np.uint8)
    return made


def test_a_method_that_drifts_shows_it_and_a_steady_one_does_not(
    extractors: list[Path], tmp_path: Path
) -> None:
    real = toy.real_samples(6)
    folders = {"real": real, "steady": toy.noisy(real, 12, 1), "drifting": drifting(6)}
    for name, samples in folders.items():
        toy.write_folder(tmp_path / name, name, samples)
    found = {
        name: toy.score(
            tmp_path / name, tmp_path / f"{name}.json", tmp_path / "real", extractors[:1]
        )["metrics"]
        for name in ("steady", "drifting")
    }
    drift, steady = (found[name]["per_step_psnr"] for name in ("drifting", "steady"))
    assert drift["value"] + 4 * drift["se"] < -1
    assert abs(steady["value"]) < 0.1
    distance = {name: found[name]["per_step_fid"]["value"] for name in found}
    assert distance["drifting"] > 0.15
    assert distance["drifting"] > 2 * abs(distance["steady"])


def test_too_few_samples_leave_the_protocol_out(tmp_path: Path) -> None:
    folder = toy.write_folder(tmp_path / "few", "few", toy.real_samples(3))
    content = toy.score(folder, tmp_path / "few.json")
    assert "error-accumulation" not in content["protocols"]
    assert content["steps"] == []


def test_the_figure_and_its_numbers_are_written(scores: Path, tmp_path: Path) -> None:
    files = [str(scores / f"{method}.json") for method in ("mvdiffusion", "autoregressive_latent")]
    depth = str(scores.parent / "depth" / "real.json")
    for folder in ("one", "two"):
        arguments = ("--output-dir", str(tmp_path / folder))
        toy.run("figures", *arguments, *toy.repeated("--scores", [*files, depth]))
    made = sorted((tmp_path / "one").glob("error_accumulation_*"))
    names = [f"error_accumulation_panorama.{ending}" for ending in ("csv", "png", "svg")]
    assert [path.name for path in made] == names  # none for depth
    for path in made:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    with open(made[0]) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * 8
    expected = content_of(scores, "autoregressive_latent")["steps"]
    found = [row for row in rows if row["method"] == "autoregressive_latent"]
    assert [float(row["value"]) for row in found] == [row["value"] for row in expected]
    assert "degrees from view 0" in made[2].read_text()
