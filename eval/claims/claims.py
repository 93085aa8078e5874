"""The claims about the paper's method that the numbers decide.

Rule, the same for every part of every claim: a quantity x with standard error s must be at least
its bound. It *holds* if x - 2 s ≥ bound, *does not hold* if x + 2 s < bound, and is *undecided*
in between or when there are too few samples for a standard error. Quantities are differences or
ratios of the same samples under two methods, or slopes over the views of the same samples, so what
samples have in common cancels. A claim holds if all its parts do, and fails if one part does;
without the methods it compares it is *not run*. Interval and effect size (see `effects`) are told
with every part and decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..scoring.score_files import Score
from .effects import (
    Effect,
    difference_between,
    difference_of,
    level_of,
    ratio_between,
    slope_of,
)

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"


@dataclass(frozen=True)
class ClaimSettings:
    """Bounds of the claims.

    Attributes:
        num_standard_errors: certainty asked for.
        consistency_gain_db: claim 1, MVDiffusion above independent views.
        closing_margin_db: claim 2, how far the closing pair may be below the others.
        autoregressive_drop_db: claim 2, how far the autoregressive closing pair must be below.
        accumulation_fall_db: claim 3, what autoregressive PSNR must lose with every step.
        accumulation_rise: claim 3, what its Fréchet distance from real views must gain with every
            step, as a share of its mean over the steps.
        steady_fall_db: claim 3, what MVDiffusion's PSNR may lose with every step.
        steady_rise: claim 3, what its Fréchet distance may gain with every step, a share likewise.
        gradient_energy_band: claim 4, least share of gradient energy between MVDiffusion and real
            views through the same codec, either way: blur lowers it, noise raises it.
        other_scene_margin_db: claim 4, how far PSNR against another scene may rise.
        wrong_correspondence_drop_db: claim 4, what wrong correspondences must cost.
        quality_margin: claim 5, share of the independent views' number that may be lost.
        depth_gain_db: claim 6, MVDiffusion's key frames above independent ones.
        between_margin_db: claim 6, how far in-between frames may agree less with their key frames
            than key frames do with one another.
        given_view_kept_db: claim 7, PSNR of the given view against itself through the codec.
        outpaint_gain_db: claim 7, MVDiffusion above independent views next to the given view.
    """

    num_standard_errors: float = 2.0
    consistency_gain_db: float = 0.0
    closing_margin_db: float = 1.0
    autoregressive_drop_db: float = 4.0
    accumulation_fall_db: float = 0.0
    accumulation_rise: float = 0.0
    steady_fall_db: float = 0.1
    steady_rise: float = 0.02
    gradient_energy_band: float = 0.75
    other_scene_margin_db: float = 0.5
    wrong_correspondence_drop_db: float = 1.0
    quality_margin: float = 0.05
    depth_gain_db: float = 0.0
    between_margin_db: float = 0.0
    given_view_kept_db: float = 30.0
    outpaint_gain_db: float = 0.0


@dataclass(frozen=True)
class Part:
    """One inequality: the value of `measured` must be at least `bound`."""

    text: str
    verdict: str
    measured: Effect | None
    bound: float
    unit: str = ""

    @property
    def value(self) -> float | None:
        """What was measured; None if it was not."""
        return None if self.measured is None else self.measured.value

    @property
    def se(self) -> float | None:
        """Standard error of the value."""
        return None if self.measured is None else self.measured.se

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """Bounds of the value's 95 % interval."""
        found = None if self.measured is None else self.measured.interval
        return (None, None) if found is None else found

    @property
    def effect_size(self) -> float | None:
        """The value's effect size, where it has one."""
        return None if self.measured is None else self.measured.size


@dataclass(frozen=True)
class Claim:
    """A claim with the parts that decide it."""

    number: int
    title: str
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> str:
        """The verdict of all parts together."""
        verdicts = {part.verdict for part in self.parts}
        return next(v for v in (FAILS, NOT_RUN, UNDECIDED, HOLDS) if v in verdicts)


def judge(value: float, se: float | None, bound: float, num_standard_errors: float) -> str:
    """Decide `value ≥ bound`, given the standard error of `value`.

    >>> judge(5.0, 0.5, 0.0, 2.0), judge(0.5, 0.5, 0.0, 2.0), judge(-5.0, 0.5, 0.0, 2.0)
    ('holds', 'undecided', 'does not hold')
    """
    if se is None:
        return UNDECIDED
    if value - num_standard_errors * se >= bound:
        return HOLDS
    return FAILS if value + num_standard_errors * se < bound else UNDECIDED


def decide(scores: Mapping[str, Mapping[str, Score]], settings: ClaimSettings) -> list[Claim]:
    """Decide the claims from the scores at hand, by task and method.

    Claims 1 to 5 are about panoramas, 6 about depth; 7, about outpainting, is ours.
    """
    panorama, outpaint, depth = (
        _Court(scores.get(task, {}), settings) for task in ("panorama", "outpaint", "depth")
    )
    return [
        _consistency(panorama),
        _loop_closure(panorama),
        _accumulation(panorama),
        _controls(panorama),
        _quality(panorama),
        _depth(depth),
        _outpainting(outpaint),
    ]


def claim_numbers(claims: Sequence[Claim]) -> dict[str, dict[str, Any]]:
    """What decided the claims, for `metrics.json`: `{claim_1: {part_1: {value, se, …}}}`.

    Numbers that a part does not have are left out.
    """
    return {
        f"claim_{claim.number}": {
            f"part_{number}": {k: v for k, v in part_numbers(part).items() if v is not None}
            for number, part in enumerate(claim.parts, 1)
        }
        for claim in claims
    }


def part_numbers(part: Part) -> dict[str, float | None]:
    """The numbers of a part by name; None where it has none."""
    low, high = part.interval
    return {
        "value": part.value,
        "value_se": part.se,
        "value_low": low,
        "value_high": high,
        "effect_size": part.effect_size,
        "at_least": part.bound,
    }


@dataclass(frozen=True)
class _Court:
    scores: Mapping[str, Score]
    settings: ClaimSettings

    def part(self, text: str, bound: float, unit: str, measure: Callable[[], Effect]) -> Part:
        """Judge one inequality; it is not run if a method or a metric is missing."""
        try:
            measured = measure()
        except KeyError as error:
            return Part(f"{text} (no {error.args[0]})", NOT_RUN, None, bound, unit)
        certainty = self.settings.num_standard_errors
        verdict = judge(measured.value, measured.se, bound, certainty)
        return Part(text, verdict, measured, bound, unit)

    def difference(self, first: str, second: str, metric: str) -> Effect:
        return difference_between(self.scores[first], self.scores[second], metric)

    def ratio(self, first: str, second: str, metric: str) -> Effect:
        return ratio_between(self.scores[first], self.scores[second], metric)

    def slope(self, method: str, metric: str) -> Effect:
        return slope_of(self.scores[method], metric)

    def level(self, method: str, metric: str) -> Effect:
        score = self.scores[method]
        return level_of(score.values(metric, score.samples))

    def between_minus_key(self, method: str) -> Effect:
        score = self.scores[method]
        return difference_of(score.values("between_minus_key_psnr", score.samples))

    def closing_minus_others(self, method: str) -> Effect:
        score = self.scores[method]
        closing = score.values("cross_view_psnr_closing", score.samples)
        others = score.values("cross_view_psnr_non_closing", score.samples)
        return difference_of(closing - others)


def _consistency(court: _Court) -> Claim:
    part = court.part(
        "cross-view PSNR of all pairs, MVDiffusion minus independent views",
        court.settings.consistency_gain_db,
        "dB",
        lambda: court.difference("mvdiffusion", "independent", "cross_view_psnr"),
    )
    return Claim(1, "MVDiffusion's views are more consistent than independent ones", (part,))


def _loop_closure(court: _Court) -> Claim:
    own = court.part(
        "MVDiffusion: PSNR of the closing pair minus the other pairs",
        -court.settings.closing_margin_db,
        "dB",
        lambda: court.closing_minus_others("mvdiffusion"),
    )
    baseline = court.part(
        "autoregressive: PSNR of the other pairs minus the closing pair",
        court.settings.autoregressive_drop_db,
        "dB",
        lambda: -court.closing_minus_others("autoregressive"),
    )
    return Claim(
        2, "MVDiffusion closes the loop, the autoregressive baseline does not", (own, baseline)
    )


def _accumulation(court: _Court) -> Claim:
    settings = court.settings
    parts = (
        court.part(
            "autoregressive: loss of cross-view PSNR per step from view 0",
            settings.accumulation_fall_db,
            "dB",
            lambda: -court.slope("autoregressive", "per_step_psnr"),
        ),
        court.part(
            "autoregressive: rise of the Fréchet distance from real views per step",
            settings.accumulation_rise,
            "of its mean",
            lambda: court.slope("autoregressive", "per_step_fid"),
        ),
        court.part(
            "MVDiffusion: gain of cross-view PSNR per step",
            -settings.steady_fall_db,
            "dB",
            lambda: court.slope("mvdiffusion", "per_step_psnr"),
        ),
        court.part(
            "MVDiffusion: fall of the Fréchet distance per step",
            -settings.steady_rise,
            "of its mean",
            lambda: -court.slope("mvdiffusion", "per_step_fid"),
        ),
    )
    return Claim(3, "The autoregressive baseline accumulates error, MVDiffusion does not", parts)


def _controls(court: _Court) -> Claim:
    settings = court.settings
    parts = (
        _not_blur(court),
        court.part(
            "not noise: gradient energy, real views through the codec over MVDiffusion",
            settings.gradient_energy_band,
            "ratio",
            lambda: court.ratio("codec", "mvdiffusion", "gradient_energy"),
        ),
        court.part(
            "not a shared palette: other-scene PSNR, independent views minus MVDiffusion",
            -settings.other_scene_margin_db,
            "dB",
            lambda: court.difference("independent", "mvdiffusion", "other_scene_psnr"),
        ),
        court.part(
            "the geometry does it: cross-view PSNR, MVDiffusion minus wrong correspondences",
            settings.wrong_correspondence_drop_db,
            "dB",
            lambda: court.difference("mvdiffusion", "wrong_correspondence", "cross_view_psnr"),
        ),
    )
    return Claim(4, "The gain is neither blur nor a shared palette", parts)


def _not_blur(court: _Court) -> Part:
    return court.part(
        "not blur: gradient energy, MVDiffusion over real views through the codec",
        court.settings.gradient_energy_band,
        "ratio",
        lambda: court.ratio("mvdiffusion", "codec", "gradient_energy"),
    )


def _quality(court: _Court) -> Claim:
    names = {"fid": "FID", "inception_score": "Inception score", "clip_score": "CLIP score"}
    parts = tuple(_not_worse(court, metric, name) for metric, name in names.items())
    return Claim(
        5, "FID, Inception score and CLIP score are not worse than independent views'", parts
    )


def _not_worse(court: _Court, metric: str, name: str) -> Part:
    independent = court.scores.get("independent")
    measured = independent.metrics.get(metric) if independent else None
    bound = -court.settings.quality_margin * measured["value"] if measured else 0.0
    pair, text = ("mvdiffusion", "independent"), f"{name}, MVDiffusion minus independent views"
    if metric == "fid":  # lower is better
        pair, text = pair[::-1], f"{name}, independent views minus MVDiffusion"
    return court.part(text, bound, "", lambda: court.difference(*pair, metric))


def _depth(court: _Court) -> Claim:
    gain = court.part(
        "PSNR of consecutive key frames, MVDiffusion minus independent views",
        court.settings.depth_gain_db,
        "dB",
        lambda: court.difference("mvdiffusion", "independent", "cross_view_psnr"),
    )
    between = court.part(
        "MVDiffusion: PSNR of in-between frames against both key frames, minus that of key frames "
        "against one another",
        0.0 - court.settings.between_margin_db,
        "dB",
        lambda: court.between_minus_key("mvdiffusion"),
    )
    title = "Depth: key frames are consistent, frames in between agree with both key frames"
    return Claim(6, title, (gain, between, _not_blur(court)))


def _outpainting(court: _Court) -> Claim:
    kept = court.part(
        "MVDiffusion: PSNR of the given view against itself through the codec",
        court.settings.given_view_kept_db,
        "dB",
        lambda: court.level("mvdiffusion", "given_view_kept"),
    )
    gain = court.part(
        "PSNR of the given view's pairs with its neighbors, MVDiffusion minus independent views",
        court.settings.outpaint_gain_db,
        "dB",
        lambda: court.difference("mvdiffusion", "independent", "given_pairs_psnr"),
    )
    return Claim(7, "Outpainting keeps the given view and continues it", (kept, gain))
