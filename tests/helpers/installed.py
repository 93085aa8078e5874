"""What an installation with some extras lacks, of the packages that are installed here."""

from collections.abc import Iterable
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

from workflow.scripts.pin_environment import needed, normal

ROOT = Path(__file__).resolve().parents[2]


def absent_with(names: Iterable[str]) -> set[str]:
    """Modules and distributions here that an installation of these distributions lacks."""
    there = needed(names)
    homes = packages_distributions().items()
    modules = {module for module, owners in homes if not there & {normal(each) for each in owners}}
    return modules | {normal(each.name) for each in distributions()} - there
