"""`python -m mvdiffusion_eval`, or in a checkout `python -m eval`: the command `mvdiffusion-eval`.

The suite must be loaded once, under its own name: a plug-in's `mvdiffusion_eval.Metric` has to be
the class that the suite knows.
"""

import sys

if __package__ == "eval":
    sys.modules["mvdiffusion_eval"] = sys.modules["eval"]

from mvdiffusion_eval.cli import main  # type: ignore[import-untyped]

main()
