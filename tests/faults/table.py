"""Run the faults and write the table of what happened.

    python tests/faults/table.py --seeds 0 7 --output benchmarks/results/faults.json

The JSON file has one row for each case and seed, the newest; the same rows, as a table, replace
what is between the marks in the page (`--page`). The undisturbed run is kept in `--work`; the work
of a case goes when it has ended well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"


def main() -> int:
    """Run the cases of every seed; a case that is lost makes the exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--select", default="", help="as pytest's -k")
    parser.add_argument("--work", type=Path, default=Path("results/faults_work"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/faults.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/faults.md"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    lines = given.work.resolve() / "rows.jsonl"
    lines.touch()
    for seed in given.seeds:
        run(seed, given.select, lines)
    earlier = json.loads(given.output.read_text()) if given.output.exists() else []
    rows = newest([*earlier, *map(json.loads, lines.read_text().splitlines())])
    given.output.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    write_page(given.page, rows)
    return int(any(row["lost"] for row in rows))


def run(seed: int, select: str, lines: Path) -> None:
    """Run the cases that are selected; each adds its row to a file."""
    told = {"FAULTS_SEED": str(seed), "FAULTS_ROWS": str(lines), "FAULTS_WORK": str(lines.parent)}
    words = ["-m", "slow", "-q", "-k", select, f"--basetemp={lines.parent / 'cases'}"]
    command = [sys.executable, "-m", "pytest", "tests/faults/test_faults.py", *words]
    subprocess.run(command, cwd=ROOT, env=os.environ | told, check=False)


def newest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last row of each case and seed, by their names."""
    last = {(row["case"], row["seed"]): row for row in rows}
    return [last[key] for key in sorted(last)]


def write_page(page: Path, rows: list[dict[str, Any]]) -> None:
    """Put the table in the place of the one before."""
    cells = [[row["case"], row["done"], row["said"] or "–", outcome(row)] for row in rows]
    seeds, commits = (
        ", ".join(map(str, sorted({row[key] for row in rows}))) for key in ("seed", "code")
    )
    count = f"{len(rows)} faults, seeds {seeds}, with the code of {commits}."
    lines = [
        count,
        "",
        "| case | moment and fault | what the user is told | outcome |",
        "|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    head, rest = page.read_text().split(BEGIN)
    table = "\n".join(["", "", *lines, "", ""])
    page.write_text(head + BEGIN + table + END + rest.split(END)[1])


def outcome(row: dict[str, Any]) -> str:
    """How a case ended."""
    return f"**lost**: {row['lost']}" if row["lost"] else f"{row['outcome']}, the same bytes"


if __name__ == "__main__":
    sys.exit(main())
