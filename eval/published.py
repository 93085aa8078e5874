"""Published numbers: one data file, each table with its source and protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PUBLISHED = Path(__file__).with_name("published.yaml")


def published_rows() -> Iterator[dict[str, Any]]:
    """Go through the published numbers, one at a time, with table, method, source and protocol.

    Raises:
        ValueError: a row of the file does not fit its columns.
    """
    for table in yaml.safe_load(PUBLISHED.read_text()):
        for method, numbers in table["rows"].items():
            if len(numbers) != len(table["columns"]):
                raise ValueError(
                    f"{PUBLISHED.name}: table {table['table']}, row '{method}' has {len(numbers)} "
                    f"numbers; expected {len(table['columns'])}."
                )
            yield {
                "table": table["table"],
                "title": table["title"],
                "method": method,
                **dict(zip(table["columns"], numbers, strict=True)),
                "source": table["source"],
                "protocol": table["protocol"],
            }
