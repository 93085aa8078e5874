"""Tables of training seeds: the spread between trainings, and verdicts under each."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import toy

from mvdiffusion_eval.cli import main
from mvdiffusion_eval.scoring.verification import sealed

SHIFTS = {1: 1.5, 2: -40.0}
"""What the scores of further seeds have more, dB: under the last, consistency fails."""
METRICS = ("cross_view_psnr", "cross_view_psnr_closing", "cross_view_psnr_non_closing")


def shifted(source: Path, target: Path, shift: float) -> Path:
    """Write a score file whose PSNR is higher, in all and in every sample."""
    content: dict[str, Any] = json.loads(source.read_text())
    for name in METRICS:
        one = content["metrics"][name]
        one["value"] += shift
        one["values"] = [value + shift for value in one["values"]]
    target.write_text(json.dumps(sealed(content)))
    return target


def run_tables(scores: Path, output: Path, *more: str) -> Path:
    files = map(str, sorted(scores.glob("*.json")))
    folders = ["--output-dir", str(output / "t"), "--metrics", str(output / "m.json")]
    toy.run("tables", *files, *more, *folders)
    return output


@pytest.fixture(scope="module")
def words(scores: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name the scores of three seeds."""
    root, first = tmp_path_factory.mktemp("seeds"), scores / "mvdiffusion.json"
    files = {0: first} | {
        seed: shifted(first, root / f"mvdiffusion_seed{seed}.json", shift)
        for seed, shift in SHIFTS.items()
    }
    return toy.repeated("--seed-score", [f"{seed}={path}" for seed, path in files.items()])


@pytest.fixture(scope="module")
def made(scores: Path, words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_tables(scores, tmp_path_factory.mktemp("made"), *words)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_spread_between_seeds_is_apart_from_that_between_samples(scores: Path, made: Path) -> None:
    of_metric = {row["metric"]: row for row in rows(made / "t/panorama_seeds.csv")}
    metrics = json.loads((scores / "mvdiffusion.json").read_text())["metrics"]
    for name in METRICS:
        row, first = of_metric[name], metrics[name]["value"]
        values = [first, *(first + shift for shift in SHIFTS.values())]
        assert [float(row[f"seed_{n}"]) for n in (0, 1, 2)] == pytest.approx(values)
        assert float(row["mean"]) == pytest.approx(statistics.mean(values))
        assert float(row["sd"]) == pytest.approx(statistics.stdev(values))
        assert float(row["se"]) == pytest.approx(metrics[name]["se"])  # the same under all
        assert row["num_seeds"] == "3"
    assert float(of_metric["fid"]["sd"]) == 0
    numbers = json.loads((made / "t/numbers.json").read_text())["training_seeds"]
    assert numbers["seeds"] == [0, 1, 2]
    kept = json.loads((made / "m.json").read_text())["training_seeds"]["panorama"]["mvdiffusion"]
    for found in (numbers["panorama"]["mvdiffusion"], kept):
        assert found["cross_view_psnr_sd"] == pytest.approx(
            float(of_metric["cross_view_psnr"]["sd"])
        )
    assert "cross_view_psnr_closing" not in kept  # a few headline numbers
    printed = (made / "t/panorama_seeds.md").read_text()
    assert "standard deviation between seeds" in printed
    assert "standard error between samples" in printed


def test_verdicts_say_whether_they_hold_under_every_seed(made: Path) -> None:
    numbers = json.loads((made / "t/numbers.json").read_text())
    gain = rows(made / "t/panorama_seed_verdicts.csv")[0]
    assert gain["claim"] == "1"
    assert [float(gain[f"value_{n}"]) - float(gain["value_0"]) for n in SHIFTS] == pytest.approx(
        [*SHIFTS.values()]
    )
    assert [gain[f"verdict_{n}"] for n in (0, 1, 2)] == ["holds", "holds", "does not hold"]
    said = "holds under 2 of 3 seeds, does not hold under 1"
    assert gain["verdict"] == said
    assert numbers["training_seeds"]["claims"]["claim_1"] == said
    assert f"claim 1: {said}" in (made / "t/claims.md").read_text()
    # Claims of other tasks, which have one training here, are in no table of seeds.
    assert {row["claim"] for row in rows(made / "t/panorama_seed_verdicts.csv")} <= set("12345")


def test_everything_else_is_that_of_the_first_seed(
    scores: Path, made: Path, tmp_path: Path
) -> None:
    without = run_tables(scores, tmp_path)
    for name in ("panorama_main", "panorama_consistency", "panorama_controls", "claims"):
        file = f"t/{name}.csv"
        assert (without / file).read_bytes() == (made / file).read_bytes()
    assert not list((without / "t").glob("*seed*"))
    assert "training_seeds" not in json.loads((without / "m.json").read_text())
    assert "training seed" not in (without / "t/claims.md").read_text()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (lambda words: words[:2], "--seed-score: is of the seed 0 alone; expected two or more"),
        (lambda words: ["--seed-score", "one"], "expected SEED=SCORE.json, got 'one'"),
        (lambda words: ["--seed-score", "-1=x"], "expected SEED=SCORE.json, got '-1=x'"),
        (
            lambda words: [*words, "--seed-score", words[1].replace("mvdiffusion", "independent")],
            "has no score of 'panorama/independent' under the seed 1, but under another",
        ),
    ],
)
def test_incomplete_seeds_are_refused_in_one_sentence(
    scores: Path,
    words: list[str],
    chosen: Any,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = map(str, sorted(scores.glob("*.json")))
    output = ["--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m.json")]
    with pytest.raises(SystemExit) as end:
        main(["tables", *files, *chosen(words), *output])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "t").exists()


def test_a_method_without_a_score_of_its_own_is_refused(
    scores: Path, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m.json")]
    with pytest.raises(SystemExit):
        main(["tables", str(scores / "independent.json"), *words, *output])
    assert "scores 'mvdiffusion' of the task 'panorama', of which no score file" in (
        capsys.readouterr().err
    )
