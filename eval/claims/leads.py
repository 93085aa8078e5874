"""Leads of methods that may come from something else than better images.

Blur and low contrast raise the PSNR of overlaps, sharpening the number of keypoint matches. Noise
that nobody sees, JPEG and sharpening improve numbers that look at no real images, such as BRISQUE,
and copies of the given view have the best CLIP-I. Constant and repeated images are taken for what
they are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..folders.methods import REAL
from ..protocols.protocol import metrics as registered
from ..scoring.score_files import Score
from ..settings import ClaimSettings
from .effects import difference_between, ratio_between

ALONE = ("image_quality", "inception_score", "clip_i")
"""Metrics that look at no real images of the same views, whatever their measurements are called."""

MATCHES = "keypoint_matches"
"""The metric of agreement that sharpening raises and blur lowers."""

SEAMS = ("discontinuity_score", "edge_step")
"""Measurements of seams, which go by names of their own."""

CONTRAST = 1.1
"""A lead in PSNR up to this times what lower contrast alone gives is doubted: rounding to bytes
adds to the gradient energy of dark images, from which that is computed."""


Over = dict[str, list[str]]
"""Measurements in which a method leads others, by the other."""


@dataclass(frozen=True)
class Lead:
    """A lead that may come from something else than better images.

    Attributes:
        method: who leads.
        over: in which measurements, by the method that it leads.
        said: why it is doubted, in a sentence.
    """

    method: str
    over: Mapping[str, Sequence[str]]
    said: str


def leads(scores: Sequence[Score]) -> list[Lead]:
    """Find methods that are certainly better than others in a number that is easily raised.

    - In how far views agree with much less gradient energy, or in keypoint matches with much more.
      As in claim 4, the limit is the share `ClaimSettings.gradient_energy_band`, or one over it.
    - In the PSNR of overlaps by no more than lower contrast gives: an image of half the contrast
      has a quarter of the squared error and of the gradient energy.
    - In numbers that look at no real images, with no Fréchet distance that agrees.

    Real views are not damaged, whatever others add to them.
    """
    rules = (_by_blur, _by_contrast, _by_sharpening, _without_real_images)
    made = [score for score in scores if score.method != REAL.name]
    return [lead for rule in rules for score in made if (lead := rule(score, scores))]


def doubtful_leads(scores: Sequence[Score]) -> list[str]:
    """Say which leads are doubted: a sentence per method and kind of lead, see `leads`."""
    return [lead.said for lead in leads(scores)]


def doubted(scores: Sequence[Score]) -> set[tuple[str, str, str]]:
    """List doubtful leads: who leads, whom, and in which measurement.

    A method with constant or repeated images is doubted in everything, as the leaderboard gives it
    no rank.
    """
    found = {
        (lead.method, other, metric)
        for lead in leads(scores)
        for other, metrics in lead.over.items()
        for metric in metrics
    }
    spoilt = (s for s in scores if s.method != REAL.name and (s.faults.flat or s.faults.repeated))
    return found | {
        (score.method, other.method, metric)
        for score in spoilt
        for other in scores
        for metric in score.metrics
    }


def _by_blur(score: Score, scores: Sequence[Score]) -> Lead | None:
    limit = ClaimSettings().gradient_energy_band
    over = _ahead(score, scores, _agreements(score))
    shares = _energy_shares(score, scores, over, lambda share: share < limit)
    if not shares:
        return None
    return Lead(
        score.method,
        {other: over[other] for other in shares},
        f"{score.method}: is more consistent than {' and '.join(shares)}, but its gradient energy "
        f"is only {_listed(shares)}: blur raises the PSNR of overlaps, so its lead may come from "
        "blur.",
    )


def _by_contrast(score: Score, scores: Sequence[Score]) -> Lead | None:
    """Find leads in PSNR that lower contrast explains, and with them all leads in agreement."""
    limit = ClaimSettings().gradient_energy_band
    in_db = [name for name, one in score.metrics.items() if one.unit == "dB"]

    def explains(other: Score) -> bool:
        share = _energy_share(score, other)
        if not limit <= share < 1 or not _is_lower(score, other, "gradient_energy"):
            return False  # blur if it is less; no lower contrast if it is more
        most = CONTRAST * -10 * math.log10(share)
        return any(0 < _low(score, other, metric) <= most for metric in in_db)

    flat = [other for other in scores if other is not score and explains(other)]
    if not flat:
        return None
    shares = {other.method: _energy_share(score, other) for other in flat}
    return Lead(
        score.method,
        _ahead(score, flat, _agreements(score)),
        f"{score.method}: is more consistent than {' and '.join(shares)} by no more than lower "
        f"contrast gives, as its gradient energy is {_listed(shares)}: darker or flatter views "
        "differ less, so its lead may come from these.",
    )


def _by_sharpening(score: Score, scores: Sequence[Score]) -> Lead | None:
    limit = 1 / ClaimSettings().gradient_energy_band
    over = _ahead(score, scores, ["match_inliers"])
    shares = _energy_shares(score, scores, over, lambda share: share > limit)
    if not shares:
        return None
    return Lead(
        score.method,
        {other: ["match_inliers", "match_ratio"] for other in shares},
        f"{score.method}: has more keypoint matches in place than {' and '.join(shares)}, but its "
        f"gradient energy is {_listed(shares)}: sharpening and contrast raise the number of "
        "matches, so its lead may come from these.",
    )


def _ahead(score: Score, scores: Sequence[Score], metrics: Sequence[str]) -> Over:
    """Measurements in which a method leads others; quotients go with what they are quotients of."""
    found: Over = {}
    for other in scores:
        own = [m for m in metrics if other is not score and _leads(score, other, m)]
        if own:
            found[other.method] = [*own, *(f"{metric}_ratio" for metric in own)]
    return found


def _energy_shares(
    score: Score, scores: Sequence[Score], over: Over, is_far: Callable[[float], bool]
) -> dict[str, float]:
    """Gradient energy over that of the methods that it leads, where that is far off."""
    led = (other for other in scores if other.method in over)
    shares = {other.method: _energy_share(score, other) for other in led}
    return {method: share for method, share in shares.items() if is_far(share)}


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{share:.2f} of that of {name}" for name, share in shares.items())


def _agreements(score: Score) -> list[str]:
    """Measurements of how far parts of a sample agree, as blurred ones do without merit."""
    known = registered()
    kinds = [name for name, one in known.items() if one.agreement and name != MATCHES]
    names = {*_measured(score, kinds), *SEAMS}
    return [name for name, one in score.metrics.items() if name in names or one.unit == "dB"]


def _without_real_images(score: Score, scores: Sequence[Score]) -> Lead | None:
    alone, distances = (list(_measured(score, kinds)) for kinds in (ALONE, ("fid",)))
    ahead = {
        other.method: found
        for other in scores
        if other is not score and (found := [m for m in alone if _leads(score, other, m)])
        if not any(_leads(score, other, metric) for metric in distances)
    }
    if not ahead:
        return None
    than = " and ".join(f"than {name} in {', '.join(found)}" for name, found in ahead.items())
    return Lead(
        score.method,
        ahead,
        f"{score.method}: is better {than}, but in no Fréchet distance: without real images to "
        "compare with, noise, sharpening, JPEG or one view repeated may improve these numbers.",
    )


def _measured(score: Score, kinds: Collection[str]) -> Iterator[str]:
    """Measurements of metrics of some kinds, by whatever extractor."""
    for protocol in score.content.get("protocols", {}).values():
        for key, about in protocol["metrics"].items():
            if about["metric"] in kinds:
                own = (name for name in score.metrics if name == key or name.startswith(f"{key}_"))
                yield from own


def _leads(score: Score, other: Score, metric: str) -> bool:
    """Whether a method is certainly better than another."""
    return _low(score, other, metric) > 0


def _low(score: Score, other: Score, metric: str) -> float:
    """Lower end of the interval by how much a method is better; minus infinity if unknown."""
    try:
        gain = difference_between(score, other, metric)
    except KeyError:
        return -math.inf
    direction = score.metrics[metric].higher_is_better
    if direction is None:
        return -math.inf
    better = gain if direction else -gain
    return -math.inf if better.interval is None else better.interval[0]


def _is_lower(score: Score, other: Score, metric: str) -> bool:
    """Whether a number of a method is certainly lower."""
    try:
        difference = difference_between(score, other, metric)
    except KeyError:
        return False
    return difference.interval is not None and difference.interval[1] < 0


def _energy_share(score: Score, other: Score) -> float:
    """Gradient energy over that of another method; 1 where there is nothing to compare."""
    metric = "gradient_energy"
    if not all(metric in each.metrics and each.metrics[metric].value for each in (score, other)):
        return 1.0
    return ratio_between(score, other, metric).value
