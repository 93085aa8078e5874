"""Published numbers as tables: alone, and per task beside ours without sharing a column."""

from __future__ import annotations

import pandas as pd

from .published import PublishedTable, published_notes, published_rows, published_tables
from .table import Table

WARNING = "measured by others on other images: not comparable with ours"
ALONE = ("title", "source", "confidence", "protocol")


def published_table() -> Table:
    """One line per method; its numbers carry their names, as every table measured otherwise."""
    data = pd.DataFrame(list(published_rows()))
    shown = data[["table", "method", "shown"]].rename(columns={"shown": "as published"})
    data = data[[column for column in data if column not in (*ALONE, "shown")] + list(ALONE)]
    notes = tuple(note for _, note in published_notes())
    return Table("published", f"Published numbers, {WARNING}", data, shown, notes)


def beside_published(task: str, ours: Table) -> Table:
    """Our methods, then, as a block of their own, what was published on the same task.

    Args:
        task: the task.
        ours: its main table, a line per method. Its columns and its notes come first.

    Returns:
        The table `<task>_published`. As data, every published protocol has columns of its own,
        named by their source; to be read, a block of its own, its numbers with their names.
    """
    tables = [table for table in published_tables() if table.task == task]
    theirs = _lines(tables)
    data = [
        ours.data.drop(columns=["protocols", "extractors"]).assign(block="ours"),
        theirs.assign(block="published"),
    ]
    written = pd.concat(data, ignore_index=True)
    first = ["block", "method"]
    shown = [ours.shown, *(_as_text(table) for table in tables)]
    return Table(
        f"{task}_published",
        f"{ours.caption}; below, published numbers, {WARNING}",
        written[first + [column for column in written if column not in first]],
        pd.concat(shown, ignore_index=True).fillna("–"),
        (*ours.notes, *(note for name, note in published_notes() if name in _names(tables))),
        _blocks(len(ours.shown), tables),
    )


def _as_text(table: PublishedTable) -> pd.DataFrame:
    """A line per method: its numbers with the names they were published under."""
    rows = table.rows.items()
    return pd.DataFrame(
        [{"method": method, "as published": table.shown(numbers)} for method, numbers in rows]
    )


def _blocks(start: int, tables: list[PublishedTable]) -> tuple[tuple[int, str], ...]:
    """First row and heading of every published table."""
    blocks = []
    for table in tables:
        blocks.append((start, f"Published: {table.cite}; {WARNING}"))
        start += len(table.rows)
    return tuple(blocks)


def _names(tables: list[PublishedTable]) -> list[str]:
    return [table.table for table in tables]


def _lines(tables: list[PublishedTable]) -> pd.DataFrame:
    """One line per published method, in the order in which they first appear."""
    lines: dict[str, dict[str, str | None]] = {}
    for table in tables:
        for method, numbers in table.rows.items():
            line = lines.setdefault(method, {"method": method})
            line.update(zip(table.cited_columns, numbers, strict=True))
    return pd.DataFrame(list(lines.values()), columns=_columns(tables))


def _columns(tables: list[PublishedTable]) -> list[str]:
    return ["method", *(cited for table in tables for cited in table.cited_columns)]
