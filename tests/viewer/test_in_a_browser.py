"""The viewer as people use it, in Chromium, from disk."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chromium import looked_at_by_axe, serious

from mvdiffusion.geometry.cameras import even_yaws, level_rotations
from mvdiffusion.geometry.panoramas import stitch
from mvdiffusion.viewer.pages import write_viewer
from mvdiffusion.viewer.panoramas import Panorama, panorama_of

from .conftest import Shown, plain, write_page

pytestmark = pytest.mark.slow

RED, BLUE, GREEN = (200, 30, 30), (30, 30, 200), (30, 160, 30)
Open = Callable[..., Shown]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red and a blue method; of the second room, a third one in green alone."""
    red, blue, green = (panorama_of(plain(shade)) for shade in (RED, BLUE, GREEN))
    rooms = {"attic": {"red": red, "blue": blue}, "cellar": {"green": green, "blue": blue}}
    return write_page(tmp_path_factory.mktemp("two") / "page.html", rooms)


def is_shade(pixel: np.ndarray, shade: tuple[int, int, int]) -> bool:
    return bool(abs(pixel - shade).max() < 12)


def across(pixels: np.ndarray, share: float) -> np.ndarray:
    """The pixel at a share of the frame's width, a third from the top."""
    return pixels[pixels.shape[0] // 3, int(share * (pixels.shape[1] - 1))]


@pytest.mark.parametrize("width", [1280, 390])
def test_both_turn_by_mouse_and_by_keys(opened: Open, two: Path, width: int) -> None:
    shown = opened(two, width).ready()
    assert (shown.views() == [0, 0, 100]).all()
    box = shown.page.locator(".look-around .pane.left").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse = shown.page.mouse
    mouse.move(x, y)
    mouse.down()
    mouse.move(x - box["width"] / 4, y, steps=5)
    shown.page.wait_for_timeout(200)
    mouse.up()
    dragged = shown.rest()
    assert dragged[0, 0] > 10
    assert abs(dragged[0] - dragged[1]).max() < 0.01, "the right one turned along"
    keys = shown.page.keyboard  # the frame has the focus, since it was dragged
    keys.press("ArrowLeft")
    shown.settle()
    turned = shown.views()
    assert turned[0, 0] == pytest.approx(dragged[0, 0] - 10, abs=0.5)
    keys.press("ArrowUp")
    keys.press("+")
    shown.settle()
    assert shown.views()[0] == pytest.approx([turned[0, 0], 5, 90], abs=0.5)
    assert abs(np.diff(shown.views(), axis=0)).max() < 0.01
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_other_one_leads_as_well(opened: Open, two: Path) -> None:
    shown = opened(two).ready()
    box = shown.page.locator(".look-around .pane.right").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x + 80, y + 40, steps=4)
    shown.settle()
    shown.page.mouse.up()
    views = shown.rest()
    assert views[0, 0] < -5
    assert views[0, 1] > 2
    assert abs(views[0] - views[1]).max() < 0.01


@pytest.mark.parametrize("width", [1280, 390])
def test_the_divider_moves_by_mouse_and_keys(opened: Open, two: Path, width: int) -> None:
    shown = opened(two, width).ready()
    pixels = shown.pixels()
    side = pixels if width > 600 else pixels.swapaxes(0, 1)  # on a phone, one above the other
    middle = side.shape[0] // 3
    assert is_shade(side[middle, side.shape[1] // 4], RED)
    assert is_shade(side[middle, 3 * side.shape[1] // 4], BLUE)

    shown.page.get_by_role("button", name="Slider").click()
    divider = shown.page.get_by_role("slider")
    pixels = shown.pixels()
    assert is_shade(across(pixels, 0.4), RED)
    assert is_shade(across(pixels, 0.6), BLUE)
    assert divider.get_attribute("aria-valuenow") == "50"
    assert divider.get_attribute("aria-valuetext") == "50 % Red, the rest Blue"
    divider.focus()
    for key, value in {"ArrowRight": 52, "PageDown": 42, "Home": 0, "End": 100}.items():
        shown.page.keyboard.press(key)
        assert divider.get_attribute("aria-valuenow") == str(value)
    assert is_shade(across(shown.pixels(), 0.9), RED), "all of it is the left method"
    assert (shown.views() == [0, 0, 100]).all(), "its arrows do not turn"
    shown.page.keyboard.press("Home")
    assert is_shade(across(shown.pixels(), 0.1), BLUE)

    frame = shown.stage.bounding_box()
    y = frame["y"] + frame["height"] / 4
    shown.page.mouse.move(frame["x"] + 2, y)
    shown.page.mouse.down()
    shown.page.mouse.move(frame["x"] + 0.8 * frame["width"], y, steps=4)
    shown.page.mouse.up()
    assert abs(float(divider.get_attribute("aria-valuenow")) - 80) <= 1
    pixels = shown.pixels()
    assert is_shade(across(pixels, 0.7), RED)
    assert is_shade(across(pixels, 0.9), BLUE)


def test_both_sides_of_the_divider_turn(opened: Open, two: Path) -> None:
    shown = opened(two).ready()
    shown.page.get_by_role("button", name="Slider").click()
    frame = shown.stage.bounding_box()
    for share, sign in ((0.25, 1), (0.75, -1)):
        before = shown.views()[0, 0]
        x, y = frame["x"] + share * frame["width"], frame["y"] + frame["height"] / 3
        shown.page.mouse.move(x, y)
        shown.page.mouse.down()
        shown.page.mouse.move(x - sign * 100, y, steps=4)
        shown.settle()
        shown.page.mouse.up()
        after = shown.rest()
        assert sign * (after[0, 0] - before) > 5
        assert abs(after[0] - after[1]).max() < 0.01


def test_fingers_turn_and_move_the_divider(opened: Open, two: Path) -> None:
    shown = opened(two, 390, has_touch=True, is_mobile=True).ready()
    touch = shown.page.context.new_cdp_session(shown.page)

    def drag(x: float, y: float, to: float) -> None:
        for kind, at in (("Start", x), ("Move", (x + to) / 2), ("Move", to), ("End", None)):
            points = [] if at is None else [{"x": at, "y": y}]
            touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
            shown.settle()

    shown.page.get_by_role("button", name="Slider").click()
    frame = shown.stage.bounding_box()
    middle, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 3
    drag(middle, y, frame["x"] + frame["width"] / 4)
    now = shown.page.get_by_role("slider").get_attribute("aria-valuenow")
    assert abs(float(now) - 25) <= 1
    drag(middle + 60, y, middle - 40)
    views = shown.rest()
    assert views[0, 0] > 5
    assert abs(views[0] - views[1]).max() < 0.01


def test_other_rooms_and_methods_can_be_chosen(opened: Open, two: Path) -> None:
    shown = opened(two).ready()
    shown.look(40, 0, 80)
    shown.page.get_by_label("Left").select_option("Blue")
    shown.ready()
    pixels = shown.pixels()
    assert is_shade(across(pixels, 0.2), BLUE)
    assert shown.views()[0] == pytest.approx([40, 0, 80], abs=0.01), "the view stays"
    shown.page.get_by_label("Room").select_option("cellar")
    shown.wait("it.told.textContent.includes('Red')")
    shown.ready()
    assert shown.page.locator(".told").inner_text() == "Without this room: Red."
    assert shown.page.get_by_label("Left").locator("option:disabled").all_inner_texts() == ["Red"]
    shown.page.get_by_label("Right").select_option("Green")
    shown.ready()
    assert is_shade(across(shown.pixels(), 0.8), GREEN)
    alt = shown.page.locator(".pane.right img").get_attribute("alt")
    assert alt == "Panorama of cellar by Green, unrolled"


def marked(places: list[tuple[float, float]], height: int) -> np.ndarray:
    """A dark sphere with a white disk of 2° about each yaw and pitch in degrees."""
    longitude = ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5) * 2 * math.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height)[:, None] * math.pi
    pixels = plain((20, 20, 20), height)
    for yaw, pitch in np.radians(places):
        cosine = np.sin(latitude) * math.sin(pitch)
        cosine = cosine + np.cos(latitude) * math.cos(pitch) * np.cos(longitude - yaw)
        pixels[cosine > math.cos(math.radians(2))] = 255
    return pixels


def ring() -> torch.Tensor:
    return stitch(torch.ones(8, 1, 64, 64), 90.0, 512, level_rotations(even_yaws(8)))[1]


def above() -> torch.Tensor:
    covered = torch.zeros(512, 1024, dtype=torch.bool)
    covered[60:300] = True  # pitch +69° to −15.5°
    return covered


def to_one_side() -> torch.Tensor:
    return stitch(torch.ones(3, 1, 64, 64), 70.0, 512, level_rotations((-60.0, 0.0, 70.0)))[1]


@pytest.mark.parametrize(
    ("covered", "places"),
    [
        (ring, [(0, 0), (60, 12), (-120, -20), (179, 10)]),
        (above, [(0, 20), (100, 45), (-90, 5)]),
        (to_one_side, [(0, 0), (70, 10), (-65, -12)]),
        (lambda: None, [(0, 0), (120, 60), (-60, -70)]),
    ],
    ids=["ring", "above", "to_one_side", "whole"],
)
def test_places_are_where_they_were_painted(
    opened: Open, tmp_path: Path, covered: Callable[[], Any], places: list[tuple[float, float]]
) -> None:
    """A part of a sphere is not stretched: each disk lies at its yaw and pitch on the screen."""
    path = tmp_path / "viewer.html"
    write_viewer(panorama_of(marked(places, 512), covered()), path, "Disks")
    shown = opened(path).ready()
    alone = ".name { visibility: hidden; } .look-around .stage { border-radius: 0; }"
    shown.page.add_style_tag(content=alone)
    frame = shown.stage.bounding_box()
    for yaw, pitch in places:
        shown.look(yaw + 6, pitch - 3, 50)
        turned, tilted, field = shown.views()[0]  # as far as there is something to see
        bright = shown.pixels().min(-1) > 140
        rows, columns = np.nonzero(bright)
        assert len(rows) > 50
        x, y = columns.mean() + 0.5, rows.mean() + 0.5
        found = shown.ask(
            f"it.viewers[0].mouseEventToCoords({{ clientX: {frame['x'] + x},"
            f" clientY: {frame['y'] + y} }})"
        )
        off = np.array([(found[1] - yaw + 180) % 360 - 180, found[0] - pitch])
        assert abs(off * [math.cos(math.radians(pitch)), 1]).max() < 0.4
        # The same in closed form: a pinhole camera of that yaw, pitch and field of view.
        focal = frame["width"] / 2 / math.tan(math.radians(field) / 2)
        longitude, latitude = np.radians([yaw - turned, pitch])
        ray = np.array(
            [
                math.cos(latitude) * math.sin(longitude),
                math.sin(latitude),
                math.cos(latitude) * math.cos(longitude),
            ]
        )
        cos, sin = math.cos(math.radians(tilted)), math.sin(math.radians(tilted))
        right, up, ahead = ray[0], cos * ray[1] - sin * ray[2], sin * ray[1] + cos * ray[2]
        expected = [
            frame["width"] / 2 + focal * right / ahead,
            frame["height"] / 2 - focal * up / ahead,
        ]
        assert [x, y] == pytest.approx(expected, abs=0.4 / 50 * frame["width"])


def ahead() -> torch.Tensor:
    return stitch(torch.ones(3, 1, 64, 64), 70.0, 512, level_rotations((-60.0, 0.0, 60.0)))[1]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("covered", [ring, above, ahead])
def test_nobody_looks_beyond_what_there_is(
    opened: Open, tmp_path: Path, covered: Callable[[], torch.Tensor], width: int
) -> None:
    path = tmp_path / "viewer.html"
    mask = covered()
    pixels = plain((220, 40, 220), 512)
    pixels[~mask.numpy()] = 0  # what no view shows
    write_viewer(panorama_of(pixels, mask), path, "Pink")
    shown = opened(path, width).ready()
    for look in (None, (0, 80, 120), (170, -80, 120), (-170, 0, 120)):
        if look:  # else: as it opens
            shown.look(*look)
        seen = shown.pixels()[8:-40, 8:-8]  # without rounded corners and the name
        assert (abs(seen - (220, 40, 220)).max(-1) < 40).mean() > 0.995


def test_the_seam_behind_is_interpolated_like_any_other_place(opened: Open, tmp_path: Path) -> None:
    """Colors that run around smoothly have no flat stripe where the image begins and ends."""
    longitude = (np.arange(64) + 0.5) / 64 * 2 * np.pi
    pixels = np.repeat((127 + 120 * np.sin(4 * longitude))[None, :, None], 32, 0).repeat(3, 2)
    path = tmp_path / "viewer.html"
    write_viewer(panorama_of(pixels.round().astype(np.uint8)), path, "Waves")
    shown = opened(path).ready()
    steps = {}
    for yaw in (180, 0):  # the sine falls in both places, at its steepest: 47 shades a column
        shown.look(yaw, 0, 30)
        row = shown.pixels()[100, :, 0]
        steps[yaw] = abs(np.diff(row[len(row) // 2 - 100 : len(row) // 2 + 101 : 40]))
    assert steps[180].min() >= 0.7 * steps[0].min() > 3


def test_no_more_than_two_webgl_contexts(opened: Open, tmp_path: Path) -> None:
    rooms = {"attic": {"red": panorama_of(plain(RED)), "blue": panorama_of(plain(BLUE))}}
    shown = opened(write_page(tmp_path / "many.html", rooms, elements=3)).ready()
    for place in (1, 2, 0):
        shown.page.locator(".look-around").nth(place).scroll_into_view_if_needed()
        shown.page.wait_for_function(
            "(place) => { const { viewers } = document.querySelectorAll('.look-around')[place]"
            ".lookAround; return viewers.length === 2 && viewers.every((v) => v.isLoaded()); }",
            arg=place,
        )
        assert shown.page.locator(".look-around canvas").count() == 2


def test_nothing_turns_by_itself(opened: Open, two: Path) -> None:
    shown = opened(two, reduced_motion="reduce").ready()
    shown.page.wait_for_timeout(500)
    assert (shown.views() == [0, 0, 100]).all()
    box = shown.page.locator(".look-around .pane.left").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x - 200, y, steps=3)
    shown.page.mouse.up()
    shown.settle()
    let_go = shown.views()
    shown.page.wait_for_timeout(500)
    assert abs(shown.views() - let_go).max() < 1, "it does not run on"


def test_full_screen_holds_frame_and_controls(opened: Open, two: Path) -> None:
    shown = opened(two).ready()
    shown.page.get_by_role("button", name="Full screen").click()
    shown.wait("document.fullscreenElement === it.root")
    shown.page.wait_for_timeout(300)
    assert shown.stage.bounding_box()["height"] > 500
    assert shown.page.get_by_role("button", name="Slider").is_visible()
    assert is_shade(across(shown.pixels(), 0.2), RED)
    shown.page.get_by_role("button", name="Full screen").click()
    shown.wait("!document.fullscreenElement")


def test_viewers_that_nobody_has_seen_are_not_printed(opened: Open, tmp_path: Path) -> None:
    """They have loaded nothing, and would be black boxes."""
    room = {"own": panorama_of(plain((200, 30, 30)))}
    shown = opened(write_page(tmp_path / "page.html", {"one": room}, elements=3)).ready()
    shown.page.emulate_media(media="print")
    stages = shown.page.locator(".look-around .stage")
    loaded = shown.page.evaluate(
        "[...document.querySelectorAll('.look-around')].map((root) =>"
        " [...root.querySelectorAll('.flat')].every((picture) => picture.naturalWidth > 0))"
    )
    assert [stages.nth(place).is_visible() for place in range(3)] == loaded
    assert set(loaded) == {True, False}


def test_a_missing_file_is_told(opened: Open, tmp_path: Path) -> None:
    rooms: dict[str, dict[str, Panorama]] = {"attic": {"red": panorama_of(plain(RED))}}
    path = write_page(tmp_path / "page.html", rooms)
    (tmp_path / "page_assets/0.js").unlink()
    shown = opened(path, faulty=True)
    shown.wait("it.told.textContent")
    assert "page_assets/0.js was not found" in shown.page.locator(".told").inner_text()


def test_without_webgl_the_panoramas_are_pictures(launch: Callable[..., Any], two: Path) -> None:
    browser = launch("--disable-3d-apis")
    page = browser.new_page()
    page.goto(two.as_uri())
    shown = Shown(page)
    shown.wait("it.told.textContent.includes('no WebGL')")
    assert is_shade(across(shown.pixels(), 0.25), RED)
    page.get_by_role("button", name="Slider").click()
    pixels = shown.pixels()
    assert is_shade(across(pixels, 0.4), RED)
    assert is_shade(across(pixels, 0.6), BLUE)
    browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_assistive_technology_finds_its_way(opened: Open, two: Path, scheme: str) -> None:
    shown = opened(two, color_scheme=scheme).ready()
    for name in ("Side by side", "Slider"):
        shown.page.get_by_role("button", name=name).click()
        assert serious(looked_at_by_axe(shown.page)) == []
