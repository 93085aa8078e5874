"""Tables and `metrics.json` out of score files; equal scores give equal bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eval.claims import Claim, claim_numbers, part_numbers
from eval.columns import (
    CONSISTENCY,
    CONTROLS,
    DISTANCES,
    MAIN,
    QUALITY,
    SCALE,
    measured_columns,
)
from eval.published import published_notes, published_rows
from eval.samples import TASKS
from eval.scores import Score, common_samples, display_name
from eval.statistics import mean_and_se, ratio_of_means
from mvdiffusion.records import atomic_output


@dataclass(frozen=True)
class Table:
    """A table to print: numbers for machines in `data`, the printed form in `shown`."""

    name: str
    caption: str
    data: pd.DataFrame
    shown: pd.DataFrame
    notes: tuple[str, ...] = ()


def make_tables(
    scores: Mapping[str, Mapping[str, Score]],
    claims: Sequence[Claim],
    remarks: Sequence[str],
) -> list[Table]:
    """Make four tables per task, then those of the claims and of published numbers.

    Args:
        scores: comparable scores by task and method, from `scores.read_scores`.
        claims: their verdicts, from `claims.decide`.
        remarks: sentences to print under the claims, from `observations.observations`.
    """
    tables = [table for task in scores for table in _task_tables(task, scores[task])]
    return [*tables, _claim_table(claims, remarks), _published_table()]


def _task_tables(task: str, scores: Mapping[str, Score]) -> list[Table]:
    compared = [score for score in scores.values() if not score.is_control] or list(scores.values())
    what = "key frames" if task == "depth" else "views"
    quality = f"{TASKS[task]}: image quality and consistency of {what}"
    pairs = f"{TASKS[task]}: consistency in detail"
    others = f"{TASKS[task]}: image quality by other measures"
    measured = {metric for score in compared for metric in score.metrics}
    main, distances = (measured_columns(each, measured) for each in (MAIN[task], DISTANCES))
    return [
        _metric_table(f"{task}_main", quality, main, compared),
        _metric_table(f"{task}_distances", others, distances, compared),
        _metric_table(f"{task}_consistency", pairs, CONSISTENCY[task], compared),
        _control_table(task, list(scores.values())),
    ]


def _metric_table(
    name: str, caption: str, columns: Mapping[str, str], scores: Sequence[Score]
) -> Table:
    """Table of the columns that were measured for any method, and of further extractors'."""
    measured = {metric for score in scores for metric in score.metrics}
    shown = {metric: title for metric, title in columns.items() if metric in measured}
    shown |= _further_extractors(columns, scores)
    rows = [_row(score, shown) for score in scores]
    counts = _counts(scores[0].content["images"], len(scores[0].samples))
    about = f"{caption}; {counts}; ± standard error between samples"
    return _table(name, about, rows, shown, _notes(shown, scores))


def _further_extractors(columns: Mapping[str, str], scores: Sequence[Score]) -> dict[str, str]:
    """Columns of the same metric by a second extractor, e.g. another CLIP."""
    return {
        metric: f"{title}, {metric.removeprefix(known + '_')}"
        for score in scores[:1]
        for known, title in columns.items()
        for metric in sorted(score.metrics)
        if known in QUALITY and metric.startswith(known + "_")
    }


def _row(score: Score, columns: Mapping[str, str]) -> dict[str, Any]:
    images = score.content["images"]
    row: dict[str, Any] = {"method": score.method}
    for metric in columns:
        measurement = score.metrics.get(metric, {})
        row[metric], row[f"{metric}_se"] = measurement.get("value"), measurement.get("se")
    row["num_samples"], row["num_images"] = images["num_samples"], images["num_images"]
    used = [score.metrics[metric] for metric in columns if metric in score.metrics]
    row["protocols"] = _join(f"{m['protocol']} v{m['version']}" for m in used)
    row["extractors"] = _join(m["extractor"] for m in used if m["extractor"])
    return row


def _control_table(task: str, scores: Sequence[Score]) -> Table:
    """All methods on the samples that all of them have: controls may cover fewer."""
    samples = common_samples(scores)
    rows = [_control_row(score, samples) for score in scores]
    columns = dict(CONTROLS)
    if "codec" in {score.method for score in scores}:
        _add_energy_ratio(rows, scores, samples)
        columns["gradient_energy_to_codec"] = "gradient energy / codec"
    counts = _counts(scores[0].content["images"], len(samples))
    caption = f"{TASKS[task]}: controls; {counts}; ± standard error between samples"
    return _table(f"{task}_controls", caption, rows, columns, _notes(CONTROLS, scores))


def _control_row(score: Score, samples: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"method": score.method}
    for metric in CONTROLS:
        value, se = None, None
        if metric in score.metrics:
            value, se = mean_and_se(score.values(metric, samples))
        row[metric], row[f"{metric}_se"] = value, se
    row["num_samples"] = len(samples)
    used = [score.metrics[metric] for metric in CONTROLS if metric in score.metrics]
    row["protocols"] = _join(f"{m['protocol']} v{m['version']}" for m in used)
    return row


def _add_energy_ratio(
    rows: Sequence[dict[str, Any]], scores: Sequence[Score], samples: Sequence[str]
) -> None:
    codec = next(score for score in scores if score.method == "codec")
    ceiling = codec.values("gradient_energy", samples)
    for row, score in zip(rows, scores, strict=True):
        ratio, se = ratio_of_means(score.values("gradient_energy", samples), ceiling)
        row["gradient_energy_to_codec"], row["gradient_energy_to_codec_se"] = ratio, se


def _claim_table(claims: Sequence[Claim], remarks: Sequence[str]) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "claim": claim.number,
            "title": claim.title,
            "claim_verdict": claim.verdict,
            "part": part.text,
            **part_numbers(part),
            "unit": part.unit,
            "verdict": part.verdict,
        }
        for claim in claims
        for part in claim.parts
    ]
    digits = [_decimals([row["value_se"]]) for row in rows]
    bounds = [
        [_number(row[f"value_{end}"], None, n) for end in ("low", "high")]
        for row, n in zip(rows, digits, strict=True)
    ]
    shown = pd.DataFrame(
        {
            "claim": [f"{row['claim']}. {row['title']}" for row in rows],
            "measured": [row["part"] for row in rows],
            "value": [
                _number(row["value"], row["value_se"], n)
                for row, n in zip(rows, digits, strict=True)
            ],
            "95 % interval": ["–" if "–" in pair else " to ".join(pair) for pair in bounds],
            "effect size": [_number(row["effect_size"], None) for row in rows],
            "at least": [
                _number(row["at_least"], None, n) for row, n in zip(rows, digits, strict=True)
            ],
            "unit": [row["unit"] for row in rows],
            "verdict": [row["verdict"] for row in rows],
        }
    )
    caption = "Claims about the method, decided from paired differences ± standard error"
    note = (
        "Holds: two standard errors above the bound; does not hold: two below; else undecided. "
        "Intervals are Student's. Effect size: mean of the paired differences over their standard "
        "deviation between samples; a level, or a statistic of the whole set, has none."
    )
    return Table("claims", caption, pd.DataFrame(rows), shown, (note, *remarks))


def _published_table() -> Table:
    """One line per method; its numbers carry their names, as every table measured otherwise."""
    data = pd.DataFrame(list(published_rows()))
    shown = data[["table", "method", "shown"]].rename(columns={"shown": "as published"})
    about = ["title", "source", "protocol"]
    data = data[[column for column in data if column not in (*about, "shown")] + about]
    notes = tuple(note for _, note in published_notes())
    caption = "Published numbers, measured by others on other images: not comparable with ours"
    return Table("published", caption, data, shown, notes)


def _table(
    name: str,
    caption: str,
    rows: Sequence[dict[str, Any]],
    columns: Mapping[str, str],
    notes: tuple[str, ...],
) -> Table:
    shown = pd.DataFrame({"method": [display_name(row["method"]) for row in rows]})
    for metric, title in columns.items():
        scale = SCALE.get(metric, 1.0)
        pairs = [(_scaled(row, metric, scale), _scaled(row, f"{metric}_se", scale)) for row in rows]
        decimals = _decimals([se for _, se in pairs])
        shown[title] = [_number(value, se, decimals) for value, se in pairs]
    return Table(name, caption, pd.DataFrame(list(rows)), shown, notes)


def _scaled(row: Mapping[str, Any], key: str, scale: float) -> float | None:
    return None if row.get(key) is None else row[key] * scale


def _decimals(errors: Sequence[float | None]) -> int:
    """Digits worth printing in a column: two of the middle standard error, between 2 and 4."""
    known = sorted(error for error in errors if error)
    if not known:
        return 2
    return min(4, max(2, 1 - math.floor(math.log10(known[len(known) // 2]))))


def _number(value: float | None, se: float | None, decimals: int = 2) -> str:
    if value is None:
        return "–"
    error = "" if se is None else f" ± {se:.{decimals}f}"
    return f"{value:.{decimals}f}{error}"


def _counts(images: Mapping[str, Any], num_samples: int) -> str:
    size = f"{images['width']}×{images['height']} px"
    if "num_views" in images:
        return f"N = {num_samples} samples of {images['num_views']} views, {size}"
    key_frames, between = images["num_key_frames"], images["num_between"]
    if num_samples == images["num_samples"]:
        frames = f" with {key_frames} key frames and {between} frames in between"
    else:
        frames = ""
    return f"N = {num_samples} sequences{frames}, {size}"


def _notes(columns: Mapping[str, str], scores: Sequence[Score]) -> tuple[str, ...]:
    """Name protocol and extractor of every column, and warn of a small N."""
    notes = []
    for metric, title in columns.items():
        measured = next((s.metrics[metric] for s in scores if metric in s.metrics), None)
        if measured is not None:
            by = f", extractor {measured['extractor']}" if measured["extractor"] else ""
            notes.append(f"{title}: protocol {measured['protocol']} v{measured['version']}{by}.")
    count = scores[0].content["images"]["num_judged"]
    if "fid" in columns and count < 2048:
        notes.append(
            f"FID on {count} images is biased upwards; it ranks methods of one table and must not "
            "be compared with FID on another number of images."
        )
    return tuple(notes)


def _join(names: Any) -> str:
    return "; ".join(sorted(set(names)))


def metrics_of(
    scores: Mapping[str, Mapping[str, Score]], claims: Sequence[Claim]
) -> dict[str, Any]:
    """Nest every number as `{task: {method: {metric: value}}}`, verdicts under `claims`."""
    nested: dict[str, Any] = {
        task: {method: _numbers(score) for method, score in methods.items()}
        for task, methods in scores.items()
    }
    nested["claims"] = {f"claim_{claim.number}": claim.verdict for claim in claims}
    nested["claim_parts"] = claim_numbers(claims)
    return nested


def _numbers(score: Score) -> dict[str, Any]:
    numbers: dict[str, Any] = {"num_samples": score.content["images"]["num_samples"]}
    for metric, measurement in score.metrics.items():
        numbers[metric], numbers[f"{metric}_se"] = measurement["value"], measurement["se"]
    return numbers


def write_tables(tables: Sequence[Table], directory: str | Path) -> None:
    """Write each table as CSV (plain numbers), Markdown and LaTeX; all of them or none."""
    with atomic_output(directory) as temporary:
        temporary.mkdir(parents=True)
        for table in tables:
            table.data.to_csv(temporary / f"{table.name}.csv", index=False, lineterminator="\n")
            (temporary / f"{table.name}.md").write_text(_markdown(table))
            (temporary / f"{table.name}.tex").write_text(_latex(table))


def _markdown(table: Table) -> str:
    body = table.shown.to_markdown(index=False, disable_numparse=True)
    notes = "".join(f"\n- {note}" for note in table.notes)
    return f"**{table.caption}.**\n\n{body}\n" + (f"{notes}\n" if notes else "")


def _latex(table: Table) -> str:
    styler = table.shown.style.hide(axis="index").format(escape="latex")
    tabular = styler.format_index(axis="columns", escape="latex").to_latex(hrules=True)
    caption = " ".join((f"{table.caption}.", *table.notes))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape(caption)}}}",
        rf"\label{{tab:{table.name}}}",
        tabular.rstrip(),
        r"\end{table}",
    ]
    return _escape_symbols("\n".join(lines) + "\n")


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in "&%#_" else c for c in text)


def _escape_symbols(text: str) -> str:
    commands = {
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "–": "--",
        "·": r"$\cdot$",
    }
    for symbol, command in commands.items():
        text = text.replace(symbol, command)
    return text
