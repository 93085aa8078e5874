"""The list of protocols: their tasks, requirements and measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mvdiffusion.manifest import Trajectory

from ..folders.samples import PanoramaFolder, SampleFolder, SequenceFolder
from ..metrics.base import Inputs
from ..settings import ScoreSettings
from .plan import Protocol, protocols, run_of


def protocol_rows() -> list[dict[str, Any]]:
    """List every protocol: what it measures, its needs, extractors, source and changes.

    Raises:
        InputError: a plug-in is wrong.
    """
    return [
        {
            "name": protocol.name,
            "version": protocol.version,
            "tasks": list(protocol.tasks),
            "needs": _needs(protocol),
            "extractors": protocol.extractors,
            "measures": protocol.measures,
            "source": protocol.source,
            "changelog": list(protocol.changelog),
            "undefined": list(protocol.undefined),
            "on_request": protocol.on_request,
        }
        for _, protocol in sorted(protocols().items())
    ]


def _needs(protocol: Protocol) -> str:
    """The requirements of a protocol, task by task where they differ."""
    tasks: dict[str, list[str]] = {}
    for task in protocol.tasks:
        tasks.setdefault(_needs_of(protocol, task), []).append(task)
    named = "to be named (--protocol); " if protocol.on_request else ""
    if len(tasks) == 1:
        return named + next(iter(tasks))
    return named + ". ".join(f"{', '.join(names)}: {needs}" for needs, names in tasks.items())


def _needs_of(protocol: Protocol, task: str) -> str:
    """What the metrics of a protocol lack if all they get is one view."""
    lacking = run_of(protocol, Inputs(_one_view(task), None, (), ScoreSettings())).lacking
    each = (need for needs in lacking.values() for need in needs.split(" and "))
    return "; ".join(dict.fromkeys(each)) or "nothing more"


def _one_view(task: str) -> SampleFolder:
    common = (Path(), task, "", ("",), 1, 1, None)
    if task == "depth":
        camera = Trajectory((0,), (0,), np.eye(3)[None], np.eye(4)[None])
        return SequenceFolder(*common, {"": camera})
    return PanoramaFolder(*common, 90.0, (0.0,))
