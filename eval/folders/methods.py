"""Methods: their printed names, order in tables and colors, and layouts of other packages.

Scoring needs none of this: a method without an entry comes last, under its own name. Other
packages add their methods (see `plugins`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mvdiffusion.methods import registry
from mvdiffusion.methods.declaration import Role
from mvdiffusion.records import InputError

from ..plugins import load_plugins
from .samples import SampleFolder


@dataclass(frozen=True)
class Method:
    """A method as it is shown, and how its folders are opened.

    Attributes:
        name: as manifests and score files have it; without a manifest, the folder's name.
        title: printed name.
        color: of its lines and dots, `#rrggbb`.
        published: its name in the tables of MVDiffusion's paper.
        role: a "control" may cover fewer samples and stays out of main tables, an "ablation" has
            a table of its own (see `mvdiffusion.methods.Method`).
        of_project: whether this project makes it, rather than another package or a folder of yours.
        opens: opens a folder without a manifest in a layout of its own, None if it is not one.
    """

    name: str
    title: str
    color: str | None = None
    published: str = ""
    role: Role = "method"
    of_project: bool = False
    opens: Callable[[Path], SampleFolder | None] | None = None


REAL = Method("real", "Real views", "#4d4d4d", "Real views")


@cache
def methods() -> Mapping[str, Method]:
    """All methods that have an entry, by name, in the order in which tables show them.

    Raises:
        InputError: a plug-in is not a method, or its name is already registered.
    """
    found = {REAL.name: REAL}
    for name, own in registry.methods().items():
        found[name] = Method(name, own.title, own.color, own.published, own.role, own.is_ours)
    for name, method in load_plugins("methods", Method).items():
        if method.name in found:
            raise InputError(f"plug-in '{name}': the method '{method.name}' is already registered.")
        found[method.name] = method
    return found


def rank(method: str) -> int:
    """Place of a method in tables and figures; those without a place come last."""
    return (*methods(), method).index(method)


def shown_as(method: str) -> Method:
    """Look a method up; one without an entry is shown under its own name."""
    return methods().get(method, Method(method, method))


def display_name(method: str) -> str:
    """Printed name of a method."""
    return shown_as(method).title


def open_as_method(root: Path) -> SampleFolder | None:
    """Open a folder whose layout a method of another package knows, if one does."""
    opened = (method.opens(root) for method in methods().values() if method.opens)
    return next((folder for folder in opened if folder is not None), None)
