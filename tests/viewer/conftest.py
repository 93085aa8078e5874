"""A browser, pages with viewers that it opens from disk, and panoramas whose pixels are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvdiffusion.viewer import pages
from mvdiffusion.viewer.panoramas import Panorama


class Shown:
    """A page that is open, and its first viewer."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.stage = page.locator(".look-around .stage").first

    def ask(self, expression: str) -> Any:
        """Evaluate an expression of the viewer `it` of the page's script."""
        return self.page.evaluate(
            f"(() => {{ const it = document.querySelector('.look-around').lookAround;"
            f" return {expression}; }})()"
        )

    def wait(self, expression: str) -> None:
        self.page.wait_for_function(
            f"(() => {{ const it = document.querySelector('.look-around')?.lookAround;"
            f" return it && ({expression}); }})()",
            timeout=60_000,
        )

    def ready(self) -> Shown:
        self.wait("it.viewers.length && it.viewers.every((viewer) => viewer.isLoaded())")
        return self

    def views(self) -> np.ndarray:
        """Yaw, pitch and field of view in degrees of each pane [panes, 3]."""
        found = "it.viewers.map((v) => [v.getYaw(), v.getPitch(), v.getHfov()])"
        return np.array(self.ask(found))

    def look(self, yaw: float, pitch: float, hfov: float) -> None:
        self.ask(f"it.look({{ yaw: {yaw}, pitch: {pitch}, hfov: {hfov} }})")
        self.settle()

    def settle(self) -> None:
        """Wait until two frames have been drawn."""
        twice = "(done) => requestAnimationFrame(() => requestAnimationFrame(done))"
        self.page.evaluate(f"() => new Promise({twice})")

    def rest(self) -> np.ndarray:
        """Wait until nothing turns any more, and say where each pane looks [panes, 3]."""
        views = self.views() + 1
        while abs(views - self.views()).max() > 0:
            views = self.views()
            self.page.wait_for_timeout(200)
        return views

    def pixels(self) -> np.ndarray:
        """The frame as it is on the screen: RGB [H, W, 3]."""
        self.stage.scroll_into_view_if_needed()
        self.settle()
        seen = np.asarray(Image.open(BytesIO(self.page.screenshot())).convert("RGB")).astype(int)
        box = {key: round(value) for key, value in self.stage.bounding_box().items()}
        return seen[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Shown]]:
    """Open a page from disk; at the end, nothing must have gone wrong and nothing been fetched."""
    contexts: list[Any] = []
    faults: list[str] = []

    def open_page(path: Path, width: int = 1280, faulty: bool = False, **options: Any) -> Shown:
        contexts.append(
            browser.new_context(viewport={"width": width, "height": 844}, **options),
        )
        page = contexts[-1].new_page()
        if not faulty:
            page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        remote = ("ftp", "http", "https", "ws", "wss")
        page.on(
            "request",
            lambda r: faults.append(r.url) if r.url.split(":")[0] in remote else None,
        )
        page.goto(path.as_uri())
        return Shown(page)

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def plain(shade: tuple[int, int, int], height: int = 128) -> np.ndarray:
    return np.full((height, 2 * height, 3), shade, np.uint8)


def write_page(path: Path, rooms: Mapping[str, Mapping[str, Panorama]], elements: int = 1) -> Path:
    """Write a page with viewers of rooms by method, and the rooms' files beside it."""
    assets = path.with_name(f"{path.stem}_assets")
    assets.mkdir(parents=True)
    titles = {method: method.title() for made in rooms.values() for method in made}
    left, right = [*titles, *titles][:2]
    samples = []
    for number, (room, made) in enumerate(rooms.items()):
        (assets / f"{number}.js").write_text(pages.registration(room, made))
        samples.append(pages.Sample(room, room, list(made), f"{assets.name}/{number}.js"))
    shown = pages.look_around(samples, titles, left, right, "Room")
    far = '<div style="height: 3000px"></div>'
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Rooms</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>:root { --card: #fff; --ink: #222; --soft: #555; --line: #ccc; --accent: #069; }"
        f"{pages.style()}</style></head><body><main><h1>Rooms</h1>{far.join([shown] * elements)}"
        f"</main><script>{pages.script()}</script></body></html>"
    )
    return path
