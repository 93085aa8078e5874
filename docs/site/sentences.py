"""Sentences of the pages that print measured numbers, each with the record that it prints.

`{}` stands for a number (or a verdict) in the page's own words. `record.py` writes them there, and
a test finds every number in the pages of results that neither stands here nor in a table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from record import ROOT, numbers, shown

RUNS: Mapping[str, Any] = json.loads((ROOT / "benchmarks/results/runs.json").read_text())
TRUTH: Mapping[str, Any] = json.loads((ROOT / "benchmarks/results/ground_truth.json").read_text())
PANORAMAS, FRAMES = "panoramas/panoramas/psnr_db", "rgbd/rgbd/psnr_db"
MINI, ALL = numbers("mini"), numbers("comparison")
CONDITIONS = MINI["claim_conditions"]
Sentence = tuple[str, Sequence[str]]


def condition(claim: int, number: int, decimals: int = 1, sign: int = 1) -> tuple[str, str]:
    """Value and standard error of a condition of a claim in the reference run."""
    found = CONDITIONS[f"claim_{claim}"][f"condition_{number}"]
    return shown(sign * found["value"], decimals), shown(found["value_se"], decimals)


def verdicts(*claims: int) -> list[str]:
    """Verdicts on claims in the reference run."""
    return [MINI["claims"][f"claim_{claim}"] for claim in claims]


def score(run: Mapping[str, Any], path: str) -> float:
    """A score, named as TASK/METHOD/MEASUREMENT."""
    task, method, key = path.split("/")
    return float(run[task][method][key])


def gap(run: Mapping[str, Any], task: str, key: str, better: str, worse: str) -> float:
    """By how much one method's score lies above another's."""
    return score(run, f"{task}/{better}/{key}") - score(run, f"{task}/{worse}/{key}")


def of(run: str, *keys: str) -> list[str]:
    """Numbers written down in benchmarks/results/runs.json."""
    found: Any = RUNS[run]
    return [str(found[key]).replace("-", "−") for key in keys or ("value",)]


def lasting(rooms: Mapping[str, Any]) -> list[str]:
    """The numbers of the 160 rooms, in the order of their paragraph."""
    clip, inception, fid = (rooms[k] for k in ("clip_score_loss", "inception_score_loss", "fid"))
    psnr, rise = rooms["baseline_psnr_per_step"], rooms["baseline_fid_per_step_percent"]
    values = [clip["value"], clip["se"], clip["low"], clip["high"], inception["value"]]
    values += [inception["se"], fid["mvdiffusion"], fid["independent"], psnr["value"], psnr["se"]]
    return [str(value).replace("-", "−") for value in (*values, rise["value"], rise["se"])]


def truth(*paths: str) -> list[str]:
    """Numbers of benchmarks/results/ground_truth.json, each as PATH or DECIMALS:PATH, in dB."""
    values = []
    for path in paths:
        decimals, _, keys = path.rpartition(":")
        found: Any = TRUTH
        for key in keys.split("/"):
            found = found[key]
        values.append(shown(found, int(decimals or 2)))
    return values


def comparison_takes() -> list[str]:
    """Hours and minutes of the whole comparison on two cores, to ten minutes."""
    tens = round((RUNS["make_run"]["value"] + RUNS["comparison_added"]["value"] / 2) / 10)
    return [str(tens // 6), str(tens % 6 * 10)]


PSNR, OTHERS = "cross_view_psnr", "cross_view_psnr_non_closing"
AUTOREGRESSIVE = ("autoregressive_latent", "mvdiffusion")
GAIN, GAIN_KEY = condition(1, 1)[0], condition(6, 1)[0]
LOSS, LOSS_ERROR = condition(5, 3, 2, -1)
FITS = condition(7, 2)
CLOSING = ALL["claim_conditions"]["claim_2"]["condition_2"]
PER_STEP = [
    f"{ALL['panorama'][method][f'per_step_clip_score{end}']:.1f}"
    for method in ("autoregressive_latent", "inpainting", "independent")
    for end in ("", "_se")
]

SENTENCES: Mapping[str, Sequence[Sentence]] = {
    "README.md": [
        ("`results/look/panorama`: {} minutes on two cores", of("make_look")),
        ("`make run` took {} minutes on two cores", of("make_run")),
        ("independent views | {} (+{} dB) |", [*verdicts(1), GAIN]),
        ("the autoregressive baseline does not | {} |", verdicts(2)),
        ("accumulates errors, MVDiffusion does not | {} |", verdicts(3)),
        ("neither blur nor a shared palette | {} |", verdicts(4)),
        ("| {}: CLIP score {} ± {} points lower;", [*verdicts(5), LOSS, LOSS_ERROR]),
        ("are consistent | {} (+{} dB between key frames)", [*verdicts(6), GAIN_KEY]),
        ("| {} (+{} ± {} dB; the bound is 4.0)", [*verdicts(7), *FITS]),
    ],
    "docs/verdicts.md": [
        ("CLIP score is {} ± {} points lower", lasting(RUNS["rooms_160"])[:2]),
        ("the given one {} ± {} dB better", FITS),
    ],
    "docs/reproduce.md": [
        ("recorded run: {} minutes on two cores", of("make_run")),
        ("more than {} GiB of memory.", of("memory")),
        (
            "results need {} GB of disk space, and `.venv` needs {} GB",
            [*of("results"), *of("environment")],
        ),
        (
            "MVDiffusion is {} dB more consistent than independent views on panoramas, {} dB in "
            "outpainting ({} dB",
            [GAIN, shown(gap(MINI, "outpaint", PSNR, "mvdiffusion", "independent"), 1), FITS[0]],
        ),
        ("are real), and {} dB between key frames", [GAIN_KEY]),
        (
            "but it is {} dB ahead of MVDiffusion",
            [shown(gap(MINI, "panorama", OTHERS, *AUTOREGRESSIVE), 1)],
        ),
        ("the CLIP score is {} points lower than that", [LOSS]),
        ("more consistent than independent views | {} |", verdicts(1)),
        ("the autoregressive baseline does not | {} |", verdicts(2)),
        ("accumulates errors, MVDiffusion does not | {}:", verdicts(3)),
        (
            "a shared palette | {}: the gradient energy is {} ± {} of",
            [*verdicts(4), *condition(4, 1, 3)],
        ),
        ("is not worse | {}: the CLIP score is {} ± {} points", [*verdicts(5), LOSS, LOSS_ERROR]),
        ("FID ({} ± {} higher)", condition(5, 1, 2, -1)),
        ("| 6 depth | {} |", verdicts(6)),
        ("| 7 outpainting | {}: {} ± {} dB above", [*verdicts(7), *FITS]),
        (
            "CLIP score is {} ± {} points lower (95 % interval {} to {}). The Inception score is "
            "{} ± {} lower, which is within its margin, and FID is {}, that of independent views "
            "{}. Claims",
            lasting(RUNS["rooms_160"])[:8],
        ),
        (
            "PSNR rises by {} ± {} dB per step, and its FID changes by {} ± {} %",
            lasting(RUNS["rooms_160"])[8:],
        ),
        (
            "falls by {} ± {} points per step (`inpainting` {} ± {}, independent views {} ± {})",
            [value.replace("-", "") for value in PER_STEP],
        ),
        (
            "only {} ± {} dB worse than its others",
            [shown(CLOSING["value"], 1), shown(CLOSING["value_se"], 1)],
        ),
        (
            "Inpainting is {} dB behind MVDiffusion on the other pairs",
            [shown(gap(ALL, "panorama", OTHERS, "mvdiffusion", "inpainting"), 1)],
        ),
        (
            "MVDiffusion is {} dB more consistent. -",
            [shown(gap(ALL, "outpaint", PSNR, "mvdiffusion", "inpainting"), 1)],
        ),
        (
            "strongest baseline, {} dB behind",
            [shown(gap(ALL, "depth", PSNR, "mvdiffusion", "controlnet"), 1)],
        ),
        (
            "it is {} dB ahead, within the errors",
            [shown(gap(ALL, "depth", "between_to_key_psnr", "controlnet", "mvdiffusion"), 1)],
        ),
        (
            "the {} minutes of mini, and {} minutes of processor time",
            [*of("make_run"), *of("comparison_added")],
        ),
        (
            "and {} points of the CLIP score. SyncDiffusion",
            [shown(gap(ALL, "panorama", "clip_score", "mvdiffusion", "multidiffusion"), 0)],
        ),
        ("the run takes about {} hours and {} minutes", comparison_takes()),
        (
            "a detailed panorama has {} dB as views of 512 px (paper: {}), {} dB after JPEG "
            "compression of quality 95, and {} to {} dB as views of 1024 px",
            truth(
                f"1:{PANORAMAS}/cut_at_512_enlarged/street",
                "1:paper_db/panoramas",
                f"1:{PANORAMAS}/views_as_jpeg/quality_95/street",
                f"1:{PANORAMAS}/turned_by_22.5/cut_at_1024/street",
                f"1:{PANORAMAS}/cut_at_1024/street",
            ),
        ),
        (
            "share 65 % of their pixels have {} dB (paper: {}), and {} dB after",
            truth(
                f"1:{FRAMES}/key_frames",
                "2:paper_db/rgbd",
                f"1:{FRAMES}/key_frames_by_color_focal/0.9",
            ),
        ),
        ("Trainings and samples took {} minutes", of("ablations")),
    ],
}
