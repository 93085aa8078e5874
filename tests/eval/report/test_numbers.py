"""Tables of the page: the paper's numbers beside ours, in columns, and what is bold."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mvdiffusion_eval.report.numbers import (
    BEST_NOTE,
    beside_the_paper,
    published_in_columns,
    shown_table,
)

METHODS = ("real", "vae_reconstruction", "independent", "mvdiffusion", "mine")
NAMES = ("Real views", "VAE reconstruction", "Independent views", "MVDiffusion", "mine")


def shown(*cells: str, title: str = "FID ↓", bold: bool = True) -> dict[str, Any]:
    """A table of one column, with the methods that cells are given for."""
    rows = [[name, cell] for name, cell in zip(NAMES, cells, strict=False)]
    table = {"caption": "a table", "header": ["method", title], "rows": rows, "notes": ["a note"]}
    return shown_table("panorama_main", table, METHODS, bold=bold)


def best_of(table: dict[str, Any]) -> list[str]:
    rows = table["blocks"][0]["rows"]
    return [row[0][0] for row in rows if any(best for _, best in row)]


@pytest.mark.parametrize(
    ("cells", "title", "best"),
    [
        (("–", "0.1", "9 ± 1", "3 ± 1", "8 ± 1"), "FID ↓", ["MVDiffusion"]),
        (("40", "30", "9 ± 1", "3 ± 1", "8.5 ± 1"), "PSNR ↑", ["Independent views", "mine"]),
        # 1.96 standard errors of the difference of 3 ± 1 and 5.8 ± 1 are 2.77.
        (("–", "–", "9 ± 1", "3 ± 1", "5.7 ± 1"), "FID ↓", ["MVDiffusion", "mine"]),
        (("–", "–", "9 ± 1", "3 ± 1", "5.8 ± 1"), "FID ↓", ["MVDiffusion"]),
        (("–", "–", "3 ± 1", "3.1 ± 1", "–"), "FID ↓", []),  # nothing tells them apart
        (("–", "–", "9 ± 1", "3 ± 1", "8 ± 1"), "gradient energy", []),  # it has no direction
        (("–", "–", "–", "–", "–"), "FID ↓", []),
    ],
)
def test_the_best_methods_are_bold_unless_nothing_tells_them_apart(
    cells: tuple[str, ...], title: str, best: list[str]
) -> None:
    table = shown(*cells, title=title)
    assert best_of(table) == best
    assert (BEST_NOTE in table["notes"]) == bool(best)
    assert best_of(shown(*cells, title=title, bold=False)) == []


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
