"""Remarks beside the claims, above all on baselines that are better than MVDiffusion."""

from __future__ import annotations

from collections.abc import Mapping

from ..scoring.score_files import Score, pairs_of

Scores = Mapping[str, Score]
CERTAIN = 2.0
"""Number of standard errors from which a difference is worth a sentence."""

_BOUND = "after VAE reconstruction, the upper bound of every method that uses this VAE, are {}"
_CONSISTENCY = {
    "panorama": {
        ("autoregressive", "cross_view_psnr_non_closing"): "Autoregressive inpainting is {} "
        "MVDiffusion on the pairs that do not close the loop.",
        ("autoregressive", "cross_view_psnr_closing"): "Autoregressive inpainting is {} "
        "MVDiffusion on the closing pair.",
        ("autoregressive", "cross_view_psnr"): "Autoregressive inpainting is {} "
        "MVDiffusion over all pairs.",
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
    """Make the sentences that stand under the claims, task by task."""
    remarks = []
    for task, sentences in _CONSISTENCY.items():
        measured = scores.get(task, {})
        for (rival, metric), sentence in sentences.items():
            if difference := _consistency(measured, rival, metric):
                remarks.append(sentence.format(difference))
        remarks += _better_baselines(measured, task)
    return remarks


def _better_baselines(scores: Scores, task: str) -> list[str]:
    """Image quality in which independent views win: claim 5 asks it of panoramas."""
    remarks: list[str] = []
    who = {"outpaint": "Outpainting", "depth": "Depth"}.get(task)
    if who is None:
        return remarks
    for metric, name, sign in (
        ("fid", "FID", -1),
        ("inception_score", "Inception score", 1),
        ("clip_score", "CLIP score", 1),
    ):
        try:
            pairs = pairs_of(scores["independent"], scores["mvdiffusion"], metric)
        except KeyError:
            continue
        value, se = pairs.difference, pairs.se
        if se is not None and sign * value > CERTAIN * se:
            remarks.append(
                f"{who}: independent views have the better {name}, by {abs(value):.2f} ± {se:.2f}."
            )
    return remarks


def _consistency(scores: Scores, rival: str, metric: str) -> str:
    """Compare a method's consistency with MVDiffusion's in words; empty if it is unknown."""
    try:
        pairs = pairs_of(scores[rival], scores["mvdiffusion"], metric)
    except KeyError:
        return ""
    value, error = pairs.difference, "" if pairs.se is None else f" ± {pairs.se:.2f}"
    return f"{abs(value):.2f}{error} dB {'more' if value > 0 else 'less'} consistent than"
