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
from PIL import Image, UnidentifiedImageError

from eval.figures import data_uri, jpeg_uri
from eval.scores import METHODS, display_name
from mvdiffusion.records import (
    InputError,
    atomic_output,
    provenance,
    read_json,
    settings_sha256,
)

TABLES = ("main", "consistency", "controls", "published")
FIGURES = {
    "contact_sheet": "The same rooms by every method, eight views next to one another. "
    "Neighbours overlap by half: the right half of a view should show what the left half of the "
    "next one does.",
    "psnr_per_pair": "How well neighbouring views agree, pair by pair. The last pair closes the "
    "loop: a method that goes round view by view has no reason to meet its own beginning.",
    "training_curves": "Training losses of the miniature, raw and smoothed.",
}
SHOWN_PANORAMAS = 3
"""Panoramas per method that the page can turn."""


def write_report(
    tables: Path,
    figures: Path,
    metrics: Path,
    config: Path,
    benchmarks: Path | None,
    panoramas: Mapping[str, Path],
    output: Path,
) -> None:
    """Write the page; it needs no other file and no network.

    Args:
        tables: folder made by `tables`.
        figures: folder made by `figures`.
        metrics: `metrics.json` made by `tables`.
        config: configuration of the run, YAML.
        benchmarks: folder of Snakemake's benchmark files, one TSV per rule.
        panoramas: folders with `<sample id>/panorama.png`, by method.
        output: the page.

    Raises:
        InputError: a file that the page is made of is missing or unreadable.
    """
    settings = _read_config(config)
    page = _template().render(
        name=settings.get("name", config.stem),
        claims=_claims(tables / "claims.csv"),
        notes=_notes(tables / "claims.md"),
        headline=_headline(read_json(metrics)),
        tables=[_table(tables / f"{name}.md", name) for name in TABLES],
        figures=[_figure(path, FIGURES[path.stem]) for path in _figure_files(figures)],
        panoramas=_panoramas(panoramas),
        provenance=_provenance(settings),
        seconds=_seconds(benchmarks),
    )
    with atomic_output(output) as temporary:
        temporary.write_text(page)


def _template() -> Any:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html.j2")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable configuration ({error}).") from None


def _claims(path: Path) -> list[dict[str, Any]]:
    """Claims with their parts, in order, as the template shows them."""
    try:
        rows: list[Any] = pd.read_csv(path, keep_default_na=False).to_dict("records")
    except OSError as error:
        raise InputError(f"{path}: not readable ({error}); make it with `tables`.") from None
    claims: dict[int, dict[str, Any]] = {}
    for row in rows:
        claim = claims.setdefault(
            row["claim"],
            {"number": row["claim"], "title": row["title"], "verdict": row["claim_verdict"]},
        )
        parts = claim.setdefault("parts", [])
        parts.append({"text": row["part"], "verdict": row["verdict"], "shown": _measured(row)})
    return list(claims.values())


def _measured(row: Mapping[str, Any]) -> str:
    if row["value"] == "":
        return "not measured"
    error = "" if row["value_se"] == "" else f" ± {float(row['value_se']):.2g}"
    unit = f" {row['unit']}" if row["unit"] else ""
    return f"{float(row['value']):.3g}{error}{unit}, needs ≥ {float(row['at_least']):.3g}"


def _notes(path: Path) -> list[str]:
    """The notes under the claims: the rule, then the observations."""
    return [line[2:] for line in _read_text(path).splitlines() if line.startswith("- ")]


def _headline(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Cross-view PSNR of each method, the figure the paper is about."""
    shown = []
    for method in sorted(metrics, key=_rank):
        if "cross_view_psnr" in metrics[method]:
            value = metrics[method]["cross_view_psnr"]
            shown.append(
                {
                    "method": method,
                    "name": display_name(method),
                    "psnr": f"{value:.1f}",
                    "raw": value,
                }
            )
    highest = max((entry["raw"] for entry in shown), default=1.0)
    return [{**entry, "share": f"{100 * entry['raw'] / highest:.1f}"} for entry in shown]


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error}); make it with `tables`.") from None


def _table(path: Path, name: str) -> dict[str, Any]:
    """Turn one of our own Markdown tables into rows for the page."""
    lines = _read_text(path).splitlines()
    rows = [_cells(line) for line in lines if line.startswith("|")]
    return {
        "name": name,
        "caption": lines[0].strip("*"),
        "header": rows[0],
        "rows": rows[2:],
        "notes": [line[2:] for line in lines if line.startswith("- ")],
    }


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _figure_files(figures: Path) -> list[Path]:
    found = [figures / f"{name}.png" for name in FIGURES]
    return [path for path in found if path.is_file()]


def _figure(path: Path, caption: str) -> dict[str, Any]:
    # The pictures of the sheet are a tenth of the size as JPEG; lines stay sharp as PNG.
    is_sheet = path.stem == "contact_sheet"
    uri = jpeg_uri(Image.open(path), quality=90) if is_sheet else data_uri(path)
    return {"name": path.stem, "uri": Markup(uri), "caption": caption}


def _panoramas(folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The same few samples of every method that has panoramas, to be turned by hand."""
    found = {name: _with_panorama(folder) for name, folder in folders.items()}
    methods = [name for name in sorted(found, key=_rank) if found[name]]
    if not methods:
        return []
    common = sorted(set.intersection(*(found[name] for name in methods)))
    chosen = common[:: max(1, len(common) // SHOWN_PANORAMAS)][:SHOWN_PANORAMAS]
    return [
        {"method": display_name(name), "sample": sample_id, "uri": Markup(_panorama_uri(path))}
        for sample_id in chosen
        for name in methods
        for path in [folders[name] / sample_id / "panorama.png"]
    ]


def _rank(method: str) -> int:
    return (*METHODS, method).index(method)


def _with_panorama(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/panorama.png")}


def _panorama_uri(path: Path) -> str:
    try:
        with Image.open(path) as image:
            image.thumbnail((2048, 1024))
            return jpeg_uri(image)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path}: not a readable panorama ({error}).") from None


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
        measured.append({"rule": rule, "seconds": float(row["s"]), "memory": _memory(memory)})
    longest = max((entry["seconds"] for entry in measured), default=1.0) or 1.0
    return [{**entry, "share": f"{100 * entry['seconds'] / longest:.1f}"} for entry in measured]


def _memory(mebibytes: float) -> str:
    return "" if pd.isna(mebibytes) else f"{mebibytes / 1024:.1f} GiB"
