"""Remarks beside the claims, above all on baselines that are better than MVDiffusion."""

from __future__ import annotations

from collections.abc import Mapping

from ..scoring.score_files import Score
from .effects import Effect, difference_between

Scores = Mapping[str, Score]
DIGITS = 2

NOT_JUDGED = (
    "There are no verdicts: this run tests that all steps work, and its numbers are those of noise "
    "(`judged: false` in its settings)."
)
_BOUND = "after VAE reconstruction, the upper bound of every method that uses this VAE, are {}"
_AUTOREGRESSIVE = {
    "inpainting": "Autoregressive inpainting",
    "autoregressive_latent": "Autoregressive inpainting of latents",
}
_CONSISTENCY = {
    "panorama": {
        **{
            (rival, metric): f"{who} is {{}} MVDiffusion {where}."
            for rival, who in _AUTOREGRESSIVE.items()
            for metric, where in (
                ("cross_view_psnr_non_closing", "on the pairs that do not close the loop"),
                ("cross_view_psnr_closing", "on the closing pair"),
                ("cross_view_psnr", "over all pairs"),
            )
        },
        ("vae_reconstruction", "cross_view_psnr"): f"Real views {_BOUND} "
        "MVDiffusion over all pairs.",
    },
    "outpaint": {
        ("independent", "cross_view_psnr"): "Outpainting: independent views are {} "
        "MVDiffusion over all pairs.",
        ("vae_reconstruction", "cross_view_psnr"): f"Outpainting: real views {_BOUND} "
        "MVDiffusion over all pairs.",
    },
    "depth": {
        ("independent", "consecutive_psnr"): "Depth: independent views are {} "
        "MVDiffusion over all consecutive frames, in-between ones included.",
        ("vae_reconstruction", "cross_view_psnr"): f"Depth: real views {_BOUND} "
        "MVDiffusion over consecutive key frames.",
    },
}
"""Sentences on how consistent other methods are, by task, method and metric."""


def remarks_on(scores: Mapping[str, Scores]) -> list[str]:
    """Make the sentences that stand under the claims, task by task.

    Only of differences whose interval excludes 0, and that are not printed as 0.
    """
    remarks = []
    for task, sentences in _CONSISTENCY.items():
        measured = scores.get(task, {})
        for (rival, metric), sentence in sentences.items():
            if gain := _clear_gain(measured, rival, metric):
                more = "more" if gain.value > 0 else "less"
                remarks.append(sentence.format(f"{_printed(gain)} dB {more} consistent than"))
        remarks += _better_baselines(measured, task)
    return remarks


def _better_baselines(scores: Scores, task: str) -> list[str]:
    """Image quality in which independent views win: claim 5 asks it of panoramas."""
    who = {"outpaint": "Outpainting", "depth": "Depth"}.get(task)
    if who is None:
        return []
    remarks: list[str] = []
    for metric, name, sign in (
        ("fid", "FID", -1),
        ("inception_score", "Inception score", 1),
        ("clip_score", "CLIP score", 1),
    ):
        gain = _clear_gain(scores, "independent", metric)
        if gain and sign * gain.value > 0:
            remarks.append(f"{who}: independent views have the better {name}, by {_printed(gain)}.")
    return remarks


def _clear_gain(scores: Scores, rival: str, metric: str) -> Effect | None:
    """What a rival is above MVDiffusion, if that is known and certain."""
    try:
        pair = scores[rival], scores["mvdiffusion"]
        gain = difference_between(*pair, metric)
    except KeyError:
        return None
    if any(score.left_out(metric) for score in pair):
        return None  # an incomplete method is never called better
    low, high = gain.interval or (0.0, 0.0)
    return gain if round(gain.value, DIGITS) and (low > 0 or high < 0) else None


def _printed(gain: Effect) -> str:
    return f"{abs(gain.value):.{DIGITS}f} ± {gain.se:.{DIGITS}f}"
