"""A method of one's own, from folder to page: the page of a comparison, quick looks, values of
samples, batches, and what is never bold."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import toy

from mvdiffusion.records import InputError
from mvdiffusion_eval.api import score
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.extractors.pretrained import load_extractor
from mvdiffusion_eval.extractors.store import FeatureStore
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.scoring.score_files import as_stored, read_score
from mvdiffusion_eval.tables.leaderboard import Submission, measured_groups

pytestmark = pytest.mark.long

COUNT = 6
OPTIONS = ("--settings", toy.SCORE_SETTINGS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one's own DAG, of one method; a plain folder; real views."""
    root, real = tmp_path_factory.mktemp("own"), toy.real_samples(COUNT)
    toy.write_folder(root / "real", "real", real)
    shifted = {name: np.stack([np.roll(v, i % 2, 1) for i, v in enumerate(views)])
               for name, views in real.items()}  # fmt: skip
    for run, samples in {"results": shifted, "guided": real}.items():
        folder = root / run / "images/panorama/mvdiffusion"
        toy.write_folder(folder, "mvdiffusion", toy.noisy(samples, 4, len(run)))
    mine = toy.noisy(toy.independent_samples(COUNT), 2, 2)
    toy.write_folder(root / "mine", "", mine, manifest=False)
    return root


@pytest.fixture(scope="module")
def made(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of the three, with page and values."""
    output = tmp_path_factory.mktemp("made")
    runs = [f"{n}={folders / run}/images/panorama/mvdiffusion"
            for n, run in {"base": "results", "guided": "guided"}.items()]  # fmt: skip
    toy.run("compare", *runs, str(folders / "mine"), "--reference", str(folders / "real"),
            "--output", str(output / "o"), "--report", str(output / "page.html"),
            "--samples-csv", str(output / "values.csv"), *OPTIONS)  # fmt: skip
    return output


def test_the_page_shows_every_method(made: Path) -> None:
    page = (made / "page.html").read_text()
    assert "<title>Comparison: base, guided, mine</title>" in page
    assert "One command trained" not in page
    for title in ("guided against base", "mine against base"):
        assert title in page
    assert "one per method: Real views, base, guided, mine" in page  # the contact sheet
    assert page.count('"methods":["real","base","guided","mine"]') == COUNT  # of the viewers
    assert len(list((made / "page_assets").glob("*.js"))) == COUNT
    assert "Paired differences" in page
    assert not re.search(r'(?:src|<link[^>]* href)="?https?://', page)
    assert "<b>" in page.partition('id="numbers"')[2]


def test_verdicts_are_told_in_words_and_in_the_units_of_their_titles(made: Path) -> None:
    page = (made / "page.html").read_text()
    with open(made / "o/tables/differences.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "mine"]
    title = r"<h3>mine against base \((\d) metrics?: ([^<]+)\)</h3>"
    card = re.search(rf"{title}(.*?)</article>", page, re.S)
    assert card
    counts = [int(one) for one in re.findall(r"\d+", card[2])]
    assert sum(counts) == int(card[1])
    told = dict(re.findall(r"<li>([^<]+)<b class=\"[\w-]+\">([^<]+)</b>", card[3]))
    assert not re.search("bound|effect size", card[3])
    for title, metric, scale in (
        ("gradient energy (1e-3)", "gradient_energy", 1000),
        ("cross-view PSNR (dB) ↑", "cross_view_psnr", 1),
    ):
        row = next(row for row in rows if row["metric"] == metric)
        value, verdict = told[title].split(": ")
        assert verdict == row["verdict"]
        assert float(value.split(" ± ")[0]) == pytest.approx(
            scale * float(row["difference"]), rel=0.02
        )


def test_values_of_samples_and_of_pairs(made: Path) -> None:
    """Values make up the number, those of pairs the value of the sample."""
    with open(made / "values.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"base", "guided", "mine"}
    content = json.loads((made / "o/scores/guided.json").read_text())
    whole, parts = {}, defaultdict(list)
    for row in rows:
        if (row["method"], row["metric"]) == ("guided", "cross_view_psnr"):
            if row["item"]:
                parts[row["sample"]].append((row["item"], float(row["value"])))
            else:
                whole[row["sample"]] = float(row["value"])
    measured = content["metrics"]["cross_view_psnr"]
    assert list(whole.values()) == pytest.approx(measured["values"])
    for sample_id, value in whole.items():
        assert [item for item, _ in parts[sample_id]] == [f"{i}-{(i + 1) % 8}" for i in range(8)]
        assert np.mean([one for _, one in parts[sample_id]]) == pytest.approx(value)
    assert {row["unit"] for row in rows if row["metric"] == "cross_view_psnr"} == {"dB"}
    of_pairs = [parts[sample_id][0][1] for sample_id in whole]
    assert np.mean(of_pairs) == pytest.approx(content["pairs"][0]["psnr_db"])


def test_the_best_is_bold_in_every_form(made: Path) -> None:
    """Of the three, guided has the least noise; real views are given and are no row."""
    tables = made / "o/tables"
    line = next(x for x in (tables / "comparison.md").read_text().splitlines()
                if x.startswith("| cross_view_psnr ↑"))  # fmt: skip
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert [cell.startswith("**") for cell in cells] == [False, False, False, True, False]
    number = cells[3].strip("*")
    assert rf"\textbf{{{number}}}" in (tables / "comparison.tex").read_text()
    assert f"<strong>{number}</strong>" in (tables / "comparison.html").read_text()
    printed = json.loads((tables / "tables.json").read_text())["tables"]["comparison"]
    row = next(i for i, r in enumerate(printed["rows"]) if r[0] == "cross_view_psnr ↑")
    assert [place for place in printed["best"] if place[0] == row] == [[row, 3]]
    assert any(note.startswith("Bold: the best method") for note in printed["notes"])


def test_a_quick_look_says_so_and_is_no_result(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, output = str(folders / "mine"), str(tmp_path / "s.json")
    named = ("--protocol", "paper-consistency-pano", *OPTIONS)
    toy.run("score", "--generated", mine, "--output", output, "--limit", "3", *named)
    assert "only the first 3 of 6 samples were scored (--limit)" in capsys.readouterr().err
    content = json.loads(Path(output).read_text())
    assert content["images"]["samples"] == ["room000", "room001", "room002"]
    assert content["limited"] == {"to": 3, "of": COUNT}
    whole = as_stored(score(mine, protocols=["paper-consistency-pano"]))
    assert "limited" not in whole
    (group,) = [g for g in measured_groups([Submission(read_score(output), "")])]
    assert group.entries[0].unranked == "3 of 6 samples (--limit)"
    toy.run("score", "--generated", mine, "--output", output, "--limit", "99", *named)
    assert "limited" not in json.loads(Path(output).read_text())
    both = (mine, str(folders / "real"), "--output", str(tmp_path / "o"))
    toy.run("compare", *both, "--limit", "3", *named)
    assert "only the first 3 of 6 samples" in (tmp_path / "o/tables/comparison.md").read_text()
    with pytest.raises(SystemExit):
        main(
            [
                "compare",
                f"file={output}",
                mine,
                "--output",
                str(tmp_path / "p"),
                "--limit",
                "3",
                *named,
            ]
        )
    assert "is a score file, which --limit cannot restrict" in capsys.readouterr().err
    with pytest.raises(InputError, match="--limit: 0; expected a whole number, at least 1"):
        score(mine, limit=0)


def test_batches_of_another_size_have_the_same_features_and_a_cache_of_their_own(
    folders: Path, extractors: list[Path], tmp_path: Path
) -> None:
    """Equal to 1e-5 of their size; the features of the usual batches stay what they were."""
    folder, extractor = open_folder(folders / "mine"), load_extractor(extractors[0])
    images = np.arange(COUNT * 8)

    def features(**options: int) -> np.ndarray:
        store = FeatureStore(tmp_path / "cache", **options)
        return store.features(folder, extractor).rows(images).numpy()

    other, usual, again = features(batch_size=5), features(), features()
    assert (usual == again).all()
    assert np.abs(other - usual).max() <= 1e-5 * np.abs(usual).max()
    kept = {path.name.rpartition("-")[2] for path in (tmp_path / "cache").iterdir()}
    assert len(kept) == 2
    assert "5" in kept
    with pytest.raises(InputError, match="--batch-size: 0; expected a whole number, at least 1"):
        score(folders / "mine", batch_size=0)
    quick = score(folders / "mine", protocols=["controls"], batch_size=5)
    assert quick["batch_size"] == 5


def test_patterns_of_single_methods(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One method with a manifest, one in the plain layout, one by a pattern of its own."""
    opened = open_folder(folders / "mine")
    for sample_id in opened.sample_ids:
        for view, path in enumerate(opened.view_paths(sample_id)):
            copy = tmp_path / f"named/out/{sample_id}@{45 * view}.png"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path)
    chosen = [f"base={folders}/results/images/panorama/mvdiffusion", f"plain={folders / 'mine'}",
              f"named={tmp_path / 'named'}"]  # fmt: skip
    named = ("--protocol", "paper-consistency-pano", *OPTIONS, "--output", str(tmp_path / "o"))
    toy.run("compare", *chosen, "--views", "named=out/{id}@{yaw}.png", *named)
    one, two = (read_score(tmp_path / f"o/scores/{n}.json").content for n in ("plain", "named"))
    assert one["metrics"] == two["metrics"]
    assert "'plain' and 'named' have identical images" in capsys.readouterr().err
    for words in (["{id}@{yaw}.png", "{id}.png"], ["named={id}.png", "named={id}_{view}.png"]):
        with pytest.raises(SystemExit):
            main(["compare", *chosen, *toy.repeated("--views", words), *named])
        assert "expected one PATTERN, and NAME=PATTERN" in capsys.readouterr().err


def test_scores_without_folders_have_a_page(made: Path, tmp_path: Path) -> None:
    files = [str(made / f"o/scores/{name}.json") for name in ("base", "mine")]
    page = tmp_path / "page.html"
    toy.run("compare", *files, "--output", str(tmp_path / "o"), "--report", str(page))
    assert "mine against base" in page.read_text()


def test_a_page_needs_a_name_of_its_kind(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(made / f"o/scores/{name}.json") for name in ("base", "mine")]
    for option, wrong, ending in (
        ("--report", "page.txt", ".html"),
        ("--samples-csv", "v", ".csv"),
    ):
        with pytest.raises(SystemExit):
            main(
                ["compare", *files, "--output", str(tmp_path / "o"), option, str(tmp_path / wrong)]
            )
        assert f"expected a name that ends in {ending}" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_page_beside_which_files_of_others_lie_is_refused_before_any_work(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(made / f"o/scores/{name}.json") for name in ("base", "mine")]
    (tmp_path / "page_assets").mkdir()
    (tmp_path / "page_assets" / "thesis.txt").write_text("mine")
    page = ("--report", str(tmp_path / "page.html"))
    with pytest.raises(SystemExit):
        main(["compare", *files, "--output", str(tmp_path / "o"), *page])
    assert "page_assets: holds other files (thesis.txt" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert (tmp_path / "page_assets" / "thesis.txt").read_text() == "mine"


def of_each(samples: dict[str, np.ndarray], change: Any) -> dict[str, np.ndarray]:
    return {
        name: np.stack([np.clip(change(view.astype(np.float64)), 0, 255) for view in views]).astype(
            np.uint8
        )
        for name, views in samples.items()
    }


@pytest.fixture(scope="module")
def degenerate(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """Verdicts by method and metric on an honest method's views, spoilt in many ways."""
    root, rng = tmp_path_factory.mktemp("degenerate"), np.random.default_rng(0)
    real = toy.real_samples(12)
    honest = toy.noisy(real, 8, 1)
    ways: dict[str, Any] = {
        "blurred": lambda view: cv2.GaussianBlur(view, (0, 0), 1.5),
        "nearly_constant": lambda view: 128 + (view - 128) * 0.1,
        "dark": lambda view: view * 0.5,
        "darker": lambda view: view * 0.88,
        "flat": lambda view: 128 + (view - 128) * 0.9,
        "mirrored": lambda view: view[:, ::-1],
        "noise": lambda view: view + rng.normal(0, 12, view.shape),
    }
    folders = {"honest": honest, **{name: of_each(honest, way) for name, way in ways.items()}}
    gray = {name: np.full_like(honest[name], 128) for name in list(honest)[:6]}
    folders["constant"] = {**honest, **gray}
    folders["repeated"] = {name: np.stack([views[0]] * 8) for name, views in honest.items()}
    for name, samples in folders.items():
        toy.write_folder(root / name, "", samples, manifest=False)
    toy.write_folder(root / "real", "real", real)
    chosen = [str(root / name) for name in folders]
    named = toy.repeated(
        "--protocol",
        ["paper-consistency-pano", "controls", "consistency-images", "equirect"],
    )
    toy.run("compare", *chosen, "--reference", str(root / "real"), "--output", str(root / "o"),
            *named, *OPTIONS)  # fmt: skip
    with open(root / "o/tables/differences.csv") as file:
        rows = list(csv.DictReader(file))
    printed = json.loads((root / "o/tables/tables.json").read_text())["tables"]["comparison"]
    bold = {(printed["header"][c], printed["rows"][r][0].rstrip(" ↑↓")) for r, c in printed["best"]}
    assert {name for name, _ in bold} <= {"honest"}, bold
    return {(row["method"], row["metric"]): row["verdict"] for row in rows}


@pytest.mark.slow
def test_nothing_degenerate_is_better_without_a_doubt(
    degenerate: dict[tuple[str, str], str],
) -> None:
    """The ways that win something win it as doubtful; the others win nothing."""
    won = {pair: verdict for pair, verdict in degenerate.items() if verdict.startswith("better")}
    assert set(won.values()) == {"better, doubtful"}, won
    for name in ("blurred", "dark", "darker", "flat"):
        assert (name, "cross_view_psnr") in won, name
    assert not [pair for pair in won if pair[0] in ("mirrored", "noise")]
    assert degenerate["mirrored", "cross_view_psnr"] == "worse"
    # Honest views are smoother than those with noise, which nothing but their own look can tell
    # from blur.
    assert degenerate["noise", "cross_view_psnr"] == "worse, doubtful"
