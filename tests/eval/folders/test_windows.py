"""Windows that share no pixel: squares of equirectangular images, and views; one at random."""

from __future__ import annotations

from pathlib import Path

import foreign
import numpy as np
import pytest
import toy

from mvdiffusion.records import InputError
from mvdiffusion_eval.folders.crops import select_images
from mvdiffusion_eval.folders.equirectangular import EquirectangularFolder
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import PanoramaFolder, SampleFolder
from mvdiffusion_eval.folders.windows import disjoint_views


@pytest.fixture
def whole(tmp_path: Path) -> EquirectangularFolder:
    found = open_folder(foreign.panoramas(tmp_path / "whole", 3))
    assert isinstance(found, EquirectangularFolder)
    return found


@pytest.fixture
def views(tmp_path: Path) -> PanoramaFolder:
    found = open_folder(toy.write_folder(tmp_path / "views", "v", toy.real_samples(3)))
    assert isinstance(found, PanoramaFolder)
    return found


def windows(folder: SampleFolder, **spec: bool) -> SampleFolder:
    found = select_images(folder, {"of": "windows", **spec})
    assert found is not None
    return found


def test_views_that_overlap_a_chosen_one_are_passed_over() -> None:
    assert disjoint_views([0, 45, 90, 135, 180, 225, 270, 315], 90) == [0, 2, 4, 6]
    assert disjoint_views([0, 60, 120, 180, 240, 300], 60) == list(range(6))
    assert disjoint_views([0, 60, 120, 180, 240, 300], 90) == [0, 2, 4]
    assert disjoint_views([350, 10, 100, 190], 90) == [0, 2, 3]
    assert disjoint_views([0.0], 90) == [0]


def test_windows_of_an_equirectangular_image_lie_side_by_side(whole: EquirectangularFolder) -> None:
    found = windows(whole)
    both = found.views("room001")
    assert both.shape == (2, 128, 128, 3)
    np.testing.assert_array_equal(np.concatenate(list(both), 1), whole.panorama("room001"))
    np.testing.assert_array_equal(found.views("room001", [1]), both[1:])
    assert len(set(found.view_digests("room001") + found.view_digests("room002"))) == 4
    assert (found.height, found.width) == (128, 128)


def test_windows_of_views_are_views_and_keep_their_features(views: PanoramaFolder) -> None:
    found = windows(views)
    chosen = [0, 2, 4, 6]
    np.testing.assert_array_equal(found.views("room000"), views.views("room000", chosen))
    np.testing.assert_array_equal(found.views("room000", [3, 1]), views.views("room000", [6, 2]))
    digests = views.view_digests("room000")
    assert found.view_digests("room000") == [digests[view] for view in chosen]
    assert found.view_paths("room000") == [views.view_paths("room000")[view] for view in chosen]
    assert found.prompts("room000") == [views.prompts("room000")[view] for view in chosen]


def test_a_drawn_window_depends_on_its_sample_alone(whole: EquirectangularFolder) -> None:
    found, panorama = windows(whole, drawn=True), whole.panorama("room001")
    (drawn,) = found.views("room001")
    at = [left for left in range(128) if np.array_equal(panorama[:, left : left + 128], drawn)]
    assert len(at) == 1
    assert found.arrangement() == {"of": "windows", "drawn": True, "cut_from": [256, 128]}
    assert found.prompts("room001") == whole.prompts("room001")[:1]
    assert found.view_digests("room001") != windows(whole).view_digests("room001")


def test_a_drawn_view_was_not_given(tmp_path: Path) -> None:
    samples = toy.real_samples(16)
    folder = toy.write_folder(tmp_path / "o", "o", samples, given_views=(0, 4))
    found = windows(open_folder(folder), drawn=True)
    drawn = [found.view_paths(sample_id)[0].stem for sample_id in samples]
    assert set(drawn) == {"2", "6"}
    assert windows(open_folder(folder)).count("room000") == 4


def test_windows_have_the_prompt_of_the_whole(whole: EquirectangularFolder) -> None:
    lines = "\n".join(f"side {view}" for view in range(8))
    whole.prompt_path("room000").write_text(lines)
    with pytest.raises(InputError, match="expected one line"):
        windows(whole).prompts("room000")
