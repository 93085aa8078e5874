"""What the claims do not ask, remarks openly: above all where a baseline is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..scoring.score_files import Score, paired_difference

Scores = Mapping[str, Score]
CERTAIN = 2.0
"""Standard errors that make a difference worth a sentence where it is one of many."""


def remarks_on(scores: Mapping[str, Scores]) -> list[str]:
    """Make the sentences that stand under the claims, task by task."""
    return [
        remark
        for task, write in _WRITERS.items()
        if task in scores
        for remark in write(scores[task])
    ]


def _of_panoramas(scores: Scores) -> list[str]:
    remarks = []
    for metric, where in (
        ("cross_view_psnr_non_closing", "on the pairs that do not close the loop"),
        ("cross_view_psnr_closing", "on the closing pair"),
        ("cross_view_psnr", "over all pairs"),
    ):
        if difference := _consistency(scores, "autoregressive", metric):
            remarks.append(f"Autoregressive inpainting is {difference} MVDiffusion {where}.")
    return remarks + _ceiling(scores, "Real views", "over all pairs")


def _of_outpainting(scores: Scores) -> list[str]:
    remarks = []
    if difference := _consistency(scores, "independent", "cross_view_psnr"):
        remarks.append(
            f"Outpainting: independent views are {difference} MVDiffusion over all pairs."
        )
    remarks += _ceiling(scores, "Outpainting: real views", "over all pairs")
    return remarks + _better_baselines(scores, "Outpainting")


def _of_depth(scores: Scores) -> list[str]:
    remarks = []
    if difference := _consistency(scores, "independent", "consecutive_psnr"):
        remarks.append(
            f"Depth: independent views are {difference} MVDiffusion over all consecutive frames, "
            "in-between ones included."
        )
    remarks += _ceiling(scores, "Depth: real views", "over consecutive key frames")
    return remarks + _better_baselines(scores, "Depth")


_WRITERS: dict[str, Callable[[Scores], list[str]]] = {
    "panorama": _of_panoramas,
    "outpaint": _of_outpainting,
    "depth": _of_depth,
}


def _ceiling(scores: Scores, subject: str, where: str) -> list[str]:
    difference = _consistency(scores, "vae_reconstruction", "cross_view_psnr")
    if not difference:
        return []
    return [
        f"{subject} after VAE reconstruction, the upper bound of every method that uses this VAE, "
        f"are {difference} MVDiffusion {where}."
    ]


def _better_baselines(scores: Scores, task: str) -> list[str]:
    """Image quality in which independent views win: claim 5 asks it of panoramas only."""
    remarks = []
    for metric, name, sign in (
        ("fid", "FID", -1),
        ("inception_score", "Inception score", 1),
        ("clip_score", "CLIP score", 1),
    ):
        try:
            value, se = paired_difference(scores["independent"], scores["mvdiffusion"], metric)
        except KeyError:
            continue
        if se is not None and sign * value > CERTAIN * se:
            remarks.append(
                f"{task}: independent views have the better {name}, by {abs(value):.2f} ± {se:.2f}."
            )
    return remarks


def _consistency(scores: Scores, rival: str, metric: str) -> str:
    """How a rival's consistency compares with MVDiffusion's, in words; nothing if unknown."""
    try:
        value, se = paired_difference(scores[rival], scores["mvdiffusion"], metric)
    except KeyError:
        return ""
    error = "" if se is None else f" ± {se:.2f}"
    return f"{abs(value):.2f}{error} dB {'more' if value > 0 else 'less'} consistent than"
