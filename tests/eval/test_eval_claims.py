"""Verdicts on made-up score files, for every way a claim can go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.claims import ClaimSettings, decide
from eval.observations import observations
from eval.scores import Score, paired_difference

SAMPLES = [f"room{i:03d}" for i in range(16)]
RNG = np.random.default_rng(0)
ROOMS = RNG.normal(0, 1, len(SAMPLES))  # some rooms are harder, for every method alike


def measured(mean: float, spread: float = 0.2, per: str = "sample") -> dict[str, Any]:
    own = RNG.normal(0, 1, len(SAMPLES))
    values = mean + spread * (ROOMS + 0.3 * (own - own.mean()))
    return {"value": mean, "se": 0.1, "values": values.tolist(), "values_per": per}


def by_step(psnr: float, distance: float, se: float = 0.01) -> dict[str, Any]:
    """What a method's PSNR and Fréchet distance change by with every step from view 0."""
    found = {"per_step_psnr": psnr, "per_step_fid": distance}
    return {name: {"value": v, "se": se, "values": None} for name, v in found.items()}


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
        **(by_step(-0.5, 0.1) if method == "autoregressive" else by_step(0.0, 0.0, 0.001)),
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
        "codec": score("codec", 30, 30),
        "mvdiffusion": score("mvdiffusion", 20, 20, **own),
        "independent": score("independent", 14, 14, **worse),
        **changes,
    }


def walked(**changes: Score) -> dict[str, Score]:
    return {
        "codec": score("codec", 30, 30),
        "mvdiffusion": score("mvdiffusion", 20, 20, between_minus_key_psnr=measured(1)),
        "independent": score("independent", 14, 14, between_minus_key_psnr=measured(0)),
        **changes,
    }


def panoramas(**changes: Score) -> dict[str, Score]:
    return {
        "codec": score("codec", 30, 30),
        "mvdiffusion": score("mvdiffusion", 20, 20),
        "autoregressive": score("autoregressive", 14, 25),
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
        (2, {"autoregressive": score("autoregressive", 23, 25)}),
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
        ("autoregressive", by_step(0.2, 0.1), "does not hold"),  # consistency rises
        ("autoregressive", by_step(-0.5, -0.1), "does not hold"),  # quality rises
        ("mvdiffusion", by_step(-0.3, 0.0), "does not hold"),
        ("mvdiffusion", by_step(0.0, 0.1), "does not hold"),
        ("autoregressive", by_step(-0.01, 0.1), "undecided"),
        ("mvdiffusion", by_step(0.0, 0.0, 0.1), "undecided"),
        ("mvdiffusion", {"per_step_fid": None}, "not run"),
    ],
)
def test_accumulation_needs_a_drifting_baseline_and_a_steady_method(
    method: str, changes: dict[str, Any], verdict: str
) -> None:
    levels = {"autoregressive": (14, 25), "mvdiffusion": (20, 20)}[method]
    found = verdicts(world(**{method: score(method, *levels, **changes)}))
    assert found[3] == verdict


def test_one_sample_leaves_accumulation_undecided() -> None:
    alone = by_step(-0.5, 0.1)
    alone["per_step_psnr"]["se"] = None
    found = verdicts(world(autoregressive=score("autoregressive", 14, 25, **alone)))
    assert found.pop(3) == "undecided"
    assert set(found.values()) == {"holds"}


def test_noise_leaves_a_claim_undecided() -> None:
    noisy = measured(14)
    noisy["values"] = (np.array(noisy["values"]) + RNG.normal(0, 40, len(SAMPLES))).tolist()
    found = verdicts(world(independent=score("independent", 14, 14, cross_view_psnr=noisy)))
    assert found[1] == "undecided"


@pytest.mark.parametrize(
    ("method", "claims"),
    [
        ("independent", {1, 4, 5}),
        ("autoregressive", {2, 3}),
        ("codec", {4}),
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
            walked(mvdiffusion=score("m", 20, 20, between_minus_key_psnr=measured(-1))),
        ),
        (
            6,
            "depth",
            walked(
                mvdiffusion=score(
                    *("m", 20, 20),
                    between_minus_key_psnr=measured(1),
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
    settings = ClaimSettings(depth_gain_db=7, outpaint_gain_db=8, between_margin_db=-2)
    found = {claim.number: claim for claim in decide(world(), settings)}
    assert [part.verdict for part in found[6].parts] == [*["does not hold"] * 2, "holds"]
    assert [part.verdict for part in found[7].parts] == ["holds", "does not hold"]


def test_a_failing_part_outweighs_a_missing_one() -> None:
    scores = world(wrong_correspondence=score("wrong_correspondence", 20, 20))
    del scores["panorama"]["codec"]
    assert verdicts(scores)[4] == "does not hold"


def test_differences_are_paired() -> None:
    """Rooms differ by 5 dB, methods by 1 dB in every room: pairing finds it, pooling would not."""
    hard = ROOMS * 5
    entries = [
        {"value": 0.0, "values": (hard + d).tolist(), "values_per": "sample"} for d in (1, 0)
    ]
    first, second = (score("x", 1, 1, cross_view_psnr=entry) for entry in entries)
    difference, se = paired_difference(first, second, "cross_view_psnr")
    assert difference == pytest.approx(1)
    assert se == pytest.approx(0, abs=1e-9)


def test_controls_on_fewer_samples_are_paired_by_name() -> None:
    full = score("mvdiffusion", 20, 20)
    part = score("wrong_correspondence", 15, 15)
    kept = [11, 3, 7]
    values = part.content["metrics"]["cross_view_psnr"]["values"]
    part.content["metrics"]["cross_view_psnr"]["values"] = [values[i] for i in kept]
    part.content["images"]["samples"] = [SAMPLES[i] for i in kept]
    expected = np.mean([full.metrics["cross_view_psnr"]["values"][i] - values[i] for i in kept])
    part.content["images"]["samples"] = sorted(part.content["images"]["samples"])
    part.content["metrics"]["cross_view_psnr"]["values"] = [values[i] for i in sorted(kept)]
    assert paired_difference(full, part, "cross_view_psnr")[0] == pytest.approx(expected)


def test_a_better_baseline_is_said_openly() -> None:
    said = observations(world())
    assert any(
        "Autoregressive inpainting is 5.0" in line
        and "more consistent than MVDiffusion on the pairs that do not close the loop" in line
        for line in said
    )
    assert any("less consistent than MVDiffusion on the closing pair" in line for line in said)
    assert observations({}) == []


def test_a_better_baseline_of_another_task_is_said_openly() -> None:
    sharp = score("independent", 14, 14, fid=measured(3, 0.02, "group"))
    said = observations({"depth": walked(independent=sharp)})
    assert any(
        line.startswith("Depth: independent views have the better FID, by 2") for line in said
    )
    assert not any("better Inception score" in line for line in said)
    said = observations({"outpaint": outpainted(independent=score("independent", 24, 24))})
    assert any("independent views are 4.0" in line and "more consistent" in line for line in said)
