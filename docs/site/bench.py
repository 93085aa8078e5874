"""Tables of docs/ that print records of benchmarks/results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from record import ROOT, markdown

from workflow.scripts.profile_run import table

LONG_SECONDS = 100

WINDOWS = {
    "real": "real",
    "one view repeated": "one view repeated",
    "views of different scenes": "views of different scenes",
    "constant offset on one view": "offset on one view",
    "blurred": "all blurred",
}
SEAMS = {
    "real": "real",
    "blurred panorama": "panorama blurred",
    "each face blurred": "each face blurred by itself",
    "constant offset on one face": "offset on one face",
    "one face shifted by 4 px": "one face shifted by 4 px",
    "one face of another scene": "one face of another scene",
    "one view repeated": "one view as all faces",
}


def recorded(name: str) -> dict[str, Any]:
    """A record of a benchmark."""
    found: dict[str, Any] = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())
    return found


def cell(one: Mapping[str, float], decimals: int) -> str:
    """Mean and standard error; a zero of all panoramas is exact."""
    if one["mean"] == one["se"] == 0:
        return "0"
    decimals -= one["mean"] >= 10
    return f"{one['mean']:.{decimals}f} ± {one['se']:.{decimals}f}"


def coherence() -> list[str]:
    """What windows of one panorama are to one another, by control."""
    found = recorded("coherence_real")
    heading = "control", "style, four views of 90°", "cosine, four views", "style, two windows"
    rows = [[*heading, "cosine, two windows"]]
    for control, title in WINDOWS.items():
        parts = (found[part][control] for part in ("four_views", "two_windows"))
        cells = [cell(p[key], 3) for p in parts for key in ("intra_style", "intra_cosine")]
        rows.append([title, *cells])
    return markdown(rows)


def seams() -> list[str]:
    """What faces of a cube are to one another, by control."""
    rows = [["control", "Seam-SSIM", "Seam-Sobel", "step across the edges"]]
    for control, title in SEAMS.items():
        one = recorded("coherence_real")["cube_seams"][control]
        cells = [cell(one["seam_ssim"], 3), cell(one["seam_sobel"], 2), cell(one["seam_step"], 2)]
        rows.append([title, *cells])
    return markdown(rows)


def controls(report: str, folder: str) -> Callable[[], list[str]]:
    """What damages of the images of a folder are to the measures of consistency."""

    def lines() -> list[str]:
        sys.path.insert(0, str(ROOT / "benchmarks"))
        from controls import CONTROLS, table

        found = recorded(report)["folders"][folder]
        ordered = {name: found["controls"][name] for name in CONTROLS}
        _, _, heading, line, *rows = table({"folders": {folder: {**found, "controls": ordered}}})
        return [heading, line, *filter(None, rows)]

    return lines


def steps() -> list[str]:
    """What each measure that makes sampling fast is worth."""
    found = recorded("steps_cpu")["measures"]
    rows = [["measure", "seconds with it", "without", "ratio", "largest difference"]]
    for name, measured in found.items():
        times, apart = measured["processor"], measured["largest_relative_difference"]
        cells = [f"{times[key]:.2f}" for key in ("with", "without", "ratio")]
        rows.append([name.replace("_", " "), *cells, f"{apart:.0e}" if apart else "0"])
    return markdown(rows)


def attention() -> list[str]:
    """What the attention between views costs, beside the published arithmetic."""
    found = recorded("attention_cpu")
    rows = [["work", "CPU s", "times as fast, CPU", "wall", "peak memory, MiB", "difference"]]
    for part, title in {"layer": "layer", "step": "UNet step"}.items():
        for name, measured in found[part].items():
            arithmetic = name.replace("plain", "written out").replace("ours", "**here**")
            cells = [f"{measured[key]:.2f}" for key in ("cpu_seconds", "times_as_fast_cpu")]
            cells += [f"{measured['times_as_fast_wall']:.2f}", f"{measured['memory_mib']:.0f}"]
            apart = measured["difference"]
            rows.append([f"{title}, {arithmetic}", *cells, f"{apart:.0e}" if apart else "0"])
    return markdown(rows)


def training() -> list[str]:
    """What a training step costs, before the measures of the page and with them."""
    rows = [
        [
            "training",
            "CPU s before",
            "now",
            "ratio",
            "ratio of wall time",
            "memory, MiB",
            "losses apart",
            "in float32",
        ]
    ]
    for name, measured in recorded("training_cpu")["trainings"].items():
        times = [f"{measured[side]['step_seconds']:.2f}" for side in ("before", "after")]
        ratios = [f"{measured['ratio'][key]:.2f}" for key in ("step", "wall")]
        held = " → ".join(f"{measured[side]['memory_mib']:.0f}" for side in ("before", "after"))
        largest = "largest_relative_difference_of_losses"
        apart = [f"{measured[key]:.0e}" for key in (largest, f"{largest}_in_float32")]
        title = name.replace("_", ", ").replace("stage", "stage ")
        rows.append([title, *times, *ratios, held, *apart])
    return markdown(rows)


def run() -> list[str]:
    """Seconds of the whole miniature's groups and longest steps, before the measures and with."""
    before, after = (recorded(name)["seconds"] for name in ("run_before", "run_after"))
    long = {step for step in before if before[step] >= LONG_SECONDS}
    rows = table(before, after).splitlines()
    return [row for row in rows if row.split("|")[1].strip() not in before.keys() - long]


TABLES: Mapping[str, Callable[[], list[str]]] = {
    "attention": attention,
    "coherence": coherence,
    "run": run,
    "seams": seams,
    "steps": steps,
    "training": training,
    "controls_panoramas": controls("controls", "panoramas, 256 px"),
    "controls_panoramas_512": controls("controls_512", "panoramas_512, 512 px"),
    "controls_recording": controls("controls", "recording, colors registered"),
    "controls_rooms": controls("controls", "rooms"),
    "controls_walks": controls("controls", "walks"),
}
