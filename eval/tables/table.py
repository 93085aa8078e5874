"""A table and the files it is written to: CSV, Markdown, LaTeX, HTML, and JSON for the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from mvdiffusion.outputs import remade_output
from mvdiffusion.records import write_json

from .latex import bold, escape, latex_table

TEMPLATES = Path(__file__).parent / "templates"
PRINTED = "tables.json"
"""File of all tables and claims in their printed form: what the report shows."""
NUMBERS = "numbers.json"
"""File of every number with its standard error."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that spreadsheets take for a formula."""


@dataclass(frozen=True)
class Table:
    """A table: `data` has the numbers for programs, `shown` the printed form.

    Attributes:
        blocks: further blocks of rows, separated from those above: the first row and the title
            of each. The title of the first block is the caption.
        best: row and column of each printed cell that is bold, see `best`.
    """

    name: str
    caption: str
    data: pd.DataFrame
    shown: pd.DataFrame
    notes: tuple[str, ...] = ()
    blocks: tuple[tuple[int, str], ...] = ()
    best: frozenset[tuple[int, int]] = frozenset()

    def records(self) -> list[dict[str, Any]]:
        """Its numbers, a dictionary per row, as JSON has them."""
        return json.loads(self.data.to_json(orient="records", double_precision=15))

    def printed(self) -> dict[str, Any]:
        """Its printed form, as JSON has it."""
        return {
            "caption": self.caption,
            "header": self.header,
            "rows": self.cells,
            "notes": list(self.notes),
            "best": [list(place) for place in sorted(self.best)],
        }

    @property
    def header(self) -> list[str]:
        """Titles of the printed columns."""
        return [_one_line(title) for title in self.shown.columns]

    @property
    def cells(self) -> list[list[str]]:
        """Printed cells, row by row."""
        return [[_one_line(cell) for cell in row] for row in self.shown.itertuples(index=False)]

    def marked_cells(self, plain: Callable[[str], Any], bold: Callable[[str], Any]) -> list[list]:
        """Printed cells in some markup.

        Args:
            plain: what a cell becomes.
            bold: what one of the best becomes.
        """
        return [
            [(bold if (i, j) in self.best else plain)(cell) for j, cell in enumerate(row)]
            for i, row in enumerate(self.cells)
        ]


def write_tables(
    tables: Sequence[Table],
    directory: str | Path,
    claims: Sequence[Mapping[str, Any]] = (),
    numbers: Mapping[str, Any] | None = None,
) -> None:
    """Write each table as CSV (plain numbers), Markdown, LaTeX and HTML, atomically.

    Args:
        tables: what to write, each to files of its name; their printed forms also to `PRINTED`.
        directory: folder to write; tables that are there are replaced, and files of yours stay.
        claims: printed claims to keep beside them in `PRINTED`, for the report.
        numbers: all numbers, to be written to `NUMBERS`.

    Raises:
        InputError: the folder holds no tables but other files.
    """
    with remade_output(Path(directory)) as temporary:
        for table in tables:
            write_csv(table.data, temporary / f"{table.name}.csv")
            (temporary / f"{table.name}.md").write_text(_markdown(table), encoding="utf-8")
            latex = latex_table(
                *(table.name, table.caption, table.header),
                *(table.marked_cells(escape, bold), table.notes, table.blocks),
            )
            (temporary / f"{table.name}.tex").write_text(latex, encoding="utf-8")
            (temporary / f"{table.name}.html").write_text(_html(table), encoding="utf-8")
        printed = {table.name: table.printed() for table in tables}
        write_json(temporary / PRINTED, {"tables": printed, "claims": list(claims)})
        if numbers is not None:
            write_json(temporary / NUMBERS, numbers)


def write_csv(data: pd.DataFrame, path: Path) -> None:
    """Write numbers for programs, with names that no spreadsheet takes for a formula.

    A name that begins like one (`=`, `+`, `-`, `@`) gets a `'` in front; numbers stay as they are.

    Args:
        data: the table, one line per row.
        path: file to write.
    """
    named = data.map(lambda cell: _no_formula(cell) if isinstance(cell, str) else cell)
    named.to_csv(path, index=False, lineterminator="\n")


def _no_formula(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(FORMULA) else text
    return text  # published numbers are kept as they were printed


def _one_line(cell: Any) -> str:
    """Print a cell; names may contain line breaks, which no table has room for."""
    return " ".join(str(cell).split())


def _markdown(table: Table) -> str:
    rows = table.marked_cells(_cell_text, lambda cell: f"**{_cell_text(cell)}**")
    for start, title in reversed(table.blocks):
        rows.insert(start, [f"**{_one_line(title)}**", *[""] * (len(table.header) - 1)])
    shown = pd.DataFrame(rows, columns=[_cell_text(title) for title in table.header])
    body = shown.to_markdown(index=False, disable_numparse=True)
    notes = "".join(f"\n- {_one_line(note)}" for note in table.notes)
    return f"**{_one_line(table.caption)}.**\n\n{body}\n" + (f"{notes}\n" if notes else "")


def _cell_text(cell: str) -> str:
    return cell.replace("|", r"\|")


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
    rows = table.marked_cells(str, lambda cell: Markup("<strong>{}</strong>").format(cell))
    starts = [0, *(start for start, _ in table.blocks)]
    ends, titles = [*starts[1:], len(rows)], ["", *(title for _, title in table.blocks)]
    return template(TEMPLATES / "table.html.j2").render(
        caption=table.caption,
        header=table.header,
        blocks=[
            {"title": title, "rows": rows[start:end]}
            for title, start, end in zip(titles, starts, ends, strict=True)
        ],
        notes=table.notes,
    )
