"""Sentences of the pages that print measured numbers, each with the record that it prints.

`{}` stands for a number (or a verdict) in the page's own words. `record.py` writes them there, and
a test finds every number in the pages of results that neither stands here nor in a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench import recorded
from record import numbers, shown

RUNS = recorded("runs")
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


def bench(name: str, *paths: str) -> list[str]:
    """Numbers of benchmarks/results/NAME.json, each as PATH or DECIMALS:PATH."""
    values = []
    for path in paths:
        decimals, _, keys = path.rpartition(":")
        found: Any = recorded(name)
        for key in keys.split("/"):
            found = found[key]
        values.append(shown(found, int(decimals or 0)))
    return values


def truth(*paths: str, decimals: int = 2) -> list[str]:
    """Consistencies of real panoramas (p/…) or of the real recording (r/…), in dB."""
    parts = {"p": "panoramas/panoramas/psnr_db", "r": "rgbd/rgbd/psnr_db", "d": "paper_db"}
    words = (path.partition("/") for path in paths)
    return bench("ground_truth", *(f"{decimals}:{parts[part]}/{rest}" for part, _, rest in words))


def damaged(folder: str, control: str, metric: str, decimals: int) -> str:
    """What a damage of images makes of a measure, in the control table."""
    name = "controls_512" if "512" in folder else "controls"
    one = recorded(name)["folders"][folder]["controls"][control][metric]
    return shown(one["value"], decimals)


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

SMALL, LARGE = "panoramas, 256 px", "panoramas_512, 512 px"
REGISTERED, UNREGISTERED = "recording, colors registered", "recording"
DARKER, MOVED = "every second darker", "every second moved"
SHARE, INLIERS = "match_share", "match_inliers"
CONTROLS: list[Sentence] = [
    (
        "moved by 4 px are {} and {} dB at 512 px, and at 256 px darker ({} dB) is worse than "
        "moved by 2 px ({} dB)",
        [damaged(at, how, PSNR, 1) for at in (LARGE, SMALL) for how in (DARKER, MOVED)],
    ),
    ("faded images ({} dB)", [damaged(SMALL, "faded", PSNR, 1)]),
    (
        "from it ({} darker, {} moved)",
        [damaged(SMALL, how, "cross_view_ssim", 3)[1:] for how in (DARKER, MOVED)],
    ),
    (
        "geometry ({} to at most {}), noise",
        [damaged(SMALL, how, SHARE, 2) for how in ("real", MOVED)],
    ),
    (
        "exposure stays ({} and {}; {} and {} at 512 px)",
        [damaged(at, how, SHARE, 2) for at in (SMALL, LARGE) for how in ("real", DARKER)],
    ),
    (
        "and blur ({} to {} at 256 px; {} to {} on the recording)",
        [damaged(at, how, INLIERS, 1) for at in (SMALL, REGISTERED) for how in ("real", "blurred")],
    ),
    ("so that their share is {} and no damage", [damaged(UNREGISTERED, "real", SHARE, 2)]),
    ("the share is {}, and every damage", [damaged(REGISTERED, "real", SHARE, 2)]),
]

PARTS = ("street", "bedroom", "all_pairs")
PANORAMAS = {
    "cut at 512 px, enlarged": "cut_at_512_enlarged",
    "cut at 1024 px": "cut_at_1024",
    "cut at 1024 px, turned by 22.5°": "turned_by_22.5/cut_at_1024",
}
TREATED = {
    "pixels away from the borders": "as_they_are",
    "… brightness fitted": "same_brightness",
    "… both": "moved_and_same_brightness",
    "… blurred, standard deviation 2 px": "blurred",
}
REAL_IMAGES: list[Sentence] = [
    *(
        (f"| {row} | {{}} | {{}} | {{}} |", truth(*(f"p/{path}/{part}" for part in PARTS)))
        for row, path in PANORAMAS.items()
    ),
    (
        "Lanczos' filter | {} | {} |",
        truth(*(f"p/filter_of_the_warp/cut_at_1024/lanczos/{part}" for part in PARTS[:2])),
    ),
    (
        "quality 95, 75 | {}, {} | {}, {} | {}, {} |",
        truth(*(f"p/views_as_jpeg/quality_{q}/{part}" for part in PARTS for q in (95, 75))),
    ),
    (
        "not enlarged; twice enlarged | {}; {} | {}; {} |",
        truth(
            *(
                f"p/from_the_photograph/{how}_enlarged/{part}"
                for part in PARTS[:2]
                for how in ("not", "twice")
            )
        ),
    ),
    (
        "that share 65 % | {} | {} |",
        truth("r/key_frames", "r/key_frames_by_color_focal/0.9"),
    ),
    (
        "that share 80 %, 90 %; all frames | {}, {}; {} |",
        truth(*(f"r/key_frames_of_overlap/{n}" for n in ("0.8", "0.9")), "r/consecutive_frames"),
    ),
    (
        "at most 0.1, 0.05, 0.02 m | {}, {}, {} |",
        truth(*(f"r/depths_apart_at_most/{n} m" for n in ("0.1", "0.05", "0.02"))),
    ),
    *(
        (
            f"| {row} | {{}} | {{}} |",
            truth(*(f"r/key_frames_treated{at}/{path}" for at in ("", "_at_focal_0.9"))),
        )
        for row, path in TREATED.items()
    ),
]

SENTENCES: Mapping[str, Sequence[Sentence]] = {
    "README.md": [
        ("`results/look/panorama`: {} minutes on two cores", of("make_look")),
        ("`make run` took {} minutes on two cores", of("make_run_later")),
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
                *("p/cut_at_512_enlarged/street", "d/panoramas"),
                *("p/views_as_jpeg/quality_95/street", "p/turned_by_22.5/cut_at_1024/street"),
                "p/cut_at_1024/street",
                decimals=1,
            ),
        ),
        (
            "share 65 % of their pixels have {} dB (paper: {}), and {} dB after",
            [
                *truth("r/key_frames", decimals=1),
                *truth("d/rgbd"),
                *truth("r/key_frames_by_color_focal/0.9", decimals=1),
            ],
        ),
        ("Trainings and samples took {} minutes", of("ablations")),
    ],
    "docs/coherence.md": [("Measured on {} real panoramas", bench("coherence_real", "panoramas"))],
    "docs/consistency.md": CONTROLS,
    "docs/speed.md": [],
    "benchmarks/README.md": [
        ("`results/coherence_real.json` is of {} panoramas", bench("coherence_real", "panoramas")),
        (
            "idle CPU cores: {} s per panorama with 10 steps. A step takes {} s, of which {} s are "
            "the UNet and {} s CAA",
            bench(
                "cpu_small",
                *("1:seconds/panorama/median", "2:seconds/per_step/total"),
                *("2:seconds/per_step/unet", "2:seconds/per_step/attention"),
            ),
        ),
        (
            "{} times as fast as `six_faces` ({} times as fast as `faces_in_front`; from",
            bench(
                "data_cpu",
                *(f"1:views/ours_is_faster/{how}" for how in ("six_faces", "faces_in_front")),
            ),
        ),
        (
            "640 × 480 decoded per second, {} with color of",
            bench("data_cpu", "sens/1296x968/frames_per_second/2"),
        ),
        (
            "prepared at {} frames per second with one worker and {} with two, in at most {} MiB",
            bench(
                "data_cpu",
                *("prepare/1/frames_per_second", "prepare/2/frames_per_second"),
                "prepare/2/peak_memory_mib",
            ),
        ),
        (
            "512 px take {} s, {} times as fast as the libraries one after the other ({} times",
            bench(
                "evaluation_libraries_cpu",
                *("libraries/seconds/ours", "1:libraries/ours_is_faster/ours"),
                "1:libraries/ours_is_faster/ours_with_kid_and_cmmd",
            ),
        ),
        (
            "with the cache costs {} times that method",
            bench("evaluation_cache_cpu", "2:cache/one_more_to_alone"),
        ),
        *REAL_IMAGES,
    ],
}
