"""The steps of a run and what each of them reads, drawn in layers from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import fmean

from markupsafe import Markup

from mvdiffusion.records import InputError

from ..folders.methods import methods
from ..folders.samples import TASKS
from ..tables.table import template

TEMPLATE = Path(__file__).parent / "templates" / "step_graph.svg.j2"
LETTER, LINE, PADDING = 6.6, 30, 9
"""Pixels: the mean width of a letter, the height of a row, and around the name of a step."""
GAP = 46
"""Pixels between two layers, for the lines."""


@dataclass(frozen=True)
class Node:
    """Steps of one kind, as drawn.

    Attributes:
        name: what they do, in words.
        x, y, width: left edge, middle and width in pixels.
        of: kind "method", "result" or "", by which it is colored.
    """

    name: str
    x: float
    y: float
    width: float
    of: str


def draw_steps(before: Mapping[str, Iterable[str]]) -> Markup:
    """Draw steps of one kind as one box, with a line from every box to those that read its results.

    Steps that differ in the task alone, and all scores, are of one kind.

    Args:
        before: the steps whose results a step reads, by step.

    Returns:
        An SVG element, whose colors are those of the page; empty without steps.

    Raises:
        InputError: steps read one another's results in a circle.
    """
    kinds = _kinds(before)
    if not kinds:
        return Markup("")
    layers = _layers(kinds)
    nodes = _place(layers, kinds)
    lines = [
        _line(nodes[source], nodes[name])
        for name, sources in kinds.items()
        for source in sorted(_needed(sources, kinds))
    ]
    width = max(node.x + node.width for node in nodes.values()) + 1
    height = LINE * max(map(len, layers))
    words = "; ".join(f"{n} after {', '.join(sorted(s))}" for n, s in kinds.items() if s)
    drawn = template(TEMPLATE).render(
        nodes=[*nodes.values()], lines=lines, width=width, height=height, words=words, line=LINE
    )
    return Markup(drawn)


def kind_of(step: str) -> str:
    """Name the kind of a step: its name in words, without its task.

    >>> kind_of("panorama_stage1"), kind_of("score_depth_mvdiffusion"), kind_of("rooms_train")
    ('stage 1', 'score', 'rooms')
    """
    head, _, tail = step.partition("_")
    if head in ("score", "rooms", "walks"):
        return head
    words = (tail if head in TASKS and tail else step).replace("_", " ")
    return words.replace("stage1", "stage 1").replace("stage2", "stage 2")


def _kinds(before: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The kinds that each kind of steps reads from."""
    found: dict[str, set[str]] = {}
    for step, sources in before.items():
        own = found.setdefault(kind_of(step), set())
        own |= {kind_of(source) for source in sources if source in before} - {kind_of(step)}
    return found


def _needed(sources: set[str], kinds: Mapping[str, set[str]]) -> set[str]:
    """Sources that are no sources of another source, directly or not: the other lines say so."""

    def above(name: str) -> set[str]:
        return kinds[name].union(*(above(source) for source in kinds[name]))

    return sources - set().union(*(above(source) for source in sources))


def _layers(kinds: Mapping[str, set[str]]) -> list[list[str]]:
    """Put each kind one layer to the right of the last of those that it reads from."""
    try:
        order = list(TopologicalSorter(kinds).static_order())
    except CycleError as error:
        names = " → ".join(error.args[1])
        raise InputError(f"steps of the run: read one another's results ({names}).") from None
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = max((depth[source] + 1 for source in kinds[name]), default=0)
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in kinds:  # in the order of the run
        layers[depth[name]].append(name)
    return layers


def _place(layers: list[list[str]], kinds: Mapping[str, set[str]]) -> dict[str, Node]:
    """Give every kind a place; in each layer near the middle of what it reads from."""
    tallest, nodes, x = max(map(len, layers)), dict[str, Node](), 1.0
    readers = {name for sources in kinds.values() for name in sources}
    made = {method.replace("_", " ") for method in methods()}
    for layer in layers:
        sources = {n: [nodes[s].y for s in kinds[n] if s in nodes] for n in layer}
        layer.sort(key=lambda name: fmean(sources[name]) if sources[name] else 0.0)
        width = max(LETTER * len(name) for name in layer) + 2 * PADDING
        top = (tallest - len(layer)) / 2
        for row, name in enumerate(layer):
            of = "method" if name in made else "" if name in readers else "result"
            nodes[name] = Node(name, x, LINE * (top + row + 0.5), width, of)
        x += width + GAP
    return nodes


def _line(source: Node, target: Node) -> str:
    """A curve from the right edge of a box to the left edge of another, as an SVG path."""
    start, stop = source.x + source.width, target.x
    middle = f"{start + GAP:g} {source.y:g} {stop - GAP:g} {target.y:g}"
    return f"M{start:g} {source.y:g} C{middle} {stop:g} {target.y:g}"
