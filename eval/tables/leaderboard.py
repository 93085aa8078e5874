"""Groups of numbers that compare with one another, and which of them are certainly the best.

Two numbers stand in one column only if nothing in their score files speaks against it: task, views
and their size, samples, real views, seed and jackknife, protocol with its version and marks, and
the network with its weights and packages. What keeps two scores out of one table of the suite keeps
them out of one column here (`scoring.score_files`). Runs of which the numbers alone are on record,
and published tables, are groups of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..claims.leads import doubtful_leads
from ..folders.methods import REAL, display_name, rank, shown_as
from ..folders.samples import TASKS
from ..metrics.measurement import ARROWS
from ..scoring.score_files import Score, image_disagreements, metric_disagreements
from .columns import CONSISTENCY, DISTANCES, FAULTS, MAIN, OMNIFID, SCALE, fault_counts
from .comparison import measured_metrics
from .formatting import count_samples, decimals, notes_on_images, with_interval
from .published import CONFIDENCE, PublishedTable

BEST, TIED = "best", "tied"
SAME = (
    "any score of the same samples and views, against the same real images, by this protocol with "
    "its version and settings, and by the same networks and packages"
)
ALONE = "one another only"
NOT_RECORDED = (
    "Runs of which the numbers alone are on record: their samples, real views and values per "
    "sample are not."
)
OF_OTHERS = "Published numbers: measured by others on other images."
RECORDED = (
    "Score files: of this run the numbers alone are on record, not the samples, the real views and "
    "the values per sample."
)
PUBLISHED = (
    "Everything else: this table was measured by others on their own images, and no file says on "
    "which exactly."
)


@dataclass(frozen=True)
class Column:
    """A column of a group.

    Attributes:
        title: its heading.
        about: what made its numbers, in a few words.
        higher_is_better: None if there is no better and worse, or none that the source states.
        invalid: whether its numbers are known not to measure what it is named after.
    """

    title: str
    about: str = ""
    higher_is_better: bool | None = None
    invalid: bool = False


@dataclass(frozen=True)
class Cell:
    """A number as it is shown, and what it is sorted by; both bounds of its interval, if known.

    Attributes:
        mark: `BEST`, `TIED` or nothing, see `marked`.
    """

    shown: str = "–"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Entry:
    """A line of a group.

    Attributes:
        method: its printed name.
        origin: where its numbers come from; empty if the group says so.
        unranked: why it is never the best of a column, and is sorted behind the others; or empty.
        cells: one per column.
    """

    method: str
    origin: str
    unranked: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Numbers that compare with one another, column by column, and with no others.

    Attributes:
        about: what was measured on what, in sentences.
        together: what its numbers can be compared with.
        apart: what they do not compare with, and why: a sentence each.
    """

    task: str
    title: str
    about: tuple[str, ...]
    columns: tuple[Column, ...]
    entries: tuple[Entry, ...]
    together: str
    apart: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """A score file and where it comes from, in words."""

    score: Score
    origin: str


def marked(columns: Sequence[Column], entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Mark the best of each column, where it is certain, and otherwise those that it ties with.

    The best is certain if its 95 % interval meets that of no other ranked entry. This needs the
    intervals alone and holds for numbers of the same samples as for others: if two intervals do not
    meet, the interval of the difference excludes 0, however the two are correlated. The reverse is
    not true, so that tests of the differences (`compare`) may tell entries apart that tie here.

    Args:
        columns: their directions; those without one get no marks.
        entries: the lines; nothing is marked in a column where a ranked one has no interval.
    """
    rows = [list(entry.cells) for entry in entries]
    ranked = [number for number, entry in enumerate(entries) if not entry.unranked]
    for place, column in enumerate(columns):
        there = [row for row in ranked if rows[row][place].value is not None]
        cells = [rows[row][place] for row in there]
        if column.higher_is_better is None or len(cells) < 2:
            continue
        if any(cell.low is None or cell.high is None for cell in cells):
            continue
        sign = 1 if column.higher_is_better else -1
        lead = max(cells, key=lambda cell: sign * (cell.value or 0.0))
        first = [row for row, cell in zip(there, cells, strict=True) if _meet(cell, lead)]
        for row in first:
            rows[row][place] = replace(rows[row][place], mark=TIED if len(first) > 1 else BEST)
    return tuple(replace(e, cells=tuple(row)) for e, row in zip(entries, rows, strict=True))


def _meet(one: Cell, other: Cell) -> bool:
    ends = (one.low, one.high, other.low, other.high)
    low, high, other_low, other_high = (end or 0.0 for end in ends)
    return low <= other_high and other_low <= high


def measured_groups(submissions: Sequence[Submission]) -> list[Group]:
    """Group score files: by task, by images, then by protocol.

    Args:
        submissions: score files in any number, also of the same method.
    """
    groups = []
    for task in TASKS:
        own = [each for each in submissions if each.score.task == task]
        sets = _apart(own, image_disagreements)
        names = [f"images {number}" if len(sets) > 1 else "" for number, _ in enumerate(sets, 1)]
        for of_set, name in zip(sets, names, strict=True):
            others = [
                f"{other_name.capitalize()}, {_images(other[0].score)} ({_named(other)}): {reason}."
                for other, other_name in zip(sets, names, strict=True)
                if other is not of_set
                for reason in [_first(image_disagreements(of_set[0].score, other[0].score))]
            ]
            groups += _of_set(task, name, of_set, others)
    return groups


def _apart(
    submissions: Sequence[Submission],
    disagreements: Callable[[Score, Score], Iterator[tuple[str, str]]],
) -> list[list[Submission]]:
    """Part submissions so that no two of a part disagree: each joins the first part that it can."""
    parts: list[list[Submission]] = []
    for each in submissions:
        for part in parts:
            if not any(_first(disagreements(each.score, other.score)) for other in part):
                part.append(each)
                break
        else:
            parts.append([each])
    return parts


def _first(disagreements: Iterator[tuple[str, str]]) -> str:
    return next(disagreements, ("", ""))[0]


def _named(submissions: Sequence[Submission]) -> str:
    names = dict.fromkeys(display_name(each.score.method) for each in submissions)
    return ", ".join(names)


def _of_set(
    task: str, images: str, of_set: Sequence[Submission], others: Sequence[str]
) -> list[Group]:
    """The groups of scores of the same images, one per protocol and way of measuring it."""
    scores = [each.score for each in of_set]
    used = [  # in the order in which tables show their metrics
        score.metrics[metric].versioned_protocol
        for metric in measured_metrics(scores)
        for score in scores
        if metric in score.metrics
    ]
    parts = [
        (protocol, part)
        for protocol in dict.fromkeys(used)
        for part in _apart(
            [each for each in of_set if _metrics(each.score, protocol)],
            partial(_protocol_disagreements, protocol),
        )
    ]
    groups = []
    for protocol, part in parts:
        names = sorted({name for name, _ in parts if name != protocol})
        apart = [f"The same images by {', '.join(names)}: another protocol."] if names else []
        apart += [
            f"{name} of {_named(other)}: {reason}."
            for name, other in parts
            if name == protocol and other is not part
            for reason in [_first(_protocol_disagreements(name, part[0].score, other[0].score))]
        ]
        title = f"{protocol}, {images}" if images else protocol
        apart += [*others, NOT_RECORDED, OF_OTHERS]
        groups.append(_measured(task, title, protocol, part, tuple(apart)))
    return groups


def _metrics(score: Score, protocol: str) -> list[str]:
    return [name for name, one in score.metrics.items() if one.versioned_protocol == protocol]


def _protocol_disagreements(protocol: str, score: Score, first: Score) -> Iterator[tuple[str, str]]:
    """How the metrics of a protocol that two scores have were measured differently."""
    for metric in _metrics(score, protocol):
        if metric in first.metrics:
            yield from metric_disagreements(metric, score, first)


def _measured(
    task: str, title: str, protocol: str, part: Sequence[Submission], apart: tuple[str, ...]
) -> Group:
    ordered = sorted(part, key=lambda each: (rank(each.score.method), each.score.method))
    scores = [each.score for each in ordered]
    metrics = [
        m for m in measured_metrics(scores) if any(m in _metrics(s, protocol) for s in scores)
    ]
    columns, cells = [], []
    for metric in metrics:
        rows = [s.row(metric) if metric in _metrics(s, protocol) else None for s in scores]
        column, own = _column(task, metric, rows)
        columns.append(column)
        cells.append(own)
    entries = [
        Entry(
            display_name(each.score.method),
            each.origin,
            _unranked(
                each.score.method,
                fault_counts(each.score),
                each.score.is_real,
                each.score.limited,
            ),
            tuple(of_method),
        )
        for each, of_method in zip(ordered, zip(*cells, strict=True), strict=True)
    ]
    notes = (
        *_warnings(scores, metrics),
        *doubtful_leads(scores),
        *notes_on_images(metrics, scores),
    )
    return Group(
        task, title, (f"{_images(scores[0])}.", *_described(scores[0], protocol)), tuple(columns),
        marked(columns, entries), SAME, apart, tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _column(
    task: str, metric: str, rows: Sequence[dict[str, Any] | None]
) -> tuple[Column, list[Cell]]:
    """A metric's column of rows as `Score.row` makes them; None where it was not measured."""
    there = [row for row in rows if row is not None]
    scale, digits_of = SCALE.get(metric, 1.0), [row["se"] for row in there]
    digits = decimals([se and se * scale for se in digits_of])
    cells = []
    for row in rows:
        if row is None:
            cells.append(Cell())
            continue
        known = {k: row[k] and row[k] * scale for k in ("value", "low", "high")}
        cells.append(Cell(with_interval(known, "value", digits), **known))
    first = there[0]
    by = f"by {first['extractor']}" if first["extractor"] else ""
    direction = first["higher_is_better"]
    titles = {**CONSISTENCY[task], **DISTANCES, **OMNIFID, **MAIN[task]}
    title = titles.get(metric, metric.replace("_", " ")).rstrip(" ↑↓") + ARROWS[direction]
    return Column(title, by, direction), cells


def _unranked(method: str, faults: dict[str, int], is_real: bool = False, limited: str = "") -> str:
    """Why a method takes no rank: it is none, or has images that can make it look better, or only
    some of its samples were scored."""
    role = "real images" if is_real or method == REAL.name else shown_as(method).role
    found: list[str] = [role] if role != "method" else []
    found += [f"{count} {FAULTS[key]}" for key, count in faults.items() if count]
    found += [f"{limited} (--limit)"] if limited else []
    return ", ".join(found)


def _images(score: Score) -> str:
    images = score.content["images"]
    sha256 = (score.content.get("reference") or {}).get("sha256", "")
    real = f", against real views {sha256[:8]}" if sha256 else ""
    return count_samples(images, images["num_samples"]) + real


def _described(score: Score, protocol: str) -> Iterator[str]:
    """What a score file says that a protocol is; its name is without version and marks there."""
    plain = protocol.rpartition(" v")[0].partition("@")[0]
    for name, about in score.content.get("protocols", {}).items():
        if name.partition("@")[0] == plain:
            yield f"{about['is']}."


def _warnings(scores: Sequence[Score], metrics: Sequence[str]) -> Iterator[str]:
    """Warnings of scoring with the methods that they are of, without those of other metrics."""
    found: dict[str, list[str]] = {}
    for score in scores:
        for warning in score.content.get("warnings", ()):
            metric = warning.partition(":")[0]
            if metric in metrics or metric not in score.metrics:
                found.setdefault(warning, []).append(display_name(score.method))
    for warning, methods in found.items():
        yield f"{', '.join(methods)}: {warning}"


def recorded_groups(run: str, about: str, task: str, rows: Sequence[dict[str, Any]]) -> list[Group]:
    """Group the numbers of a run of which nothing else is on record, by protocol.

    Args:
        run: its name.
        about: a sentence on where they come from.
        task: that of all rows.
        rows: as `Score.row` makes them, with the counts of `FAULTS` by key, under `faults`.
    """
    groups = []
    for protocol in dict.fromkeys(f"{row['protocol']} v{row['version']}" for row in rows):
        own = [row for row in rows if f"{row['protocol']} v{row['version']}" == protocol]
        methods = sorted({row["method"] for row in own}, key=lambda name: (rank(name), name))
        faults = {row["method"]: row["faults"] for row in own}
        columns, cells = [], []
        # As of scores: numbers of one metric by two networks never share a column.
        for key in dict.fromkeys((row["metric"], row["extractor"]) for row in own):
            found = {r["method"]: r for r in own if (r["metric"], r["extractor"]) == key}
            column, of_metric = _column(task, key[0], [found.get(name) for name in methods])
            columns.append(column)
            cells.append(of_metric)
        entries = [
            Entry(display_name(name), "", _unranked(name, faults[name]), tuple(of_method))
            for name, of_method in zip(methods, zip(*cells, strict=True), strict=True)
        ]
        groups.append(
            Group(
                task, f"{protocol}: run “{run}”", (about,), tuple(columns),
                marked(columns, entries), ALONE, (RECORDED, OF_OTHERS),
            )
        )  # fmt: skip
    return groups


def published_group(table: PublishedTable) -> Group:
    """Make a group of a published table; its numbers have no intervals, so none is marked.

    Args:
        table: it keeps its digits, corrections and footnotes.
    """
    columns = tuple(
        Column(table.titled(column), invalid=column in table.invalid) for column in table.columns
    )
    entries = tuple(
        Entry(method, "", "", tuple(map(_printed, table.numbers(method).values())))
        for method in table.rows
    )
    about = (f"{table.source} ({CONFIDENCE[table.confidence]}).", f"{table.protocol}.")
    return Group(
        table.task, f"Published: {table.cite}", about, columns, entries, ALONE,
        (PUBLISHED,), tuple(table.footnotes[1:]),
    )  # fmt: skip


def _printed(number: str | None) -> Cell:
    return Cell(number, float(number)) if number else Cell()
