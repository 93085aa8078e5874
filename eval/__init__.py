"""Scores folders of images against one another; knows nothing about the models that made them.

`mvdiffusion_eval.score(generated, reference)` is the one obvious call, `mvdiffusion-eval score` the
same on the command line; `mvdiffusion_eval.compare([one, other], output)` scores several alike.

Where things happen: `folders`, `layouts`, `manifests` and `crops` read; `metrics/` measures;
`quality`, `kernel_distances`, `panorama`, `depth`, `outpaint`, `controls`, `consistency_images`,
`accumulation`, `equirect` and `omnifid` are the metrics by name, `protocols.yaml` says what each is
run on, `scoring` runs them; `suspicions` warns of traps, `claims` decides, `comparison`, `tables`,
`figures`, `report` show; `plugins` finds what other packages add.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

LAZY = {"score": ".api", "compare": ".comparison"}
"""What is loaded when it is asked for: torch takes seconds to import."""


def __getattr__(name: str) -> Any:
    """Load `eval.score` and `eval.compare` when they are asked for."""
    if name in LAZY:
        return getattr(import_module(LAZY[name], __name__), name)
    raise AttributeError(f"module 'mvdiffusion_eval' has no attribute '{name}'")
