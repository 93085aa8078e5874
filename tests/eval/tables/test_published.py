"""Published numbers: what stands in the data file, and tables of ours beside them."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from mvdiffusion_eval.folders.samples import TASKS
from mvdiffusion_eval.tables.published import (
    CONFIDENCE,
    beside_published,
    published_table,
    published_tables,
)
from mvdiffusion_eval.tables.table import Table


def ours(task: str) -> Table:
    data = pd.DataFrame(
        {
            "method": ["real", "mvdiffusion"],
            "fid": [None, 20.5],
            "fid_se": [None, 0.5],
            "num_samples": [8, 8],
            "protocols": ["", "paper-pano v1"],
            "extractors": ["", ""],
        }
    )
    shown = pd.DataFrame({"method": ["Real views", "MVDiffusion"], "FID ↓": ["–", "20.5 ± 0.5"]})
    return Table(f"{task}_main", "Ours", data, shown, ("FID ↓: protocol paper-pano v1.",))


def test_every_table_has_task_source_and_confidence() -> None:
    tables = published_tables()
    assert {table.task for table in tables} == set(TASKS)
    assert all(table.source and table.protocol and table.cite for table in tables)
    assert {table.confidence for table in tables} == set(CONFIDENCE)
    assert set(published_table().data["confidence"]) == set(CONFIDENCE.values())


def test_rows_fit_their_columns_and_no_two_tables_share_one() -> None:
    tables = published_tables()
    for table in tables:
        assert {len(numbers) for numbers in table.rows.values()} == {len(table.columns)}
    for mark in ("told_apart_by", "cite"):
        named = [(column, getattr(t, mark)) for t in tables for column in t.columns]
        assert len(set(named)) == len(named), mark


def test_numbers_of_the_peers() -> None:
    """A row of each table, or more, and how many there are."""
    tables = {table.table: table for table in published_tables()}
    dit360 = tables["DiT360, table 1"]
    assert dit360.rows["MVDiffusion"][:6] == ["108.19", "117.26", "", "", "4.39", "1.58"]
    assert dict(zip(dit360.columns, dit360.rows["DiT360"], strict=True))["NIQE"] == "3.72"
    survey = tables["survey on ODI-SR"]
    assert dict(zip(survey.columns, survey.rows["PanFusion"], strict=True))["OmniFID"] == "92.22"
    assert len(survey.rows) == 6
    assert len(dit360.rows) == 9
    outpainted = tables["survey on ODI-SR, outpainting"]
    assert outpainted.rows["DreamCube"] == [
        *("66.15", "2.05", "4.88", "19.26", "15.87", "115.52", "1.10", "12", "16.7"),
    ]
    assert outpainted.task == tables["outpainting, in PAR"].task == "outpaint"


@pytest.mark.parametrize("task", TASKS)
def test_ours_and_theirs_share_rows_with_nobody_and_columns_with_no_protocol(task: str) -> None:
    table = beside_published(task, ours(task))
    assert table.name == f"{task}_published"
    data, of_task = table.data, [t for t in published_tables() if t.task == task]
    starts = [start for start, _ in table.blocks]
    assert starts == [2 + sum(len(t.rows) for t in of_task[:i]) for i in range(len(of_task))]
    assert all("not comparable" in title for _, title in table.blocks)
    assert data["block"].tolist() == ["ours"] * 2 + ["published"] * (len(data) - 2)
    sources = {t.cite: t for t in published_tables() if t.task == task}
    for column in data.columns.drop(["block", "method"]):
        filled = data.loc[data[column].notna(), "block"].unique().tolist()
        cited = [cite for cite in sources if column.endswith(f"({cite})")]
        assert filled == (["published"] if cited else ["ours"]), column
        if cited:
            own = data.loc[data[column].notna(), "method"]
            assert set(own) <= set(sources[cited[0]].rows)
    shown = table.shown
    assert list(shown.columns) == ["method", "FID ↓", "as published"]
    in_the_paper = any(t.of_the_paper for t in of_task)
    assert (shown.iloc[:2, 2] != "–").tolist() == [in_the_paper] * 2
    assert (shown.iloc[2:, 1] == "–").all()
    read = [t.shown(method, t.valid_columns) for t in of_task for method in t.rows]
    assert shown.iloc[2:, 2].tolist() == read


def test_footnotes_are_those_of_the_task() -> None:
    notes = {task: " ".join(beside_published(task, ours(task)).notes) for task in TASKS}
    assert "30.04 and 24.70 must not be compared" in notes["panorama"]
    assert "0.44 and 0.76 are not the quotients" in notes["depth"]
    assert "0.44" not in notes["panorama"]
    assert "30.04" not in notes["depth"] + notes["outpaint"]
    assert all(note.startswith("FID ↓: protocol paper-pano v1.") for note in notes.values())


def test_a_method_of_several_tables_has_one_line_with_digits_as_printed() -> None:
    table = beside_published("panorama", ours("panorama"))
    theirs = table.data[table.data["block"] == "published"].set_index("method")
    assert theirs.index.is_unique
    row = theirs.loc["MVDiffusion"]
    assert row["FID (MVDiffusion, table 1)"] == "21.44"
    assert row["IS (MVDiffusion measured again, issue 17)"] == "7.40"
    assert row["PSNR of overlaps (dB) (MVDiffusion, table 3)"] == "25.4"
    assert row["FID (DiT360, table 1)"] == "108.19"


def test_how_sure_a_number_is_can_be_read() -> None:
    tables = {table.table: table for table in published_tables()}
    assert (
        "as quoted by a secondary source" in tables["PanFusion protocol, in UniPano"].footnotes[0]
    )


def test_quotients_are_those_of_the_numbers_beside_them() -> None:
    """PSNR over that of real views, to the digits given; the paper's own deviate for depth."""
    found = 0
    for table in published_tables():
        for column in (c for c in table.columns if "quotient" in c):
            psnr = next(c for c in table.columns if c.startswith("PSNR"))
            real = float(str(table.numbers("Real views")[psnr]))
            for method in table.rows:
                numbers = table.numbers(method)
                expected = float(str(numbers[psnr])) / real
                assert float(str(numbers[column])) == pytest.approx(expected, abs=0.005)
                (given,) = (number for c, number in numbers.items() if c.endswith("as printed"))
                printed = float(str(given))
                deviates = table.task == "depth" and method != "Real views"
                assert (abs(printed - expected) > 0.005) == deviates
                found += 1
    assert found == 6


def test_a_column_marked_as_invalid_is_put_beside_nothing() -> None:
    """ODI-SR's CLIP scores are those of black images: 10 numbers, marked wherever they stand."""
    invalid = [(t, c) for t in published_tables() for c in t.invalid]
    assert {(t.cite, c) for t, c in invalid} == {
        ("survey, ODI-SR", "CLIP score"),
        ("survey, ODI-SR outpainting", "CLIP score"),
    }
    assert all(column in table.columns for table, column in invalid)
    listed = published_table()
    for table, column in invalid:
        assert any("invalid" in note and "black" in note for note in table.footnotes)
        beside = beside_published(table.task, ours(table.task))
        assert not [name for name in beside.data if column in name and table.cite in name]
        assert any("invalid" in note for note in beside.notes)
        for method in table.rows:
            number = table.numbers(method)[column]
            assert f" {number}" not in json.dumps(beside.shown.to_dict("list")) or number is None
            row = listed.data[
                (listed.data["table"] == table.table) & (listed.data["method"] == method)
            ]
            holding = [name for name in row if row[name].iloc[0] == number]
            assert holding == [f"{column} (invalid), {table.told_apart_by}"]
            shown = listed.shown.loc[row.index[0], "as published"]
            assert f"{column} (invalid) {number}" in shown


def test_numbers_of_later_papers() -> None:
    """A row of each table that MVDiffusion is in, as printed there, and how sure it is."""
    tables = {table.table: table for table in published_tables()}
    rows = {
        "HunyuanWorld 1.0, table 2": ("MVDiffusion", "47.9 7.1 2.4 21.5", "secondary"),
        "HunyuanWorld 1.0, table 1": ("MVDiffusion", "47.7 7.0 2.7 80.8", "secondary"),
        "A Recipe, table of panoramas": ("MVDiffusion", "51.52 6.77 2.89 79.43", "secondary"),
        "CamFreeDiff": ("MVDiffusion (given the camera)", "42.4 5.4 21.9 ", "secondary"),
        "CubeDiff, table 1, Laval Indoor": ("MVDiffusion", "25.7 1.11 13.5  27.44", "secondary"),
        "CubeDiff, table 1, SUN360": ("MVDiffusion", "50.9 3.71 15.4 32.3 25.54", "secondary"),
        "DreamCube, table 2": ("MVDiffusion", "35.99 5.00 67.22 4.33", "primary"),
        "HY-World 2.0, table 4, text": ("DiT360", "0.248 3.788 4.436 2.882 4.072", "primary"),
        "360Anything": ("360Anything", "8.0 0.22 9.8 22.4 1.27 3.8 28.07", "secondary"),
        "VideoPanda, WEB360": ("MVDiffusion", "96.8", "secondary"),
        "MultiViewPano": ("MultiViewPano", "12.82 22.99", "secondary"),
    }
    for name, (method, numbers, confidence) in rows.items():
        assert " ".join(tables[name].rows[method]) == numbers
        assert tables[name].confidence == confidence
    assert sum(len(table.rows) for table in tables.values()) == 94


def test_what_the_paper_says_of_a_method_stands_beside_ours() -> None:
    names = ["real", "independent_base", "independent", "mvdiffusion", "mine"]
    made = ours("panorama")
    data = pd.concat([made.data.iloc[:1].assign(method=name) for name in names])
    shown = pd.DataFrame({"method": names, "FID ↓": ["20.5 ± 0.5"] * 5})
    table = beside_published("panorama", Table("panorama_main", "Ours", data, shown, ()))
    beside = table.shown["as published"][:5].tolist()
    assert beside[0].startswith("Real views: PSNR of overlaps (dB) 37.7")
    assert beside[1] == beside[2]
    assert beside[2].startswith("SD (Perspective): FID 25.59 · IS 7.29 · CLIP score 30.25 (MVDiff")
    assert "25.4" in beside[3]
    assert "24.25" not in beside[3]  # a third party's
    assert beside[4] == "–"
    there = table.data["in_the_paper"][:5].tolist()
    assert there[:4] == ["Real views", "SD (Perspective)", "SD (Perspective)", "MVDiffusion"]
