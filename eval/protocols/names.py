"""The names of all protocols, without the metrics behind them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from mvdiffusion.records import InputError

from ..plugins import load_plugins

PROTOCOLS_FILE = Path(__file__).with_name("protocols.yaml")


def protocol_files() -> list[Path]:
    """Files of protocols: ours, and those of other packages."""
    return [PROTOCOLS_FILE, *(Path(file) for file in load_plugins("protocols").values())]


@cache
def protocol_tasks() -> Mapping[str, list[str]]:
    """Tasks that each protocol is for, by its name.

    Raises:
        InputError: a file cannot be read as protocols.
    """
    found: dict[str, list[str]] = {}
    for file in protocol_files():
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            found |= {protocol["name"]: protocol["tasks"] for protocol in content}
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            raise InputError(f"{file}: could not be read as protocols ({error}).") from None
    return found
