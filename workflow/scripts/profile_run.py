"""Where the time of a run goes: seconds of each step, in groups, beside those of another run.

    python -m workflow.scripts.profile_run results --record profile.json
    python -m workflow.scripts.profile_run profile.json results

A run is a folder of results, whose benchmark files Snakemake wrote; or a file that `--record` or
`make reference` (`provenance.json`) wrote. Printed is a table in Markdown: the first run, and if
there is a second, its seconds and their share of the first's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from workflow.scripts.publish_reference import seconds

GROUPS = {
    "data": ("rooms_", "walks_", "export_"),
    "training": ("train_",),
    "generation": ("generate_",),
    "scoring": ("score_",),
    "report": ("",),
}
"""What the names of a group's steps begin with; the last takes the rest."""


def read_run(path: Path) -> dict[str, float]:
    """Read the wall-clock seconds of a run's steps by name.

    Args:
        path: folder of results, or a recorded file.

    Raises:
        SystemExit: neither is there; with one sentence.
    """
    if path.is_dir():
        files = sorted((path / "benchmarks").glob("*.tsv"))
        found = {file.stem: seconds(file) for file in files}
    else:
        try:
            found = json.loads(path.read_text())["seconds"]
        except (OSError, ValueError, KeyError, TypeError):
            found = {}
    if not found:
        sys.exit(f"{path}: no seconds of steps; expected a folder of results, or a recorded file")
    return found


def group_of(step: str) -> str:
    """Name the group of a step."""
    return next(group for group, starts in GROUPS.items() if step.startswith(starts))


def table(before: Mapping[str, float], after: Mapping[str, float] | None = None) -> str:
    """Print steps in groups, the longest first; only steps of both runs, if there are two.

    >>> print(table({"train_a": 4.0, "score_a": 2.0}, {"train_a": 3.0, "score_a": 2.0}))
    | step | seconds | then | share |
    |---|---|---|---|
    | **training** | 4 | 3 | 0.75 |
    | train_a | 4 | 3 | 0.75 |
    | **scoring** | 2 | 2 | 1.00 |
    | score_a | 2 | 2 | 1.00 |
    | **all but training** | 2 | 2 | 1.00 |
    | **total** | 6 | 5 | 0.83 |
    """
    steps = [step for step in before if after is None or step in after]
    rows = ["| step | seconds |" + (" then | share |" if after is not None else "")]
    rows.append("|---|---|" + ("---|---|" if after is not None else ""))

    def row(title: str, members: list[str]) -> str:
        first = sum(before[step] for step in members)
        cells = [title, f"{first:.0f}"]
        if after is not None:
            second = sum(after[step] for step in members)
            cells += [f"{second:.0f}", f"{second / first:.2f}" if first else "–"]
        return f"| {' | '.join(cells)} |"

    for group in GROUPS:
        members = [step for step in steps if group_of(step) == group]
        members.sort(key=lambda step: -before[step])
        if members:
            rows.append(row(f"**{group}**", members))
            rows += [row(step, [step]) for step in members]
    others = [step for step in steps if group_of(step) != "training"]
    return "\n".join([*rows, row("**all but training**", others), row("**total**", steps)])


def main(words: list[str] | None = None) -> None:
    """Read one or two runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of results, or a recorded file")
    parser.add_argument("then", type=Path, nargs="?", help="a later run to compare")
    parser.add_argument("--record", type=Path, help="write the (later) run's seconds there")
    arguments = parser.parse_args(words)
    runs = [read_run(path) for path in (arguments.run, arguments.then) if path is not None]
    print(table(*runs))
    if arguments.record:
        made = json.dumps({"seconds": runs[-1]}, indent=2, sort_keys=True)
        arguments.record.write_text(made + "\n")


if __name__ == "__main__":
    main()
