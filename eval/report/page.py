"""The page that shows the result: verdicts, pictures, numbers, and what made them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from mvdiffusion.images import open_image
from mvdiffusion.records import InputError, provenance, read_json
from mvdiffusion.settings import parse, read_settings
from mvdiffusion.viewer import pages

from ..folders.images import data_uri, jpeg_uri
from ..folders.methods import display_name, rank
from ..folders.samples import TASKS, SampleFolder
from ..metrics.correspondence import SMALLEST
from ..settings import ScoreSettings
from ..tables.table import PRINTED, template
from .assets import Assets, page_with_assets
from .captions import (
    BARS,
    CURVES,
    CURVES_ALT,
    LEADS,
    MOVING,
    OVERLAPS,
    OVERVIEW,
    PAIRS,
    RING,
    SHEETS,
    STEPS,
    STEPS_ALT,
    alternatives,
)
from .contact_sheets import shared_samples
from .made_with import hashes_of_images, hashes_of_inputs, made_with
from .numbers import beside_the_paper, published_in_columns, shown_table
from .overlaps import DRAWN_SIDE, overlap_pictures
from .step_graph import draw_steps
from .times import StepTime, busy_seconds, in_words, read_times, seconds_by_kind
from .viewers import SHOWN_WALKS, look_around, not_shown, players, shown_in_viewers

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = (".png", ".svg", ".jpg")
"""Endings of the files that figures have: a published copy has no PNG."""
COMPACT_SIDE = 128
"""Height in pixels of the overlaps on a compact page."""
VERDICTS = {
    "holds": "hold",
    "does not hold": "do not hold",
    "undecided": "undecided",
    "not run": "not run",
}
"""Verdicts on claims, as they are counted."""


def write_report(
    tables: Path,
    figures: Path,
    metrics: Path,
    config: Path,
    benchmarks: Mapping[str, Path],
    folders: Mapping[str, Mapping[str, SampleFolder]],
    output: Path,
    scored: Sequence[Mapping[str, Any]] = (),
    leaderboard: Path | None = None,
    images_sha256: Mapping[str, str] | None = None,
    compact: bool = False,
    *,
    viewer_samples: int,
) -> None:
    """Write the page, and beside it the folder of the panoramas that it shows.

    Both open from disk and need no network.

    Args:
        tables: folder made by `tables`.
        figures: folder made by `figures`.
        metrics: `metrics.json` made by `tables`.
        config: configuration of the run, YAML. Its key `steps`, which the workflow adds, has the
            steps of the run, each with those whose results it reads. Its key `lede` takes the place
            of what the page says of the run, where there was none.
        benchmarks: Snakemake's benchmark files by step; those that are missing are left out.
        folders: sample folders by task and method, for the interactive viewers.
        output: the page; its files go to `<name>_assets` beside it.
        scored: what made the scores, see `provenance`; without any, what makes the page is named.
        leaderboard: a page to link to, relative to `output`.
        images_sha256: hashes of the images that were scored, by `<task>/<method>`.
        compact: show one sample per task, and link the figures instead of holding them.
        viewer_samples: number of samples of a task whose panoramas can be chosen.

    Raises:
        InputError: a file that the page is made of is missing or unreadable, or the folder beside
            the page holds files of somebody else.
    """
    if not (tables / PRINTED).is_file():
        raise InputError(
            f"{tables / PRINTED}: no such file; make it with `mvdiffusion-eval tables`."
        )
    measured, results = read_json(metrics), read_json(tables / PRINTED)
    settings = dict(read_settings(str(config)))
    steps = settings.pop("steps", {})
    banner = settings.get("banner", "")
    tasks = [task for task in TASKS if task in measured]
    shown = {task: _some_samples(folders.get(task, {}), compact) for task in tasks}
    drawn = Drawn(figures, output.parent if compact else None)
    with page_with_assets(output) as (temporary, assets):
        page = template(TEMPLATES / "report.html.j2").render(
            name=settings.get("name", config.stem),
            banner=banner,
            lede=settings.get("lede", ""),
            style=_inlined("report.css") + Markup(pages.style()),
            scripts=[Markup(pages.script()), _inlined("player.js"), _inlined("overlaps.js")],
            verdicts=_verdicts(results["claims"]),
            notes=[] if banner else results["tables"]["claims"]["notes"],
            tasks=[
                {
                    **_pictures(task, shown[task], drawn, _score_settings(settings), compact),
                    **_viewers(task, shown[task], viewer_samples, assets),
                    **_numbers(task, results["tables"], drawn, measured[task], not banner),
                }
                for task in tasks
            ],
            accumulation=drawn.figure("error_accumulation_panorama", STEPS, STEPS_ALT),
            curves=drawn.figure("training_curves", CURVES, CURVES_ALT),
            published=published_in_columns(),
            made_with=made_with(settings, scored or [provenance()]),
            inputs=hashes_of_inputs(settings),
            images=hashes_of_images(folders, images_sha256 or {}),
            times=_times(benchmarks),
            steps=draw_steps(steps),
            leaderboard=leaderboard and os.path.relpath(leaderboard, output.parent),
        )
        temporary.write_text(page)


def _some_samples(folders: Mapping[str, SampleFolder], compact: bool) -> dict[str, SampleFolder]:
    """The folders of a task, of a compact page with one sample each that most of them have."""
    shared = shared_samples({name: folder.sample_ids for name, folder in folders.items()})
    if not compact or not shared:
        return dict(folders)
    first = shared[:1]
    return {
        name: replace(folder, sample_ids=tuple(first))
        for name, folder in folders.items()
        if first[0] in folder.sample_ids
    }


def _score_settings(settings: Mapping[str, Any]) -> ScoreSettings:
    given = settings.get("evaluation", {}).get("score", {})
    return parse(ScoreSettings, given)


def _verdicts(claims: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The claims, and how many of them have which verdict."""
    counts = Counter(claim["verdict"] for claim in claims)
    told = [f"{counts[verdict]} {words}" for verdict, words in VERDICTS.items() if counts[verdict]]
    return {"claims": claims, "count": len(claims), "told": ", ".join(told)}


def _pictures(
    task: str,
    folders: Mapping[str, SampleFolder],
    drawn: Drawn,
    settings: ScoreSettings,
    compact: bool,
) -> dict[str, Any]:
    """What is seen of a task."""
    alt = alternatives(task, folders)
    side = COMPACT_SIDE if compact else DRAWN_SIDE
    figures = [
        drawn.figure(f"ring_{task}", RING, alt["ring"]),
        drawn.figure(f"contact_sheet_{task}", SHEETS[task], alt["sheet"]),
    ]
    return {
        "name": task,
        "title": TASKS[task],
        "lead": LEADS[task],
        "laid": OVERLAPS[task],
        "overlaps": overlap_pictures(task, folders, settings, side),
        "least": SMALLEST,
        "pictures": [figure for figure in figures if figure],
    }


def _viewers(
    task: str, folders: Mapping[str, SampleFolder], samples: int, assets: Assets
) -> dict[str, Any]:
    """What of a task moves: panoramas to look around in, sequences to play."""
    count = SHOWN_WALKS if task == "depth" else samples
    return {
        "moving": MOVING[task],
        "panoramas": look_around(task, folders, samples, assets),
        "players": players(folders) if task == "depth" else [],
        "not_viewed": not_shown(folders, shown_in_viewers(task, folders, count)),
    }


def _numbers(
    task: str,
    tables: Mapping[str, Mapping[str, Any]],
    drawn: Drawn,
    metrics: Mapping[str, Any],
    bold: bool,
) -> dict[str, Any]:
    """What was measured of a task."""
    methods = [*metrics]
    shown = {
        kind: shown_table(f"{task}_{kind}", tables[f"{task}_{kind}"], bold=bold)
        for kind in ("main", "differences", "distances", "consistency", "ablations", "controls")
        # A table may have nothing beside the methods' names: not every run measures distances.
        if len(tables.get(f"{task}_{kind}", {}).get("header", ())) > 1
    }
    if "main" in shown:
        shown["main"] = beside_the_paper(task, shown["main"], methods)
    alt = alternatives(task, {})
    return {
        "bars": BARS[task],
        "headline": _headline(metrics),
        "tables": shown,
        "overview": drawn.figure(f"overview_{task}", OVERVIEW, alt["overview"]),
        "pairs": drawn.figure(f"psnr_per_pair_{task}", PAIRS[task], alt["pairs"]),
    }


def _inlined(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text())


def _headline(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Cross-view PSNR of each method of a task, the figure the paper is about."""
    measured = {
        method: metrics[method]["cross_view_psnr"]
        for method in sorted(metrics, key=rank)
        if "cross_view_psnr" in metrics[method]
    }
    return _bars((display_name(m), value, f"{value:.1f} dB", m) for m, value in measured.items())


def _bars(entries: Iterable[tuple[str, float, str, str]]) -> list[dict[str, str]]:
    """Bars (name, number, its printed form, method) with their share of the longest."""
    found = list(entries)
    longest = max((number for _, number, _, _ in found), default=1.0) or 1.0
    return [
        {"name": name, "shown": shown, "method": method, "share": f"{100 * number / longest:.1f}"}
        for name, number, shown, method in found
    ]


@dataclass(frozen=True)
class Drawn:
    """The figures of a run.

    Attributes:
        folder: where they lie.
        linked_from: the folder of a page that links to them; None if it holds them.
    """

    folder: Path
    linked_from: Path | None = None

    def figure(self, stem: str, caption: str, alt: str) -> dict[str, Any] | None:
        """A figure by its name without ending, if it is there, to be shown with words."""
        files = (self.folder / f"{stem}{ending}" for ending in PICTURES)
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            return None
        return {"alt": alt, "uri": Markup(self._uri(path)), "caption": caption}

    def _uri(self, path: Path) -> str:
        if self.linked_from is not None:
            return quote(os.path.relpath(path, self.linked_from))
        # Pictures are a tenth of the size as JPEG; the lines of charts, which are SVG too, stay
        # sharp.
        if path.suffix != ".png" or path.with_suffix(".svg").is_file():
            return data_uri(path)
        return jpeg_uri(open_image(path), quality=90)


def _times(benchmarks: Mapping[str, Path]) -> dict[str, Any]:
    """Bars of the time of each kind of step and of each step, and what all of them took."""
    steps = read_times(benchmarks)
    if not steps:
        return {}
    kinds = [
        (f"{kind} ({count} steps)" if count > 1 else kind, seconds, in_words(seconds), "")
        for kind, (count, seconds) in seconds_by_kind(steps).items()
    ]
    each = [(step.name, step.seconds, _shown_time(step), "") for step in steps]
    return {
        "sum": in_words(sum(step.seconds for step in steps)),
        "busy": in_words(busy_seconds(steps)),
        "kinds": _bars(kinds),
        "steps": _bars(each),
    }


def _shown_time(step: StepTime) -> str:
    memory = "" if step.gibibytes is None else f" · {step.gibibytes:.1f} GiB"
    return f"{step.seconds:.0f} s{memory}"
