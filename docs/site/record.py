"""Write the numbers of recorded runs into the pages, where they are marked.

`python docs/site/record.py` replaces every table between `<!-- record: NAME -->` and
`<!-- end of record -->`, and the numbers in the sentences of `sentences.py`; a test holds the
pages to that. What is recorded lies in results/reference and benchmarks/results.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REGION = re.compile(r"(<!-- record: (\w+) -->\n).*?\n?(<!-- end of record -->)", re.DOTALL)
TITLES = {
    "real": "real views",
    "vae_reconstruction": "VAE reconstruction of the real views",
    "mvdiffusion": "**MVDiffusion**",
    "independent": "independent views",
    "independent_base": "independent views, base model",
    "autoregressive_latent": "autoregressive inpainting of latents",
    "panorama_finetune": "SD (Pano)",
    "panorama_finetune_closed": "SD (Pano), circular padding",
    "multidiffusion": "MultiDiffusion",
    "syncdiffusion": "SyncDiffusion",
    "repaint": "RePaint",
    "controlnet": "ControlNet",
}
ABLATIONS = {
    "mvdiffusion": "**MVDiffusion** (the paper's formula, 300 steps)",
    "ablation_released": "formula of the released code",
    "ablation_zeroed": "tokens outside zeroed",
    "ablation_one_cell": "1 × 1 cells",
    "ablation_five_cells": "5 × 5 cells",
    "ablation_open_loop": "no loop closure",
    "ablation_no_middle": "no attention in the middle block",
    "ablation_decoder": "attention in the decoder alone",
    "ablation_full_attention": "full cross-view attention",
    "ablation_wrong_correspondence": "trained with wrong correspondences",
}
CONSISTENCY = (("all pairs, dB", "cross_view_psnr", 1),)
LOOP = (*CONSISTENCY, ("closing pair, dB", "cross_view_psnr_closing", 1))
QUALITY = (("FID", "fid", 2), ("CLIP score", "clip_score", 1))
GIVEN = (("pairs with the given view, dB", "given_pairs_psnr", 1), *CONSISTENCY)
WALK = (
    ("consecutive key frames, dB", "cross_view_psnr", 1),
    ("frames between against their key frames, dB", "between_to_key_psnr", 1),
)


@dataclass(frozen=True)
class Table:
    """A table of one task of one recorded run.

    Attributes:
        heading: of the first column.
        columns: heading, measurement and decimals of each other column.
        methods: the rows, in order.
    """

    run: str
    task: str
    heading: str
    columns: Sequence[tuple[str, str, int]]
    methods: str

    def lines(self) -> list[str]:
        """The table in Markdown."""
        rows = [[self.heading, *(heading for heading, _, _ in self.columns)]]
        for method in self.methods.split():
            title = TITLES.get(method, method)
            title = title.replace("views", "frames") if self.task == "depth" else title
            scores = numbers(self.run)[self.task][method]
            rows.append([title, *(measured(scores, key, n) for _, key, n in self.columns)])
        return markdown(rows)


MINI = "real vae_reconstruction mvdiffusion autoregressive_latent independent"
ALL = (
    "real vae_reconstruction inpainting panorama_finetune panorama_finetune_closed"
    " independent_base independent autoregressive_latent multidiffusion syncdiffusion mvdiffusion"
)
ARROWS = {"all pairs, dB": " ↑", "closing pair, dB": " ↑", "FID": " ↓", "CLIP score": " ↑"}
TABLES: dict[str, Table] = {
    "readme": Table(
        *("mini", "panorama", "panorama"),
        [(title + ARROWS[title], key, n) for title, key, n in (*LOOP, *QUALITY)],
        MINI,
    ),
    "panorama": Table("mini", "panorama", "panorama, 64 rooms", (*LOOP, *QUALITY), MINI),
    "outpaint": Table(
        *("mini", "outpaint", "outpaint, 64 rooms"),
        (("given view kept, dB", "given_view_kept", 1), *GIVEN),
        "vae_reconstruction mvdiffusion independent",
    ),
    "depth": Table(
        *("mini", "depth", "depth, 32 walks", (*WALK, QUALITY[0])),
        "real vae_reconstruction mvdiffusion independent",
    ),
    "all_panorama": Table(
        *("comparison", "panorama", "panorama, 64 rooms"),
        (
            *LOOP,
            ("gradient energy, real = 1", "gradient_energy_ratio", 2),
            QUALITY[0],
            ("FID (EfficientNet-Lite0)", "efficientnet_fid", 0),
            QUALITY[1],
        ),
        ALL,
    ),
    "all_outpaint": Table(
        *("comparison", "outpaint", "outpaint, 64 rooms", (*GIVEN, *QUALITY)),
        "real vae_reconstruction inpainting independent mvdiffusion",
    ),
    "all_depth": Table(
        *("comparison", "depth", "depth, 32 walks", (*WALK, *QUALITY)),
        "real vae_reconstruction independent_base independent repaint controlnet mvdiffusion",
    ),
}


@cache
def numbers(run: str) -> dict[str, Any]:
    """Every number of a recorded run."""
    return json.loads((ROOT / f"results/reference/{run}/tables/numbers.json").read_text())


@cache
def seconds(run: str) -> dict[str, float]:
    """Seconds of each step of a recorded run."""
    return json.loads((ROOT / f"results/reference/{run}/provenance.json").read_text())["seconds"]


def measured(scores: dict[str, Any], key: str, decimals: int) -> str:
    """A number with its standard error, or a dash where there is none."""
    if key not in scores:
        return "–"
    value = shown(scores[key], decimals)
    return f"{value} ± {scores[f'{key}_se']:.{decimals}f}" if f"{key}_se" in scores else value


def shown(value: float, decimals: int) -> str:
    """A number with a minus sign, and without one before zero."""
    text = f"{value:.{decimals}f}".replace("-", "−")
    return text.removeprefix("−") if not text.strip("−0.") else text


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of which the first row is the heading."""
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def ablations() -> list[str]:
    """The table of the ablations, which has columns that no other table has."""
    with (ROOT / "results/reference/ablations/tables/panorama_ablations.csv").open() as file:
        found = {row["method"]: row for row in csv.DictReader(file)}
    heading = ["line", "all pairs, dB", "closing pair, dB", "difference of all pairs, dB", "FID"]
    rows = [[*heading, "trained parameters, millions", "seconds per step"]]
    for method, title in {**ABLATIONS, "independent": "independent views, for comparison"}.items():
        row = {
            k: float(v) for k, v in found.get(method, {}).items() if re.fullmatch(r"-?[\d.e+-]+", v)
        }
        row = row or numbers("ablations")["panorama"][method]
        cells = [measured(row, key, 1) for key in ("cross_view_psnr", "cross_view_psnr_closing")]
        cells += [measured(row, "cross_view_psnr_difference", 2), measured(row, "fid", 2)]
        trained = row.get("trained_parameters")
        cells += [f"{trained / 1e6:.2f}" if trained else "–", measured(row, "seconds_per_step", 2)]
        rows.append([title, *cells])
    return markdown(rows)


def cost() -> list[str]:
    """Minutes of the steps of a run of mini, by what needs them."""
    found = seconds("mini")
    extractors = ("rooms_extractor", "train_classifier", "train_clip")
    groups: dict[str, Callable[[str], bool]] = {
        "3,600 rooms | all tasks": lambda step: step.startswith("rooms_"),
        "feature extractors | all tasks": lambda step: step in extractors[1:],
        "stage 1, stage 2, 64 panoramas by each of four methods, 32 for the control, scores"
        " | `panorama`": lambda step: "panorama" in step,
        "inpainting model, stage 2, 64 panoramas by each of three methods, scores | `outpaint`": (
            lambda step: "outpaint" in step
        ),
        "448 walks, stage 1, stage 2, 32 sequences by each of three methods, scores | `depth`": (
            lambda step: "depth" in step or step.startswith("walks_")
        ),
    }
    lines = ["| minutes | steps | needed by |", "|---|---|---|"]
    for title, belongs in groups.items():
        minutes = sum(taken for step, taken in found.items() if belongs(step)) / 60
        lines.append(f"| {minutes:.1f} | {title} |")
    return lines


def claims() -> list[str]:
    """Every condition of every claim, with its interval and verdict."""
    rows = [["claim", "measured", "value", "95 % interval", "bound", "verdict"]]
    last = ""
    with (ROOT / "results/reference/mini/tables/claims.csv").open() as file:
        for row in csv.DictReader(file):
            n = (
                3
                if row["unit"] in ("ratio", "of its mean") or abs(float(row["bound"])) < 0.2
                else 2
            )
            n = 1 if row["unit"] == "dB" and abs(float(row["value"])) > 0.5 else n
            value, error, low, high, bound = (
                shown(float(row[key]), n)
                for key in ("value", "value_se", "value_low", "value_high", "bound")
            )
            unit = "" if row["unit"] == "ratio" else f" {row['unit']}".rstrip()
            claim = f"{row['claim']}. {row['title']}: **{row['claim_verdict']}**"
            cells = ["" if claim == last else claim, row["condition"], f"{value} ± {error}{unit}"]
            rows.append([*cells, f"{low} to {high}", bound, row["verdict"]])
            last = claim
    return markdown(rows)


def region(name: str) -> str:
    """What stands between the marks of a name."""
    from bench import TABLES as OF_BENCHMARKS  # imports this file

    made = {"ablations": ablations, "cost": cost, "claims": claims, **OF_BENCHMARKS}.get(name)
    return "\n".join(made() if made else TABLES[name].lines())


def with_tables(text: str) -> str:
    """A page with the tables of the record."""
    return REGION.sub(lambda found: f"{found[1]}\n{region(found[2])}\n\n{found[3]}", text)


def pattern(template: str) -> re.Pattern[str]:
    """What finds a sentence whatever its numbers, and wherever its lines break."""
    words = [re.escape(word).replace(r"\{\}", r"([+−\d.,]+|[a-z ]+)") for word in template.split()]
    return re.compile(r"\s+".join(words))


def with_numbers(text: str, template: str, values: Sequence[str]) -> tuple[str, int]:
    """A page with the recorded numbers in a sentence, and how often it stands there."""

    def filled(found: re.Match[str]) -> str:
        parts, end = [], found.start()
        for group, value in enumerate(values, 1):
            parts += [text[end : found.start(group)], value]
            end = found.end(group)
        return "".join([*parts, text[end : found.end()]])

    return pattern(template).subn(filled, text)


def rewritten(page: str, sentences: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A page as the record wants it.

    Raises:
        ValueError: a sentence does not stand there.
    """
    text = with_tables((ROOT / page).read_text())
    for template, values in sentences:
        text, count = with_numbers(text, template, values)
        if not count:
            raise ValueError(f"{page}: does not say {template!r}")
    return text


def main() -> None:
    """Rewrite the pages."""
    from sentences import SENTENCES  # imports this file

    for page, said in SENTENCES.items():
        (ROOT / page).write_text(rewritten(page, said))


if __name__ == "__main__":
    main()
