"""One self-contained page that shows the result: verdicts, pictures, tables, provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from mvdiffusion.records import (
    InputError,
    atomic_output,
    provenance,
    read_json,
    settings_sha256,
)

from ..folders.images import data_uri, jpeg_uri
from ..folders.methods import display_name, rank
from ..folders.samples import TASKS, SampleFolder
from ..tables.table import PRINTED
from .viewers import viewers

TEMPLATES = Path(__file__).parent / "templates"
PAGE, STYLE = "report.html.j2", "report.css"
SCRIPTS = {"panorama": "panorama.js", "outpaint": "panorama.js", "depth": "player.js"}
LEADS = {
    "panorama": "Eight views of a room from its captions. PSNR over the pixels that two "
    "neighboring views share, averaged over all eight pairs.",
    "outpaint": "View 0 is a real picture; the other seven are generated to go with it. PSNR over "
    "the pixels that two neighboring views share, averaged over all eight pairs.",
    "depth": "Pictures for the depth maps of a walk through a room: key frames first, then the "
    "frames between them. PSNR over the pixels that two consecutive key frames share.",
}
MOVING = {
    "panorama": "The views stitched into one panorama. Drag, or use the arrow keys; watch for "
    "edges where two views disagree.",
    "outpaint": "The views stitched into one panorama, the given one in the middle. Drag, or use "
    "the arrow keys.",
    "depth": "Every frame in order. A surface should keep its colors and patterns while the "
    "camera moves.",
}
SHEET_CAPTIONS = {
    "panorama": "The same rooms by every method, eight views next to one another. Neighbors "
    "overlap by half: the right half of a view should show what the left half of the next one "
    "does.",
    "outpaint": "The same rooms by every method. View 0, on the left, is given; its neighbors "
    "are view 1 and, round the back, view 7.",
    "depth": "The same walks by every method. Left: consecutive key frames. Right: the first two "
    "key frames with frames in between.",
}
PAIR_CAPTIONS = {
    "panorama": "How well neighboring views agree, pair by pair. The last pair closes the loop: "
    "a method that goes round view by view has no reason to meet its own beginning.",
    "outpaint": "How well neighboring views agree, pair by pair. View 0 is given: pairs 0-1 and "
    "7-0 show how well a method continues it.",
    "depth": "How well consecutive key frames agree, pair by pair.",
}
OVERVIEW_CAPTION = (
    "Every method by every metric, with 95 % intervals. Gray lines: what real views reach, as they "
    "are and (dashed) after VAE reconstruction."
)
STEP_CAPTION = (
    "Does error accumulate? Every view against its distance from view 0, where a method that goes "
    "round view by view starts. Hollow: the pair that closes the loop."
)
CURVES = "Training losses of the miniature, raw and smoothed."


def write_report(
    tables: Path,
    figures: Path,
    metrics: Path,
    config: Path,
    benchmarks: Path | None,
    folders: Mapping[str, Mapping[str, SampleFolder]],
    output: Path,
) -> None:
    """Write the page; it needs no other file and no network.

    Args:
        tables: folder made by `tables`.
        figures: folder made by `figures`.
        metrics: `metrics.json` made by `tables`.
        config: configuration of the run, YAML.
        benchmarks: folder of Snakemake's benchmark files, one TSV per rule.
        folders: sample folders by task and method, to be moved by hand on the page.
        output: the page.

    Raises:
        InputError: a file that the page is made of is missing or unreadable.
    """
    settings, measured, results = _read_config(config), read_json(metrics), _results(tables)
    tasks = [task for task in TASKS if task in measured]
    page = _template().render(
        name=settings.get("name", config.stem),
        style=_inlined(STYLE),
        scripts=[_inlined(name) for name in sorted({SCRIPTS[t] for t in tasks if folders.get(t)})],
        claims=results["claims"],
        notes=results["tables"]["claims"]["notes"],
        tasks=[
            _task(task, results["tables"], figures, measured[task], folders.get(task, {}))
            for task in tasks
        ],
        curves=_figure(figures / "training_curves.png", CURVES),
        published={"name": "published", **results["tables"]["published"]},
        provenance=_provenance(settings),
        seconds=_seconds(benchmarks),
    )
    with atomic_output(output) as temporary:
        temporary.write_text(page)


def _task(
    task: str,
    tables: Mapping[str, Mapping[str, Any]],
    figures: Path,
    metrics: Mapping[str, Any],
    folders: Mapping[str, SampleFolder],
) -> dict[str, Any]:
    """One task's section of the page."""
    names = [f"{task}_{name}" for name in ("main", "distances", "consistency", "controls")]
    shown = [{"name": name, **tables[name]} for name in names]
    pictures = [
        _figure(figures / f"contact_sheet_{task}.png", SHEET_CAPTIONS[task]),
        _figure(figures / f"overview_{task}.png", OVERVIEW_CAPTION),
        _figure(figures / f"psnr_per_pair_{task}.png", PAIR_CAPTIONS[task]),
        _figure(figures / f"error_accumulation_{task}.png", STEP_CAPTION),
    ]
    return {
        "name": task,
        "title": TASKS[task],
        "lead": LEADS[task],
        "moving": MOVING[task],
        "headline": _headline(metrics),
        "viewers": viewers(task, folders) if folders else [],
        "figures": [picture for picture in pictures if picture],
        # A table may have nothing beside the methods' names: not every run measures distances.
        "tables": [table for table in shown if len(table["header"]) > 1],
    }


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(PAGE)


def _inlined(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text())


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable configuration ({error}).") from None


def _results(folder: Path) -> dict[str, Any]:
    """Tables and claims in their printed form.

    Raises:
        InputError: the folder does not hold them.
    """
    path = folder / PRINTED
    if not path.is_file():
        raise InputError(f"{path}: no such file; make it with `mvdiffusion-eval tables`.")
    return read_json(path)


def _headline(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Cross-view PSNR of each method of a task, the figure the paper is about."""
    shown = []
    for method in sorted(metrics, key=rank):
        if "cross_view_psnr" in metrics[method]:
            value = metrics[method]["cross_view_psnr"]
            shown.append(
                {
                    "method": method,
                    "name": display_name(method),
                    "shown": f"{value:.1f} dB",
                    "raw": value,
                }
            )
    highest = max((entry["raw"] for entry in shown), default=1.0)
    return [{**entry, "share": f"{100 * entry['raw'] / highest:.1f}"} for entry in shown]


def _figure(path: Path, caption: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    # The pictures of a sheet are a tenth of the size as JPEG; lines stay sharp as PNG.
    is_sheet = path.stem.startswith("contact_sheet")
    uri = jpeg_uri(Image.open(path), quality=90) if is_sheet else data_uri(path)
    return {"name": path.stem, "uri": Markup(uri), "caption": caption}


def _provenance(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    made = provenance()
    state = " with uncommitted changes" if made["git_dirty"] else ""
    packages = [f"{name} {version}" for name, version in made["packages"].items() if version]
    return [
        ("commit", f"{made['git_commit'] or 'unknown'}{state}"),
        ("configuration", f"sha256 {settings_sha256(settings)}"),
        (
            "machine",
            f"{made['cpu']}, {made['cores']} cores, {made['accelerator'] or 'no accelerator'}",
        ),
        ("system", f"{made['platform']}, Python {made['python']}"),
        ("packages", ", ".join(packages)),
    ]


def _seconds(benchmarks: Path | None) -> list[dict[str, Any]]:
    """Seconds per rule from Snakemake's benchmark files, with the share of the longest."""
    if benchmarks is None:
        return []
    measured: list[dict[str, Any]] = []
    for path in sorted(benchmarks.rglob("*.tsv")):
        row = pd.read_csv(path, sep="\t").iloc[0]
        rule = re.sub(r"[_/]", " ", path.relative_to(benchmarks).with_suffix("").as_posix())
        memory = pd.to_numeric(str(row.get("max_rss")), errors="coerce")
        seconds = float(row["s"])
        shown = f"{seconds:.0f} s{_memory(memory)}"
        measured.append({"name": rule, "seconds": seconds, "shown": shown, "method": ""})
    longest = max((entry["seconds"] for entry in measured), default=1.0) or 1.0
    return [{**entry, "share": f"{100 * entry['seconds'] / longest:.1f}"} for entry in measured]


def _memory(mebibytes: float) -> str:
    return "" if pd.isna(mebibytes) else f" · {mebibytes / 1024:.1f} GiB"
