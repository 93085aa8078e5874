"""Degenerate images: a black, a repeated or a nearly constant image never makes a method win."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import walks

import mvdiffusion_eval
from mvdiffusion.records import InputError
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.folders.faults import find_faults, variation
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.report.overview import overview_table
from mvdiffusion_eval.scoring.score_files import read_score
from mvdiffusion_eval.settings import ScoreSettings

SETTINGS = ScoreSettings(consistency_resolution=toy.SIZE)
CONSISTENCY = "paper-consistency-pano"
COUNT = 6


def noise(count: int = COUNT) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    size = (8, toy.SIZE, toy.SIZE, 3)
    return {f"s{i}": rng.integers(0, 256, size, dtype=np.uint8) for i in range(count)}


def blackened(samples: dict[str, np.ndarray], *names: str, level: int = 0) -> dict[str, np.ndarray]:
    return {k: np.full_like(v, level) if k in names else v for k, v in samples.items()}


def psnr_of(folder: Path, **more: Any) -> dict[str, Any]:
    return mvdiffusion_eval.score(folder, settings=SETTINGS, **more)["metrics"]["cross_view_psnr"]


def test_one_black_sample_does_not_raise_the_mean(tmp_path: Path) -> None:
    """Sceptics' case: it was 33 dB, three times the noise beside it."""
    whole = psnr_of(toy.write_folder(tmp_path / "whole", "whole", noise(4)))
    spoiled = blackened(noise(4), "s1")
    result = mvdiffusion_eval.score(
        toy.write_folder(tmp_path / "black", "black", spoiled), settings=SETTINGS
    )
    psnr = result["metrics"]["cross_view_psnr"]
    kept = [whole["values"][i] for i in (0, 2, 3)]
    assert psnr["value"] == pytest.approx(np.mean(kept))
    assert psnr["se"] == pytest.approx(np.std(kept, ddof=1) / 3**0.5)
    assert list(psnr["values"]) == [kept[0], None, *kept[1:]]
    assert psnr["left_out"] == 1
    assert result["faults"]["constant"] == 8
    assert result["faults"]["undefined"] == ("s1",)
    found = next(w for w in result["warnings"] if "constant" in w)
    assert found.startswith("8 of 32 images in ")
    assert "(first: s1/0)" in found
    assert "in 1 of 4 samples" in found
    for metric in ("other_scene_psnr", "cross_view_ssim", "discontinuity_score", "edge_step"):
        assert result["metrics"][metric]["values"][1] is None
    assert None not in result["metrics"]["gradient_energy"]["values"]


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_images_have_no_consistency(level: int, tmp_path: Path) -> None:
    folder = blackened(noise(4), "s0", "s1", "s2", "s3", level=level)
    root = toy.write_folder(tmp_path / "flat", "flat", folder)
    result = mvdiffusion_eval.score(root, settings=SETTINGS)
    assert not [name for name in result["metrics"] if "psnr" in name or "ssim" in name]
    with pytest.raises(InputError, match=f"'{CONSISTENCY}' needs images with content"):
        mvdiffusion_eval.score(root, settings=SETTINGS, protocols=[CONSISTENCY])


def test_a_single_black_view_costs_consistency(tmp_path: Path) -> None:
    """Left out, it would raise the mean of its method."""
    rooms = toy.real_samples(4)
    whole = psnr_of(toy.write_folder(tmp_path / "whole", "whole", rooms))
    rooms["room002"][5] = 0
    spoiled = psnr_of(toy.write_folder(tmp_path / "spoiled", "spoiled", rooms))
    assert spoiled["left_out"] == 0
    assert spoiled["value"] < whole["value"] - 1


def test_nearly_constant_and_colored_images_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    samples = noise(3)
    samples["s1"][:] = np.array([200, 30, 90], np.uint8)  # one color, three levels
    samples["s2"][:] = 20 + rng.integers(0, 2, samples["s2"].shape, dtype=np.uint8)
    faults = find_faults(open_folder(toy.write_folder(tmp_path / "m", "m", samples)))
    assert (faults.constant, faults.near_constant, faults.repeated) == (8, 8, 0)
    assert faults.undefined == ("s1", "s2")
    assert variation(samples["s1"]).tolist() == [0.0] * 8
    some = noise(1)["s0"]
    some[0, ..., 1] //= 4  # the other channels vary more
    expected = [max(view[..., channel].std() for channel in range(3)) for view in some]
    np.testing.assert_allclose(variation(some), expected)


def test_repeated_samples_are_counted_and_named(tmp_path: Path) -> None:
    room = toy.real_samples(1)["room000"]
    folder = toy.write_folder(tmp_path / "m", "m", {f"s{i}": room for i in range(4)})
    result = mvdiffusion_eval.score(folder, settings=SETTINGS)
    assert (result["faults"]["repeated"], result["faults"]["repeated_samples"]) == (24, 3)
    (found,) = (w for w in result["warnings"] if "repeat" in w)
    assert found.startswith("24 of 32 images in ")
    assert "(first: s1/0), and 3 of 4 samples an earlier sample; errors" in found


def test_constant_frames_of_sequences(tmp_path: Path) -> None:
    frames = walks.real_samples(3)
    frames["walk001"][:] = 128
    root = walks.write_folder(tmp_path / "m", "m", frames)
    metrics = mvdiffusion_eval.score(root)["metrics"]
    for name in ("cross_view_psnr", "between_to_key_psnr", "cross_view_ssim"):
        assert [value is None for value in metrics[name]["values"]] == [False, True, False]


def test_the_printed_table_and_the_figure_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = toy.write_folder(tmp_path / "m", "mine", blackened(noise(4), "s1"))
    toy.score(root, tmp_path / "m.json")
    printed = " ".join(capsys.readouterr().out.split())
    assert "images: 32, constant: 8; consistency of 3 samples;" in printed
    score = read_score(tmp_path / "m.json")
    table = overview_table("panorama", {"mine": score})
    titles = dict(zip(table["metric"], table["title"], strict=True))
    assert titles["cross_view_psnr"] == "cross-view PSNR (dB) (mine: incomplete)"


def test_a_reference_of_black_images_is_told(tmp_path: Path) -> None:
    made = toy.write_folder(tmp_path / "made", "made", noise(4))
    real = toy.write_folder(tmp_path / "real", "real", blackened(noise(4), "s0", "s3"))
    found = mvdiffusion_eval.score(made, real, settings=SETTINGS)["warnings"]
    assert any("16 of 32 images looked at in the reference" in w for w in found)


@pytest.mark.long
def test_results_of_black_images_alone_can_be_looked_at(tmp_path: Path) -> None:
    """Tables and figures without any consistency, where a run failed wholly."""
    files = []
    for method in ("real", "mvdiffusion", "independent"):
        samples = noise(4) if method == "real" else blackened(noise(4), "s0", "s1", "s2", "s3")
        root = toy.write_folder(tmp_path / method, method, samples)
        files.append(str(tmp_path / f"{method}.json"))
        toy.score(root, Path(files[-1]), tmp_path / "real")
    made = ["--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m.json")]
    toy.run("tables", *files, *made)
    with open(tmp_path / "t/panorama_main.csv") as file:
        found = {row["method"]: row for row in csv.DictReader(file)}
    assert found["mvdiffusion"]["cross_view_psnr"] == ""
    assert float(found["mvdiffusion"]["left_out_samples"]) == 4
    claims = json.loads((tmp_path / "m.json").read_text())["claims"]
    assert claims["claim_1"] == "not run"
    toy.run("figures", *toy.repeated("--scores", files), "--output-dir", str(tmp_path / "f"))
    toy.run("compare", *files, "--output", str(tmp_path / "o"))


def test_a_reference_of_black_images_alone_is_refused(tmp_path: Path) -> None:
    made = toy.write_folder(tmp_path / "made", "made", noise(4))
    real = toy.write_folder(tmp_path / "real", "real", blackened(noise(4), *noise(4)))
    with pytest.raises(InputError, match="images of the reference are not all of one color"):
        mvdiffusion_eval.score(made, real, settings=SETTINGS)


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """A method that is better where it is not black, beside one without a fault."""
    good = blackened(toy.noisy(toy.real_samples(8), 2), "room003")
    folders = [
        toy.write_folder(tmp_path / "good", "good", good),
        toy.write_folder(tmp_path / "poor", "poor", toy.noisy(toy.independent_samples(8), 2)),
    ]
    options = ("--protocol", CONSISTENCY, "--settings", toy.SCORE_SETTINGS)
    toy.run("compare", *map(str, folders), "--output", str(tmp_path / "o"), *options)
    return tmp_path / "o"


def test_compare_never_calls_an_incomplete_method_better(compared: Path) -> None:
    with open(compared / "tables/differences.csv") as file:
        row = next(r for r in csv.DictReader(file) if r["metric"] == "cross_view_psnr")
    assert (row["method"], row["verdict"], row["num_pairs"]) == ("poor", "incomplete", "7")
    scores = {n: json.loads((compared / f"scores/{n}.json").read_text()) for n in ("good", "poor")}
    values = {n: s["metrics"]["cross_view_psnr"]["values"] for n, s in scores.items()}
    pairs = [(p, g) for p, g in zip(values["poor"], values["good"], strict=True) if g is not None]
    assert float(row["difference"]) == pytest.approx(np.mean([p - g for p, g in pairs]))
    for name in ("comparison", "differences"):
        text = (compared / f"tables/{name}.md").read_text()
        assert "good is incomplete: in 1 of 8 samples neighboring views are constant" in text
    assert "| constant images" in (compared / "tables/comparison.md").read_text()


@pytest.mark.long
def test_tables_and_claims_show_and_respect_it(tmp_path: Path) -> None:
    real = toy.real_samples(8)
    folders = {
        "real": real,
        "vae_reconstruction": toy.noisy(real, 1),
        "mvdiffusion": blackened(toy.noisy(real, 2), "room003"),
        "independent": toy.noisy(toy.independent_samples(8), 2),
    }
    files = []
    for method, samples in folders.items():
        root = toy.write_folder(tmp_path / method, method, samples)
        files.append(str(tmp_path / f"{method}.json"))
        toy.score(root, Path(files[-1]), tmp_path / "real")
    output = ["--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m.json")]
    main_ends_well("tables", *files, *output)
    for table in ("main", "consistency", "controls"):
        with open(tmp_path / f"t/panorama_{table}.csv") as file:
            row = next(r for r in csv.DictReader(file) if r["method"] == "mvdiffusion")
        assert (float(row["constant_images"]), float(row["left_out_samples"])) == (8, 1)
        text = (tmp_path / f"t/panorama_{table}.md").read_text()
        assert "| constant images" in text
        assert "MVDiffusion is incomplete: in 1 of 8 samples" in text
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert metrics["panorama"]["mvdiffusion"]["constant_images"] == 8
    assert "constant_images" not in metrics["panorama"]["independent"]
    assert metrics["claims"]["claim_1"] == "undecided"


def main_ends_well(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code
