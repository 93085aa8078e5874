"""Names and notes of users in the files of a table: LaTeX, Markdown and CSV."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd
import pytest

from mvdiffusion_eval.tables.table import Table, write_csv, write_tables

NAMES = ["ours ^2 {x} $5 ~a", r"a\b_c & d%e #1", "}{$^_^$}", "<b>|c"]
WRITTEN = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    **{f"\\{special}": special for special in "&%$#_{}"},
}


def read_tex(text: str) -> str:
    """What LaTeX prints of text without commands; what it would stumble over is an error."""
    read, rest = "", text
    while rest:
        written = next((code for code in WRITTEN if rest.startswith(code)), rest[0])
        assert len(written) > 1 or written not in "\\~^&%$#_{}<>|", f"{written} in {text}"
        read += WRITTEN.get(written, written)
        rest = rest[len(written) :]
    return read


def files_of(tmp_path: Path, names: list[str]) -> dict[str, str]:
    shown = pd.DataFrame({"method": names, **{name: "1.5" for name in names}})
    title, note = f"Method - {names[0]}", f"Compared with {names[1]}."
    table = Table("t", f"About {names[0]}", shown, shown, (note,), ((1, title),))
    write_tables([table], tmp_path / "t")
    return {end: (tmp_path / f"t/t.{end}").read_text() for end in ("tex", "md", "csv")}


def test_whatever_a_name_contains_latex_prints_it(tmp_path: Path) -> None:
    lines = files_of(tmp_path, NAMES)["tex"].splitlines()
    caption = re.fullmatch(r"\\caption\{(.*)\}", lines[2])
    heading = re.fullmatch(r"\\multicolumn\{5\}\{l\}\{\\emph\{(.*)\}\} \\\\", lines[10])
    assert caption
    assert heading
    assert read_tex(caption[1]) == f"About {NAMES[0]}. Compared with {NAMES[1]}."
    assert read_tex(heading[1]) == f"Method - {NAMES[0]}"
    rows = [line.removesuffix(r" \\").split(" & ") for line in lines if line.count(" & ") >= 4]
    assert [read_tex(cell) for cell in rows[0]] == ["method", *NAMES]
    assert [read_tex(row[0]) for row in rows[1:]] == NAMES


def test_line_breaks_in_names_break_no_table(tmp_path: Path) -> None:
    files = files_of(tmp_path, ["two\n\nlines", "b\r\n| c"])
    assert r"\caption{About two lines. Compared with b \textbar{} c.}" in files["tex"]
    assert "\n\n" not in files["tex"]
    rows = [line for line in files["md"].splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 1 + 2  # header and rule, the block's title, two methods
    assert {line.replace(r"\|", "").count("|") for line in rows} == {4}


@pytest.mark.parametrize("name", ["=1+1", "+x", "-ours", "@SUM(A1)", "\tx", "=HYPERLINK(1)"])
def test_no_name_is_a_formula_in_a_spreadsheet(name: str, tmp_path: Path) -> None:
    data = pd.DataFrame({"method": [name, "ours"], "value": [-1.5, 2.0], "printed": ["-0.3", "+1"]})
    write_csv(data, tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [f"'{name}", "ours"]
    assert [row["value"] for row in rows] == ["-1.5", "2.0"]  # numbers stay numbers
    assert [row["printed"] for row in rows] == ["-0.3", "+1"]
