"""Tables as the page shows them: numbers of the paper in columns beside ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..folders.methods import display_name, shown_as
from ..tables.best import BEST_NOTE
from ..tables.published import WARNING, PublishedTable, published_tables

NOTHING = "–"
OURS = "measured here"


def shown_table(name: str, table: Mapping[str, Any], *, bold: bool) -> dict[str, Any]:
    """Lay out a printed table of ours.

    Args:
        name: of the table.
        table: `caption`, `header`, `rows`, `notes` and `best`, as the tables' JSON has them.
        bold: whether to make the best of a column bold; tables that were recorded before there
            was a choice name none.
    """
    header, rows = table["header"], table["rows"]
    best = {(row, column) for row, column in table.get("best", ())} if bold else set()
    cells = [[(cell, (r, c) in best) for c, cell in enumerate(row)] for r, row in enumerate(rows)]
    return {
        "name": name,
        "caption": table["caption"],
        "groups": [],
        "header": header,
        "blocks": [{"title": "", "rows": cells}],
        "notes": [note for note in table["notes"] if bold or note != BEST_NOTE],
        "url": "",
    }


def beside_the_paper(task: str, shown: dict[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """Add columns of what the paper prints for the same method, and rows of its other methods.

    Args:
        task: the task.
        shown: its main table, from `shown_table`.
        methods: those that may stand in its first column.
    """
    tables = [table for table in published_tables() if table.task == task and table.of_the_paper]
    if not tables:
        return shown
    names = {display_name(method): shown_as(method).published for method in methods}
    rows = shown["blocks"][0]["rows"]
    ours = [[*row, *_of_the_paper(tables, names.get(row[0][0], ""))] for row in rows]
    theirs = dict.fromkeys(method for table in tables for method in table.rows)
    others = [method for method in theirs if method not in names.values()]
    width = len(shown["header"]) - 1
    nothing = [(NOTHING, False)] * width
    added = [[(method, False), *nothing, *_of_the_paper(tables, method)] for method in others]
    groups = [{"title": OURS, "columns": width, "url": ""}]
    groups += [
        {"title": table.cite, "columns": len(table.valid_columns), "url": source_url(table)}
        for table in tables
    ]
    blocks = [{"title": "", "rows": ours}]
    blocks += [{"title": "in the paper alone", "rows": added}] if added else []
    return {
        **shown,
        "groups": groups,
        "header": [*shown["header"], *(c for table in tables for c in table.valid_columns)],
        "blocks": blocks,
        "notes": [
            f"Numbers of the paper were {WARNING}.",
            *shown["notes"],
            *(note for table in tables for note in table.footnotes),
        ],
    }


def published_in_columns() -> list[dict[str, Any]]:
    """Every published table, with a column per number and a link to its source."""
    return [
        {
            "name": "published",
            "task": table.task,
            "cite": table.cite,
            "caption": table.title,
            "groups": [],
            "header": ["method", *(table.titled(column) for column in table.columns)],
            "blocks": [
                {
                    "title": "",
                    "rows": [
                        [(method, False), *((n or NOTHING, False) for n in numbers.values())]
                        for method in table.rows
                        if (numbers := table.numbers(method))
                    ],
                }
            ],
            "notes": table.footnotes,
            "url": source_url(table),
        }
        for table in published_tables()
    ]


def source_url(table: PublishedTable) -> str:
    """Address of the paper or the issue that a published table stands in; empty if unknown.

    The first that its source names.
    """
    if paper := re.search(r"arXiv (\d{4}\.\d{5})", table.source):
        return f"https://arxiv.org/abs/{paper[1]}"
    if issue := re.search(r"([\w-]+/[\w-]+) issue (\d+)", table.source):
        return f"https://github.com/{issue[1]}/issues/{issue[2]}"
    return ""


def _of_the_paper(tables: Sequence[PublishedTable], method: str) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for table in tables:
        numbers = table.numbers(method) if method in table.rows else {}
        found += [(numbers.get(column) or NOTHING, False) for column in table.valid_columns]
    return found
