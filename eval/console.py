"""What the command prints: tables, verdicts and warnings, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

if TYPE_CHECKING:  # torch takes seconds to import, `--help` should not
    from .artifacts.findings import Verification
    from .comparison import Comparison
    from .tables.table import Table

OF_EFFICIENTNET = (
    "efficientnet_*: by EfficientNet-Lite0, which needs no download, not by Inception-v3; compare "
    "these numbers only with one another. For FID as published, name its protocol (--protocol "
    "paper-pano, paper-depth)."
)
VERDICT_COLORS = {"holds": "green", "does not hold": "red"}


def print_json(value: Any) -> None:
    """Print a value as sorted, indented JSON."""
    print(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table.

    Args:
        title: its heading.
        columns: headings of the columns.
        rows: the cells of each row, one per column.
    """
    table = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(str(column), overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    _console().print(table)


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables in their printed form, without their notes."""
    for table in tables:
        print_table(table.caption, list(table.shown.columns), table.shown.itertuples(index=False))


def print_notes(notes: Sequence[str]) -> None:
    """Print notes as a list."""
    for note in notes:
        _console().print(f"• {note}", markup=False, highlight=False)


def print_extractor(record: Mapping[str, Any]) -> None:
    """Print what a newly trained feature extractor reaches on the samples held out."""
    title = f"{record['name']} ({record['weights_sha256'][:8]})"
    rows = [(name, f"{value:.4g}") for name, value in record["validation"].items()]
    print_table(title, ("validation metric", ""), rows)


def print_protocols(protocols: Sequence[Mapping[str, Any]]) -> None:
    """Print the list of protocols, see `protocols.listing`."""
    rows = [
        (
            f"{p['name']} v{p['version']}",
            ", ".join(p["tasks"]),
            f"{p['needs']}",
            p["measures"],
        )
        for p in protocols
    ]
    print_table("Protocols", ("protocol", "tasks", "requires (beside views)", "measures"), rows)
    changes: dict[str, list[str]] = {}
    for p in protocols:
        for version, change in enumerate(p["changelog"], 2):
            changes.setdefault(change, []).append(f"{p['name']} v{version}")
    print_notes([f"{', '.join(by)}: {change}." for change, by in changes.items()])
    print_notes(
        [f"{p['name']}, open in its source: {o}." for p in protocols for o in p["undefined"]]
    )


def print_warnings(warnings: Sequence[str]) -> None:
    """Print warnings on standard error, so that standard output holds results alone."""
    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr)


def print_score(score: Mapping[str, Any]) -> None:
    """Print the measurements of a score file; arrows say which direction is better."""
    from .folders.faults import Faults
    from .metrics.measurement import ARROWS

    images = score["images"]
    counts = f"samples: {images['num_samples']}, images: {images['num_images']}"
    faults = Faults(**score["faults"])
    for kind, count in (("constant", faults.flat), ("repeated", faults.repeated)):
        counts += f", {kind}: {count}" if count else ""
    if faults.undefined:
        counts += f"; consistency of {images['num_samples'] - len(faults.undefined)} samples"
    rows = [
        (
            name + ARROWS[measured["higher_is_better"]],
            f"{measured['value']:.4g}"
            + ("" if measured["se"] is None else f" ± {measured['se']:.2g}"),
            measured["unit"],
            f"{measured['protocol']} v{measured['version']}",
            measured["extractor"] or "",
        )
        for name, measured in score["metrics"].items()
    ]
    title = f"{score['method']} ({score['task']}), {counts}; ± standard error between samples"
    print_table(title, ("metric", "value", "unit", "protocol", "extractor"), rows)
    if any(name.startswith("offline") for name in score["protocols"]):
        print_notes([OF_EFFICIENTNET])


def print_check(report: Mapping[str, Any]) -> None:
    """Print what `scoring.integrity.check` found: folders, problems, protocols."""
    for name in ("generated", "reference"):
        if report[name]:
            _print_checked(name, report[name])
    rows = [
        (
            f"{row['name']} v{row['version']}",
            ", ".join(row["measured"]) or "–",
            "; ".join(dict.fromkeys(need for needs in row["lacking"].values() for need in needs)),
        )
        for row in report["protocols"]
    ]
    if rows:
        print_table("Protocols", ("protocol", "could measure", "lacks for the rest"), rows)
    weights = {k: here for row in report["protocols"] for k, here in row["extractors"].items()}
    words = {True: "here", False: "not here", None: "unknown"}
    if weights:
        shown = ", ".join(f"{name}: {words[here]}" for name, here in sorted(weights.items()))
        print_notes([f"weights: {shown}"])


def _print_checked(name: str, found: Mapping[str, Any]) -> None:
    faults, about = found["faults"], f"{name}, {found['root']}: "
    if "task" in found:
        about += (
            f"{found['task']}, {found['samples']} samples, {found['images']} images of "
            f"{found['width']}×{found['height']} px, {found['prompts']} samples with prompts"
        )
    else:
        about += "could not be opened"
    counts = ("constant", "near_constant", "repeated", "repeated_samples")
    degenerate = ", ".join(f"{key.replace('_', ' ')}: {faults[key]}" for key in counts)
    stopping = sum(problem["stops"] for problem in found["problems"])
    notes = len(found["problems"]) - stopping
    print_notes(
        [
            about,
            f"decoded {found['decoded']} files in {found['seconds']:.1f} s; {degenerate}",
            f"problems: {stopping}, notes: {notes}",
        ]
    )
    if found["problems"]:
        rows = [
            ("problem" if each["stops"] else "note", each["file"], each["problem"])
            for each in found["problems"]
        ]
        print_table(f"Problems of the {name} images", ("", "file", "found"), rows)


def print_verification(artifact: str, verification: Verification) -> None:
    """Print the findings about an artifact and the verdict.

    Args:
        artifact: its name.
        verification: what `mvdiffusion_eval.verify` returned.
    """
    rows = [(found.part, found.verdict, found.what) for found in verification.findings]
    print_table(artifact, ("part", "verdict", "finding"), rows)
    if not verification.agrees:
        verdict = "is not what it says: see what differs"
    elif verification.is_complete:
        verdict = "agrees in every part"
    else:
        verdict = "agrees as far as it could be checked: see what is unverified"
    _console().print(f"{artifact} {verdict}.", markup=False, highlight=False)


def print_comparison(comparison: Comparison, as_json: bool) -> None:
    """Print the warnings and the tables of a comparison.

    Args:
        comparison: what `mvdiffusion_eval.compare` returned.
        as_json: print the tables as JSON, records by name of the table, and the warnings.
    """
    print_warnings(comparison.warnings)
    shown = [table for table in comparison.tables if not table.name.endswith("published")]
    if as_json:
        records: dict[str, Any] = {table.name: table.records() for table in shown}
        print_json(records | {"warnings": comparison.warnings})
        return
    for table in shown:
        print_tables([table])
        print_notes(table.notes)
    used = {name for score in comparison.scores for name in score.content.get("protocols", ())}
    if any(name.startswith("offline") for name in used):
        print_notes([OF_EFFICIENTNET])


def print_claims(claims: Sequence[Mapping[str, Any]], remarks: Sequence[str]) -> None:
    """Print each claim with its verdict and conditions, then the remarks.

    Args:
        claims: from `tables.results.printed_claims`.
        remarks: from `claims.remarks`.
    """
    console = _console()
    for claim in claims:
        verdict = claim["verdict"]
        color = VERDICT_COLORS.get(verdict, "yellow")
        console.print(f"[bold]{claim['number']}. {claim['title']}: [{color}]{verdict}[/]")
        for one in claim["conditions"]:
            value = f"{one['value']} {one['unit']}".rstrip()
            line = f"   {one['measured']}: {value}, bound {one['bound']}: {one['verdict']}"
            console.print(line, markup=False)
    print_notes(remarks)


def _console() -> Console:
    """A log file is wider than the 80 columns that rich assumes for one."""
    return Console(width=None if sys.stdout.isatty() else 120)
