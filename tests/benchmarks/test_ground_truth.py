"""The script that measures real images under the paper's protocols, on a small world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
import walks
from PIL import Image
from processes import run_benchmark

import mvdiffusion_eval


def write_panoramas(root: Path) -> Path:
    root.mkdir()
    pixels = (toy.panorama(0, 0) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(root / "p0.png")
    return root


def write_recording(root: Path, brighter: float = 0.0) -> Path:
    """A walk as ScanNet's exporter writes it; every second frame is brighter."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (root / name).mkdir(parents=True)
    np.savetxt(root / "intrinsic" / "intrinsic_depth.txt", walks.K)
    for number, x in enumerate(np.arange(0, 1.2, 0.1)):
        camera = walks.pose(x)
        pixels = walks.frame(camera, 0) * (1 - brighter * (number % 2))
        Image.fromarray(pixels.astype(np.uint8)).save(root / "color" / f"{number}.png")
        depth = np.round(1000 * walks.wall_points(camera)[1]).astype(np.uint16)
        Image.fromarray(depth).save(root / "depth" / f"{number}.png")
        np.savetxt(root / "pose" / f"{number}.txt", camera)
    return root


@pytest.mark.slow
def test_ground_truth_is_the_suites_own_number(tmp_path: Path) -> None:
    words = ["--panoramas", write_panoramas(tmp_path / "panoramas"), "--threads", 1]
    words += ["--rgbd", write_recording(tmp_path / "walk"), write_recording(tmp_path / "dim", 0.2)]
    report = run_benchmark("ground_truth.py", tmp_path / "found.json", *words)
    assert report["paper_db"] == {"panoramas": 37.7, "rgbd": 21.41}
    found = report["panoramas"]["panoramas"]["psnr_db"]
    protocol = ["paper-consistency-pano"]
    whole = tmp_path / "panoramas"
    expected = mvdiffusion_eval.score(whole, protocols=protocol, view_size=512)["metrics"][
        "cross_view_psnr"
    ]
    assert found["cut_at_512_enlarged"]["all_pairs"] == pytest.approx(expected["value"], abs=2)
    for size in (1024, 512):
        rows = found["filter_of_the_warp"][f"cut_at_{size}"]
        assert set(rows) == {"linear", "cubic", "lanczos"}
        mean = np.mean(list(rows["linear"].values()))
        assert mean == pytest.approx(
            found["turned_by_22.5"][f"cut_at_{size}"]["all_pairs"], abs=0.5
        )
    jpeg = found["views_as_jpeg"]
    assert jpeg["quality_75"]["all_pairs"] < jpeg["quality_95"]["all_pairs"]
    assert set(found["from_the_photograph"]["not_enlarged"]) == {"p0"}
    plain, dim = (report["rgbd"][name]["psnr_db"] for name in ("walk", "dim"))
    assert dim["key_frames"] < plain["key_frames"] - 3
    treated = dim["key_frames_treated"]
    assert treated["same_brightness"] > treated["as_they_are"] + 3
    assert "tmp" not in (tmp_path / "found.json").read_text()
