"""The paper's claims, each with the conditions on measured numbers that decide it.

The rule is the same for every condition of every claim: a quantity x with standard error s must be
at least its bound. It *holds* if x - 2 s ≥ bound, *does not hold* if x + 2 s < bound, and is
*undecided* in between or when there are too few samples for a standard error. Quantities are
differences or ratios of the same samples under two methods, or slopes over the views of the same
samples, so that differences between samples cancel. A claim holds if all its conditions do, and
fails if one does; without the methods it compares it is *not run*. Interval and effect size (see
`effects`) are reported with every condition and decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..scoring.score_files import Score
from ..settings import ClaimSettings
from .effects import (
    Effect,
    change_of,
    difference_between,
    level_of,
    others_minus_closing,
    ratio_between,
    slope_of,
)

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"


@dataclass(frozen=True)
class Condition:
    """One inequality that a claim needs: the value of `effect` must be at least `bound`.

    Attributes:
        text: what is measured.
        verdict: whether it holds.
        effect: what was measured; None if it was not.
    """

    text: str
    verdict: str
    effect: Effect | None
    bound: float
    unit: str = ""

    @property
    def numbers(self) -> dict[str, float | None]:
        """Its numbers by name; None where a number does not exist."""
        names = ("value", "value_se", "value_low", "value_high", "effect_size")
        measured: tuple[float | None, ...] = (None,) * len(names)
        if effect := self.effect:
            measured = (effect.value, effect.se, *(effect.interval or (None, None)), effect.size)
        return {**dict(zip(names, measured, strict=True)), "at_least": self.bound}


@dataclass(frozen=True)
class Claim:
    """A claim with the conditions that decide it."""

    number: int
    title: str
    conditions: tuple[Condition, ...]

    @property
    def verdict(self) -> str:
        """The verdict of all conditions together."""
        verdicts = {condition.verdict for condition in self.conditions}
        return next(v for v in (FAILS, NOT_RUN, UNDECIDED, HOLDS) if v in verdicts)


def judge(value: float, se: float | None, bound: float, num_standard_errors: float) -> str:
    """Decide `value ≥ bound`, given the standard error of `value`.

    Args:
        value: what was measured.
        se: its standard error; None if there are too few samples for one.
        bound: what it must reach.
        num_standard_errors: required certainty.

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

    Claims 1 to 5 are about panoramas, 6 about depth; claim 7, about outpainting, is not in the
    paper.

    Args:
        scores: by task, then by method.
        settings: bounds and certainty.
    """
    panorama, outpaint, depth = (
        _Context(scores.get(task, {}), settings) for task in ("panorama", "outpaint", "depth")
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
    """The numbers behind the claims, for `metrics.json`: `{claim_1: {condition_1: {value, …}}}`.

    Numbers that a condition does not have are left out.
    """
    return {
        f"claim_{claim.number}": {
            f"condition_{number}": {k: v for k, v in one.numbers.items() if v is not None}
            for number, one in enumerate(claim.conditions, 1)
        }
        for claim in claims
    }


@dataclass(frozen=True)
class _Context:
    scores: Mapping[str, Score]
    settings: ClaimSettings

    def condition(
        self,
        text: str,
        bound: float,
        measure: Callable[..., Effect],
        *names: str,
        unit: str = "dB",
        sign: int = 1,
    ) -> Condition:
        """Judge one inequality; it is not run if a method or a metric is missing.

        Args:
            text: what is measured.
            bound: what it must reach.
            measure: measures the scores of the methods, given them and a metric.
            names: of the methods and, last, of the metric.
            unit: of what is measured and of the bound.
            sign: -1 turns what was measured round.
        """
        try:
            effect = measure(*(self.scores[method] for method in names[:-1]), names[-1])
        except KeyError as error:
            return Condition(f"{text} (missing: {error.args[0]})", NOT_RUN, None, bound, unit)
        effect = -effect if sign < 0 else effect
        verdict = judge(effect.value, effect.se, bound, self.settings.num_standard_errors)
        return Condition(text, verdict, effect, bound, unit)


def _consistency(context: _Context) -> Claim:
    condition = context.condition(
        "cross-view PSNR of all pairs, MVDiffusion minus independent views",
        context.settings.consistency_gain_db,
        *(difference_between, "mvdiffusion", "independent", "cross_view_psnr"),
    )
    return Claim(1, "MVDiffusion's views are more consistent than independent views", (condition,))


def _loop_closure(context: _Context) -> Claim:
    own = context.condition(
        "MVDiffusion: PSNR of the closing pair minus that of the other pairs",
        -context.settings.closing_margin_db,
        *(others_minus_closing, "mvdiffusion", "cross_view_psnr"),
        sign=-1,
    )
    baseline = context.condition(
        "autoregressive: PSNR of the other pairs minus that of the closing pair",
        context.settings.autoregressive_drop_db,
        *(others_minus_closing, "autoregressive", "cross_view_psnr"),
    )
    return Claim(
        2, "MVDiffusion closes the loop, the autoregressive baseline does not", (own, baseline)
    )


def _accumulation(context: _Context) -> Claim:
    settings = context.settings
    conditions = (
        context.condition(
            "autoregressive: loss of cross-view PSNR per step from view 0",
            settings.accumulation_fall_db,
            *(slope_of, "autoregressive", "per_step_psnr"),
            sign=-1,
        ),
        context.condition(
            "autoregressive: rise of the Fréchet distance from real views per step",
            settings.accumulation_rise,
            *(slope_of, "autoregressive", "per_step_fid"),
            unit="of its mean",
        ),
        context.condition(
            "MVDiffusion: gain of cross-view PSNR per step",
            -settings.steady_fall_db,
            *(slope_of, "mvdiffusion", "per_step_psnr"),
        ),
        context.condition(
            "MVDiffusion: fall of the Fréchet distance per step",
            -settings.steady_rise,
            *(slope_of, "mvdiffusion", "per_step_fid"),
            unit="of its mean",
            sign=-1,
        ),
    )
    return Claim(
        3, "The autoregressive baseline accumulates errors, MVDiffusion does not", conditions
    )


def _controls(context: _Context) -> Claim:
    settings = context.settings
    conditions = (
        _not_blur(context),
        context.condition(
            "not noise: gradient energy, VAE reconstruction over MVDiffusion",
            settings.gradient_energy_band,
            *(ratio_between, "vae_reconstruction", "mvdiffusion", "gradient_energy"),
            unit="ratio",
        ),
        context.condition(
            "not a shared palette: other-scene PSNR, independent views minus MVDiffusion",
            -settings.other_scene_margin_db,
            *(difference_between, "independent", "mvdiffusion", "other_scene_psnr"),
        ),
        context.condition(
            "geometry matters: cross-view PSNR, MVDiffusion minus wrong correspondences",
            settings.wrong_correspondence_drop_db,
            *(difference_between, "mvdiffusion", "wrong_correspondence", "cross_view_psnr"),
        ),
    )
    return Claim(4, "The gain comes from neither blur nor a shared palette", conditions)


def _not_blur(context: _Context) -> Condition:
    return context.condition(
        "not blur: gradient energy, MVDiffusion over VAE reconstruction",
        context.settings.gradient_energy_band,
        *(ratio_between, "mvdiffusion", "vae_reconstruction", "gradient_energy"),
        unit="ratio",
    )


def _quality(context: _Context) -> Claim:
    names = {"fid": "FID", "inception_score": "Inception score", "clip_score": "CLIP score"}
    conditions = tuple(_not_worse(context, metric, name) for metric, name in names.items())
    return Claim(
        5,
        "FID, Inception score and CLIP score are not worse than those of independent views",
        conditions,
    )


def _not_worse(context: _Context, metric: str, name: str) -> Condition:
    independent = context.scores.get("independent")
    measured = independent.metrics.get(metric) if independent else None
    bound = -context.settings.quality_margin * measured.value if measured else 0.0
    pair, text = ("mvdiffusion", "independent"), f"{name}, MVDiffusion minus independent views"
    if metric == "fid":  # lower is better
        pair, text = pair[::-1], f"{name}, independent views minus MVDiffusion"
    return context.condition(text, bound, difference_between, *pair, metric, unit="")


def _depth(context: _Context) -> Claim:
    gain = context.condition(
        "PSNR of consecutive key frames, MVDiffusion minus independent views",
        context.settings.depth_gain_db,
        *(difference_between, "mvdiffusion", "independent", "cross_view_psnr"),
    )
    between = context.condition(
        "MVDiffusion: PSNR of in-between frames with their key frames, minus that of key frames "
        "with one another",
        0.0 - context.settings.between_margin_db,
        *(change_of, "mvdiffusion", "between_minus_key_psnr"),
    )
    title = "Depth: key frames are consistent, in-between frames agree with both key frames"
    return Claim(6, title, (gain, between, _not_blur(context)))


def _outpainting(context: _Context) -> Claim:
    kept = context.condition(
        "MVDiffusion: PSNR of the given view against itself after VAE reconstruction",
        context.settings.given_view_kept_db,
        *(level_of, "mvdiffusion", "given_view_kept"),
    )
    gain = context.condition(
        "PSNR of the given view's pairs with its neighbors, MVDiffusion minus independent views",
        context.settings.outpaint_gain_db,
        *(difference_between, "mvdiffusion", "independent", "given_pairs_psnr"),
    )
    return Claim(7, "Outpainting keeps the given view and continues it", (kept, gain))
