"""Times of the steps on the page: sums by kind, and how long any of them ran."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mvdiffusion.records import InputError
from mvdiffusion_eval.report.times import busy_seconds, in_words, read_times, seconds_by_kind

TIMES = {  # seconds and the end of each step
    "rooms_train": (100, 100),
    "train_panorama_stage1": (1000, 1100),
    "train_depth_stage1": (600, 800),  # beside it, from 200 to 800
    "train_depth_stage2": (500, 1300),  # from 800 to 1300
    "score_panorama_external/theirs": (50, 5000),  # on another day
}


@pytest.fixture
def benchmarks(tmp_path: Path) -> dict[str, Path]:
    files = {name: tmp_path / f"{name}.tsv" for name in TIMES}
    for name, (seconds, ended) in TIMES.items():
        path = files[name]
        path.parent.mkdir(exist_ok=True)
        memory = "-" if name == "rooms_train" else 2048
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t{memory}\n")
        os.utime(path, (ended, ended))
    return files


def test_steps_are_summed_by_kind_and_those_side_by_side_count_once(
    benchmarks: dict[str, Path],
) -> None:
    steps = read_times(benchmarks)
    assert steps[-1].name == "score panorama external theirs"
    assert {step.name: step.gibibytes for step in steps}["rooms train"] is None
    assert steps[-1].gibibytes == 2.0
    kinds = seconds_by_kind(steps)
    assert list(kinds.items()) == [("train", (3, 2100)), ("rooms", (1, 100)), ("score", (1, 50))]
    # 0 to 1300 without a pause, and then the scores.
    assert busy_seconds(steps) == 1300 + 50


def test_times_are_printed_in_units_of_their_size() -> None:
    printed = [in_words(seconds) for seconds in (0.2, 59.4, 59.6, 61, 3599.4, 3599.6, 7210, 86400)]
    assert printed == ["0 s", "59 s", "1 min 0 s", "1 min 1 s", "59 min 59 s", "1 h 0 min",
                       "2 h 0 min", "24 h 0 min"]  # fmt: skip


def test_a_step_without_a_file_is_left_out(benchmarks: dict[str, Path]) -> None:
    benchmarks["train_panorama_stage1"].unlink()
    (benchmarks["rooms_train"].parent / "train_of_another_run.tsv").write_text("of no interest")
    found = [step.seconds for step in read_times(benchmarks)]
    assert found == [100, 600, 500, 50]


@pytest.mark.parametrize(
    "text",
    [
        *("", "s\n", "seconds\n3\n", "s\nx\n", "s\nnan\n", "s\tmax_rss\n\t2\n"),
        *("s\ninf\n", "s\n-5\n", "s\n-inf\n", "s\tmax_rss\n3\tinf\n", "s\tmax_rss\n3\t-1\n"),
    ],
)
def test_a_file_that_is_no_benchmark_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.tsv").write_text(text)
    with pytest.raises(InputError, match=r"train\.tsv: not a benchmark file .* the column 's'"):
        read_times({"train": tmp_path / "train.tsv"})
