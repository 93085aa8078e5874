"""What an installation with some extras has, of the packages that are installed here."""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, requires
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """Names of the distributions that the package needs, and of those that extras add."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    names = set()
    for requirement in map(Requirement, lines):
        own = normal(requirement.name) == PROJECT["name"]
        names |= declared(*requirement.extras) if own else {normal(requirement.name)}
    return names


def needed(names: Iterable[str]) -> set[str]:
    """These distributions and all that they need, by what the installed ones say of themselves."""
    found, queue = set[str](), [(normal(name), "") for name in names]
    seen = set()
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # of another platform
            continue
        for requirement in map(Requirement, lines):
            if holds(requirement.marker, extra):
                queue += [(normal(requirement.name), each) for each in ("", *requirement.extras)]
    return found


def holds(marker: Marker | None, extra: str) -> bool:
    """Whether a requirement is one here, of a package that was asked for with an extra."""
    return marker is None or marker.evaluate({"extra": extra})


def absent_with(names: Iterable[str]) -> set[str]:
    """Modules and distributions here that an installation of these distributions lacks."""
    there = needed(names)
    homes = packages_distributions().items()
    modules = {module for module, owners in homes if not there & {normal(each) for each in owners}}
    return modules | {normal(each.name) for each in distributions()} - there
