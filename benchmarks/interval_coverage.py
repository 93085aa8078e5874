"""How often intervals of FID and KID, and of their differences, hold what they should.

Features of two methods and of real images are drawn from known distributions: eight views of a
sample depend on each other, and so do the samples of the three sides. What the interval of a
difference should hold is its expectation at that number of samples, 0 where both methods are alike;
FID's bias is the same for both.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from mvdiffusion.records import provenance, write_json
from mvdiffusion_eval.extractors.store import FeatureSet
from mvdiffusion_eval.functional.fid import Moments, frechet_distance
from mvdiffusion_eval.functional.kid import polynomial_sums
from mvdiffusion_eval.metrics.quality import frechet_statistic
from mvdiffusion_eval.statistics import CONFIDENCE, jackknife, linearize, set_error

VIEWS = 8
GROUPS = 32
DECAY = 0.5
"""Standard deviation of feature k is k to the power of minus this."""


@dataclass(frozen=True)
class Setting:
    """How far the methods are from real images, and how the features are distributed.

    Attributes:
        first, second: shift of means and of scales of either method.
        shared: share of a sample's variance that all sides have in common.
        freedom: degrees of freedom of Student's t of the samples' scales; normal if 0.
    """

    first: float
    second: float
    shared: float = 0.3
    freedom: int = 0


SETTINGS = {
    "equal": Setting(0.3, 0.3),
    "equal_to_real": Setting(0.0, 0.0),
    "slightly_different": Setting(0.3, 0.35),
    "equal_alike_samples": Setting(0.3, 0.3, shared=0.9),
    "equal_heavy_tails": Setting(0.3, 0.3, freedom=5),
}
ROWS = ("16:32", "64:32", "256:32", "16:128", "16:512")


def draw(random: np.random.Generator, samples: int, size: int, setting: Setting) -> list[Tensor]:
    """Features [samples · VIEWS, size] of real images and of two methods."""
    deviation = np.arange(1, size + 1) ** -DECAY
    common, scale = random.standard_normal((samples, 1, size)), np.ones((samples, 1, 1))
    if setting.freedom:
        scale = (setting.freedom / random.chisquare(setting.freedom, scale.shape)) ** 0.5
    sides = []
    for shift in (0.0, setting.first, setting.second):
        own = random.standard_normal((samples, 1, size))
        of_sample = setting.shared**0.5 * common + (1 - setting.shared) ** 0.5 * own
        of_view = random.standard_normal((samples, VIEWS, size))
        features = (of_sample + of_view) * 0.5**0.5 * scale * deviation
        features *= 1 + 0.5 * shift * (np.arange(size) % 2)
        features[..., : size // 8] += shift * deviation[: size // 8]
        sides.append(torch.from_numpy(features.reshape(-1, size)))
    return sides


class InMemory:
    """Features by number, in place of a folder on disk."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def rows(self, keys: list[Any], name: str) -> Tensor:
        """Features [n, D] of some images."""
        return self.features[torch.as_tensor(keys)]


Errors = tuple[float, np.ndarray, np.ndarray, np.ndarray]
"""Value, pseudo-values and curvatures by group, and pseudo-values of a jackknife."""


def fid(preds: Tensor, target: Tensor) -> Errors:
    """FID with both errors."""
    samples = len(preds) // VIEWS
    group_of, sample_of = np.arange(samples) % GROUPS, np.arange(len(preds)) // VIEWS
    keys: Any = tuple(range(len(preds)))
    sides: Any = [FeatureSet(InMemory(x), keys, sample_of) for x in (preds, target)]  # type: ignore[arg-type]

    def without(kept: np.ndarray) -> float:
        images = np.isin(sample_of, kept)
        return frechet_distance(*(Moments.of([x[images]]) for x in (preds, target)))

    found = linearize(frechet_statistic(*sides, group_of), min(GROUPS, samples))
    pseudo = jackknife(without, samples, GROUPS)[1]
    return float(found.value), found.values, found.curvatures, pseudo


def kid(preds: Tensor, target: Tensor) -> Errors:
    """KID of one subset with both errors."""
    groups = min(GROUPS, len(preds) // VIEWS)
    group_of = torch.arange(len(preds)) // VIEWS % groups
    sums = polynomial_sums((preds, group_of), (target, group_of), groups)

    def without(kept: np.ndarray) -> float:
        weights = torch.zeros(groups, dtype=torch.float64)
        weights[kept] = 1
        return float(sums.mmd2(weights, unbiased=True))

    found = linearize(lambda weights: sums.mmd2(weights, unbiased=True), groups)
    pseudo = jackknife(without, groups, groups)[1]
    return float(found.value), found.values, found.curvatures, pseudo


METRICS: dict[str, Callable[[Tensor, Tensor], Errors]] = {"fid": fid, "kid": kid}


def simulate(name: str, row: str, setting: Setting, repeats: int) -> dict[str, Any]:
    """Draw, measure and count.

    Returns:
        Of the difference and of the first method's own value: true standard deviation, and for
        either error its quadratic mean as a share of it and the coverage of the intervals.
    """
    samples, size = map(int, row.split(":"))
    found: dict[str, list[tuple[float, float, float]]] = {"difference": [], "value": []}
    for seed in range(repeats):
        real, *made = draw(np.random.default_rng(seed), samples, size, setting)
        first, second = (METRICS[name](side, real) for side in made)
        apart = [one - other for one, other in zip(first, second, strict=True)]
        for key, (value, values, curvatures, pseudo) in (("difference", apart), ("value", first)):
            after, before = set_error(values, curvatures), set_error(pseudo, 0 * pseudo)
            found[key].append((value, before or 0.0, after or 0.0))
    equal = setting.first == setting.second
    return {
        key: _counted(np.array(rows), 0.0 if equal and key == "difference" else None, samples)
        for key, rows in found.items()
    }


def _counted(rows: np.ndarray, truth: float | None, samples: int) -> dict[str, Any]:
    """Summarize rows [N, 3] of value, error before and error after; truth: their mean if None."""
    off = rows[:, 0] - (rows[:, 0].mean() if truth is None else truth)
    spread, reach = (
        (off**2).mean() ** 0.5,
        stats.t.ppf((1 + CONFIDENCE) / 2, min(GROUPS, samples) - 1),
    )
    about: dict[str, Any] = {"sd": spread}
    for key, errors in (("before", rows[:, 1]), ("after", rows[:, 2])):
        held = float((abs(off) <= reach * errors).mean())
        about[key] = {"width": (errors**2).mean() ** 0.5 / spread, "coverage": held}
    return about


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", default=ROWS, metavar="SAMPLES:FEATURES")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--repeats", type=int, default=200, help="draws of each setting")
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    return parser.parse_args(words)


def main() -> None:
    """Simulate, print, write."""
    arguments, report = parse_arguments(), []
    torch.set_num_threads(1)
    for metric in arguments.metrics:
        for row in arguments.rows:
            for name, setting in SETTINGS.items():
                counted = simulate(metric, row, setting, arguments.repeats)
                samples, size = map(int, row.split(":"))
                about = {"metric": metric, "samples": samples, "features": size, "setting": name}
                report.append({**about, **counted})
                print(json.dumps(report[-1]), flush=True)
    if arguments.output is not None:
        about = {"format": 1, "repeats": arguments.repeats, "rows": report}
        write_json(arguments.output, {**about, "provenance": provenance()})


if __name__ == "__main__":
    main()
