"""The benchmark of sampling measures all parts and accounts for all the time."""

from pathlib import Path

import pytest
import torch
from processes import ROOT, run_benchmark


@pytest.mark.slow
def test_sampling(tmp_path: Path) -> None:
    words = ["--size", "tiny", "--steps", "2", "--repeats", "2", "--device", "cpu"]
    words += ["--view-chunk", "2"]
    report = run_benchmark("sampling.py", tmp_path / "a.json", *words)
    parts = report["seconds"]["per_step"]
    assert set(parts) == {"unet", "attention", "scheduler", "total"}
    assert set(report["seconds"]["once"]) == {"geometry", "vae"}
    assert min(*parts.values(), *report["seconds"]["once"].values()) > 0
    whole = report["seconds"]["panorama"]
    assert whole["min"] <= whole["median"] <= whole["max"]
    for memory in report["memory_mib"].values():
        assert 50 < memory["before"] <= memory["peak"] + 1
    assert report["parameters"]["attention"] > 0
    assert report["provenance"]["packages"]["torch"]
    assert report["settings"]["view_chunk"] == 2


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.mark.usefixtures("scripts")
def test_the_full_size_is_stable_diffusion_2() -> None:
    from sampling import SIZES, build

    pipeline = build(SIZES["sd2"], "released", torch.device("meta"), torch.float16)
    assert sum(p.numel() for p in pipeline.unet.unet.parameters()) == 865_910_724
    assert sum(p.numel() for p in pipeline.unet.correspondence_parameters()) == 147_572_480
    assert sum(p.numel() for p in pipeline.vae.parameters()) == 83_653_863
    assert pipeline.vae_scale_factor * SIZES["sd2"]["unet"]["sample_size"] == 512


@pytest.mark.usefixtures("scripts")
def test_parts_count_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import stopwatch

    clock = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    watch = stopwatch.Stopwatch(torch.device("cpu"))
    with watch.part("outer"):  # 0 …
        with watch.part("inner"):  # 1 … 3
            pass
        with watch.part("outer"):  # 6 … 10
            pass
    assert dict(watch.seconds) == {"outer": 1 + 3 + 4 + 5, "inner": 2}
