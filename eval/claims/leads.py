"""Leads of methods that may come from something else than better images.

Blur raises the PSNR of overlaps, sharpening the number of keypoint matches. Noise that nobody sees,
JPEG and sharpening improve numbers that look at no real images, such as BRISQUE, and copies of the
given view have the best CLIP-I.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..folders.methods import REAL
from ..scoring.score_files import Score
from ..settings import ClaimSettings
from .effects import difference_between, ratio_between

ALONE = ("image_quality", "inception_score", "clip_i")
"""Metrics that look at no real images of the same views, whatever their measurements are called."""


def doubtful_leads(scores: Sequence[Score]) -> list[str]:
    """Find methods that are certainly better than others in a number that is easily raised.

    - In the PSNR of overlaps with much less gradient energy, or in keypoint matches with much more.
      As in claim 4, the limit is the share `ClaimSettings.gradient_energy_band`, or one over it.
    - In numbers that look at no real images, with no Fréchet distance that agrees.

    Real views are not damaged, whatever others add to them.

    Returns:
        A sentence per such method and kind of lead.
    """
    rules = (_by_blur, _by_sharpening, _without_real_images)
    made = [score for score in scores if score.method != REAL.name]
    return [said for rule in rules for score in made if (said := rule(score, scores))]


def _by_blur(score: Score, scores: Sequence[Score]) -> str:
    limit = ClaimSettings().gradient_energy_band
    shares = _energy_shares(score, scores, "cross_view_psnr", lambda share: share < limit)
    if not shares:
        return ""
    return (
        f"{score.method}: is more consistent than {' and '.join(shares)}, but its gradient energy "
        f"is only {_listed(shares)}: blur raises the PSNR of overlaps, so its lead may come from "
        "blur."
    )


def _by_sharpening(score: Score, scores: Sequence[Score]) -> str:
    limit = 1 / ClaimSettings().gradient_energy_band
    shares = _energy_shares(score, scores, "match_inliers", lambda share: share > limit)
    if not shares:
        return ""
    return (
        f"{score.method}: has more keypoint matches in place than {' and '.join(shares)}, but its "
        f"gradient energy is {_listed(shares)}: sharpening and contrast raise the number of "
        "matches, so its lead may come from these."
    )


def _energy_shares(
    score: Score, scores: Sequence[Score], metric: str, is_far: Callable[[float], bool]
) -> dict[str, float]:
    """Gradient energy over that of the methods that it leads in a metric, where that is far off."""
    shares = {
        other.method: _energy_share(score, other)
        for other in scores
        if other is not score and _leads(score, other, metric)
    }
    return {method: share for method, share in shares.items() if is_far(share)}


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{share:.2f} of that of {name}" for name, share in shares.items())


def _without_real_images(score: Score, scores: Sequence[Score]) -> str:
    alone, distances = (list(_measured(score, kinds)) for kinds in (ALONE, ("fid",)))
    leads = {
        other.method: found
        for other in scores
        if other is not score and (found := [m for m in alone if _leads(score, other, m)])
        if not any(_leads(score, other, metric) for metric in distances)
    }
    if not leads:
        return ""
    than = " and ".join(f"than {name} in {', '.join(found)}" for name, found in leads.items())
    return (
        f"{score.method}: is better {than}, but in no Fréchet distance: without real images to "
        "compare with, noise, sharpening, JPEG or one view repeated may improve these numbers."
    )


def _measured(score: Score, kinds: Sequence[str]) -> Iterator[str]:
    """Measurements of metrics of some kinds, by whatever extractor."""
    for protocol in score.content.get("protocols", {}).values():
        for key, about in protocol["metrics"].items():
            if about["metric"] in kinds:
                own = (name for name in score.metrics if name == key or name.startswith(f"{key}_"))
                yield from own


def _leads(score: Score, other: Score, metric: str) -> bool:
    """Whether a method is certainly better than another."""
    try:
        gain = difference_between(score, other, metric)
    except KeyError:
        return False
    better = gain if score.metrics[metric].higher_is_better else -gain
    return better.interval is not None and better.interval[0] > 0


def _energy_share(score: Score, other: Score) -> float:
    """Gradient energy over that of another method; 1 where there is nothing to compare."""
    metric = "gradient_energy"
    if not all(metric in each.metrics and each.metrics[metric].value for each in (score, other)):
        return 1.0
    return ratio_between(score, other, metric).value
