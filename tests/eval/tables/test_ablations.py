"""The table of ablations: apart from the others, beside the method of which one thing changed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image

from mvdiffusion_eval.cli import main
from mvdiffusion_eval.scoring.verification import sealed

LOGS = {"mvdiffusion": (2_500_000, 30.0), "ablation_decoder": (1_250_000, 15.0)}
"""Parameters, and seconds of 60 steps."""


@pytest.fixture(scope="module")
def made(scores: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables in which the ablation has the scores of independent views."""
    root = tmp_path_factory.mktemp("ablations")
    content = json.loads((scores / "independent.json").read_text())
    content["method"] = "ablation_decoder"
    ablation = root / "ablation_decoder.json"
    ablation.write_text(json.dumps(sealed(content)))
    arguments = [str(ablation), *map(str, sorted(scores.glob("*.json")))]
    for method, (parameters, seconds) in LOGS.items():
        lines = [{"step": step, "loss": 1.0, "lr": 0.1} for step in (30, 60)]
        lines[-1] |= {"seconds": seconds, "parameters": parameters}
        log = root / f"{method}.jsonl"
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        arguments += ["--training-log", f"panorama/{method}={log}"]
    toy.run(
        "tables", *arguments, "--output-dir", str(root / "t"), "--metrics", str(root / "m.json")
    )
    return root / "t"


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open() as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_numbers_costs_and_paired_differences(scores: Path, made: Path) -> None:
    found = rows(made / "panorama_ablations.csv")
    assert list(found) == ["mvdiffusion", "ablation_decoder"]
    values = {}
    for method, source in {"mvdiffusion": "mvdiffusion", "ablation_decoder": "independent"}.items():
        score = json.loads((scores / f"{source}.json").read_text())["metrics"]
        for metric in ("cross_view_psnr", "cross_view_psnr_closing", "fid"):
            assert float(found[method][metric]) == pytest.approx(score[metric]["value"])
            assert float(found[method][f"{metric}_se"]) == pytest.approx(score[metric]["se"])
        values[method] = np.array(score["cross_view_psnr"]["values"])
        assert float(found[method]["trained_parameters"]) == LOGS[method][0]
        assert float(found[method]["seconds_per_step"]) == pytest.approx(LOGS[method][1] / 60)
    paired = values["ablation_decoder"] - values["mvdiffusion"]
    row = found["ablation_decoder"]
    assert float(row["cross_view_psnr_difference"]) == pytest.approx(paired.mean())
    error = paired.std(ddof=1) / len(paired) ** 0.5
    assert float(row["cross_view_psnr_difference_se"]) == pytest.approx(error)
    assert found["mvdiffusion"]["cross_view_psnr_difference"] == ""
    printed = (made / "panorama_ablations.md").read_text()
    assert "attention in the decoder alone" in printed
    assert "1.25" in printed  # million parameters


def test_an_ablation_stands_in_its_own_table_alone(made: Path) -> None:
    for name in ("main", "distances", "consistency", "controls", "published"):
        assert "decoder" not in (made / f"panorama_{name}.csv").read_text()
    numbers = json.loads((made / "numbers.json").read_text())
    assert "ablation_decoder" in numbers["panorama"]


@pytest.mark.slow
def test_figures_leave_it_out_and_the_page_shows_its_table(
    scores: Path, made: Path, tmp_path: Path
) -> None:
    ablation, log = made.parent / "ablation_decoder.json", made.parent / "mvdiffusion.jsonl"
    figures, runs = tmp_path / "figures", [f"run{number}" for number in range(9)]
    files = [str(ablation), *map(str, sorted(scores.glob("*.json")))]
    curves = toy.repeated("--curves", [f"{run}={log}" for run in runs])
    toy.run("figures", *toy.repeated("--scores", files), *curves, "--output-dir", str(figures))
    assert "decoder" not in (figures / "overview_panorama.csv").read_text()
    assert "decoder" not in (figures / "error_accumulation_panorama.csv").read_text()
    assert "decoder" in (figures / "psnr_per_pair_panorama.csv").read_text()
    width, height = Image.open(figures / "training_curves.png").size  # eight, and a row for one
    assert width / height == pytest.approx(8 * 3.4 / (2 * 3.1), rel=0.05)

    (tmp_path / "config.yaml").write_text("name: ablations\n")
    arguments = ["--tables", made, "--figures", figures, "--metrics", made.parent / "m.json"]
    arguments += ["--config", tmp_path / "config.yaml", "--output", tmp_path / "page.html"]
    toy.run("report", *map(str, arguments))
    page = (tmp_path / "page.html").read_text()
    assert "attention in the decoder alone" in page
    assert "seconds per training step" in page


def test_another_file_is_no_training_log(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_text('{"step": 0}\n')
    log = f"panorama/mvdiffusion={tmp_path / 'log'}"
    output = ["--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m.json")]
    with pytest.raises(SystemExit) as end:
        main(["tables", str(scores / "mvdiffusion.json"), "--training-log", log, *output])
    assert end.value.code == 2
    assert "expected the metrics.jsonl of" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
