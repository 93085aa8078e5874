"""The results page in Chromium, from disk: phone and desk, light and dark, mouse, keys, touch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import looked_at_by_axe, serious

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end, nothing must have gone wrong and nothing been fetched."""
    contexts: list[Any] = []
    faults: list[str] = []

    def open_page(width: int = 1280, path: Path = page, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 844}, **options))
        shown = contexts[-1].new_page()
        shown.set_default_timeout(60_000)
        bad = ("error", "warning")
        shown.on("console", lambda m: faults.append(m.text) if m.type in bad else None)
        shown.on("pageerror", lambda error: faults.append(str(error)))
        local = ("file", "data", "blob")
        shown.on(
            "request", lambda r: None if r.url.split(":")[0] in local else faults.append(r.url)
        )
        shown.goto(path.as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_serious_and_nothing_scrolls_sideways(
    opened: Callable[..., Any], width: int, scheme: str
) -> None:
    shown = opened(width, color_scheme=scheme)
    shown.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(int(part) for part in background[4:-1].split(",")) < 3 * 128
    assert dark == (scheme == "dark")
    response = looked_at_by_axe(shown)
    assert serious(response) == []
    assert len(response["passes"]) > 20, "axe has looked"


def test_pointing_focusing_and_touching_show_a_method_beside_the_others(
    opened: Callable[..., Any],
) -> None:
    section = opened(1280, has_touch=True).locator(".overlaps").first
    status, buttons = section.locator("[role=status]"), section.locator("button")
    assert status.text_content().startswith("MVDiffusion: ")
    buttons.nth(0).hover()
    assert status.text_content().startswith("Real views: ")
    assert buttons.nth(0).get_attribute("aria-pressed") == "true"
    buttons.nth(0).focus()
    section.page.keyboard.press("Tab")
    assert status.text_content().startswith("MVDiffusion: ")
    buttons.nth(2).tap()
    assert status.text_content().startswith("mine: ")
    pictures = section.locator(".three img")
    assert pictures.nth(2).get_attribute("src") == buttons.nth(2).get_attribute("data-difference")
    words = pictures.nth(2).get_attribute("alt")
    assert words.startswith("Map of the difference of view 0 and view 1 by mine")
    box, own = section.locator(".shown").bounding_box(), section.locator(".laid").bounding_box()
    assert box["x"] >= own["x"] + own["width"], "beside"


def test_a_walk_is_played_and_jumps_between_its_key_frames(opened: Callable[..., Any]) -> None:
    walk = opened(390, reduced_motion="reduce").locator(".playing")
    slider, told = walk.locator("input"), walk.locator("output")
    assert told.text_content() == "frame 1 of 7, key frame"
    assert slider.input_value() == "0", "nothing plays by itself"
    ticks = walk.locator(".ticks i").evaluate_all("all => all.map((one) => one.style.left)")
    assert ticks == ["0%", "50%", "100%"]
    walk.get_by_text("Next key frame").click()
    assert told.text_content() == "frame 4 of 7, key frame"
    slider.press("ArrowRight")
    assert told.text_content() == "frame 5 of 7, in between"
    assert slider.get_attribute("aria-valuetext") == "frame 5 of 7, in between"
    walk.get_by_text("Key frame before").click()
    assert told.text_content() == "frame 4 of 7, key frame"
    walk.locator(".play").click()
    walk.page.wait_for_function("document.querySelector('.playing input').value !== '3'")
    assert walk.locator(".play").text_content() == "Pause"
    boxes = [figure.bounding_box() for figure in walk.locator("figure:visible").all()]
    assert boxes[0]["y"] == boxes[1]["y"], "depth has a method beside it on a phone, too"


def test_the_first_picture_is_there_within_three_seconds(opened: Callable[..., Any]) -> None:
    if os.getloadavg()[0] > (os.cpu_count() or 1):
        pytest.skip("this machine is busy with other things")
    shown = opened()
    painted = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    shown.wait_for_function(f"!!{painted.removesuffix('.startTime')}")
    assert shown.evaluate(painted) < 3000


def test_the_printed_page_has_no_controls(opened: Callable[..., Any]) -> None:
    shown = opened(color_scheme="dark")
    shown.emulate_media(media="print", color_scheme="dark")
    assert not shown.locator(".controls:visible, nav:visible, .shown:visible").count()
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.locator("table").first.is_visible()
