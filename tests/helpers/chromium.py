"""The Chromium of the system, driven by Playwright, and what axe-core finds on its pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-quic")
WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@contextmanager
def launcher() -> Iterator[Callable[..., Any]]:
    """Yield what starts a browser with further arguments; skip the tests where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if CHROMIUM is None:
        pytest.skip("needs a Chromium, which this machine has not")
    with playwright.sync_playwright() as drivers:
        yield lambda *more: drivers.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGUMENTS, *more], timeout=120_000
        )


def looked_at_by_axe(page: Any) -> dict[str, Any]:
    """Let axe-core look at a page: the rules that it keeps and breaks."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    return axe.Axe().run(page).response


def serious(response: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Rules that a page breaks seriously, with the elements that break them."""
    return [
        (rule["id"], [node["html"][:200] for node in rule["nodes"]])
        for rule in response["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
