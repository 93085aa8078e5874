"""The viewer as parts of a page, and as a page of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from mvdiffusion.records import atomic_output
from mvdiffusion.viewer.panoramas import Panorama

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """A sample that can be looked around in.

    Attributes:
        name: as it is shown.
        key: under which its panoramas are registered, see `registration`.
        methods: names of the methods that have it.
        source: address of the script that registers them, from the page; None if the page does.
    """

    name: str
    key: str
    methods: Sequence[str]
    source: str | None = None


def style() -> str:
    """Style sheet of pages with viewers."""
    return _text("pannellum/pannellum.css") + _text("look_around.css")


def script() -> str:
    """Script of pages with viewers, to stand behind their elements."""
    return f"/*!\n{_text('pannellum/COPYING')}*/\n{_text('pannellum/pannellum.js')}\n" + _text(
        "look_around.js"
    )


def registration(key: str, panoramas: Mapping[str, Panorama]) -> str:
    """Write the script that hands the panoramas of a sample to the viewers.

    Args:
        key: that of the sample.
        panoramas: by method.
    """
    described = {method: panorama.described() for method, panorama in panoramas.items()}
    return f"registerPanoramas({_json(key)}, {_json(described)});\n"


def look_around(
    samples: Sequence[Sample], titles: Mapping[str, str], left: str, right: str, noun: str
) -> str:
    """Write the element of a viewer, which the page's script fills.

    Args:
        samples: to choose from.
        titles: shown names of the methods, in the order in which they are offered.
        left, right: names of the methods that are shown first; with one method, its name twice.
        noun: what a sample is, as "Room".
    """
    offered = [
        {"name": s.name, "key": s.key, "methods": list(s.methods), "source": s.source}
        for s in samples
    ]
    content = {
        "samples": offered,
        "titles": dict(titles),
        "left": left,
        "right": right,
        "noun": noun,
    }
    return (
        f'<div class="look-around"><script type="application/json">{_json(content)}</script>'
        "<noscript>The panoramas need JavaScript to be turned.</noscript></div>"
    )


def write_viewer(panorama: Panorama, path: Path, title: str) -> None:
    """Write a page that holds one panorama and the viewer; it needs no other file and no network.

    Args:
        panorama: what to look around in.
        path: the HTML file.
        title: what the page is called, in plain text.
    """
    shown = look_around([Sample(title, "own", ["own"])], {"own": title}, "own", "own", "Panorama")
    text = _text("viewer.html")
    parts = {
        "TITLE": escape(title),
        "STYLE": style(),
        "SHOWN": shown,
        "REGISTER": registration("own", {"own": panorama}),
        "SCRIPT": script(),
    }
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that can stand inside a script of an HTML page."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@cache
def _text(name: str) -> str:
    """A file of this folder: look_around.js, look_around.css, viewer.html, pannellum.js, …"""
    return (FOLDER / name).read_text(encoding="utf-8")
