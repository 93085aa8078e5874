"""Tables of the page: the paper's numbers beside ours, in columns."""

from __future__ import annotations

import re
from typing import Any

from mvdiffusion_eval.report.numbers import beside_the_paper, published_in_columns, shown_table
from mvdiffusion_eval.tables.best import BEST_NOTE

METHODS = ("real", "vae_reconstruction", "independent", "mvdiffusion", "mine")
NAMES = ("Real views", "VAE reconstruction", "Independent views", "MVDiffusion", "mine")


def shown(*cells: str, bold: bool = True, best: tuple[int, ...] = ()) -> dict[str, Any]:
    """A table of one column, with the methods that cells are given for."""
    rows = [[name, cell] for name, cell in zip(NAMES, cells, strict=False)]
    table = {"caption": "a table", "header": ["method", "FID ↓"], "rows": rows}
    table |= {"notes": ["a note", BEST_NOTE], "best": [[row, 1] for row in best]}
    return shown_table("panorama_main", table, bold=bold)


def test_cells_are_bold_that_the_tables_say_are_best_unless_the_run_shows_nothing() -> None:
    cells = ("–", "1", "9", "3", "8")
    rows = shown(*cells, best=(3,))["blocks"][0]["rows"]
    assert [row[0][0] for row in rows if any(best for _, best in row)] == ["MVDiffusion"]
    plain = shown(*cells, best=(3,), bold=False)
    assert not any(best for row in plain["blocks"][0]["rows"] for _, best in row)
    assert plain["notes"] == ["a note"]


def test_numbers_of_the_paper_stand_beside_those_of_the_same_method() -> None:
    """Table 1 of arXiv 2307.01097: FID 21.44, IS 7.32, CLIP score 30.04; table 3: 25.4 dB."""
    table = beside_the_paper("panorama", shown("–", "1", "9", "3", "8"), METHODS)
    ours, paper = table["blocks"]
    by_name = {row[0][0]: [cell for cell, _ in row[1:]] for row in ours["rows"]}
    columns = table["header"][2:]
    assert columns[:4] == ["FID", "IS", "CLIP score", "PSNR of overlaps (dB)"]
    assert by_name["MVDiffusion"][:5] == ["3", "21.44", "7.32", "30.04", "25.4"]
    assert by_name["Independent views"][1] == "25.59", "its SD (Perspective)"
    assert by_name["mine"] == ["8", *["–"] * len(columns)]
    assert "Text2Light" in {row[0][0] for row in paper["rows"]}
    widths = {len(row) for block in table["blocks"] for row in block["rows"]}
    assert widths == {len(table["header"])}
    assert sum(group["columns"] for group in table["groups"]) == len(table["header"]) - 1
    assert {group["url"] for group in table["groups"][1:]} == {"https://arxiv.org/abs/2307.01097"}
    assert beside_the_paper("outpaint", shown("–"), METHODS) == shown("–")


def test_every_published_number_has_a_cell_of_its_own_and_a_source() -> None:
    tables = published_in_columns()
    assert len(tables) > 20
    for table in tables:
        for row in table["blocks"][0]["rows"]:
            assert len(row) == len(table["header"])
            for cell, _ in row[1:]:
                assert cell == "–" or re.fullmatch(r"-?[\d.]+", cell), (table["cite"], cell)
    without = [table["cite"] for table in tables if not table["url"]]
    assert without == ["MultiViewPano"], "a note has it, without its paper"
    again = next(t for t in tables if t["cite"] == "MVDiffusion measured again, issue 17")
    assert again["url"] == "https://github.com/Tangshitao/MVDiffusion/issues/17"
