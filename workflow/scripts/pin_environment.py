"""Write the conda environment of the rules: what they need, at the versions of constraints.txt.

Run it after a change of pyproject.toml or constraints.txt, where all packages are installed:
`python -m workflow.scripts.pin_environment`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ENVIRONMENT = Path(__file__).parents[1] / "envs/mvdiffusion.yaml"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
EXTRAS = ("workflow", "offline")
PYTHON = {"python_version": "3.11", "python_full_version": "3.11.0"}  # that of constraints.txt
OF_TORCH = re.compile(r"(nvidia|cuda)-|triton$")  # torch itself names one version of each


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """Names of the distributions that the package needs, and of those that extras add."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    names = set[str]()
    for one in map(Requirement, lines):
        own = normal(one.name) == PROJECT["name"]
        names |= declared(*one.extras) if own else {normal(one.name)}
    return names


def needed(names: Iterable[str], **environment: str) -> set[str]:
    """These distributions and all that they need, by what the installed ones say of themselves.

    Args:
        names: of distributions.
        environment: values of markers in the place of those of this interpreter.
    """
    queue, seen = [(normal(name), "") for name in names], set[tuple[str, str]]()
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another platform
            continue
        for one in map(Requirement, lines):
            if one.marker is None or one.marker.evaluate({**environment, "extra": extra}):
                queue += [(normal(one.name), each) for each in ("", *one.extras)]
    return {name for name, _ in seen}


def pins() -> list[str]:
    """Lines of constraints.txt about what the rules need."""
    names = needed(declared(*EXTRAS), **PYTHON)
    pinned = (line for line in CONSTRAINTS.read_text().splitlines() if "==" in line)
    lines = {normal(line.partition("==")[0]): line for line in pinned}
    return [line for name, line in lines.items() if name in names and not OF_TORCH.match(name)]


def environment_text() -> str:
    """The environment as YAML."""
    lines = [
        "# For `snakemake --software-deployment-method conda`. Usually the environment that `make`",
        "# has made is active, and this file is not used.",
        "# Written by `python -m workflow.scripts.pin_environment`.",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        f"  - python ={PYTHON['python_version']}",
        "  - git",
        "  - pip",
        "  - pip:",
        *(f'      - "{line}"' for line in pins()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    ENVIRONMENT.write_text(environment_text(), encoding="utf-8")
