"""Published numbers out of one data file, as tables: alone, and per task beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from ..folders.methods import shown_as
from .table import Table

PUBLISHED = Path(__file__).with_name("published.yaml")
CONFIDENCE = {
    "primary": "read in the source itself",
    "secondary": "as quoted by a secondary source",
    "mixed": "read in the source itself, except for the rows named",
}
"""How certain it is that these are the numbers of the source."""

WARNING = "measured by others on other images, not comparable with ours"


@dataclass(frozen=True)
class PublishedTable:
    """One published table; its digits are as printed. The data file explains its parts.

    Attributes:
        rows: numbers by method, in the order of `columns`; empty where there is none.
        invalid: columns that are known not to measure what they are named after, and why. They
            stand in the table of all published numbers, marked, and beside nothing.
    """

    table: str
    task: str
    title: str
    cite: str
    source: str
    protocol: str
    columns: list[str]
    rows: dict[str, list[str]]
    confidence: str = "primary"
    told_apart_by: str = ""
    notes: Sequence[str] = ()
    invalid: Mapping[str, str] = field(default_factory=dict)

    @property
    def valid_columns(self) -> list[str]:
        """Columns whose numbers may be put beside others."""
        return [column for column in self.columns if column not in self.invalid]

    @property
    def of_the_paper(self) -> bool:
        """Whether it is a table of MVDiffusion's paper."""
        return self.cite.startswith("MVDiffusion, table ")

    @property
    def footnotes(self) -> list[str]:
        """Where it stands and how it was measured, then what is inconsistent or unknown in it."""
        # The paper's own tables go by their numbers.
        name = f"table {self.table}" if self.table[0].isdigit() else self.table
        sure = "" if self.confidence == "primary" else f" ({CONFIDENCE[self.confidence]})"
        about = f"{self.title} ({name}): {self.source}{sure}; {self.protocol}."
        reasons = [f"the column {column} is invalid: {why}" for column, why in self.invalid.items()]
        notes = [*reasons, *self.notes]
        return [about, *(f"{name[0].upper()}{name[1:]}: {note}." for note in notes)]

    def numbers(self, method: str) -> dict[str, str | None]:
        """Numbers of a method by column."""
        return {c: n or None for c, n in zip(self.columns, self.rows[method], strict=True)}

    def shown(self, method: str, columns: Sequence[str]) -> str:
        """Print a method's numbers with their names, marking those that are invalid.

        Args:
            method: a row.
            columns: which of its numbers.
        """
        numbers = self.numbers(method)
        printed = (f"{self.titled(column)} {numbers[column]}" for column in columns)
        return " · ".join(p for p, c in zip(printed, columns, strict=True) if numbers[c])

    def titled(self, column: str) -> str:
        """The name of a column, marked if it is invalid."""
        return f"{column} (invalid)" if column in self.invalid else column


@cache
def published_tables() -> tuple[PublishedTable, ...]:
    """Read the data file."""
    # The base loader keeps digits as they were printed: 7.40 stays 7.40.
    entries = yaml.load(PUBLISHED.read_text("utf-8"), yaml.BaseLoader)
    return tuple(PublishedTable(**entry) for entry in entries)


def published_table() -> Table:
    """One line per method; its numbers carry their names, as every table measured otherwise."""
    numbers, about, shown = [], [], []
    for table in published_tables():
        mark = f", {table.told_apart_by}" if table.told_apart_by else ""
        for method in table.rows:
            head = {"table": table.table, "task": table.task, "method": method}
            own = {f"{table.titled(c)}{mark}": n for c, n in table.numbers(method).items()}
            numbers.append({**head, **own})
            shown.append([table.table, method, table.shown(method, table.columns)])
            sure = CONFIDENCE[table.confidence]
            about.append([table.title, table.source, sure, table.protocol])
    told = pd.DataFrame(about, columns=["title", "source", "confidence", "protocol"])
    return Table(
        "published",
        f"Published numbers ({WARNING})",
        pd.concat([pd.DataFrame(numbers), told], axis=1),
        pd.DataFrame(shown, columns=["table", "method", "as published"]),
        tuple(note for table in published_tables() for note in table.footnotes),
    )


def beside_published(task: str, ours: Table) -> Table:
    """Our methods, then, as a block of their own, what was published on the same task.

    Beside a method of ours that the paper has, too, stands what the paper says of it.

    Args:
        task: the task.
        ours: its main table, a line per method. Its columns and its notes come first.

    Returns:
        The table `<task>_published`. As data, every published protocol has columns of its own,
        named by their source; to be read, a block of its own, its numbers with their names.
    """
    tables = [table for table in published_tables() if table.task == task]
    lines: dict[str, dict[str, str | None]] = {}  # one per method, as they first appear
    read: list[dict[str, str]] = []
    blocks = []
    for table in tables:
        start = len(ours.shown) + len(read)
        blocks.append((start, f"Published: {table.cite} ({WARNING})"))
        for method in table.rows:
            line = lines.setdefault(method, {"method": method})
            numbers = table.numbers(method)
            line.update({f"{c} ({table.cite})": numbers[c] for c in table.valid_columns})
            read.append(
                {"method": method, "as published": table.shown(method, table.valid_columns)}
            )
    cited = [f"{column} ({table.cite})" for table in tables for column in table.valid_columns]
    theirs = pd.DataFrame(list(lines.values()), columns=["method", *cited])
    own = ours.data.drop(columns=["protocols", "extractors"])
    names = [shown_as(method).published for method in own["method"]]
    own = own.assign(block="ours", in_the_paper=names)
    own_shown = ours.shown.copy()
    own_shown["as published"] = [_in_the_paper(tables, name) for name in names]
    written = [own, theirs.assign(block="published")]
    data = pd.concat(written, ignore_index=True).set_index(["block", "method"]).reset_index()
    return Table(
        f"{task}_published",
        f"{ours.caption}; below, published numbers ({WARNING})",
        data,
        pd.concat([own_shown, pd.DataFrame(read)], ignore_index=True).fillna("–"),
        (*ours.notes, *(note for table in tables for note in table.footnotes)),
        tuple(blocks),
        ours.best,
    )


def _in_the_paper(tables: Sequence[PublishedTable], name: str) -> str | None:
    """Print what the paper says of a method, with its name there; None if it says nothing."""
    rows = [
        f"{table.shown(name, table.valid_columns)} ({table.cite})"
        for table in tables
        if table.of_the_paper and name in table.rows
    ]
    return f"{name}: {'; '.join(rows)}" if rows else None
