"""Views cut out of panoramas, and views stitched to one."""

import numpy as np
import pytest
import torch

from mvdiffusion.geometry.cameras import even_yaws, level_rotations, rotation
from mvdiffusion.geometry.panoramas import cut_views, stitch


def test_cutting_does_not_alias() -> None:
    """A checkerboard finer than the views' pixels must come out gray."""
    checker = np.indices((512, 1024)).sum(0) % 2 * 2.0 - 1
    panorama = torch.from_numpy(checker).float().expand(3, -1, -1)
    views = cut_views(panorama, 90.0, level_rotations(even_yaws(8)), 32, 32)
    assert views[:, :, 8:24, 8:24].abs().mean() < 0.2


@pytest.mark.parametrize("band", [1, 700, 4096])
def test_bands_leave_no_trace(monkeypatch: pytest.MonkeyPatch, band: int) -> None:
    panorama = torch.rand(3, 64, 128, generator=torch.Generator().manual_seed(0))
    R = torch.stack([rotation(20.0, 70.0), rotation(-100.0)])
    whole = cut_views(panorama, 80.0, R, 24, 32)
    monkeypatch.setattr("mvdiffusion.geometry.equirectangular._BAND", band)
    assert torch.equal(cut_views(panorama, 80.0, R, 24, 32), whole)


def test_stitch_says_what_is_covered() -> None:
    panorama, covered = stitch(torch.ones(8, 3, 32, 32), 90.0, 90)
    assert panorama.shape == (3, 90, 180)
    assert covered[45].all()
    assert not covered[0].any()
    torch.testing.assert_close(panorama[:, covered], torch.ones(3, int(covered.sum())))
    assert (panorama[:, ~covered] == 0).all()


def test_stitching_puts_each_view_where_it_looks() -> None:
    yaws = [-90.0, 30.0]
    views = torch.tensor([0.25, 0.75])[:, None, None, None].expand(-1, 3, 16, 16)
    panorama, covered = stitch(views, 60.0, 36, level_rotations(yaws))
    middle = panorama[0, 18]  # one column is 5°; yaw 0 is column 36
    assert middle[36 - 18].item() == pytest.approx(0.25)
    assert middle[36 + 6].item() == pytest.approx(0.75)
    assert int(covered[18].sum()) == 2 * 60 // 5
