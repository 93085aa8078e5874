"""Discontinuity score and seams: by hand, on rolled and on broken panoramas, on whole folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import py360convert
import pytest
import torch
import toy
from cleanfid.fid import frechet_distance as cleanfid_distance
from PIL import Image
from scipy.ndimage import correlate
from torchvision.transforms import Resize

from mvdiffusion.geometry.cameras import rotation
from mvdiffusion.geometry.panoramas import stitch
from mvdiffusion.images import save_png
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.extractors.base import load_trained
from mvdiffusion_eval.folders.crops import cube_6
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.sampling import py360convert as py360convert_faces
from mvdiffusion_eval.functional.seam import (
    column_steps,
    discontinuity_score,
    edge_step,
    worst_step,
)
from mvdiffusion_eval.metrics.panoramas.seams import panorama_reader


def whole(seed: int = 0) -> np.ndarray:
    """A panorama [128, 256, 3] whose edges meet, with some grain so that no gradient is 0."""
    smooth = toy.panorama(seed, 0).permute(1, 2, 0).double().numpy()
    grain = np.random.default_rng(seed).normal(0, 0.02, smooth.shape)
    return np.clip(smooth + grain, 0, 1)


def broken(panorama: np.ndarray, column: int, by: float = 0.2) -> np.ndarray:
    """A seam: from a column on, half way round, the panorama is darker."""
    there = np.roll(panorama, -column, 1)
    there[:, : there.shape[1] // 2] -= by
    return np.roll(there, column, 1)


def test_the_discontinuity_score_is_the_definition() -> None:
    panorama = whole()
    joined = np.concatenate([panorama[:, -3:], panorama[:, :3]], 1) @ [0.299, 0.587, 0.114]
    kernel = np.outer([3, 10, 3], [-1, 0, 1])
    a = np.abs(correlate(joined, kernel, mode="nearest")[:, 1:5])
    ratios = a[:, 1] / (a[:, 0] + 0.1) + a[:, 2] / (a[:, 3] + 0.1)
    assert discontinuity_score(panorama) == pytest.approx(ratios.sum() / (2 * 128), rel=1e-5)


def test_column_steps_are_differences_of_neighbors() -> None:
    panorama = whole(1)
    expected = [
        np.abs(panorama[:, column] - panorama[:, column - 1]).mean() for column in range(256)
    ]
    np.testing.assert_allclose(column_steps(panorama), expected)
    assert edge_step(panorama) == pytest.approx(expected[0] / np.mean(expected), rel=1e-3)
    assert worst_step(panorama) == pytest.approx(max(expected) / np.median(expected), rel=1e-3)


@pytest.mark.parametrize("shift", [1, 37, 128, 255])
def test_a_rolled_panorama_has_no_seam(shift: int) -> None:
    rolled = np.roll(whole(), shift, 1)
    assert worst_step(rolled) == pytest.approx(worst_step(whole()))
    assert 0.7 < edge_step(rolled) < 1.3
    assert discontinuity_score(rolled) == pytest.approx(discontinuity_score(whole()), rel=0.25)


def test_a_seam_at_the_edges_raises_everything() -> None:
    before, after = whole(), broken(whole(), 0)
    assert discontinuity_score(after) > 2 * discontinuity_score(before)
    assert edge_step(after) > 4 * edge_step(before)
    assert worst_step(after) > 3 * worst_step(before)
    levels = [broken(whole(), 0, by) for by in (0.0, 0.05, 0.1, 0.3)]
    for metric in (discontinuity_score, edge_step, worst_step):
        found = [metric(level) for level in levels]
        assert found == sorted(found), metric


def test_a_seam_elsewhere_is_found_by_the_worst_column_alone() -> None:
    after = broken(whole(), 60)
    assert worst_step(after) > 3 * worst_step(whole())
    assert discontinuity_score(after) == pytest.approx(discontinuity_score(whole()), rel=1e-5)
    assert edge_step(after) < 1.3


def test_a_plain_panorama_has_no_seam() -> None:
    plain = np.full((8, 16, 3), 0.3)
    assert discontinuity_score(plain) == pytest.approx(0, abs=1e-9)
    assert (edge_step(plain), worst_step(plain)) == (1, 1)


def score(folder: Path, output: Path) -> dict[str, Any]:
    settings = json.dumps({"protocols": ["equirect"]})
    arguments = ("--generated", str(folder), "--output", str(output), "--view-size", "32")
    toy.run("score", *arguments, "--settings", settings)
    return json.loads(output.read_text())["metrics"]


def panoramas(root: Path, change: Any = None, count: int = 3) -> Path:
    root.mkdir()
    for number in range(count):
        panorama = whole(number) if change is None else change(whole(number))
        Image.fromarray((255 * np.clip(panorama, 0, 1)).astype(np.uint8)).save(
            root / f"room{number}.png"
        )
    return root


def test_equirectangular_images_are_taken_as_they_are(tmp_path: Path) -> None:
    found = score(panoramas(tmp_path / "whole"), tmp_path / "a.json")
    damaged = score(panoramas(tmp_path / "broken", lambda p: broken(p, 0)), tmp_path / "b.json")
    for name in ("discontinuity_score", "edge_step", "worst_step"):
        assert damaged[name]["value"] > 1.9 * found[name]["value"], name
        assert (found[name]["protocol"], found[name]["version"]) == ("equirect", 2)
    assert found["edge_step"]["higher_is_better"] is False
    assert found["worst_step"]["higher_is_better"] is None  # it says no more than real ones' does
    image = np.asarray(Image.open(tmp_path / "whole" / "room1.png")) / 255
    assert found["edge_step"]["values"][1] == pytest.approx(edge_step(image))


def test_views_are_stitched_to_the_band_that_they_see_all_round(world: Path) -> None:
    """The toy's views are cut out of known panoramas: stitching gives these back."""
    folder = open_folder(world / "real")
    panorama = panorama_reader(folder)("room001")
    height = round(np.pi * toy.SIZE / 2)
    rows = np.abs(0.5 - (np.arange(height) + 0.5) / height) * 180 < 42.7 - 180 / height
    assert panorama.shape == (rows.sum(), 2 * height, 3)
    source = toy.panorama(1, 1).permute(1, 2, 0).numpy()
    resized = Image.fromarray((255 * source).astype(np.uint8)).resize((2 * height, height))
    assert np.abs(panorama - np.asarray(resized)[rows] / 255).mean() < 0.01


def test_views_have_the_seams_of_their_stitched_file(world: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(world / "autoregressive_latent", tmp_path / "autoregressive_latent")
    own = shutil.copytree(bare, tmp_path / "own" / "autoregressive_latent")
    folder = open_folder(bare)
    for sample_id in folder.sample_ids:
        views = torch.from_numpy(folder.views(sample_id)).permute(0, 3, 1, 2) / 127.5 - 1
        panorama, _ = stitch(views, folder.fov_deg)
        save_png(panorama, own / sample_id / "panorama.png")
    found = [score(each, tmp_path / f"{number}.json") for number, each in enumerate((bare, own))]
    for name in ("discontinuity_score", "edge_step", "worst_step"):
        assert found[0][name]["value"] == pytest.approx(found[1][name]["value"], rel=1e-9), name


def test_independent_views_show_more_seams_than_real_ones(world: Path, tmp_path: Path) -> None:
    found = {m: score(world / m, tmp_path / f"{m}.json") for m in ("real", "autoregressive_latent")}
    name = "worst_step"
    assert found["autoregressive_latent"][name]["protocol"] == "equirect@band"
    assert found["autoregressive_latent"][name]["value"] > found["real"][name]["value"]


def test_a_samples_own_panorama_goes_before_stitching(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = toy.write_folder(tmp_path / "own", "own", toy.real_samples(2))
    for number in range(2):
        pixels = (255 * np.clip(broken(whole(number), 0), 0, 1)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"room00{number}" / "panorama.png")
    own = score(folder, tmp_path / "own.json")["edge_step"]["value"]
    assert own > 3
    (folder / "room001" / "panorama.png").unlink()  # not all have one: all are stitched
    assert score(folder, tmp_path / "stitched.json")["edge_step"]["value"] < 2
    Image.new("RGB", (64, 20)).save(folder / "room001" / "panorama.png")
    arguments = ["score", "--generated", str(folder), "--output", str(tmp_path / "x.json")]
    with pytest.raises(SystemExit):
        main([*arguments, "--settings", json.dumps({"protocols": ["equirect"]})])
    assert "room001/panorama.png: is 64×20 pixels; expected the whole" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_views_that_leave_gaps_have_no_panorama(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = {"room000": toy.views_of(0, 0)[:3]}
    folder = toy.write_folder(tmp_path / "three", "x", some, manifest=False)
    arguments = ["score", "--generated", str(folder), "--output", str(tmp_path / "x.json")]
    with pytest.raises(SystemExit):
        main(
            [
                *arguments,
                *toy.repeated("--yaw", (0, 45, 90)),
                "--settings",
                '{"protocols": ["equirect"]}',
            ]
        )
    assert "protocol 'equirect' needs views that cover the full circle" in capsys.readouterr().err


def test_faces_look_where_they_should() -> None:
    """Every pixel of a panorama that tells its direction: what the faces' middles then say."""
    height = 64
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    longitude = ((np.arange(2 * height) + 0.5) / height / 2 - 0.5) * 2 * np.pi
    ray = np.stack(
        np.broadcast_arrays(
            np.cos(latitude)[:, None] * np.sin(longitude),  # right
            np.sin(latitude)[:, None] + 0 * longitude,  # up
            np.cos(latitude)[:, None] * np.cos(longitude),  # ahead
        ),
        -1,
    )
    R = torch.stack([rotation(*look) for look in cube_6("a")])
    faces = py360convert_faces((127.5 * (ray + 1)).round().astype(np.uint8), 90.0, R, 33)
    middles = faces[:, 16, 16] / 127.5 - 1
    expected = [(0, 1, 0), (-1, 0, 0), (0, 0, 1), (1, 0, 0), (0, 0, -1), (0, -1, 0)]
    np.testing.assert_allclose(middles, expected, atol=0.03)
    corner = faces[2, 0, 0] / 127.5 - 1  # front, above and to the left
    np.testing.assert_allclose(corner, np.array([-1, 1, 1]) / 3**0.5, atol=0.06)
    corner = faces[0, 0, 0] / 127.5 - 1  # up, behind and to the left
    np.testing.assert_allclose(corner, np.array([-1, 1, -1]) / 3**0.5, atol=0.06)
    corner = faces[5, 0, 0] / 127.5 - 1  # down, ahead and to the left
    np.testing.assert_allclose(corner, np.array([-1, -1, 1]) / 3**0.5, atol=0.06)


def surveys_faces(panorama: np.ndarray) -> np.ndarray:
    """Faces as the survey of text-driven panoramas makes them: py360convert, then torchvision."""
    by_name = py360convert.e2c(panorama, 256, "bilinear", "dict")
    faces = torch.from_numpy(np.stack([by_name[name] for name in "ULFRBD"]))
    return Resize((299, 299))(faces.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def test_omnifid_is_the_mean_of_the_distances_of_its_faces(
    tmp_path: Path, extractors: list[Path]
) -> None:
    folders = {
        "real": panoramas(tmp_path / "real", count=6),
        "off": panoramas(tmp_path / "off", lambda p: p[::-1] * [0.9, 1, 0.7], count=6),
    }
    arguments = ("--extractor", str(extractors[0]), "--output", str(tmp_path / "s.json"))
    given = ("--generated", str(folders["off"]), "--reference", str(folders["real"]))
    arguments += ("--view-size", "32")
    toy.run("score", *given, *arguments, "--settings", json.dumps({"protocols": ["equirect"]}))
    found = json.loads((tmp_path / "s.json").read_text())["metrics"]
    classifier, sets = load_trained(extractors[0]), {}
    for name, folder in folders.items():
        files = [np.asarray(Image.open(folder / f"room{i}.png")) for i in range(6)]
        sets[name] = np.stack(
            [toy.features_of(classifier, surveys_faces(file)).numpy() for file in files]
        )

    def distance(faces: list[int]) -> float:
        preds, target = (sets[n][:, faces].reshape(6 * len(faces), -1) for n in ("off", "real"))
        return cleanfid_distance(
            *(preds.mean(0), np.cov(preds.T)), *(target.mean(0), np.cov(target.T))
        )

    poles, around = distance([0]) + distance([5]), [distance([face]) for face in range(1, 5)]
    readings = {"omnifid": distance([1, 2, 3, 4]), "omnifid_per_face": np.mean(around)}
    for name, ours in readings.items():
        assert found[name]["value"] == pytest.approx((poles + ours) / 3, rel=0.01), name
        assert found[name]["protocol"] == "equirect@miniature-classifier"
        assert (found[name]["values_per"], len(found[name]["values"])) == ("group", 6)
    assert found["omnifid"]["value"] != pytest.approx(found["omnifid_per_face"]["value"], rel=0.01)


def test_omnifid_needs_whole_panoramas(
    world: Path, extractors: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--generated", str(world / "vae_reconstruction"), "--reference", str(world / "real")]
    more = ["--extractor", str(extractors[0]), "--output", str(tmp_path / "s.json")]
    toy.run("score", *given, *more, "--settings", '{"protocols": ["equirect"]}')
    assert (
        "equirect: 'omnifid' was not measured because it needs whole equirectangular"
        in capsys.readouterr().err
    )
    assert "omnifid" not in json.loads((tmp_path / "s.json").read_text())["metrics"]
