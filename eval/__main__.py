"""`python -m mvdiffusion_eval`, or in a checkout `python -m eval`: the command `mvdiffusion-eval`.

Either way the suite is loaded once, under its own name: a plug-in's `mvdiffusion_eval.Metric` has
to be the class that the suite knows.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

if __package__ == "eval":
    folder = Path(__file__).parent
    spec = spec_from_file_location(
        "mvdiffusion_eval", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["mvdiffusion_eval"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["mvdiffusion_eval"])

from mvdiffusion_eval.cli import main

main()
