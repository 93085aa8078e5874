"""Published numbers: what stands in the data file, and tables of ours beside them."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from mvdiffusion_eval.folders.samples import TASKS
from mvdiffusion_eval.tables import published
from mvdiffusion_eval.tables.published import published_notes, published_rows, published_tables
from mvdiffusion_eval.tables.published_tables import beside_published
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
    assert {row["confidence"] for row in published_rows()} == set(published.CONFIDENCE.values())


def test_numbers_of_the_peers() -> None:
    """A row of each table, or more, and how many there are."""
    tables = {table.table: table for table in published_tables()}
    dit360 = tables["DiT360, table 1"]
    assert dit360.rows["MVDiffusion"][:6] == ("108.19", "117.26", None, None, "4.39", "1.58")
    assert dict(zip(dit360.columns, dit360.rows["DiT360"], strict=True))["NIQE"] == "3.72"
    survey = tables["survey on ODI-SR"]
    assert dict(zip(survey.columns, survey.rows["PanFusion"], strict=True))["OmniFID"] == "92.22"
    assert len(survey.rows) == 6
    assert len(dit360.rows) == 9
    outpainted = tables["survey on ODI-SR, outpainting"]
    assert outpainted.rows["DreamCube"] == (
        *("66.15", "2.05", "4.88", "19.26", "15.87", "115.52", "1.10", "12", "16.7"),
    )
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
    assert (shown.iloc[:2, 2] == "–").all()
    assert (shown.iloc[2:, 1] == "–").all()
    read = [t.shown(numbers) for t in of_task for numbers in t.rows.values()]
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
    notes = [note for name, note in published_notes() if name == "PanFusion protocol, in UniPano"]
    assert "as a secondary note has it" in notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "video"}, "task 'video'; expected one of panorama"),
        ({"confidence": None}, "confidence ''"),
        ({"rows": {"x": ["1", "2"]}}, "row 'x' has 2 numbers; expected 1"),
    ],
)
def test_a_table_that_lacks_something_is_refused(
    tmp_path, monkeypatch: pytest.MonkeyPatch, change: dict, message: str
) -> None:
    entry = {"table": "a", "task": "depth", "title": "t", "cite": "c", "source": "s"}
    entry |= {"confidence": "primary", "protocol": "p", "columns": ["FID"], "rows": {"x": ["1"]}}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump([entry | change]).replace("null", "''"))
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "p.yaml")
    with pytest.raises(ValueError, match=message):
        published_tables()
