"""The paper's claims, each with the conditions on measured numbers that decide it.

The rule is the same for every condition of every claim: it *holds* if the 95 % interval of a
quantity lies above its bound, *does not hold* if it lies below, and is *undecided* if the bound is
inside or if there are too few samples for an interval. The interval is the one that is printed:
Student's t, wider than two standard errors where samples are few. Quantities are differences or
ratios of the same samples under two methods, so that differences between samples cancel. A claim
holds if all its conditions do, and fails if one does; without the methods it compares it is *not
run*. Standard error and effect size (see `effects`) are reported with every condition and decide
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..scoring.score_files import Score
from ..settings import ClaimSettings
from .effects import (
    Effect,
    difference_between,
    level_of,
    others_minus_closing,
    ratio_between,
)

AUTOREGRESSIVE = ("inpainting", "autoregressive_latent")
"""Methods that make view after view: the paper's baseline, and what stands in for it."""
HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"
NOT_JUDGED = "not judged"
LOSSES = {
    HOLDS: "worse, within the margin",
    UNDECIDED: "worse, perhaps by more than the margin",
}
"""What is said of a certain loss that its margin may excuse, by verdict."""


@dataclass(frozen=True)
class Condition:
    """One inequality that a claim needs: `effect` must lie above `bound`.

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
        return {**dict(zip(names, measured, strict=True)), "bound": self.bound}

    @property
    def remark(self) -> str:
        """What the verdict alone conceals: a loss that is certain, however small; else empty."""
        interval = self.effect.interval if self.effect else None
        return LOSSES.get(self.verdict, "") if interval and interval[1] < 0 else ""


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
        return next(v for v in (FAILS, NOT_RUN, UNDECIDED, HOLDS, NOT_JUDGED) if v in verdicts)


def judge(interval: tuple[float, float] | None, bound: float) -> str:
    """Decide whether a quantity lies above its bound.

    Args:
        interval: what holds its true value with probability `statistics.CONFIDENCE`; None if there
            are too few samples for one.
        bound: what it must lie above.

    >>> judge((4.0, 6.0), 0.0), judge((-0.5, 1.5), 0.0), judge((-6.0, -4.0), 0.0)
    ('holds', 'undecided', 'does not hold')
    """
    if interval is None:
        return UNDECIDED
    if interval[0] > bound:
        return HOLDS
    return FAILS if interval[1] < bound else UNDECIDED


def decide(scores: Mapping[str, Mapping[str, Score]], settings: ClaimSettings) -> list[Claim]:
    """Decide the claims from the scores at hand, by task and method.

    Claims 1 to 5 are about panoramas, 6 about depth; claim 7, about outpainting, is not in the
    paper.

    Args:
        scores: by task, then by method.
        settings: bounds.
    """
    panorama, outpaint, depth = (
        _Context(scores.get(task, {}), settings) for task in ("panorama", "outpaint", "depth")
    )
    claims = [
        _consistency(panorama),
        _loop_closure(panorama),
        _accumulation(panorama),
        _controls(panorama),
        _quality(panorama),
        _depth(depth),
        _outpainting(outpaint),
    ]
    return claims if settings.judged else [_not_judged(claim) for claim in claims]


def _not_judged(claim: Claim) -> Claim:
    """Keep what was measured, and say nothing of it."""
    silent = (replace(condition, verdict=NOT_JUDGED) for condition in claim.conditions)
    return replace(claim, conditions=tuple(silent))


def claim_numbers(claims: Sequence[Claim]) -> dict[str, dict[str, Any]]:
    """The numbers behind the claims, by name: `{claim_1: {condition_1: {value, …}}}`.

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

    @property
    def autoregressive(self) -> str:
        """The autoregressive baseline: the paper's, if it was run."""
        return next((name for name in AUTOREGRESSIVE if name in self.scores), AUTOREGRESSIVE[0])

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

        It is undecided if a method is incomplete, i.e. has samples without consistency.

        Args:
            text: what is measured.
            bound: what it must lie above.
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
        verdict = judge(effect.interval, bound)
        if any(self.scores[method].left_out(names[-1]) for method in names[:-1]):
            verdict, text = UNDECIDED, f"{text} (without the samples of constant images)"
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
        *(others_minus_closing, context.autoregressive, "cross_view_psnr"),
    )
    return Claim(
        2, "MVDiffusion closes the loop, the autoregressive baseline does not", (own, baseline)
    )


def _accumulation(context: _Context) -> Claim:
    """Slopes minus those of independent views, which have no order and hence the rooms' own slope.

    The rooms' slopes are common to all methods: view 0 need not be like the others.
    """
    settings = context.settings
    conditions = (
        context.condition(
            "loss of cross-view PSNR per step from view 0, autoregressive minus independent views",
            settings.accumulation_fall_db,
            *(difference_between, "independent", context.autoregressive, "per_step_psnr"),
        ),
        context.condition(
            "rise of the Fréchet distance from real views per step, autoregressive minus "
            "independent views",
            settings.accumulation_rise,
            *(difference_between, context.autoregressive, "independent", "per_step_fid"),
            unit="of its mean",
        ),
        context.condition(
            "gain of cross-view PSNR per step, MVDiffusion minus independent views",
            -settings.steady_fall_db,
            *(difference_between, "mvdiffusion", "independent", "per_step_psnr"),
        ),
        context.condition(
            "rise of the Fréchet distance per step, independent views minus MVDiffusion",
            -settings.steady_rise,
            *(difference_between, "independent", "mvdiffusion", "per_step_fid"),
            unit="of its mean",
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
    conditions = tuple(
        _not_worse(context, metric, name)
        for metric, name in (
            ("fid", "FID"),
            ("inception_score", "Inception score"),
            ("clip_score", "CLIP score"),
        )
    )
    return Claim(
        5,
        "FID, Inception score and CLIP score are not worse than those of independent views",
        conditions,
    )


def _not_worse(context: _Context, metric: str, name: str) -> Condition:
    bound = 0.0 - _margin(context, metric)
    pair, text = ("mvdiffusion", "independent"), f"{name}, MVDiffusion minus independent views"
    if metric == "fid":  # lower is better
        pair, text = pair[::-1], f"{name}, independent views minus MVDiffusion"
    return context.condition(text, bound, difference_between, *pair, metric, unit="")


def _margin(context: _Context, metric: str) -> float:
    """What a metric may lose, in its own scale.

    The scale of FID is that of the extractor's features, and its zero that of equal images: a share
    of it. The Inception score of images that tell nothing is 1: a share of what exceeds it. CLIP
    scores start from no known zero, and all methods lie close together (in the paper's table 1
    between 25.98 and 30.25): a number of points.
    """
    settings, independent = context.settings, context.scores.get("independent")
    if metric == "clip_score":
        return settings.clip_score_margin
    if independent is None or metric not in independent.metrics:
        return 0.0  # of a condition that is not run
    value = independent.metrics[metric].value
    if metric == "fid":
        return settings.fid_margin * value
    return settings.inception_score_margin * (value - 1)


def _depth(context: _Context) -> Claim:
    bound, pair = context.settings.depth_gain_db, ("mvdiffusion", "independent")
    gain = context.condition(
        "PSNR of consecutive key frames, MVDiffusion minus independent views",
        *(bound, difference_between, *pair, "cross_view_psnr"),
    )
    between = context.condition(
        "PSNR of in-between frames with the worse of their key frames, MVDiffusion minus "
        "independent views",
        *(bound, difference_between, *pair, "between_to_worse_key_psnr"),
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
