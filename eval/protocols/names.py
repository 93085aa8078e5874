"""Names of all protocols and of their extractors, without the code behind them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from mvdiffusion.records import InputError

from ..plugins import load_plugins

UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError)
DEFINITIONS = Path(__file__).with_name("definitions")


def protocol_files() -> list[Path]:
    """Files of protocols: ours, those of the paper first, and those of other packages."""
    others = (Path(file) for file in load_plugins("protocols").values())
    ours = sorted(DEFINITIONS.glob("*.yaml"), key=lambda file: (file.stem != "paper", file.stem))
    return [*ours, *others]


@cache
def protocol_tasks() -> Mapping[str, list[str]]:
    """Tasks that each protocol is for, by its name.

    Raises:
        InputError: a file cannot be read as protocols.
    """
    return {name: tasks for name, tasks, _ in _read_files()}


@cache
def protocol_extractors() -> list[str]:
    """Names of the pretrained extractors that protocols are defined with.

    Raises:
        InputError: a file cannot be read as protocols.
    """
    return list(dict.fromkeys(name for _, _, extractors in _read_files() for name in extractors))


@cache
def _read_files() -> list[tuple[str, list[str], list[str]]]:
    """Name, tasks and extractors of each protocol."""
    found = []
    for file in protocol_files():
        try:
            for protocol in yaml.safe_load(file.read_text(encoding="utf-8")):
                steps = protocol["metrics"].values()
                used = [name for step in steps for name in step.get("extractors", ())]
                found.append((protocol["name"], protocol["tasks"], used))
        except (*UNREADABLE, yaml.YAMLError) as error:
            raise InputError(f"{file}: could not be read as protocols ({error}).") from None
    return found
