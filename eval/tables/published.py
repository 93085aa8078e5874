"""Published numbers: one data file, each table with its task, source and protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..folders.samples import TASKS

PUBLISHED = Path(__file__).with_name("published.yaml")
CONFIDENCE = {
    "primary": "read in the source itself",
    "secondary": "as a secondary note has it",
    "mixed": "read in the source itself but for the rows named",
}
"""How sure it is that these are the numbers of the source."""


@dataclass(frozen=True)
class PublishedTable:
    """One published table; its digits are as printed.

    Attributes:
        table: its name in the file.
        task: the task its methods were asked for; a key of `TASKS`.
        cite: short name of the source, for column headings.
        told_apart_by: what is added to the names of its columns where all tables share a file.
        rows: numbers by method, in the order of `columns`; None where there is none.
        notes: what is inconsistent or unknown in it.
    """

    table: str
    task: str
    title: str
    cite: str
    source: str
    confidence: str
    protocol: str
    columns: tuple[str, ...]
    told_apart_by: str
    rows: dict[str, tuple[str | None, ...]]
    notes: tuple[str, ...]

    @property
    def unique_columns(self) -> list[str]:
        """Names of the columns that no other table has."""
        mark = self.told_apart_by
        return [f"{column}, {mark}" if mark else column for column in self.columns]

    @property
    def cited_columns(self) -> list[str]:
        """Names of the columns with their source."""
        return [f"{column} ({self.cite})" for column in self.columns]

    def shown(self, numbers: Sequence[str | None]) -> str:
        """Print a row's numbers with their names."""
        pairs = zip(self.columns, numbers, strict=True)
        return " · ".join(f"{column} {number}" for column, number in pairs if number)

    @property
    def named(self) -> str:
        """The paper's own tables go by their numbers."""
        return f"table {self.table}" if self.table[0].isdigit() else self.table


def published_rows() -> Iterator[dict[str, Any]]:
    """Go through the published numbers, one row of a table at a time.

    Returns:
        Rows of `table`, `task`, `title`, `method`, the numbers by column as they were printed
        (None where there is none), `source`, `confidence`, `protocol` and, to be read, `shown`:
        names and numbers in one text. No two tables have a column in common.

    Raises:
        ValueError: as `published_tables`.
    """
    for table in published_tables():
        for method, numbers in table.rows.items():
            yield {
                "table": table.table,
                "task": table.task,
                "title": table.title,
                "method": method,
                **dict(zip(table.unique_columns, numbers, strict=True)),
                "source": table.source,
                "confidence": CONFIDENCE[table.confidence],
                "protocol": table.protocol,
                "shown": table.shown(numbers),
            }


def published_notes() -> Iterator[tuple[str, str]]:
    """Go through what must be said of the tables: name of the table, and the sentence.

    First where it stands and how it was measured, then what is inconsistent or unknown in it.
    """
    for table in published_tables():
        sure = "" if table.confidence == "primary" else f" ({CONFIDENCE[table.confidence]})"
        about = f"{table.title} ({table.named}): {table.source}{sure}; {table.protocol}."
        yield table.table, about
        name = table.named
        for note in table.notes:
            yield table.table, f"{name[0].upper()}{name[1:]}: {note}."


def published_tables() -> list[PublishedTable]:
    """Read the data file.

    Raises:
        ValueError: a table lacks a key, is of no known task or confidence, a row does not fit
            its columns, or two tables share a column.
    """
    # The base loader keeps digits as they were printed: 7.40 stays 7.40.
    tables = [_table(entry) for entry in yaml.load(PUBLISHED.read_text("utf-8"), yaml.BaseLoader)]
    for columns in ("unique_columns", "cited_columns"):
        owners: dict[str, str] = {}
        for table in tables:
            for column in getattr(table, columns):
                if owners.setdefault(column, table.table) != table.table:
                    raise ValueError(
                        f"{PUBLISHED.name}: tables {owners[column]} and {table.table} share the "
                        f"column '{column}'; numbers of two protocols never do."
                    )
    return tables


def _table(entry: dict[str, Any]) -> PublishedTable:
    name, columns = entry["table"], tuple(entry["columns"])
    for key, known in (("task", TASKS), ("confidence", CONFIDENCE)):
        if entry.get(key) not in known:
            raise ValueError(
                f"{PUBLISHED.name}: table {name} has {key} '{entry.get(key)}'; expected one of "
                f"{', '.join(known)}."
            )
    rows = {method: tuple(n or None for n in numbers) for method, numbers in entry["rows"].items()}
    for method, numbers in rows.items():
        if len(numbers) != len(columns):
            raise ValueError(
                f"{PUBLISHED.name}: table {name}, row '{method}' has {len(numbers)} numbers; "
                f"expected {len(columns)}."
            )
    told_apart_by, notes = entry.get("told_apart_by", ""), tuple(entry.get("notes", ()))
    fixed = {"columns": columns, "rows": rows, "told_apart_by": told_apart_by, "notes": notes}
    return PublishedTable(**{**entry, **fixed})
