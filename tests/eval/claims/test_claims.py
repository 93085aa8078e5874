"""Verdicts on made-up score files, for every way a claim can go."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mvdiffusion.records import InputError
from mvdiffusion.settings import parse, read_settings
from mvdiffusion_eval.claims.claims import ClaimSettings, claim_numbers, decide, judge
from mvdiffusion_eval.claims.effects import (
    Effect,
    difference_between,
    difference_of,
    level_of,
)
from mvdiffusion_eval.claims.remarks import remarks_on
from mvdiffusion_eval.metrics.measurement import Measurement
from mvdiffusion_eval.scoring.score_files import Score, pairs_of
from mvdiffusion_eval.tables.published import published_tables
from mvdiffusion_eval.tables.results import make_tables, printed_claims

SAMPLES = [f"room{i:03d}" for i in range(16)]
RNG = np.random.default_rng(0)
ROOMS = RNG.normal(0, 1, len(SAMPLES))  # some rooms are harder, for every method alike


def measurement(
    value: float, se: float | None, values: list[float] | None = None, per: str = "sample"
) -> dict[str, Any]:
    curvatures = [0.0] * len(values) if values and per == "group" else None
    about = {"values": values, "values_per": per, "curvatures": curvatures}
    return asdict(Measurement(value, se, "", None, "protocol", 1, **about))


def measured(mean: float, spread: float = 0.2, per: str = "sample") -> dict[str, Any]:
    own = RNG.normal(0, 1, len(SAMPLES))
    values = mean + spread * (ROOMS + 0.3 * (own - own.mean()))
    return measurement(mean, 0.1, values.tolist(), per)


def by_step(psnr: float, distance: float, spread: float = 0.02) -> dict[str, Any]:
    """What a method's PSNR and Fréchet distance change by with every step from view 0."""
    return {
        "per_step_psnr": measured(psnr, spread),
        "per_step_fid": measured(distance, spread, "group"),
    }


def score(method: str, closing: float, others: float, **changes: Any) -> Score:
    metrics = {
        "cross_view_psnr": measured((7 * others + closing) / 8),
        "cross_view_psnr_closing": measured(closing),
        "cross_view_psnr_non_closing": measured(others),
        "other_scene_psnr": measured(12),
        "gradient_energy": measured(0.01, 0.0002),
        "fid": measured(5, 0.02, "group"),
        "inception_score": measured(4, 0.02, "group"),
        "clip_score": measured(80, 0.5),
        **(by_step(-0.5, 0.1) if method == "autoregressive_latent" else by_step(0.0, 0.0)),
        **{name: value for name, value in changes.items() if value is not None},
    }
    metrics = {name: entry for name, entry in metrics.items() if changes.get(name, 1) is not None}
    return Score(
        Path(f"{method}.json"),
        {"method": method, "images": {"samples": SAMPLES}, "metrics": metrics},
    )


World = dict[str, dict[str, Score]]


def world(**changes: Score) -> World:
    return {"panorama": panoramas(**changes), "outpaint": outpainted(), "depth": walked()}


def outpainted(**changes: Score) -> dict[str, Score]:
    own = {"given_pairs_psnr": measured(22), "given_view_kept": measured(34)}
    worse = {"given_pairs_psnr": measured(15), "given_view_kept": measured(34)}
    return {
        "vae_reconstruction": score("vae_reconstruction", 30, 30),
        "mvdiffusion": score("mvdiffusion", 20, 20, **own),
        "independent": score("independent", 14, 14, **worse),
        **changes,
    }


def walked(**changes: Score) -> dict[str, Score]:
    return {
        "vae_reconstruction": score("vae_reconstruction", 30, 30),
        "mvdiffusion": score("mvdiffusion", 20, 20, between_to_worse_key_psnr=measured(19)),
        "independent": score("independent", 14, 14, between_to_worse_key_psnr=measured(14)),
        **changes,
    }


def panoramas(**changes: Score) -> dict[str, Score]:
    return {
        "vae_reconstruction": score("vae_reconstruction", 30, 30),
        "mvdiffusion": score("mvdiffusion", 20, 20),
        "autoregressive_latent": score("autoregressive_latent", 14, 25),
        "independent": score("independent", 14, 14),
        "wrong_correspondence": score("wrong_correspondence", 15, 15),
        **changes,
    }


def verdicts(scores: World) -> dict[int, str]:
    return {claim.number: claim.verdict for claim in decide(scores, ClaimSettings())}


def test_all_claims_hold_in_the_papers_world() -> None:
    assert verdicts(world()) == dict.fromkeys(range(1, 8), "holds")


@pytest.mark.parametrize(
    ("claim", "spoiled"),
    [
        (1, {"independent": score("independent", 22, 22)}),
        (2, {"mvdiffusion": score("mvdiffusion", 17, 20)}),
        (2, {"autoregressive_latent": score("autoregressive_latent", 23, 25)}),
        (4, {"mvdiffusion": score("mvdiffusion", 20, 20, gradient_energy=measured(5e-3, 1e-4))}),
        (4, {"mvdiffusion": score("mvdiffusion", 20, 20, gradient_energy=measured(2e-2, 1e-4))}),
        (4, {"mvdiffusion": score("mvdiffusion", 20, 20, other_scene_psnr=measured(14))}),
        (4, {"wrong_correspondence": score("wrong_correspondence", 20, 20)}),
        (5, {"mvdiffusion": score("mvdiffusion", 20, 20, fid=measured(6, 0.02, "group"))}),
        (5, {"mvdiffusion": score("mvdiffusion", 20, 20, clip_score=measured(70))}),
    ],
)
def test_each_part_can_fail_its_claim_alone(claim: int, spoiled: dict[str, Score]) -> None:
    found = verdicts(world(**spoiled))
    assert found.pop(claim) == "does not hold"
    assert set(found.values()) == {"holds"}


@pytest.mark.parametrize(
    ("method", "changes", "verdict"),
    [
        ("autoregressive_latent", by_step(0.2, 0.1), "does not hold"),  # consistency rises
        ("autoregressive_latent", by_step(-0.5, -0.1), "does not hold"),  # quality rises
        ("mvdiffusion", by_step(-0.3, 0.0), "does not hold"),
        ("mvdiffusion", by_step(0.0, 0.1), "does not hold"),
        ("autoregressive_latent", by_step(0.0, 0.1), "undecided"),
        ("mvdiffusion", by_step(0.0, 0.0, 1.0), "undecided"),
        ("mvdiffusion", {"per_step_fid": None}, "not run"),
    ],
)
def test_accumulation_needs_a_drifting_baseline_and_a_steady_method(
    method: str, changes: dict[str, Any], verdict: str
) -> None:
    levels = {"autoregressive_latent": (14, 25), "mvdiffusion": (20, 20)}[method]
    found = verdicts(world(**{method: score(method, *levels, **changes)}))
    assert found[3] == verdict


def test_the_rooms_own_slope_accumulates_no_error() -> None:
    """All methods, that without any order too, lose 0.3 dB with every step: it is the rooms'."""
    rooms = RNG.normal(-0.3, 0.5, len(SAMPLES))
    sloping = {
        method: score(
            *(method, *levels),
            per_step_psnr=measurement(0, None, (rooms + RNG.normal(own, 0.02, 16)).tolist()),
        )
        for method, levels, own in (
            ("independent", (14, 14), 0.0),
            ("mvdiffusion", (20, 20), 0.0),
            ("autoregressive_latent", (14, 25), -0.2),
        )
    }
    (claim,) = (c for c in decide(world(**sloping), ClaimSettings()) if c.number == 3)
    assert claim.verdict == "holds"
    fall, _, gain, _ = (condition.effect for condition in claim.conditions)
    assert fall.value == pytest.approx(0.2, abs=0.02)
    assert gain.value == pytest.approx(0.0, abs=0.02)
    flat = sloping | {
        "autoregressive_latent": score("autoregressive_latent", 14, 25, **by_step(-0.3, 0.1))
    }
    flat["autoregressive_latent"].content["metrics"]["per_step_psnr"] = sloping[
        "mvdiffusion"
    ].content["metrics"]["per_step_psnr"]
    assert verdicts(world(**flat))[3] == "undecided"


def test_one_sample_leaves_claims_undecided() -> None:
    alone = {
        method: Score(
            found.path,
            {
                "method": method,
                "images": {"samples": SAMPLES[:1]},
                "metrics": {
                    name: {**entry, "values": entry["values"][:1], "se": None}
                    for name, entry in found.content["metrics"].items()
                },
            },
        )
        for method, found in panoramas().items()
    }
    assert set(verdicts({"panorama": alone}).values()) == {"undecided", "not run"}


def test_claims_hold_of_whichever_autoregressive_baseline_was_run() -> None:
    """The paper's own goes before the one on latents, which would spoil the claims here."""
    scores = world()
    drifting = by_step(-0.5, 0.1)
    baseline = scores["panorama"].pop("autoregressive_latent")
    assert verdicts(scores)[2] == "not run"
    scores["panorama"]["inpainting"] = Score(Path("inpainting.json"), baseline.content)
    assert verdicts(scores) == dict.fromkeys(range(1, 8), "holds")
    scores["panorama"]["autoregressive_latent"] = score("autoregressive_latent", 25, 25)
    assert verdicts(scores) == dict.fromkeys(range(1, 8), "holds")
    rival = score("inpainting", 25, 25, **drifting)
    assert verdicts(world(inpainting=rival))[2] == "does not hold"


def test_noise_leaves_a_claim_undecided() -> None:
    noisy = measured(14)
    noisy["values"] = (np.array(noisy["values"]) + RNG.normal(0, 40, len(SAMPLES))).tolist()
    found = verdicts(world(independent=score("independent", 14, 14, cross_view_psnr=noisy)))
    assert found[1] == "undecided"


@pytest.mark.parametrize(
    ("method", "claims"),
    [
        ("independent", {1, 3, 4, 5}),
        ("autoregressive_latent", {2, 3}),
        ("vae_reconstruction", {4}),
        ("wrong_correspondence", {4}),
    ],
)
def test_without_its_methods_a_claim_is_not_run(method: str, claims: set[int]) -> None:
    scores = world()
    del scores["panorama"][method]
    found = verdicts(scores)
    assert {number for number, verdict in found.items() if verdict == "not run"} == claims


def test_without_its_metric_a_claim_is_not_run() -> None:
    bare = {name: None for name in ("fid", "inception_score", "clip_score")}
    found = verdicts(world(mvdiffusion=score("mvdiffusion", 20, 20, **bare)))
    assert found.pop(5) == "not run"
    assert set(found.values()) == {"holds"}


@pytest.mark.parametrize(
    ("claim", "task", "spoiled"),
    [
        (6, "depth", walked(independent=score("independent", 22, 22))),
        (
            6,
            "depth",
            walked(mvdiffusion=score("m", 20, 20, between_to_worse_key_psnr=measured(13))),
        ),
        (
            6,
            "depth",
            walked(
                mvdiffusion=score(
                    *("m", 20, 20),
                    between_to_worse_key_psnr=measured(19),
                    gradient_energy=measured(5e-3, 1e-4),
                )
            ),
        ),
        (
            7,
            "outpaint",
            outpainted(
                mvdiffusion=score(
                    "m", 20, 20, given_pairs_psnr=measured(22), given_view_kept=measured(25)
                )
            ),
        ),
        (7, "outpaint", outpainted(independent=score("i", 1, 1, given_pairs_psnr=measured(25)))),
    ],
)
def test_each_part_of_the_other_tasks_claims_can_fail(
    claim: int, task: str, spoiled: dict[str, Score]
) -> None:
    found = verdicts({**world(), task: spoiled})
    assert found.pop(claim) == "does not hold"
    assert set(found.values()) == {"holds"}


@pytest.mark.parametrize(("task", "claims"), [("depth", {6}), ("outpaint", {7})])
def test_without_its_task_a_claim_is_not_run(task: str, claims: set[int]) -> None:
    scores = world()
    del scores[task]
    found = verdicts(scores)
    assert {number for number, verdict in found.items() if verdict == "not run"} == claims


def test_bounds_move_with_the_settings() -> None:
    settings = ClaimSettings(depth_gain_db=5.5, outpaint_gain_db=8)
    found = {claim.number: claim for claim in decide(world(), settings)}
    assert [one.verdict for one in found[6].conditions] == ["holds", "does not hold", "holds"]
    assert [one.verdict for one in found[7].conditions] == ["holds", "does not hold"]


def test_a_failing_part_outweighs_a_missing_one() -> None:
    scores = world(wrong_correspondence=score("wrong_correspondence", 20, 20))
    del scores["panorama"]["vae_reconstruction"]
    assert verdicts(scores)[4] == "does not hold"


def test_differences_are_paired() -> None:
    """Rooms differ by 5 dB, methods by 1 dB in every room: pairing finds it, pooling would not."""
    hard = ROOMS * 5
    entries = [measurement(0.0, None, (hard + d).tolist()) for d in (1, 0)]
    first, second = (score("x", 1, 1, cross_view_psnr=entry) for entry in entries)
    pairs = pairs_of(first, second, "cross_view_psnr")
    assert pairs.difference == pytest.approx(1)
    assert pairs.se == pytest.approx(0, abs=1e-9)


def test_controls_on_fewer_samples_are_paired_by_name() -> None:
    full = score("mvdiffusion", 20, 20)
    part = score("wrong_correspondence", 15, 15)
    kept = [11, 3, 7]
    values = part.content["metrics"]["cross_view_psnr"]["values"]
    part.content["metrics"]["cross_view_psnr"]["values"] = [values[i] for i in kept]
    part.content["images"]["samples"] = [SAMPLES[i] for i in kept]
    expected = np.mean([full.metrics["cross_view_psnr"].values[i] - values[i] for i in kept])
    part.content["images"]["samples"] = sorted(part.content["images"]["samples"])
    part.content["metrics"]["cross_view_psnr"]["values"] = [values[i] for i in sorted(kept)]
    assert pairs_of(full, part, "cross_view_psnr").difference == pytest.approx(expected)


def test_a_better_baseline_is_remarks_openly() -> None:
    remarks = remarks_on(world())
    assert any(
        "Autoregressive inpainting of latents is 5.0" in line
        and "more consistent than MVDiffusion on the pairs that do not close the loop" in line
        for line in remarks
    )
    assert any("less consistent than MVDiffusion on the closing pair" in line for line in remarks)
    assert remarks_on({}) == []


def test_a_better_baseline_of_another_task_is_remarks_openly() -> None:
    sharp = score("independent", 14, 14, fid=measured(3, 0.02, "group"))
    remarks = remarks_on({"depth": walked(independent=sharp)})
    assert any(
        line.startswith("Depth: independent views have the better FID, by 2") for line in remarks
    )
    assert not any("better Inception score" in line for line in remarks)
    remarks = remarks_on({"outpaint": outpainted(independent=score("independent", 24, 24))})
    assert any(
        "independent views are 4.0" in line and "more consistent" in line for line in remarks
    )


def effects(scores: World) -> dict[tuple[int, int], Effect | None]:
    return {
        (claim.number, i): condition.effect
        for claim in decide(scores, ClaimSettings())
        for i, condition in enumerate(claim.conditions, 1)
    }


def test_intervals_and_effect_sizes_are_those_of_a_paired_t_test() -> None:
    scores = world()
    found = effects(scores)
    ours, theirs = (scores["panorama"][m].metrics for m in ("mvdiffusion", "independent"))
    for key, metric in {(1, 1): "cross_view_psnr", (5, 3): "clip_score"}.items():
        test = stats.ttest_rel(ours[metric].values, theirs[metric].values)
        bounds = test.confidence_interval(0.95)
        assert found[key].interval == pytest.approx((bounds.low, bounds.high))
        assert found[key].size == pytest.approx(test.statistic / np.sqrt(len(SAMPLES)))


def test_both_ends_turn_with_the_sign() -> None:
    """Condition 2 of claim 2 is about minus what is measured."""
    made = panoramas()["autoregressive_latent"]
    values = made.metrics
    test = stats.ttest_rel(
        values["cross_view_psnr_non_closing"].values, values["cross_view_psnr_closing"].values
    )
    part = effects(world(autoregressive_latent=made))[2, 2]
    bounds = test.confidence_interval(0.95)
    assert part.interval == pytest.approx((bounds.low, bounds.high))
    assert part.size == pytest.approx(test.statistic / 4)
    assert part.size > 0


def test_a_statistic_of_the_whole_set_has_an_interval_of_its_groups_and_no_effect_size() -> None:
    scores = world()
    part = effects(scores)[5, 1]
    first, second = (scores["panorama"][m].metrics["fid"] for m in ("independent", "mvdiffusion"))
    differences = np.subtract(first.values, second.values)
    bounds = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert part.value == first.value - second.value
    assert part.interval == pytest.approx(tuple(np.array(bounds) - differences.mean() + part.value))
    assert part.size is None


def test_a_ratio_has_the_effect_size_of_its_difference() -> None:
    scores = world()
    part = effects(scores)[4, 1]
    energies = [
        scores["panorama"][m].metrics["gradient_energy"]
        for m in ("mvdiffusion", "vae_reconstruction")
    ]
    test = stats.ttest_rel(*(energy.values for energy in energies))
    assert part.size == pytest.approx(test.statistic / 4)
    low, high = part.interval
    assert low < part.value < high
    assert high - low == pytest.approx(2 * stats.t.isf(0.025, 15) * part.se)


def test_paired_slopes_of_samples_have_effect_sizes_and_those_of_a_set_have_none() -> None:
    scores = world()
    found = effects(scores)
    baseline, independent = (
        scores["panorama"][m].metrics["per_step_psnr"]
        for m in ("autoregressive_latent", "independent")
    )
    test = stats.ttest_rel(independent.values, baseline.values)
    bounds = test.confidence_interval(0.95)
    assert found[3, 1].size == pytest.approx(test.statistic / 4)
    assert found[3, 1].interval == pytest.approx((bounds.low, bounds.high))
    assert found[3, 2].size is None
    assert found[3, 2].interval is not None


def test_levels_constants_and_single_samples_have_no_effect_size() -> None:
    assert effects(world())[7, 1].size is None
    assert level_of(score("x", 1, 1), "clip_score").interval is not None
    assert difference_of(np.array([0.1 + 0.2, 0.3])).size is None  # alike but for rounding
    single = difference_of(np.array([4.0]))
    assert (single.value, single.se, single.interval, single.size) == (4.0, None, None, None)


def test_effect_sizes_do_not_depend_on_the_unit() -> None:
    hard = score("a", 1, 1, cross_view_psnr=measured(3, 1.0))
    easy = score("b", 1, 1, cross_view_psnr=measured(2, 0.0))
    base = difference_between(hard, easy, "cross_view_psnr").size
    scaled = []
    for made in (hard, easy):
        entry = made.content["metrics"]["cross_view_psnr"]
        entry["values"] = [10.0 * value for value in entry["values"]]
        scaled.append(Score(made.path, made.content))
    assert difference_between(*scaled, "cross_view_psnr").size == pytest.approx(base)


def test_tables_and_metrics_show_what_is_there_and_leave_out_what_is_not() -> None:
    scores = world()
    del scores["depth"]
    claims = decide(scores, ClaimSettings())
    table = next(table for table in make_tables({}, claims, []) if table.name == "claims")
    gain, fid, missing = (table.data[(table.data["claim"] == claim)].iloc[0] for claim in (1, 5, 6))
    assert gain["value_low"] < gain["value"] < gain["value_high"]
    assert gain["effect_size"] == effects(scores)[1, 1].size
    assert fid["value_high"] > fid["value_low"]
    shown = table.shown.set_index(table.data["claim"])
    assert shown.loc[1, "95 % interval"].count(" to ") == 1
    assert shown.loc[5, "effect size"].iloc[0] == "–"
    for row in (fid[["effect_size"]], missing[["value_low", "value_high", "effect_size"]]):
        assert row.isna().all()
    assert set(shown.loc[6, "95 % interval"]) == set(shown.loc[6, "effect size"]) == {"–"}
    numbers = claim_numbers(claims)
    assert numbers["claim_6"]["condition_1"] == {"bound": 0.0}
    assert numbers["claim_1"]["condition_1"]["value_low"] == gain["value_low"]
    assert "effect_size" not in numbers["claim_5"]["condition_1"]


@pytest.mark.parametrize("num_samples", [*range(2, 12), 16, 23, 32, 47, 64])
def test_verdicts_follow_from_the_intervals(num_samples: int) -> None:
    """Of any number of samples: SciPy's interval beside the bound decides, and is printed."""
    rng = np.random.default_rng(num_samples)
    seen = set()
    for shift in rng.uniform(-2, 2, 40):
        values = rng.normal(shift, 1.0, num_samples)
        effect, bounds = difference_of(values), stats.ttest_1samp(values, 0).confidence_interval()
        assert effect.interval == pytest.approx((bounds.low, bounds.high))
        bound = float(rng.normal(0, 0.5))
        expected = "holds" if bounds.low > bound else "undecided"
        seen.add(expected := "does not hold" if bounds.high < bound else expected)
        assert judge(effect.interval, bound) == expected
    assert "undecided" in seen


def test_too_few_samples_are_not_enough_for_two_standard_errors() -> None:
    """Three standard errors above the bound: 4 samples do not tell (t = 3.18), 5 do (2.78)."""
    for count, verdict in ((4, "undecided"), (5, "holds")):
        values = np.linspace(-1, 1, count)
        values += 3 * values.std(ddof=1) / np.sqrt(count)
        assert judge(difference_of(values).interval, 0.0) == verdict


def test_the_interval_of_a_psnr_ends_where_psnr_ends() -> None:
    kept = np.array([100.0] * 14 + [92.0, 95.0])
    entry = measurement(kept.mean(), kept.std(ddof=1) / 4, kept.tolist()) | {"unit": "dB"}
    found = score("mvdiffusion", 20, 20, given_view_kept=entry)
    low, high = level_of(found, "given_view_kept").interval
    assert high == 100.0
    assert low == pytest.approx(kept.mean() - stats.t.isf(0.025, 15) * kept.std(ddof=1) / 4)
    assert found.row("given_view_kept")["high"] == 100.0


def test_independent_frames_do_not_agree_with_both_key_frames() -> None:
    """Frames nearer in time agree better whoever made them: only the gain over them counts."""
    near = {"between_to_worse_key_psnr": measured(16), "between_minus_key_psnr": measured(2)}
    alone = score("independent", 14, 14, **near)
    for bound, verdict in ((0.0, "undecided"), (3.0, "does not hold")):
        claims = decide(
            {"depth": walked(independent=alone, mvdiffusion=alone)},
            ClaimSettings(depth_gain_db=bound),
        )
        (claim,) = (claim for claim in claims if claim.number == 6)
        assert claim.conditions[1].verdict == verdict


def test_a_certain_loss_within_the_margin_is_said() -> None:
    loss = np.linspace(-0.35, -0.25, 16)  # of a margin of 0.5 points
    base = np.array(measured(80, 5.0)["values"])
    for scale, verdict in ((1, "holds; worse, within the margin"), (3, "does not hold")):
        entries = [measurement(0.0, None, (base + scale * d).tolist()) for d in (loss, 0 * loss)]
        ours, theirs = (
            score(method, 20, 20, clip_score=entry)
            for method, entry in zip(("mvdiffusion", "independent"), entries, strict=True)
        )
        claims = decide(world(mvdiffusion=ours, independent=theirs), ClaimSettings())
        (claim,) = (claim for claim in printed_claims(claims) if claim["number"] == 5)
        assert claim["conditions"][2]["verdict"] == verdict
        assert [one["verdict"] for one in claim["conditions"][:2]] == ["holds", "holds"]


def test_margins_excuse_mvdiffusion_in_the_papers_table_but_not_its_inpainting_baseline() -> None:
    """CLIP scores of table 1; an error of half a margin leaves no doubt."""
    (table,) = (table for table in published_tables() if table.table == "1")
    scores = {name: float(numbers[2]) for name, numbers in table.rows.items()}
    rivals = {name: value - scores["SD (Perspective)"] for name, value in scores.items()}
    margin = ClaimSettings().clip_score_margin
    assert [name for name, gain in rivals.items() if gain >= -margin] == [
        "SD (Perspective)",
        "MVDiffusion",
    ]
    assert rivals["Inpainting (Text2Room style)"] == pytest.approx(-1.2)


def test_margins_are_in_the_scale_of_their_metric() -> None:
    """FID 5, Inception score 4: 5 % of the distance, 5 % of what exceeds 1, and points."""
    claims = decide(world(), ClaimSettings())
    (claim,) = (claim for claim in claims if claim.number == 5)
    assert [one.bound for one in claim.conditions] == pytest.approx([-0.25, -0.15, -0.5])


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1.0e+3", "'1'"])
def test_bounds_that_no_number_can_meet_are_refused_when_read(value: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    for name in ClaimSettings.__dataclass_fields__:
        path.write_text(f"{name}: {value}\n")
        with pytest.raises(InputError, match=name):
            parse(ClaimSettings, read_settings(str(path)))


def test_uncertain_and_invisible_differences_are_no_remarks() -> None:
    same = score("independent", 20, 20, cross_view_psnr=None, fid=None)
    for metric, gap in (("cross_view_psnr", 0.0), ("fid", 1e-4)):
        per = "group" if metric == "fid" else "sample"
        ours = measured(20, per=per)
        theirs = [value - gap for value in ours["values"]]
        same.content["metrics"][metric] = ours | {"value": 20 - gap, "values": theirs}
        own = score("mvdiffusion", 20, 20)
        own.content["metrics"][metric] = ours
        scores = {task: {"independent": same, "mvdiffusion": own} for task in ("outpaint", "depth")}
        assert not [line for line in remarks_on(scores) if " 0.00 " in line]


def test_an_incomplete_method_is_not_called_more_consistent() -> None:
    """Constant images leave a sample out: no remark on the others."""
    rival = score("autoregressive_latent", 14, 25)
    assert any("Autoregressive" in line for line in remarks_on(world(autoregressive_latent=rival)))
    for metric in ("cross_view_psnr", "cross_view_psnr_non_closing", "cross_view_psnr_closing"):
        rival.content["metrics"][metric] |= {"left_out": 1}
    rival = Score(rival.path, rival.content)
    assert not any(
        "Autoregressive" in line for line in remarks_on(world(autoregressive_latent=rival))
    )
