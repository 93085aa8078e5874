"""The benchmark of real data measures what it says it does."""

from pathlib import Path

import numpy as np
import pytest
from processes import ROOT, run_benchmark, take_memory
from sens_files import decode_sens


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.mark.slow
def test_all_parts(tmp_path: Path) -> None:
    words = ["--face-size", "64", "--image-size", "32", "--repeats", "1", "--threads", "1"]
    words += ["--decoded", "4", "--frames", "8", "--distinct", "4", "--folder", tmp_path]
    report = run_benchmark("data.py", tmp_path / "a.json", *words)
    views = report["views"]
    assert views["ours_is_faster"]["six_faces"] == pytest.approx(
        views["seconds"]["six_faces"] / views["seconds"]["ours"]
    )
    assert set(report["sens"]) == {"640x480", "1296x968"}
    for part in report["sens"].values():
        assert part["frames"] == 4
        assert min(part["frames_per_second"].values()) > 0
    for workers in ("1", "2"):
        prepared = report["prepare"][workers]
        assert prepared["frames"] == 8
        assert prepared["frames_per_second"] == pytest.approx(8 / prepared["seconds"])
        assert 100 < prepared["peak_memory_mib"] < 2048
    assert report["provenance"]["packages"]["torch"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("yaw", [0, 13, 45, 200])
def test_both_ways_cut_the_same_views(tmp_path: Path, yaw: int) -> None:
    from panoramas import our_views, released_views, write_panorama

    faces = write_panorama(tmp_path / "a", 64)
    ours = our_views(faces, yaw, 32) * 127.5
    for skip_behind in (False, True):
        difference = (released_views(faces, yaw, 32, skip_behind) * 127.5 - ours).abs()
        assert difference.median() < 1
        assert difference.mean() < 3  # the released way adds two warps up along the cube's edges


@pytest.mark.usefixtures("scripts")
def test_recordings_are_whole(tmp_path: Path) -> None:
    from recordings import render_walk, write_recording

    walk = render_walk((96, 128), 3)
    write_recording(tmp_path / "a.sens", walk, 6)
    header, frames = decode_sens((tmp_path / "a.sens").read_bytes())
    assert header["color_size"] == (96, 128)
    assert header["num_frames"] == len(frames) == 6
    np.testing.assert_array_equal(frames[4][0], frames[0][0])  # 0 1 2 1 0 1
    assert not np.array_equal(frames[2][0], frames[0][0])
    depth = frames[0][1]
    assert 500 < np.median(depth[depth > 0]) < 4500
    np.testing.assert_allclose(frames[1][2], walk.frames[1][2], atol=1e-6)


@pytest.mark.usefixtures("scripts")
def test_memory_of_a_process_and_its_children_is_seen() -> None:
    import multiprocessing

    from recordings import _memory_until_done

    process = multiprocessing.get_context("spawn").Process(target=take_memory)
    process.start()
    assert 200 < max(_memory_until_done(process)) / 2**20 < 800
    assert process.exitcode == 0
