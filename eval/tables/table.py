"""A table and the files it is written to: CSV, Markdown, LaTeX, HTML, and JSON for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from mvdiffusion.outputs import remade_output
from mvdiffusion.records import write_json

TEMPLATES = Path(__file__).parent / "templates"
PRINTED = "tables.json"
"""File of all tables and claims in their printed form: what the report shows."""
WIDE = 10
"""Tables with more columns are shrunk to the width of a LaTeX page."""

LATEX_SYMBOLS = {
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "…": r"\ldots{}",
}


@dataclass(frozen=True)
class Table:
    """A table: `data` has the numbers for programs, `shown` the printed form.

    Attributes:
        blocks: further blocks of rows, separated from those above: the first row and the title
            of each. The title of the first block is the caption.
    """

    name: str
    caption: str
    data: pd.DataFrame
    shown: pd.DataFrame
    notes: tuple[str, ...] = ()
    blocks: tuple[tuple[int, str], ...] = ()

    def records(self) -> list[dict[str, Any]]:
        """Its numbers, a dictionary per row, as JSON has them."""
        return json.loads(self.data.to_json(orient="records", double_precision=15))

    def printed(self) -> dict[str, Any]:
        """Its printed form, as JSON has it."""
        header, rows = list(self.shown.columns), _rows(self)
        return {"caption": self.caption, "header": header, "rows": rows, "notes": list(self.notes)}


def write_tables(
    tables: Sequence[Table], directory: str | Path, claims: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write each table as CSV (plain numbers), Markdown, LaTeX and HTML, atomically.

    Args:
        tables: what to write, each to files of its name; their printed forms also to `PRINTED`.
        directory: folder to write; tables that are there are replaced, and files of yours stay.
        claims: printed claims to keep beside them in `PRINTED`, for the report.

    Raises:
        InputError: the folder holds no tables but other files.
    """
    with remade_output(Path(directory)) as temporary:
        for table in tables:
            table.data.to_csv(temporary / f"{table.name}.csv", index=False, lineterminator="\n")
            (temporary / f"{table.name}.md").write_text(_markdown(table), encoding="utf-8")
            (temporary / f"{table.name}.tex").write_text(_latex(table), encoding="utf-8")
            (temporary / f"{table.name}.html").write_text(_html(table), encoding="utf-8")
        printed = {table.name: table.printed() for table in tables}
        write_json(temporary / PRINTED, {"tables": printed, "claims": list(claims)})


def _markdown(table: Table) -> str:
    rows = [[cell.replace("|", r"\|") for cell in row] for row in _rows(table)]
    for start, title in reversed(table.blocks):
        rows.insert(start, [f"**{title}**", *[""] * (len(table.shown.columns) - 1)])
    shown = pd.DataFrame(rows, columns=table.shown.columns)
    body = shown.to_markdown(index=False, disable_numparse=True)
    notes = "".join(f"\n- {note}" for note in table.notes)
    return f"**{table.caption}.**\n\n{body}\n" + (f"{notes}\n" if notes else "")


def _rows(table: Table) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in table.shown.itertuples(index=False)]


def _latex(table: Table) -> str:
    styler = table.shown.style.hide(axis="index").format(escape="latex")
    tabular = styler.format_index(axis="columns", escape="latex").to_latex(hrules=True)
    tabular = _with_blocks(tabular.rstrip(), table)
    if len(table.shown.columns) > WIDE:
        tabular = f"\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}%\n}}"
    caption = " ".join((f"{table.caption}.", *table.notes))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape(caption)}}}",
        rf"\label{{tab:{table.name}}}",
        tabular,
        r"\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    for symbol, command in LATEX_SYMBOLS.items():
        text = text.replace(symbol, command)
    return text


def _with_blocks(tabular: str, table: Table) -> str:
    """Rule and title before the first row of each further block."""
    lines, width = tabular.split("\n"), len(table.shown.columns)
    first = lines.index(r"\midrule") + 1
    for start, title in reversed(table.blocks):
        heading = rf"\multicolumn{{{width}}}{{l}}{{\emph{{{_escape(title)}}}}} \\"
        lines[first + start : first + start] = [r"\midrule", heading, r"\midrule"]
    return "\n".join(lines)


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in "&%#_" else c for c in text)


def template(path: Path) -> Template:
    """Load a template of HTML, which escapes what it is given."""
    return Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(path.name)


def _html(table: Table) -> str:
    """A page of its own that needs no other file."""
    rows, starts = _rows(table), [0, *(start for start, _ in table.blocks)]
    ends, titles = [*starts[1:], len(rows)], ["", *(title for _, title in table.blocks)]
    return template(TEMPLATES / "table.html.j2").render(
        caption=table.caption,
        header=list(table.shown.columns),
        blocks=[
            {"title": title, "rows": rows[start:end]}
            for title, start, end in zip(titles, starts, ends, strict=True)
        ],
        notes=table.notes,
    )
