"""The control table: which way every metric of consistency moves under every damage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import textures
import torch
import toy
from torchmetrics.functional.image.lpips import _LPIPS

from mvdiffusion_eval.extractors import lpips as lpips_module
from mvdiffusion_eval.folders.opening import open_folder

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SIZE = 192
GRAIN = 8.0  # of all views, in gray levels: the only way in which they disagree
GEOMETRY = (
    "every second moved", "every second turned", "every second mirrored",
    "every second of another scene", "first view repeated", "order shuffled", "noise",
)  # fmt: skip
# "+" and "-": higher, lower; "0": within a tenth; "?": either is right.
METRICS = ("cross_view_psnr", "cross_view_ssim", "match_share", "match_inliers", "match_error")
DIRECTIONS = {
    "blurred": "++?-?",  # consistency of pixels is fooled, the number of matches is not
    "every second darker": "-000?",
    **dict.fromkeys(GEOMETRY, "----+"),
    "faded": "+?--+",
}


@pytest.fixture(scope="module")
def controls() -> Iterator[Any]:
    """The script, imported as it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        yield import_module("controls")


def panoramas(root: Path) -> Path:
    samples = {f"p{seed}": textures.panorama_views(seed, SIZE) for seed in range(2)}
    return textures.write_views(root, toy.noisy(samples, GRAIN))


def walks(root: Path) -> Path:
    samples = {f"w{seed}": textures.walk_views(seed, SIZE) for seed in range(2)}
    return textures.write_walks(root, toy.noisy(samples, GRAIN))


KINDS = [pytest.param(panoramas, marks=pytest.mark.slow), walks]


@pytest.fixture(scope="module", params=KINDS, ids=lambda make: make.__name__)
def found(
    request: pytest.FixtureRequest, controls: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    make: Callable[[Path], Path] = request.param
    root = tmp_path_factory.mktemp("controls")
    return controls.measure(open_folder(make(root / "real")), root / "damaged", "")


@pytest.mark.parametrize("damage", DIRECTIONS)
def test_directions(damage: str, found: dict[str, Any]) -> None:
    rows = found["controls"]
    for metric, way in zip(METRICS, DIRECTIONS[damage], strict=True):
        before, after = rows["real"][metric]["value"], rows[damage][metric]["value"]
        size = max(abs(before), abs(after))
        if way == "0":
            assert abs(after - before) <= 0.1 * size, (metric, before, after)
        elif way != "?":
            sign = 1 if way == "+" else -1
            assert sign * (after - before) > 0.02 * size, (metric, before, after)


def test_real_views_are_in_place_and_gray_is_refused(found: dict[str, Any]) -> None:
    rows = found["controls"]
    assert set(rows) == {"real", "gray", *DIRECTIONS}
    assert rows["real"]["match_share"]["value"] > 0.6
    assert rows["real"]["match_error"]["value"] < 0.5
    assert "images with content" in rows["gray"]["refused"]
    for damage in GEOMETRY:
        assert rows[damage]["match_share"]["value"] < 0.2, damage


@pytest.mark.slow
def test_lpips_sees_every_change_of_geometry(
    controls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an untrained backbone, whose distances still are of what differs."""

    def make(name: str) -> torch.nn.Module:
        torch.manual_seed(0)
        return _LPIPS(net=name, spatial=True, pnet_rand=True)

    monkeypatch.setattr(lpips_module, "make_network", make)
    folder = open_folder(panoramas(tmp_path / "real"))
    rows = controls.measure(folder, tmp_path / "damaged", "squeeze")["controls"]
    real = rows["real"]["cross_view_lpips"]["value"]
    for damage in GEOMETRY:
        assert rows[damage]["cross_view_lpips"]["value"] > 2 * real, damage


def test_verdicts_follow_the_paired_differences(controls: Any) -> None:
    def measured(*values: float | None, better: bool = True) -> dict[str, Any]:
        return {"values": values, "value": 0.0, "se": 0.0, "higher_is_better": better}

    real = measured(1.0, 2.0, 3.0)
    up = controls._held_against(measured(2.0, 3.1, 3.9), real)
    assert (up["verdict"], up["left_out"]) == ("better", 0)
    assert up["difference"] == pytest.approx(1.0)
    # Student's t of 1.1, 0.9 and 1.0: 4.303 · 0.1 / √3 either way
    assert up["interval"] == pytest.approx((1 - 0.2484, 1 + 0.2484), abs=1e-3)
    down = controls._held_against(measured(2.0, 3.1, 3.9, better=False), real)
    assert down["verdict"] == "worse"
    assert controls._held_against(measured(0.0, 3.0, 3.5), real)["verdict"] == "same"
    assert controls._held_against(measured(None, 2.9, 4.1), real)["left_out"] == 1


def test_the_table_is_one_of_the_folders_numbers(controls: Any, found: dict[str, Any]) -> None:
    lines = list(controls.table({"folders": {"here": found}}))
    assert lines[0].startswith("**here**: 2 samples of ")
    row = next(line for line in lines if line.startswith("| every second darker |"))
    assert f" {found['controls']['every second darker']['cross_view_psnr']['value']:.1f} " in row
    assert "| gray | refused | refused |" in "\n".join(lines)
