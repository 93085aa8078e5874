"""The values behind the numbers: one line per metric and sample, view or pair of views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mvdiffusion.records import atomic_output

from ..metrics.base import Detail
from ..scoring.score_files import Score
from .table import write_csv

COLUMNS = [
    *("method", "task", "sample", "metric", "item", "value"),
    *("unit", "higher_is_better", "protocol", "version", "extractor"),
]
"""`item` is empty for the value of a whole sample, else a view ("3") or a pair of views ("3-4")."""


def write_samples(
    scores: Sequence[Score], details: Mapping[str, Sequence[Detail]], path: Path
) -> None:
    """Write the values of each sample as CSV, atomically.

    Numbers of a whole set, such as FID, have none and are not there.

    Args:
        scores: of one or several methods.
        details: values of single views and pairs, by method.
        path: file to write.
    """
    rows = [row for score in scores for row in _rows(score, details.get(score.method, ()))]
    with atomic_output(path) as temporary:
        write_csv(pd.DataFrame(rows, columns=COLUMNS), temporary)


def _rows(score: Score, details: Sequence[Detail]) -> Iterator[dict[str, Any]]:
    for metric, one in score.metrics.items():
        about = {
            **{"method": score.method, "task": score.task, "metric": metric, "unit": one.unit},
            **{"higher_is_better": one.higher_is_better, "protocol": one.protocol},
            **{"version": one.version, "extractor": one.extractor},
        }
        values = one.values if one.values_per == "sample" else None
        for sample_id, value in zip(score.samples, values or (), strict=bool(values)):
            yield {**about, "sample": sample_id, "value": value}
        for each in details:
            if each.metric == metric:
                yield {**about, "sample": each.sample, "item": each.item, "value": each.value}
