"""The protocol of keypoint matches on whole folders, and MEt3R by a package made up here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import textures
import torch
import toy

import mvdiffusion_eval
from mvdiffusion.records import InputError
from mvdiffusion_eval.metrics import met3r
from mvdiffusion_eval.metrics.correspondence import SMALLEST

PROTOCOL = ["correspondence"]
SIZE = SMALLEST


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    views = {f"p{seed}": textures.panorama_views(seed, SIZE) for seed in range(2)}
    return textures.write_views(tmp_path_factory.mktemp("correspondence") / "real", views)


def changed(real: Path, target: Path, **samples: np.ndarray) -> Path:
    """The real views with some samples in the place of others."""
    kept = mvdiffusion_eval.folders.opening.open_folder(real)
    views = {sample_id: kept.views(sample_id) for sample_id in kept.sample_ids}
    return textures.write_views(target, views | samples)


def test_a_folder_is_scored_by_sample(real: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    made = changed(real, tmp_path / "made", p1=noise)
    content = mvdiffusion_eval.score(made, real, protocols=PROTOCOL)
    found = content["metrics"]
    assert set(found) == {
        "match_share", "match_share_closing", "match_inliers", "match_error", "match_ratio",
    }  # fmt: skip
    share, inliers = found["match_share"], found["match_inliers"]
    assert (share["protocol"], share["higher_is_better"]) == (f"correspondence@{SIZE}", True)
    assert not found["match_error"]["higher_is_better"]
    good, bad = share["values"]
    assert good > 0.7
    assert bad < 0.05  # noise has matches, by chance, and they do not vanish from the mean
    assert share["value"] == pytest.approx((good + bad) / 2)
    alone = mvdiffusion_eval.score(real, protocols=PROTOCOL)["metrics"]
    assert "match_ratio" not in alone
    quotient = sum(inliers["values"]) / sum(alone["match_inliers"]["values"])
    assert found["match_ratio"]["value"] == pytest.approx(quotient)
    assert found["match_error"]["values"][0] < 1 < 5 < found["match_error"]["values"][1]


def test_a_broken_closing_pair_shows_in_the_mean_and_in_its_own_number(
    real: Path, tmp_path: Path
) -> None:
    views = textures.panorama_views(0, SIZE)
    views[7] = np.roll(views[7], SIZE // 2, axis=1)  # which breaks pairs 6-7 and 7-0
    made = changed(real, tmp_path / "made", p0=views)
    whole, broken = (
        mvdiffusion_eval.score(folder, protocols=PROTOCOL)["metrics"] for folder in (real, made)
    )
    before, after = (one["match_share"]["values"][0] for one in (whole, broken))
    assert after == pytest.approx(before * 6 / 8, abs=0.06)
    assert (
        broken["match_share_closing"]["values"][0]
        < 0.1
        < 0.6
        < (whole["match_share_closing"]["values"][0])
    )


def test_textureless_real_views_have_no_ratio(tmp_path: Path) -> None:
    """A smooth gradient has content and no keypoint: nothing to divide by, and no share."""
    ramp = np.linspace(0, 255, SIZE).astype(np.uint8)
    views = np.broadcast_to(ramp[:, None, None], (8, SIZE, SIZE, 3))
    folder = textures.write_views(tmp_path / "smooth", {"a": views, "b": views})
    found = mvdiffusion_eval.score(folder, folder, protocols=PROTOCOL)["metrics"]
    assert found["match_share"]["value"] == found["match_inliers"]["value"] == 0
    assert "match_ratio" not in found


def test_small_views_are_refused_by_name_and_left_alone_unasked(tmp_path: Path) -> None:
    folder = toy.write_folder(tmp_path / "small", "small", toy.real_samples(1))
    with pytest.raises(InputError, match="'correspondence' needs views of at least 192 px"):
        mvdiffusion_eval.score(folder, protocols=PROTOCOL)
    settings = mvdiffusion_eval.settings.ScoreSettings(consistency_resolution=toy.SIZE)
    assert "correspondence" not in mvdiffusion_eval.score(folder, settings=settings)["protocols"]


def test_walks_that_share_nothing_are_an_error(tmp_path: Path) -> None:
    walk = textures.walk_views(0, SIZE, 2)
    folder = textures.write_walks(tmp_path / "walks", {"w": walk})
    cameras = json.loads((folder / "w" / "cameras.json").read_text())
    cameras["pose"][1] = np.diag([-1.0, 1, -1, 1]).tolist()  # looks the other way
    (folder / "w" / "cameras.json").write_text(json.dumps(cameras))
    with pytest.raises(InputError, match="no two key frames share a pixel"):
        mvdiffusion_eval.score(folder, protocols=PROTOCOL)


class FakeMEt3R(torch.nn.Module):
    """A stand-in with the package's interface: the mean difference of the two images."""

    def __init__(self, img_size: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.img_size = img_size

    def forward(self, images: torch.Tensor, **returned: bool) -> tuple[torch.Tensor, None]:
        assert images.shape[1:] == (2, 3, self.img_size, self.img_size)
        assert images.min() >= -1
        assert not any(returned.values())
        return self.scale * (images[:, 0] - images[:, 1]).abs().mean((1, 2, 3)), None


def test_met3r_runs_where_it_is_installed_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [0, 51, 102, 0, 51, 102, 0, 51]
    views = np.zeros((8, 32, 32, 3), np.uint8) + np.array(levels, np.uint8)[:, None, None, None]
    views[:, :2] = 255  # content
    folder = textures.write_views(tmp_path / "steps", {"a": views, "b": views})
    with pytest.raises(InputError, match="'met3r' needs the package met3r"):
        mvdiffusion_eval.score(folder, protocols=["met3r"])
    monkeypatch.setattr(met3r, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "met3r", ModuleType("met3r"))
    with pytest.raises(InputError, match="package could not be loaded"):
        mvdiffusion_eval.score(folder, protocols=["met3r"])
    monkeypatch.setattr(sys.modules["met3r"], "MEt3R", FakeMEt3R, raising=False)
    content = mvdiffusion_eval.score(folder, protocols=["met3r"])
    found = content["metrics"]["met3r"]
    steps = np.abs(np.diff([*levels, levels[0]], axis=0)) / 255  # half of the range of 2
    assert found["value"] == pytest.approx(steps.mean() * 30 / 32, abs=0.005)
    assert found["extractor"].startswith("met3r (")
    assert content["extractors"][found["extractor"]]["kind"] == "met3r"
    settings = mvdiffusion_eval.settings.ScoreSettings(consistency_resolution=32)
    assert "met3r" not in mvdiffusion_eval.score(folder, settings=settings)["protocols"]
