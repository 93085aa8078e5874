"""Evaluates generated multi-view images; knows nothing about the models that made them.

`mvdiffusion_eval.score(generated, reference)` scores one folder, as `mvdiffusion-eval score` does
on the command line; `mvdiffusion_eval.compare([one, other], output)` scores several with the same
settings and compares them; `pack` and `verify` hand a score on and check it. What a plug-in is
written with (see `plugins`) is exported here, too.

The rooms, each of which imports only from those before it: `functional` computes metrics of arrays;
`folders` reads what a method wrote; `extractors` turn images into features; `metrics` run on
folders; `protocols` say which metric is run on what; `scoring` makes and reads score files;
`claims` decides the paper's claims; `artifacts` hands scores on, and checks those of others;
`tables` and `report` show them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvdiffusion.images import read_rgb as read_rgb
    from mvdiffusion.records import InputError as InputError

    from .api import score as score
    from .artifacts.packing import pack as pack
    from .artifacts.verifying import verify as verify
    from .comparison import Comparison as Comparison
    from .comparison import compare as compare
    from .folders.images import check_view as check_view
    from .folders.images import image_header as image_header
    from .folders.methods import Method as Method
    from .folders.opening import open_folder as open_folder
    from .folders.samples import PanoramaFolder as PanoramaFolder
    from .folders.samples import SampleFolder as SampleFolder
    from .folders.samples import SequenceFolder as SequenceFolder
    from .metrics.base import Inputs as Inputs
    from .metrics.base import Metric as Metric
    from .metrics.base import Outcome as Outcome
    from .metrics.base import Step as Step
    from .metrics.base import per_sample as per_sample
    from .metrics.measurement import Measurement as Measurement
    from .settings import ScoreSettings as ScoreSettings

HOMES = {
    "mvdiffusion_eval.api": ("score",),
    "mvdiffusion_eval.artifacts.packing": ("pack",),
    "mvdiffusion_eval.artifacts.verifying": ("verify",),
    "mvdiffusion_eval.comparison": ("compare", "Comparison"),
    "mvdiffusion_eval.folders.images": ("check_view", "image_header"),
    "mvdiffusion_eval.folders.methods": ("Method",),
    "mvdiffusion_eval.folders.opening": ("open_folder",),
    "mvdiffusion_eval.folders.samples": ("PanoramaFolder", "SampleFolder", "SequenceFolder"),
    "mvdiffusion_eval.metrics.base": ("Inputs", "Metric", "Outcome", "Step", "per_sample"),
    "mvdiffusion_eval.metrics.measurement": ("Measurement",),
    "mvdiffusion_eval.settings": ("ScoreSettings",),
    "mvdiffusion.images": ("read_rgb",),
    "mvdiffusion.records": ("InputError",),
}
"""Where the public names live. They are loaded when they are asked for: torch takes seconds."""

__all__ = sorted(name for names in HOMES.values() for name in names)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'mvdiffusion_eval' has no attribute '{name}'")
