"""The unrolled ring of views: its geometry, its cuts, and the room that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image

from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.report.ring import CLOSING, OTHERS, draw_ring, median_room, unrolled
from mvdiffusion_eval.scoring.score_files import Score

METHODS = ("real", "inpainting", "autoregressive_latent", "independent", "mvdiffusion")
"""From top to bottom."""


def colors(longitude: np.ndarray, height: np.ndarray) -> np.ndarray:
    """A smooth painting [..., 3] on a cylinder of radius 1 that closes after a turn."""
    waves = [np.sin(longitude), np.cos(2 * longitude), height]
    return 128 + 100 * np.stack(np.broadcast_arrays(*waves), -1)


def painted_views(count: int, size: int = 96) -> np.ndarray:
    """Views [count, size, size, 3] of the painting, field of view 90°."""
    place = (np.arange(size) + 0.5) / (size / 2) - 1  # of pixels, in focal lengths
    x, y = np.meshgrid(place, place)
    yaws = 2 * np.pi / count * np.arange(count)
    views = [colors(yaw + np.arctan(x), y / np.sqrt(1 + x**2)) for yaw in yaws]
    return np.stack(views).round().astype(np.uint8)


def plain_views(*shades: int, count: int = 8) -> np.ndarray:
    """One shade of gray for all views, or one for each."""
    values = np.resize(np.array(shades, np.uint8), count)
    return np.ones((count, 32, 32, 3), np.uint8) * values[:, None, None, None]


def scored(method: str, closing: Mapping[str, float | None], names: tuple[str, ...]) -> Score:
    """Score of a method: the PSNR of each room's closing pair, under some metrics' names."""
    about = {"unit": "dB", "higher_is_better": True, "protocol": "p", "version": 1}
    values = list(closing.values())
    one = {"value": 0.0, "se": 0.0, "values": values, "values_per": "sample", **about}
    content = {"task": "panorama", "method": method, "images": {"samples": list(closing)}}
    return Score(Path(f"{method}.json"), content | {"metrics": dict.fromkeys(names, one)})


@pytest.mark.parametrize("count", [8, 5])
def test_the_strip_is_a_cylinder_with_the_closing_pair_in_its_middle(
    tmp_path: Path, count: int
) -> None:
    folder = open_folder(
        toy.write_folder(tmp_path / "real", "real", {"room": painted_views(count)})
    )
    strip = unrolled(folder, "room")
    rows, columns = strip.shape[:2]
    closing = np.pi * (2 - 1 / count)  # half a step back from view 0, as far as on from the last
    longitude = closing + ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
    top = rows / columns * np.pi  # as high as wide, per radian
    assert top == pytest.approx(np.cos(np.pi / count), abs=0.01)  # the corners of what is kept
    height = ((np.arange(rows) + 0.5) / rows * 2 - 1) * top
    expected = colors(longitude[None], height[:, None])
    assert np.abs(strip - expected).max() < 3


def test_views_are_cut_hard_where_the_next_one_is_as_near(tmp_path: Path) -> None:
    shades = [30 * view for view in range(8)]
    views = plain_views(*shades)
    strip = unrolled(open_folder(toy.write_folder(tmp_path / "m", "m", {"room": views})), "room")
    assert (strip == strip[:1, :, :1]).all()
    row = strip[0, :, 0]
    width = len(row) / 8
    order = [4, 5, 6, 7, 0, 1, 2, 3]
    starts = np.flatnonzero(np.diff(row.astype(int))) + 1
    assert [shades.index(row[start]) for start in (0, *starts)] == order
    assert np.abs(starts - width * np.arange(1, 8)).max() <= 1
    assert starts[3] == len(row) // 2


def test_the_room_is_the_median_by_the_closing_pair() -> None:
    psnr = {"a": 14.0, "b": 11.0, "c": 19.0, "d": 13.0, "e": 12.0}
    score = scored("inpainting", psnr, (CLOSING,))
    assert median_room(score, list("abcde")) == "d"
    assert median_room(score, list("abcd")) == "d"  # 13 and 14 are in the middle
    assert median_room(score, list("bce")) == "e"


def test_rooms_without_a_psnr_do_not_count() -> None:
    """NumPy's median of the others; if there are no others, any room will do."""
    psnr = {"a": 14.0, "b": None, "c": 19.0, "d": None, "e": 12.0}
    assert median_room(scored("inpainting", psnr, (CLOSING,)), list("abcde")) == "a"
    assert np.nanmedian([14, np.nan, 19, np.nan, 12]) == psnr["a"]
    assert median_room(scored("inpainting", dict.fromkeys("ab"), (CLOSING,)), list("ab")) == "a"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return tmp_path / "ring.png"


def shades_from_top(picture: Path, known: dict[int, str]) -> list[str]:
    """What known shades stand for, from top to bottom, a sixteenth of the width from the right."""
    image = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    column = image[:, -image.shape[1] // 16]
    found = [known[shade] for shade in column[:, 0] if shade in known]
    return [name for i, name in enumerate(found) if i == 0 or name != found[i - 1]]


def test_every_compared_method_shows_the_room_of_the_first_baseline(
    tmp_path: Path, picture: Path
) -> None:
    """Each method has shades of its own for its three rooms; the median differs by method."""
    medians = {"real": "a", "inpainting": "b", "autoregressive_latent": "c", "independent": "a",
               "mvdiffusion": "c", "mine": "a", "vae_reconstruction": "a"}  # fmt: skip
    folders, scores, known = {}, {}, {}
    for number, (method, median) in enumerate(reversed(medians.items())):
        shades = {room: 40 + 24 * number + 8 * place for place, room in enumerate("abc")}
        known |= {shade: f"{method} {room}" for room, shade in shades.items()}
        views = {room: plain_views(shade) for room, shade in shades.items()}
        folders[method] = open_folder(toy.write_folder(tmp_path / method, method, views))
        psnr = dict(zip((r for r in "abc" if r != median), (10.0, 30.0), strict=True))
        psnr[median] = 20.0
        scores[method] = scored(method, dict(sorted(psnr.items())), (CLOSING, OTHERS))
    draw_ring(folders, scores, picture)
    assert shades_from_top(picture, known) == [f"{method} b" for method in METHODS]
    # Without that baseline, the next one decides, whatever another method made of that room.
    scores["real"].metrics[CLOSING].values[2] = None
    del folders["inpainting"]
    draw_ring(folders, scores, picture)
    shown = [method for method in METHODS if method != "inpainting"]
    assert shades_from_top(picture, known) == [f"{method} c" for method in shown]


@pytest.mark.parametrize(("count", "names"), [(8, ("fid",)), (4, (CLOSING, OTHERS))])
def test_nothing_is_drawn_without_a_score_or_a_ring(
    tmp_path: Path, picture: Path, count: int, names: tuple[str, ...]
) -> None:
    """Four views of 90° have no pixel in common."""
    rooms = {"room": plain_views(90, count=count)}
    folder = open_folder(toy.write_folder(tmp_path / "real", "real", rooms))
    draw_ring({"real": folder}, {"real": scored("real", {"room": 40.0}, names)}, picture)
    draw_ring({"real": folder}, {}, picture)
    draw_ring({}, {}, picture)
    assert not picture.exists()
