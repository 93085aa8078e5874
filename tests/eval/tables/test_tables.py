"""Tables: what they show, what they refuse, and that equal scores give equal bytes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import toy

from mvdiffusion_eval.cli import main
from mvdiffusion_eval.scoring.verification import sealed
from mvdiffusion_eval.tables.formatting import decimals, number
from mvdiffusion_eval.tables.published import published_tables
from mvdiffusion_eval.tables.table import Table, write_tables

TASKS = ("panorama", "outpaint", "depth")
OF_A_TASK = ("main", "distances", "consistency", "controls", "published")
ENDINGS = ("csv", "html", "md", "tex")
NAMES = [f"{task}_{name}" for task in TASKS for name in OF_A_TASK] + ["claims", "published"]
SETTINGS = [f"panorama={'a' * 64}", f"outpaint={'b' * 64}", f"depth={'d' * 64}"]


def make(scores: Path, output: Path, *more: str) -> Path:
    files = [str(path) for path in sorted(scores.parent.rglob("*.json"))]
    arguments = ["tables", *files, *toy.repeated("--settings-sha256", SETTINGS)]
    arguments += ["--output-dir", str(output / "tables")]
    toy.run(*arguments, "--metrics", str(output / "metrics.json"), *more)
    return output


def rows(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(scores: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(scores, tmp_path_factory.mktemp("made"))


def test_every_table_in_every_form(made: Path) -> None:
    found = sorted(path.name for path in (made / "tables").glob("[!.]*"))
    assert found == sorted(
        [
            *(f"{name}.{ending}" for name in NAMES for ending in ENDINGS),
            "tables.json",
            "numbers.json",
        ]
    )


def test_equal_scores_give_equal_bytes(scores: Path, made: Path, tmp_path: Path) -> None:
    again = make(scores, tmp_path)
    for path in (made / "tables").glob("[!.]*"):
        assert (again / "tables" / path.name).read_bytes() == path.read_bytes()
    assert (again / "metrics.json").read_bytes() == (made / "metrics.json").read_bytes()


def test_numbers_are_those_of_the_scores(scores: Path, made: Path) -> None:
    score = json.loads((scores / "mvdiffusion.json").read_text())["metrics"]
    row = next(
        r for r in rows(made / "tables" / "panorama_main.csv") if r["method"] == "mvdiffusion"
    )
    metrics = json.loads((made / "tables/numbers.json").read_text())["panorama"]["mvdiffusion"]
    for name in ("fid", "inception_score", "clip_score", "cross_view_psnr"):
        assert float(row[name]) == pytest.approx(score[name]["value"])
        assert float(row[f"{name}_se"]) == pytest.approx(score[name]["se"])
        assert metrics[name] == score[name]["value"]
    assert row["num_samples"] == "8"
    shown = (made / "tables" / "panorama_main.md").read_text()
    assert re.search(rf"[ *]{score['cross_view_psnr']['value']:.1f}"[:-1], shown)
    assert " ± " in shown


def test_every_table_names_its_extractors(scores: Path, made: Path) -> None:
    fid = json.loads((scores / "vae_reconstruction.json").read_text())["metrics"]["fid"][
        "extractor"
    ]
    clip = json.loads((scores / "vae_reconstruction.json").read_text())["metrics"]["clip_score"][
        "extractor"
    ]
    row = next(
        r
        for r in rows(made / "tables" / "panorama_main.csv")
        if r["method"] == "vae_reconstruction"
    )
    assert set(row["extractors"].split("; ")) == {fid, clip}
    for ending in ("md", "tex", "html"):
        text = (made / "tables" / f"panorama_main.{ending}").read_text()
        assert fid in text
        assert clip in text
        assert "N = 8 samples of 8 views" in text


def test_what_is_measured_by_step_is_no_further_extractor(made: Path) -> None:
    main = rows(made / "tables" / "panorama_main.csv")[0]
    assert not any("step" in column for column in main)
    pairs = {row["method"]: row for row in rows(made / "tables" / "panorama_consistency.csv")}
    assert {"per_step_psnr", "per_step_fid", "cross_view_ssim", "worst_step"} <= set(pairs["real"])
    assert pairs["real"]["per_step_fid"] == ""  # not against itself
    assert float(pairs["real"]["cross_view_ssim"]) > float(pairs["independent"]["cross_view_ssim"])


def test_controls_stay_out_of_the_main_table_and_share_samples(made: Path) -> None:
    methods = [row["method"] for row in rows(made / "tables" / "panorama_main.csv")]
    assert methods == [
        "real",
        "vae_reconstruction",
        "independent",
        "autoregressive_latent",
        "mvdiffusion",
    ]
    controls = rows(made / "tables" / "panorama_controls.csv")
    assert {row["num_samples"] for row in controls} == {"4"}
    assert controls[-1]["method"] == "wrong_correspondence"


def test_metrics_are_a_few_of_the_numbers(made: Path) -> None:
    """What `dvc metrics show` prints: not hundreds of columns."""
    numbers = json.loads((made / "tables/numbers.json").read_text())
    metrics = json.loads((made / "metrics.json").read_text())
    found = [
        (task, method, name, value)
        for task in TASKS
        for method, own in metrics[task].items()
        for name, value in own.items()
    ]
    assert {(method, name) for _, method, name, _ in found if name != "cross_view_psnr"} == {
        ("mvdiffusion", "fid")
    }
    assert all(numbers[task][method][name] == value for task, method, name, value in found)
    assert {method for task, method, *_ in found if task == "panorama"} == set(numbers["panorama"])
    assert len(found) == (6 + 1) + 2 * (4 + 1)
    assert set(metrics) == {*TASKS, "claims"}


def test_a_run_that_only_tests_the_steps_has_numbers_and_no_verdicts(
    scores: Path, tmp_path: Path
) -> None:
    made = make(scores, tmp_path, "--settings", '{"judged": false}')
    claims = rows(made / "tables" / "claims.csv")
    assert {row["claim_verdict"] for row in claims} == {"not judged"}
    assert {row["verdict"] for row in claims} == {"not judged"}
    assert any(float(row["value"]) for row in claims if row["value"])
    verdicts = json.loads((made / "metrics.json").read_text())["claims"]
    assert set(verdicts.values()) == {"not judged"}
    text = (made / "tables/claims.md").read_text()
    assert "There are no verdicts" in text
    assert "upper bound of every method" not in text  # no remarks either


def test_verdicts_stand_in_table_and_metrics(made: Path) -> None:
    claims = rows(made / "tables" / "claims.csv")
    verdicts = {f"claim_{row['claim']}": row["claim_verdict"] for row in claims}
    assert json.loads((made / "metrics.json").read_text())["claims"] == verdicts
    assert verdicts["claim_1"] == verdicts["claim_2"] == "holds"
    assert (
        "Real views after VAE reconstruction, the upper bound"
        in (made / "tables/claims.md").read_text()
    )


def test_bounds_come_from_the_settings(scores: Path, tmp_path: Path) -> None:
    strict = json.dumps({"consistency_gain_db": 99.0})
    make(scores, tmp_path, "--settings", strict)
    assert rows(tmp_path / "tables/claims.csv")[0]["verdict"] == "does not hold"


def parse(text: str) -> ElementTree.Element:
    """The page as a tree; its void elements are closed for the parser of XML."""
    text = re.sub(r"<(meta [^>]*)>", r"<\1/>", text.removeprefix("<!doctype html>\n"))
    return ElementTree.fromstring(text)


def test_html_holds_what_markdown_does(made: Path) -> None:
    for name in NAMES:
        page = parse((made / "tables" / f"{name}.html").read_text())
        lines = (made / "tables" / f"{name}.md").read_text().splitlines()
        assert page.findtext(".//caption") == lines[0].strip("*.")
        assert [f"- {item.text}" for item in page.iter("li")] == [x for x in lines if x[:2] == "- "]
        written = [line for line in lines if line.startswith("|")]
        cells = [["".join(c.itertext()) for c in row] for row in page.iter("tr")]
        assert len(cells) == len(written) - 1, name  # its rule
        for row, line in zip(cells[1:], written[2:], strict=True):
            there = [cell.strip() for cell in line.strip("|").split("|")]
            plain = [cell.removeprefix("**").removesuffix("**") for cell in there]
            assert row == plain or [row[0]] == [cell for cell in plain if cell]
        titles = [row for row in page.iter("tr") if row.find("th[@scope='rowgroup']") is not None]
        bold = [cell.text for cell in page.iter("strong")]
        assert len(bold) + len(titles) == sum(line.count("**") for line in written) / 2
        tex = (made / "tables" / f"{name}.tex").read_text()
        assert tex.count(r"\textbf{") == len(bold)
        assert {th.get("scope") for th in page.iter("th")} >= {"col", "row"}
        assert not [e for e in page.iter() if e.get("src") or e.get("href")]


def test_cells_that_look_like_markup_stay_text(tmp_path: Path) -> None:
    shown = pd.DataFrame({"method": ["<b>a & b</b>", "c_d"], "x|y": ["1|2", "100 %"]})
    table = Table("t", "A <i>", shown, shown, ("n < 3",), ((1, "5 % & more"),))
    write_tables([table], tmp_path / "t")
    page = parse((tmp_path / "t/t.html").read_text())
    assert [e.text for e in page.iter("th")] == [
        "method",
        "x|y",
        "<b>a & b</b>",
        "5 % & more",
        "c_d",
    ]
    assert len(page.findall(".//tbody")) == 2
    assert page.findtext(".//caption") == "A <i>"
    assert "| 1\\|2 " in (tmp_path / "t/t.md").read_text()
    lines = (tmp_path / "t/t.tex").read_text().splitlines()
    start = lines.index(r"\midrule")
    assert lines[start + 3] == r"\multicolumn{2}{l}{\emph{5 \% \& more}} \\"
    assert lines[start + 5].startswith(r"c\_d & 100 \%")


def test_ours_stand_beside_published_in_a_block_of_their_own(made: Path) -> None:
    main = rows(made / "tables/panorama_main.csv")
    lines = rows(made / "tables/panorama_published.csv")
    ours = [line for line in lines if line["block"] == "ours"]
    assert [line["method"] for line in ours] == [line["method"] for line in main]
    assert [line["fid"] for line in ours] == [line["fid"] for line in main]
    page = parse((made / "tables/panorama_published.html").read_text())
    blocks = page.findall(".//tbody")
    theirs = [table for table in published_tables() if table.task == "panorama"]
    assert [len(block) for block in blocks] == [len(ours), *(len(t.rows) + 1 for t in theirs)]
    assert all("not comparable" in (block[0][0].text or "") for block in blocks[1:])
    header = [cell.text for cell in page.findall(".//thead/tr/th")]
    assert (header[1], header[-1]) == ("FID ↓", "as published")
    assert "FID (MVDiffusion, table 1)" in lines[0]
    assert {line["FID (MVDiffusion, table 1)"] for line in ours} == {""}


def test_published_numbers_stand_alone(made: Path) -> None:
    for name in (name for name in NAMES if not name.endswith("published")):
        assert "arXiv" not in (made / "tables" / f"{name}.csv").read_text()
    assert all(r["source"] and r["protocol"] for r in rows(made / "tables/published.csv"))
    paper = [r for r in rows(made / "tables/published.csv") if r["method"] == "MVDiffusion"]
    assert [r["FID"] for r in paper if r["table"] == "1"] == ["21.44"]
    depth = next(r for r in paper if r["table"] == "3, depth")
    quotient = 17.41 / 21.41
    assert float(depth["frames ratio as quotient"]) == pytest.approx(quotient, abs=0.005)
    assert float(depth["frames ratio as printed"]) == 0.76


def test_published_tables_share_no_column_and_keep_their_digits(made: Path) -> None:
    lines = rows(made / "tables/published.csv")
    common = {"table", "task", "method", "title", "source", "confidence", "protocol"}
    owners: dict[str, set[str]] = {}
    for line in lines:
        for column in (name for name in line if name not in common and line[name]):
            owners.setdefault(column, set()).add(line["table"])
    assert all(len(tables) == 1 for tables in owners.values())
    numbers = {(line["table"], line["method"]): line for line in lines}
    again = numbers["1, measured again", "MVDiffusion"]
    assert again["IS, measured again"] == "7.40"  # not 7.4
    assert again["PSNR of overlaps (dB), measured again"] == "24.25"
    assert numbers["2", "RePaint"]["FID, key frames"] == "70.05"
    assert len([key for key in numbers if key[0] in ("1", "2")]) == 5 + 3


def test_published_numbers_come_with_what_is_wrong_with_them(made: Path) -> None:
    text = (made / "tables/published.md").read_text()
    assert "FID 19.47 · IS 7.40 · CLIP score (ViT-L/14) 24.70 · PSNR of overlaps (dB) 24.25" in text
    notes = [line for line in text.splitlines() if line.startswith("- ")]
    for said in (
        ("30.04 and 24.70 must not be compared", "table 1"),
        ("0.44 and 0.76 are not the quotients of the printed PSNRs, 0.52 and 0.81", "table 3"),
    ):
        assert any(said[0] in note and said[1] in note.lower() for note in notes), said


def change_settings(content: dict) -> None:
    content["settings_sha256"] = "b" * 64


def change_count(content: dict) -> None:
    content["images"]["num_samples"] = 7
    content["images"]["samples"] = content["images"]["samples"][:7]


def change_size(content: dict) -> None:
    content["images"]["height"] = 64


def change_extractor(content: dict) -> None:
    content["metrics"]["fid"]["extractor"] = "inception-v3 (12345678)"


def change_resize(content: dict) -> None:
    for about in content["extractors"].values():
        about["resize"] = "antialiased-bilinear"


def change_library(content: dict) -> None:
    for about in content["extractors"].values():
        about["packages"] |= {"torch-fidelity": "0.1"}


def change_panoramas(content: dict) -> None:
    content["images"]["cut_from"] = [128, 64]


def change_reference(content: dict) -> None:
    content["reference"]["sha256"] = "f" * 64


def change_seed(content: dict) -> None:
    content["settings"]["seed"] = 9


def change_protocol(content: dict) -> None:
    content["metrics"]["cross_view_psnr"]["protocol"] = "paper-consistency-pano"


def change_version(content: dict) -> None:
    content["metrics"]["cross_view_psnr"]["version"] = 2


def change_method(content: dict) -> None:
    content["method"] = "independent"


def drop_metrics(content: dict) -> None:
    del content["metrics"]


def make_older(content: dict) -> None:
    """Further extractors were told apart by the names of their measurements alone."""
    content["metrics"] |= {"fid_vgg": dict(content["metrics"]["fid"])}
    content["steps"] += [row | {"metric": f"{row['metric']}_vgg"} for row in content["steps"]]
    for one in (*content["metrics"].values(), *content["steps"]):
        one.pop("repeats", None)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_settings, "outdated: generate and score 'mvdiffusion' again"),
        (change_count, "'clip_score' has 8 values; expected 7"),
        (change_size, "height is 64, but 32"),
        (change_extractor, "fid has extractor inception-v3"),
        (change_resize, 'with resize "antialiased-bilinear", but "unknown" in'),
        (change_library, 'with torch-fidelity "0.1", but "unknown" in'),
        (change_panoramas, "cut_from is [128, 64], but none in"),
        (change_reference, "compared with other real views (sha256 ffff"),
        (change_seed, "was scored with seed 9, but"),
        (change_protocol, "cross_view_psnr has protocol paper-consistency-pano, but"),
        (change_version, "cross_view_psnr has version 2, but 1"),
        (change_method, "scores 'independent', and so does"),
        (drop_metrics, "not a score file"),
        (make_older, "of another version ('clip_score' differs in the keys repeats); score"),
    ],
)
def test_refuses_what_must_not_share_a_table(
    scores: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[dict], None],
    message: str,
) -> None:
    shutil.copytree(scores, tmp_path / "scores")
    path = tmp_path / "scores" / "mvdiffusion.json"
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(sealed(content)))
    files = [str(file) for file in sorted((tmp_path / "scores").glob("*.json"))]
    arguments = ["tables", *files, "--settings-sha256", SETTINGS[0]]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m")])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "m").exists()


def test_scores_of_other_settings_are_refused(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed seed with old scores in place: the old numbers must not pass as new."""
    files = [str(file) for file in sorted(scores.glob("*.json"))]
    arguments = ["tables", *files, "--settings-sha256", f"panorama={'c' * 64}"]
    with pytest.raises(SystemExit):
        main([*arguments, "--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m")])
    assert "outdated" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_each_task_has_settings_of_its_own(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores of one task that are stale must be refused although the others are fresh."""
    files = [str(file) for file in sorted(scores.parent.rglob("*.json"))]
    output = ["--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m")]
    for word, message in {
        f"depth={'a' * 64}": "depth/independent.json: its images were generated with settings dddd",
        f"deep={'d' * 64}": "--settings-sha256: there are no scores of the task 'deep'",
        "d" * 64: "--settings-sha256: expected TASK=HASH",
    }.items():
        words = toy.repeated("--settings-sha256", [*SETTINGS[:2], word])
        with pytest.raises(SystemExit):
            main(["tables", *files, *words, *output])
        assert message in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


def test_other_cameras_or_depth_must_not_share_a_table(
    scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(scores.parent / "depth", tmp_path / "scores")
    path = tmp_path / "scores" / "mvdiffusion.json"
    content = json.loads(path.read_text())
    content["images"]["geometry_sha256"] = "e" * 64
    path.write_text(json.dumps(sealed(content)))
    files = [str(file) for file in sorted((tmp_path / "scores").glob("*.json"))]
    with pytest.raises(SystemExit):
        main(
            [
                *("tables", *files, "--output-dir", str(tmp_path / "t")),
                *("--metrics", str(tmp_path / "m")),
            ]
        )
    assert 'geometry_sha256 is "eeee' in capsys.readouterr().err


def test_tasks_have_the_columns_that_were_measured(made: Path) -> None:
    kept = rows(made / "tables" / "outpaint_main.csv")
    assert {row["method"]: row["given_view_kept"] for row in kept}["vae_reconstruction"] == "100.0"
    assert "given_view_kept" not in rows(made / "tables" / "panorama_main.csv")[0]
    depth = rows(made / "tables" / "depth_consistency.csv")
    assert {"between_to_key_psnr", "consecutive_psnr"} <= depth[0].keys()
    caption = (made / "tables" / "depth_main.md").read_text().splitlines()[0]
    assert "4 sequences with 12 key frames and 16 frames in between, 32×24 px" in caption
    assert "FID of 12 images" in (made / "tables" / "depth_main.md").read_text()
    assert "FID of 28 images" in (made / "tables" / "outpaint_main.md").read_text()  # 4 × 7


def test_one_task_alone_makes_its_tables_and_leaves_other_claims_open(
    scores: Path, tmp_path: Path
) -> None:
    files = [str(file) for file in sorted((scores.parent / "depth").glob("*.json"))]
    output = ["--output-dir", str(tmp_path / "t"), "--metrics", str(tmp_path / "m.json")]
    toy.run("tables", *files, *output)
    assert {path.stem.split("_")[0] for path in (tmp_path / "t").glob("[!.]*")} == {
        *("depth", "claims", "published", "tables", "numbers")
    }
    claims = json.loads((tmp_path / "m.json").read_text())["claims"]
    assert {claim for claim, verdict in claims.items() if verdict != "not run"} == {"claim_6"}


@pytest.mark.parametrize(
    ("value", "se", "printed"),
    [
        (-1.38e-5, 5.2e-6, "-0.0000138 ± 0.0000052"),
        (19.8247, 0.1432, "19.82 ± 0.14"),
        (1e-9, 1e-12, "0.0000000 ± 0.0000000"),
        (3.0, None, "3.00"),
    ],
)
def test_numbers_have_two_digits_of_their_error(
    value: float, se: float | None, printed: str
) -> None:
    assert number(value, se, decimals([se])) == printed
