"""Crops of panoramas: where they look, what they show, what they are kept under."""

from __future__ import annotations

from pathlib import Path

import foreign
import numpy as np
import py360convert
import pytest
import torch
import toy
from PIL import Image

from mvdiffusion.geometry.cameras import intrinsics
from mvdiffusion.geometry.cubemap import face_rotations
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion.records import InputError
from mvdiffusion_eval.folders.crops import (
    DIRECTIONS,
    crop,
    cube_6,
    level_8,
    level_random_8,
    panoramas,
    select_images,
    sphere_20,
)
from mvdiffusion_eval.folders.equirectangular import EquirectangularFolder
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.sampling import enlarged


@pytest.fixture
def folder(tmp_path: Path) -> EquirectangularFolder:
    opened = open_folder(foreign.panoramas(tmp_path / "rooms", 3), view_size=32)
    assert isinstance(opened, EquirectangularFolder)
    return opened


def rays(sample_id: str) -> np.ndarray:
    yaw, pitch = np.radians(sphere_20(sample_id)).T
    return np.stack([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)], -1)


def test_twenty_directions_are_uniform_on_the_sphere() -> None:
    """Uniform: every axis sees U(-1, 1), none leans on another."""
    found = np.stack([rays(f"room{number}") for number in range(500)])
    assert found.shape == (500, 20, 3)
    every = found.reshape(-1, 3)
    np.testing.assert_allclose(every.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(every.T @ every / len(every), np.eye(3) / 3, atol=0.01)
    for axis in every.T:
        quantiles = np.quantile(axis, np.linspace(0.05, 0.95, 19))
        np.testing.assert_allclose(quantiles, np.linspace(-0.9, 0.9, 19), atol=0.04)
    # independent: the mean of a panorama's 20 is as wide as that of 20 draws
    assert found.mean(1).var() == pytest.approx(1 / 60, rel=0.1)


def test_directions_are_those_of_the_sample_whenever_asked() -> None:
    assert sphere_20("a") == sphere_20("a") != sphere_20("b")
    assert sphere_20("room0")[0] == pytest.approx((67.717109, 7.846150))  # in every run and place
    assert level_8("a") == tuple((45.0 * k, 0.0) for k in range(8))
    assert level_random_8("a") == level_random_8("a") != level_random_8("b")
    assert all(-180 <= yaw < 180 and pitch == 0 for yaw, pitch in level_random_8("a"))
    names = {"level_8", "level_random_8", "sphere_20", "cube_6", "tangent_18"}
    assert set(DIRECTIONS) == names


@pytest.mark.parametrize("name", ["level_8", "sphere_20"])
def test_crops_show_what_another_library_shows(folder: EquirectangularFolder, name: str) -> None:
    found = crop(folder, DIRECTIONS[name], 80.0, 96)
    panorama = foreign.panorama(1).astype(np.float64)
    views = found.views("room001").astype(np.float64)
    for view, (yaw, pitch) in zip(views, DIRECTIONS[name]("room001"), strict=True):
        expected = py360convert.e2p(panorama, 80.0, yaw, pitch, (96, 96))
        difference = np.abs(view - expected)
        # at a pole, where the toy's panorama has no one color, they need not agree
        assert (np.quantile(difference, 0.9) < 4, difference.mean() < 1.5) == (True, True)


def test_level_crops_are_the_views_of_the_folder(folder: EquirectangularFolder) -> None:
    views = crop(folder, level_8, 90.0, 32).views("room002")
    np.testing.assert_array_equal(views, folder.views("room002"))
    some = crop(folder, level_8, 90.0, 32).views("room002", [5, 1])
    np.testing.assert_array_equal(some, views[[5, 1]])


@pytest.mark.parametrize(("size", "factor"), [(64, 2), (83, 1), (20, 5)])
def test_cube_crops_are_cube_faces(folder: EquirectangularFolder, size: int, factor: int) -> None:
    """As cut by the rotations of Matterport3D's cube, whose poles are turned by a quarter.

    A pixel in a thousand may round the other way.
    """
    noise = np.random.default_rng(0).integers(0, 256, (128, 256, 3), np.uint8)
    Image.fromarray(noise).save(folder.files["room000"])
    found = crop(folder, cube_6, 90.0, size).views("room000").astype(int)
    fine = size * factor  # a face is 256 / π pixels of the panorama wide
    K = intrinsics(90.0, fine, fine).expand(6, 3, 3)
    pixels = torch.tensor(noise).permute(2, 0, 1).float()
    faces = equirectangular_to_views(pixels, K, face_rotations(), fine, fine)
    means = torch.nn.functional.avg_pool2d(faces, factor).permute(0, 2, 3, 1)
    expected = means.round().clamp(0, 255).numpy()
    expected[0], expected[5] = np.rot90(expected[0], -1), np.rot90(expected[5])
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) < 1e-3 * difference.size


def test_fine_detail_is_averaged_not_sampled(tmp_path: Path) -> None:
    lines = np.zeros((512, 1024, 3), np.uint8)
    lines[:, ::2] = 255
    (tmp_path / "lines").mkdir()
    Image.fromarray(lines).save(tmp_path / "lines" / "a.png")
    views = crop(open_folder(tmp_path / "lines"), level_8, 90.0, 32).views("a")  # type: ignore[arg-type]
    assert views.std() < 12
    assert views.mean() == pytest.approx(127.5, abs=2)


def test_digests_tell_panoramas_and_cameras_apart(folder: EquirectangularFolder) -> None:
    kinds = [
        crop(folder, level_8, 90.0, 32),
        crop(folder, level_8, 90.0, 33),
        crop(folder, level_8, 80.0, 32),
        crop(folder, sphere_20, 90.0, 32),
        crop(folder, level_8, 90.0, 32, "panfusion"),
        crop(folder, level_8, 90.0, 32, "area", 40),
        panoramas(folder),
    ]
    digests = [d for kind in kinds for name in kind.sample_ids for d in kind.view_digests(name)]
    assert len(digests) == 3 * (8 + 8 + 8 + 20 + 8 + 8 + 1) == len(set(digests))
    assert kinds[0].view_digests("room000") == crop(folder, level_8, 90, 32).view_digests("room000")
    for kind in kinds:
        assert kind.evaluated_views("room000") == list(range(len(kind.views("room000"))))
        assert kind.images_sha256() == folder.images_sha256()
        kind.check()


def test_whole_panoramas_are_the_files(folder: EquirectangularFolder) -> None:
    found = panoramas(folder)
    np.testing.assert_array_equal(found.views("room001"), foreign.panorama(1)[None])
    assert (found.height, found.width, found.count("room001")) == (128, 256, 1)
    assert found.prompts("room001") == ["A whole room"]
    assert found.method == folder.method


def test_the_prompt_of_the_whole_is_that_of_every_crop(folder: EquirectangularFolder) -> None:
    assert crop(folder, sphere_20, 90.0, 16).prompts("room000") == ["A whole room"] * 20
    lines = [f"side {view}" for view in range(8)]
    folder.prompt_path("room000").write_text("\n".join(lines))
    assert crop(folder, level_8, 90.0, 16).prompts("room000") == lines
    elsewhere = crop(folder, cube_6, 90.0, 16)
    assert elsewhere.has_prompts("room001")
    assert not elsewhere.has_prompts("room000")
    with pytest.raises(InputError, match="each of the 8 views; expected one line"):
        panoramas(folder).prompts("room000")


def test_a_spec_selects_images(folder: EquirectangularFolder) -> None:
    assert select_images(folder, {"of": "views"}) is folder
    whole = select_images(folder, {"of": "panoramas"})
    assert whole is not None
    assert whole.views("room000").shape == (1, 128, 256, 3)
    spec = {"of": "crops", "directions": "level_8", "fov_deg": 100, "size": 29}
    level = select_images(folder, spec)
    assert level is not None
    assert level.views("room000").shape == (8, 29, 29, 3)
    described = {**spec, "sampling": "area", "resized_to": 29, "cut_from": [256, 128]}
    assert level.arrangement() == described
    cube = {"of": "crops", "directions": "cube_6", "size": 64, "sampling": "py360convert"}
    faces = select_images(folder, {**cube, "resized_to": 75})
    assert faces is not None
    assert faces.views("room000").shape == (6, 75, 75, 3)
    assert (faces.height, faces.width) == (75, 75)
    small = select_images(folder, cube)
    assert small is not None
    np.testing.assert_array_equal(faces.views("room000"), enlarged(small.views("room000"), 75))


def test_a_folder_of_views_has_no_panoramas_to_look_at(tmp_path: Path) -> None:
    views = open_folder(toy.write_folder(tmp_path / "v", "v", toy.real_samples(1)))
    assert select_images(views, {"of": "panoramas"}) is None
    assert select_images(views, {"of": "crops", "directions": "cube_6", "size": 64}) is None
    assert select_images(views, {"of": "views"}) is views


def test_views_in_the_directions_of_crops_are_resized(tmp_path: Path) -> None:
    samples = {"room000": toy.views_of(0, 0, 64)}
    folder = open_folder(toy.write_folder(tmp_path / "views", "x", samples))
    spec = {"of": "crops", "directions": "level_8", "size": 32}
    found = select_images(folder, spec)
    assert found is not None
    means = samples["room000"].reshape(8, 32, 2, 32, 2, 3).mean((2, 4))
    np.testing.assert_allclose(found.views("room000"), means, atol=0.51)
    np.testing.assert_array_equal(found.views("room000", [3]), found.views("room000")[3:4])
    assert found.view_digests("room000") != folder.view_digests("room000")
    assert found.prompts("room000") == folder.prompts("room000")
    assert select_images(folder, {**spec, "size": 65}) is None  # never enlarged
    assert select_images(folder, {**spec, "fov_deg": 80}) is None
    assert select_images(folder, {**spec, "directions": "sphere_20"}) is None
    assert select_images(folder, {**spec, "sampling": "panfusion"}) is None
