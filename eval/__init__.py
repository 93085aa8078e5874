"""Scores folders of images against one another; knows nothing about the models that made them.

`eval.score(generated, reference)` is the one obvious call, `mvdiffusion-eval score` the same on
the command line.

Where things happen: `folders`, `layouts` and `manifests` read, `metrics/` measures, `quality`,
`panorama`, `outpaint`, `depth` and `controls` say what is measured on what (the protocols),
`scoring` runs them on a folder, `suspicions` warns of traps, `claims` decides, `tables`,
`figures`, `report` show.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Load `eval.score` when it is asked for: torch takes seconds to import."""
    if name == "score":
        return import_module("eval.api").score
    raise AttributeError(f"module 'eval' has no attribute '{name}'")
