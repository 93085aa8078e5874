"""Published numbers: one data file, each table with its source and protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PUBLISHED = Path(__file__).with_name("published.yaml")


def published_rows() -> Iterator[dict[str, Any]]:
    """Go through the published numbers, one row of a table at a time.

    Returns:
        Rows of `table`, `title`, `method`, the numbers by column as they were printed (None where
        there is none), `source`, `protocol` and, to be read, `shown`: names and numbers in one
        text. No two tables have a column in common.

    Raises:
        ValueError: a row of the file does not fit its columns, or two tables share a column.
    """
    for table in _tables():
        for method, numbers in table["rows"].items():
            if len(numbers) != len(table["columns"]):
                raise ValueError(
                    f"{PUBLISHED.name}: table {table['table']}, row '{method}' has {len(numbers)} "
                    f"numbers; expected {len(table['columns'])}."
                )
            printed = [number or None for number in numbers]
            yield {
                "table": table["table"],
                "title": table["title"],
                "method": method,
                **dict(zip(_unique_columns(table), printed, strict=True)),
                "source": table["source"],
                "protocol": table["protocol"],
                "shown": _shown(table["columns"], printed),
            }


def published_notes() -> Iterator[tuple[str, str]]:
    """Go through what must be said of the tables: name of the table, and the sentence.

    First where it stands and how it was measured, then what is inconsistent or unknown in it.
    """
    for table in _tables():
        about = f"{table['title']} ({_named(table)}): {table['source']}; {table['protocol']}."
        yield table["table"], about
        name = _named(table)
        for note in table.get("notes", ()):
            yield table["table"], f"{name[0].upper()}{name[1:]}: {note}."


def _unique_columns(table: dict[str, Any]) -> list[str]:
    mark = table.get("told_apart_by")
    return [f"{column}, {mark}" if mark else column for column in table["columns"]]


def _shown(columns: list[str], numbers: list[str | None]) -> str:
    return " · ".join(f"{c} {n}" for c, n in zip(columns, numbers, strict=True) if n)


def _named(table: dict[str, Any]) -> str:
    """The paper's own tables go by their numbers."""
    name = table["table"]
    return f"table {name}" if name[0].isdigit() else name


def _tables() -> list[dict[str, Any]]:
    # The base loader keeps digits as they were printed: 7.40 stays 7.40.
    tables = yaml.load(PUBLISHED.read_text(encoding="utf-8"), yaml.BaseLoader)
    owners: dict[str, str] = {}
    for table in tables:
        for column in _unique_columns(table):
            if owners.setdefault(column, table["table"]) != table["table"]:
                raise ValueError(
                    f"{PUBLISHED.name}: tables {owners[column]} and {table['table']} share the "
                    f"column '{column}'; numbers of two protocols never do."
                )
    return tables
