"""A metric: one value per sample, an option that protocols give, no extractor."""

import numpy as np

from mvdiffusion_eval import Inputs, Metric, Outcome, Step, per_sample


def colorfulness(view: np.ndarray, weight: float) -> float:
    """Colorfulness (Hasler and Süsstrunk, 2003, M3) of a view uint8 [H, W, 3]."""
    r, g, b = view.astype(np.float64).reshape(-1, 3).T
    opponents = np.stack([r - g, (r + g) / 2 - b])
    return float(np.hypot(*opponents.std(1)) + weight * np.hypot(*opponents.mean(1)))


def run(inputs: Inputs, step: Step) -> Outcome:
    """Measure every sample of the generated folder."""
    folder, weight = inputs.generated, step.options["weight"]
    values = [
        np.mean([colorfulness(view, weight) for view in folder.views(sample_id)])
        for sample_id in inputs.samples("colorfulness")
    ]
    return Outcome({step.key: per_sample(np.array(values), "", None, step)})


METRIC = Metric("colorfulness", run, options=("weight",))
