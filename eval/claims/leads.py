"""Leads of methods that may come from something else than better images.

Blur and low contrast raise the PSNR of overlaps, sharpening the number of keypoint matches. Noise
that nobody sees, JPEG and sharpening improve numbers that look at no real images, such as BRISQUE,
and copies of the given view have the best CLIP-I. Constant and repeated images are taken for what
they are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
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


@dataclass(frozen=True)
class Lead:
    """A lead that may come from something else than better images.

    Attributes:
        method: who leads.
        metrics: in which measurements.
        said: why it is doubted, in a sentence.
    """

    method: str
    metrics: tuple[str, ...]
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


def doubted(scores: Sequence[Score]) -> set[tuple[str, str]]:
    """Methods and measurements of doubtful leads.

    A method with constant or repeated images is doubted in everything, as the leaderboard gives it
    no rank.
    """
    found = {(lead.method, metric) for lead in leads(scores) for metric in lead.metrics}
    spoilt = (s for s in scores if s.method != REAL.name and (s.faults.flat or s.faults.repeated))
    return found | {(score.method, metric) for score in spoilt for metric in score.metrics}


def _by_blur(score: Score, scores: Sequence[Score]) -> Lead | None:
    limit = ClaimSettings().gradient_energy_band
    metrics, shares = _energy_shares(
        score, scores, list(_agreements(score)), lambda share: share < limit
    )
    if not shares:
        return None
    return Lead(
        score.method,
        metrics,
        f"{score.method}: is more consistent than {' and '.join(shares)}, but its gradient energy "
        f"is only {_listed(shares)}: blur raises the PSNR of overlaps, so its lead may come from "
        "blur.",
    )


def _by_contrast(score: Score, scores: Sequence[Score]) -> Lead | None:
    limit = ClaimSettings().gradient_energy_band
    in_db = [name for name, one in score.metrics.items() if one.unit == "dB"]
    shares, metrics = {}, list[str]()
    for other in scores:
        share = _energy_share(score, other) if other is not score else 1.0
        explained = -10 * math.log10(share)
        if not limit <= share < 1 or not _is_lower(score, other, "gradient_energy"):
            continue  # blur if it is less; no lower contrast if it is more
        found = [
            metric
            for metric in in_db
            if _leads(score, other, metric) and _low(score, other, metric) <= CONTRAST * explained
        ]
        if found:
            shares[other.method] = share
            metrics += found
    if not shares:
        return None
    return Lead(
        score.method,
        tuple(dict.fromkeys(metrics)),
        f"{score.method}: is more consistent than {' and '.join(shares)} by no more than lower "
        f"contrast gives, as its gradient energy is {_listed(shares)}: darker or flatter views "
        "differ less, so its lead may come from these.",
    )


def _by_sharpening(score: Score, scores: Sequence[Score]) -> Lead | None:
    limit = 1 / ClaimSettings().gradient_energy_band
    metrics, shares = _energy_shares(score, scores, ["match_inliers"], lambda share: share > limit)
    if not shares:
        return None
    return Lead(
        score.method,
        (*metrics, "match_ratio"),
        f"{score.method}: has more keypoint matches in place than {' and '.join(shares)}, but its "
        f"gradient energy is {_listed(shares)}: sharpening and contrast raise the number of "
        "matches, so its lead may come from these.",
    )


def _energy_shares(
    score: Score,
    scores: Sequence[Score],
    metrics: Sequence[str],
    is_far: Callable[[float], bool],
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Metrics in which a method leads others whose gradient energy is far off, and its share of
    theirs. Quotients go with what they are quotients of."""
    shares, found = {}, list[str]()
    for other in scores:
        ahead = [m for m in metrics if other is not score and _leads(score, other, m)]
        if ahead and is_far(share := _energy_share(score, other)):
            shares[other.method] = share
            found += [*ahead, *(f"{metric}_ratio" for metric in ahead)]
    return tuple(dict.fromkeys(found)), shares


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{share:.2f} of that of {name}" for name, share in shares.items())


def _agreements(score: Score) -> Iterator[str]:
    """Measurements of how far parts of a sample agree, as blurred ones do without merit."""
    known = registered()
    kinds = [name for name, one in known.items() if one.agreement and name != MATCHES]
    names = {*_measured(score, kinds), *SEAMS}
    for name, one in score.metrics.items():
        if name in names or one.unit == "dB":
            yield name


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
        tuple(dict.fromkeys(metric for found in ahead.values() for metric in found)),
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
