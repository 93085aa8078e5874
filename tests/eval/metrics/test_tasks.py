"""Protocols of depth and outpainting, on whole folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import walks
from PIL import Image
from scipy.ndimage import map_coordinates

from mvdiffusion_eval.cli import main

PAIRS = {"keys": [(0, 3), (3, 6)], "consecutive": [(i, i + 1) for i in range(6)]}
PAIRS["between"] = [(view, key) for key in (0, 3) for view in (key + 1, key + 2)]
PAIRS["between"] += [(view, key) for key in (3, 6) for view in (key - 2, key - 1)]


def content_of(scores: Path, task: str, method: str) -> dict[str, Any]:
    return json.loads((scores.parent / task / f"{method}.json").read_text())


def metrics_of(scores: Path, task: str, method: str) -> dict[str, dict[str, Any]]:
    return content_of(scores, task, method)["metrics"]


def psnr_by_hand(views: np.ndarray, query: int, target: int) -> float:
    """The wall is flat and hides nothing: all that counts is where its points lie."""
    camera = walks.poses()[target]
    points = walks.wall_points(walks.poses()[query])[0].reshape(-1, 3)
    local = (points - camera[:3, 3]) @ camera[:3, :3] @ walks.K.T
    x, y = (local[:, :2] / local[:, 2:]).T
    inside = (x >= 0) & (x <= walks.WIDTH - 1) & (y >= 0) & (y <= walks.HEIGHT - 1)
    images = views / 255
    sampled = [map_coordinates(images[target][..., c], [y, x], order=1) for c in range(3)]
    error = images[query].reshape(-1, 3) - np.stack(sampled, -1)
    return -10 * np.log10(np.square(error[inside]).mean())


@pytest.mark.parametrize("method", ["mvdiffusion", "independent"])
def test_depth_scores_are_those_computed_by_hand(world: Path, scores: Path, method: str) -> None:
    found = metrics_of(scores, "depth", method)
    for number in range(4):
        folder = world.parent / "depth" / method / f"walk{number:03d}"
        views = np.stack([np.asarray(Image.open(folder / f"{i}.png")) for i in range(7)])
        by_hand = {
            name: np.mean([psnr_by_hand(views, *pair) for pair in pairs])
            for name, pairs in PAIRS.items()
        }
        for metric, expected in {
            "cross_view_psnr": by_hand["keys"],
            "consecutive_psnr": by_hand["consecutive"],
            "between_to_key_psnr": by_hand["between"],
            "between_minus_key_psnr": by_hand["between"] - by_hand["keys"],
        }.items():
            # Depth on disk is rounded to millimeters.
            assert found[metric]["values"][number] == pytest.approx(expected, abs=0.05), metric


def test_depth_scores_say_what_was_compared(scores: Path) -> None:
    content = content_of(scores, "depth", "mvdiffusion")
    assert content["task"] == "depth"
    images = content["images"]
    assert (images["num_images"], images["num_evaluated"], images["num_between"]) == (28, 12, 16)
    found = content["metrics"]
    assert found["cross_view_psnr"]["protocol"] == "paper-consistency-depth@24"
    assert found["fid"]["protocol"].startswith("paper-depth@miniature")
    assert [row["pair"] for row in content["pairs"]] == ["0-1", "1-2"]
    pairs = [row["psnr_db"] for row in content["pairs"]]
    assert found["cross_view_psnr"]["value"] == pytest.approx(np.mean(pairs))
    assert found["between_to_worse_key_psnr"]["value"] < found["between_to_key_psnr"]["value"]
    real = metrics_of(scores, "depth", "real")
    quotient = found["cross_view_psnr"]["value"] / real["cross_view_psnr"]["value"]
    assert found["cross_view_psnr_ratio"]["value"] == pytest.approx(quotient)
    assert 0.5 < found["compared_share"]["value"] < 1
    assert found["other_scene_psnr"]["value"] < 15 < found["cross_view_psnr"]["value"]


def test_image_quality_of_sequences_looks_at_key_frames_only(
    world: Path, scores: Path, extractors: list[Path], tmp_path: Path
) -> None:
    spoiled = _copy(world.parent / "depth" / "mvdiffusion", tmp_path / "spoiled")
    for path in spoiled.glob("walk*/1.png"):  # an in-between frame
        Image.new("RGB", (walks.WIDTH, walks.HEIGHT)).save(path)
    real = world.parent / "depth" / "real"
    found = toy.score(spoiled, tmp_path / "s.json", real, extractors)["metrics"]
    before = metrics_of(scores, "depth", "mvdiffusion")
    for metric in ("fid", "inception_score", "clip_score", "cross_view_psnr"):
        assert found[metric]["value"] == before[metric]["value"]
    assert found["between_to_key_psnr"]["value"] < before["between_to_key_psnr"]["value"] - 5


def test_given_views_are_kept_out_of_image_quality(
    world: Path, scores: Path, extractors: list[Path], tmp_path: Path
) -> None:
    spoiled = _copy(world.parent / "outpaint" / "mvdiffusion", tmp_path / "spoiled")
    for path in spoiled.glob("room*/0.png"):
        Image.new("RGB", (toy.SIZE, toy.SIZE)).save(path)
    folders = world.parent / "outpaint"
    output = tmp_path / "s.json"
    found = toy.score(
        spoiled, output, folders / "real", extractors, folders / "vae_reconstruction"
    )["metrics"]
    before = metrics_of(scores, "outpaint", "mvdiffusion")
    for metric in ("fid", "inception_score", "clip_score"):
        assert found[metric]["value"] == before[metric]["value"]
    for metric in ("given_view_kept", "given_view_psnr", "given_pairs_psnr"):
        assert found[metric]["value"] < 15 < before[metric]["value"]
    assert "outpaint-quality" in found["fid"]["protocol"]


def _copy(source: Path, target: Path) -> Path:
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return target


def test_the_given_view_is_compared_with_the_real_one_and_with_its_reconstruction(
    world: Path, scores: Path
) -> None:
    folders = world.parent / "outpaint"

    def by_hand(method: str, other: str) -> float:
        views = [
            np.asarray(Image.open(folders / name / "room002" / "0.png")) / 255.0
            for name in (method, other)
        ]
        return -10 * np.log10(np.square(views[0] - views[1]).mean())

    found = metrics_of(scores, "outpaint", "mvdiffusion")
    assert found["given_view_psnr"]["values"][2] == pytest.approx(by_hand("mvdiffusion", "real"))
    assert found["given_view_kept"]["values"][2] == pytest.approx(
        by_hand("mvdiffusion", "vae_reconstruction")
    )
    assert metrics_of(scores, "outpaint", "vae_reconstruction")["given_view_kept"]["value"] == 100
    real = metrics_of(scores, "outpaint", "real")
    assert "given_view_psnr" not in real  # against itself
    assert real["given_view_kept"]["value"] == pytest.approx(
        metrics_of(scores, "outpaint", "vae_reconstruction")["given_view_psnr"]["value"]
    )


def test_pairs_of_the_given_view_are_the_first_and_the_last(scores: Path) -> None:
    content = content_of(scores, "outpaint", "independent")
    pairs = {row["pair"]: row["psnr_db"] for row in content["pairs"]}
    expected = (pairs["0-1"] + pairs["7-0"]) / 2
    assert content["metrics"]["given_pairs_psnr"]["value"] == pytest.approx(expected)
    assert "given_pairs_psnr" not in metrics_of(scores, "panorama", "independent")


def score_fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["score", *arguments])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_one_list_of_protocols_serves_all_tasks(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depth = str(world.parent / "depth" / "real")
    output = ["--generated", depth, "--output", str(tmp_path / "s.json")]
    both = json.dumps({"protocols": ["paper-consistency-pano", "paper-consistency-depth"]})
    toy.run("score", *output, "--settings", both)
    content = json.loads((tmp_path / "s.json").read_text())
    assert list(content["protocols"]) == ["paper-consistency-depth"]
    alone = json.dumps({"protocols": ["paper-consistency-pano"]})
    error = score_fails(capsys, *output, "--settings", alone)
    assert "none of ['paper-consistency-pano'] is for the task 'depth'" in error


def test_only_outpainting_is_compared_with_a_vae_reconstruction(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, reconstruction = (str(world / name) for name in ("real", "vae_reconstruction"))
    error = score_fails(
        capsys,
        "--generated",
        real,
        "--vae-reconstruction",
        reconstruction,
        "--output",
        str(tmp_path / "s.json"),
    )
    assert "--vae-reconstruction: only outpainting" in error


def test_sequences_whose_frames_share_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = walks.write_folder(tmp_path / "lost", "lost", walks.real_samples(1))
    for path in root.glob("walk000/depth/*.png"):
        Image.fromarray(np.zeros((walks.HEIGHT, walks.WIDTH), np.uint16)).save(path)
    arguments = ("--generated", str(root), "--output", str(tmp_path / "s.json"))
    error = score_fails(capsys, *arguments)
    assert "walk000: no two of the compared frames (consecutive key frames) share a pixel" in error


def test_the_other_scene_is_not_the_next_sequence(world: Path, tmp_path: Path) -> None:
    """Neighboring sequences may walk through one room: four samples, two of either room."""
    real = walks.real_samples(2)
    rooms = [real[name] for name in ("walk000", "walk000", "walk001", "walk001")]
    samples = {f"walk{i:03d}": views for i, views in enumerate(rooms)}
    root = walks.write_folder(tmp_path / "real", "real", samples)
    metrics = toy.score(root, tmp_path / "s.json")["metrics"]
    assert max(metrics["other_scene_psnr"]["values"]) < 20
