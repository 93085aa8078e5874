"""The unrolled ring of views: its geometry, its cuts, and the room that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from matplotlib.figure import Figure
from PIL import Image

from mvdiffusion_eval.folders.methods import display_name
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.report.ring import (
    CLOSING,
    OTHERS,
    _agreement,
    _draw,
    _Strip,
    draw_ring,
    median_room,
    unrolled,
)
from mvdiffusion_eval.scoring.score_files import Score

METHODS = ("real", "inpainting", "autoregressive_latent", "independent", "mvdiffusion", "mine")
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
    runs = np.split(column[:, 0], np.flatnonzero(np.diff(column[:, 0])) + 1)
    return [known[run[0]] for run in runs if run[0] in known and len(run) > 5]  # letters are less


@pytest.mark.long
def test_every_compared_method_shows_the_room_of_the_first_baseline(
    tmp_path: Path, picture: Path
) -> None:
    """Each method has shades of its own for its three rooms; the median differs by method."""
    medians = {"real": "a", "inpainting": "b", "autoregressive_latent": "c", "independent": "a",
               "mvdiffusion": "c", "mine": "a", "vae_reconstruction": "a",
               "multidiffusion": "a"}  # fmt: skip
    folders, scores, known = {}, {}, {}
    for number, (method, median) in enumerate(reversed(medians.items())):
        shades = {room: 24 + 24 * number + 8 * place for place, room in enumerate("abc")}
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


MARK = (0xC0, 0x16, 0x1D)


def test_marks_are_at_the_seams_whatever_the_size_of_a_folders_views(
    tmp_path: Path, picture: Path
) -> None:
    """The red marks are those of the picture's pixels, one above each strip and one below."""
    sizes = {"real": 96, "inpainting": 32, "mvdiffusion": 50}
    folders = {
        method: open_folder(
            toy.write_folder(tmp_path / method, method, {"room": painted_views(8, size)})
        )
        for method, size in sizes.items()
    }
    scores = {m: scored(m, {"room": 20.0}, (CLOSING, OTHERS)) for m in folders}
    draw_ring(folders, scores, picture)
    red = (np.asarray(Image.open(picture).convert("RGB")) == MARK).all(-1)
    rows = np.flatnonzero(red.any(1))
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 20) + 1)
    columns = [np.flatnonzero(red[group[:3]].any(0)) for group in groups]
    middles = [(found.min() + found.max()) / 2 for found in columns]
    assert len(groups) == len(sizes) + 1
    assert np.ptp(middles) <= 2


@pytest.mark.parametrize(("count", "seams"), [(8, range(45, 360, 45)), (5, range(36, 360, 72))])
def test_ticks_are_where_the_next_view_is_as_near(tmp_path: Path, count: int, seams: range) -> None:
    """In degrees from the cut, which is at a seam of 8 views and in the middle of one of 5."""
    strips = []
    for size in (96, 32):
        root = toy.write_folder(tmp_path / str(size), "m", {"room": painted_views(count, size)})
        folder = open_folder(root)
        strips.append(_Strip("m", unrolled(folder, "room"), folder))
    for axis in _draw(strips).axes:
        assert axis.get_xlim() == (0, 360)
        assert axis.get_xticks() == pytest.approx(list(seams), abs=0.3)


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the pictures that are written."""
    found: list[str] = []
    keep = Figure.savefig

    def savefig(self: Figure, *words: Any, **more: Any) -> None:
        found.append(self.axes[0].get_title("left"))
        keep(self, *words, **more)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return found


def test_methods_that_do_not_fit_are_left_out_and_named(
    tmp_path: Path, picture: Path, titles: list[str]
) -> None:
    """Other directions, other rooms; a method with few rooms is there if it has the one shown."""
    made = {
        **{"real": ("abc", 8), "inpainting": ("xyz", 8), "autoregressive_latent": ("abc", 8)},
        **{"independent": ("b", 8), "mvdiffusion": ("abc", 5), "mine": ("bc", 8)},
    }
    folders, scores, known = {}, {}, {}
    for number, (method, (rooms, count)) in enumerate(made.items()):
        shades = {room: 30 + 30 * number + 8 * place for place, room in enumerate(sorted(rooms))}
        known |= {shade: f"{method} {room}" for room, shade in shades.items()}
        views = {room: plain_views(shade, count=count) for room, shade in shades.items()}
        folders[method] = open_folder(toy.write_folder(tmp_path / method, method, views))
        psnr = {room: 10.0 + place for place, room in enumerate(rooms)}
        scores[method] = scored(method, psnr, (CLOSING, OTHERS))
    draw_ring(folders, scores, picture)
    shown = [f"{m} b" for m in ("real", "autoregressive_latent", "independent", "mine")]
    assert shades_from_top(picture, known) == shown
    left_out = "; ".join(map(display_name, ("inpainting", "mvdiffusion")))
    assert titles == [
        "b: among 1 rooms the one whose closing pair has the median PSNR by "
        f"{display_name('autoregressive_latent')}; not shown: {left_out}"
    ]


def test_methods_of_other_packages_are_enough(
    tmp_path: Path, picture: Path, titles: list[str]
) -> None:
    views = {"room": plain_views(90)}
    folder = open_folder(toy.write_folder(tmp_path / "mine", "mine", views))
    draw_ring({"mine": folder}, {"mine": scored("mine", {"room": 9.0}, (CLOSING,))}, picture)
    assert shades_from_top(picture, {90: "mine room"}) == ["mine room"]
    assert titles[0].endswith("by mine")


def test_only_the_pairs_that_were_scored_are_printed() -> None:
    closing = scored("real", {"room": 20.0}, (CLOSING,))
    both = scored("real", {"room": 20.0}, (CLOSING, OTHERS))
    assert _agreement(closing, "room") == "closing pair 20.0 dB"
    assert _agreement(both, "room") == "closing pair 20.0 dB\nother pairs 20.0 dB"


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
