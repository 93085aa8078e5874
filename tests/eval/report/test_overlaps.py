"""Pictures of what neighboring views share, against closed forms of plain and of painted views."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import textures
import toy
import walks
from PIL import Image

import mvdiffusion_eval
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.report.overlaps import CORRECT, WRONG, draw_matches, overlap_pictures
from mvdiffusion_eval.settings import ScoreSettings

SETTINGS = ScoreSettings(consistency_resolution=32)


def pixels(uri: str) -> np.ndarray:
    data = base64.b64decode(str(uri).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_the_first_and_the_closing_pair_of_plain_views_have_the_psnr_of_their_difference(
    tmp_path: Path,
) -> None:
    """Views of one gray, but for view 0: it takes part in both pairs that are shown."""
    views = np.full((8, 32, 32, 3), 100, np.uint8)
    views[0] += 51  # a fifth of the range of values
    folder = open_folder(toy.write_folder(tmp_path / "mine", "mine", {"b": views, "a": views}))
    pairs = overlap_pictures("panorama", {"mine": folder}, SETTINGS)
    assert [(p["sample"], p["views"], p["closing"]) for p in pairs] == [
        ("a", (0, 1), False),
        ("a", (7, 0), True),
    ]
    expected = 255 * np.array(matplotlib.colormaps["magma"](0.2 / 0.5)[:3])
    for pair in pairs:
        (shown,) = pair["methods"]
        assert shown["psnr"] == pytest.approx(-20 * math.log10(0.2), abs=1e-5)
        query, warped = (151, 100) if pair["views"] == (0, 1) else (100, 151)
        assert np.abs(np.median(pixels(shown["query"]), (0, 1)) - query).max() <= 2
        assert np.abs(np.median(pixels(shown["warped"]), (0, 1)) - warped).max() <= 2
        assert np.abs(np.median(pixels(shown["difference"]), (0, 1)) - expected).max() <= 6
        assert pixels(shown["query"]).shape == pixels(shown["difference"]).shape
        assert shown["matches"] == "", "there are no keypoints in 32 px"


def test_key_frames_of_a_walk_are_laid_on_one_another_by_depth(tmp_path: Path) -> None:
    """Real frames agree but for the interpolation; of frames that show two paintings few do."""
    samples = walks.real_samples(1)
    other = {"walk000": walks.independent_samples(1)["walk000"]}
    folders = {
        "real": open_folder(walks.write_folder(tmp_path / "real", "real", samples)),
        "mvdiffusion": open_folder(walks.write_folder(tmp_path / "made", "mvdiffusion", other)),
    }
    pairs = overlap_pictures("depth", folders, SETTINGS)
    keys = walks.KEY_FRAMES
    assert [pair["views"] for pair in pairs] == [(keys[0], keys[1]), (keys[-2], keys[-1])]
    for pair in pairs:
        assert not pair["closing"]
        real, made = (method["psnr"] for method in pair["methods"])
        assert real > 30 > 20 > made
        agreeing, unlike = (pixels(m["difference"]).mean() for m in pair["methods"])
        assert agreeing < 30 < unlike


def test_methods_without_neighbors_or_without_the_sample_are_left_out(tmp_path: Path) -> None:
    views = toy.views_of(0, 0)
    rooms = {"real": ["a", "b"], "mine": ["a", "b"], "odd": ["c"]}
    folders = {
        name: open_folder(toy.write_folder(tmp_path / name, name, dict.fromkeys(samples, views)))
        for name, samples in rooms.items()
    }
    two = {"a": views[::4], "b": views[::4]}  # they look 180 degrees apart
    folders["two"] = open_folder(toy.write_folder(tmp_path / "two", "two", two))
    pairs = overlap_pictures("panorama", folders, SETTINGS)
    assert [[m["name"] for m in pair["methods"]] for pair in pairs] == [["Real views", "mine"]] * 2
    assert overlap_pictures("panorama", {"two": folders["two"]}, SETTINGS) == []


@pytest.mark.slow
def test_matches_of_agreeing_views_are_in_their_place_and_those_of_others_are_not(
    tmp_path: Path,
) -> None:
    real = textures.panorama_views(0, 256)
    mixed = real.copy()
    mixed[1::2] = np.roll(real, 2, axis=0)[1::2]  # every second view looks where another one does
    folders = {
        name: open_folder(toy.write_folder(tmp_path / name, name, {"room": views}))
        for name, views in {"real": real, "mvdiffusion": mixed}.items()
    }
    first, closing = overlap_pictures("panorama", folders, ScoreSettings(), largest=200)
    agreeing, mixed_up = first["methods"]
    assert agreeing["all"] > 50
    assert agreeing["correct"] > 0.7 * agreeing["all"]
    assert mixed_up["correct"] < 0.2 * max(1, mixed_up["all"])
    assert pixels(agreeing["matches"]).shape == (200, 400, 3)
    protocols = ["correspondence", "paper-consistency-pano"]
    score = mvdiffusion_eval.score(tmp_path / "real", protocols=protocols)["metrics"]
    real_closing = closing["methods"][0]
    share = real_closing["correct"] / real_closing["all"]
    assert share == pytest.approx(score["match_share_closing"]["value"])
    assert real_closing["psnr"] == pytest.approx(
        score["cross_view_psnr_closing"]["value"], abs=1e-4
    )


def test_matches_are_green_in_their_place_and_red_elsewhere() -> None:
    views = np.full((2, 100, 100, 3), 255, np.uint8)
    starts, stops = np.array([[20.0, 20], [20, 80]]), np.array([[60.0, 20], [60, 80]])
    drawn = draw_matches(views, (starts, stops), np.array([True, False]), largest=50)
    assert drawn.shape == (50, 100, 3)
    assert np.abs(drawn[10, 30].astype(int) - CORRECT).max() <= 25
    assert np.abs(drawn[40, 30].astype(int) - WRONG).max() <= 25
    assert (drawn[25] == 255).all()
