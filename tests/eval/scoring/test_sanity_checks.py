"""Traps of evaluation: each springs in one test, and only where it should."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import foreign
import numpy as np
import pytest
import toy
import walks
from PIL import Image
from scipy.ndimage import map_coordinates

import mvdiffusion_eval
from mvdiffusion.records import InputError
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.functional.cross_view_psnr import cross_view_psnr, neighbor_overlaps
from mvdiffusion_eval.scoring.camera_checks import odd_spacing
from mvdiffusion_eval.settings import ScoreSettings

pytestmark = pytest.mark.long

SETTINGS = ScoreSettings(consistency_resolution=toy.SIZE, protocols=("paper-consistency-pano",))
SETTINGS_ALL = ScoreSettings(consistency_resolution=toy.SIZE)
SEQUENCES = ScoreSettings(protocols=("paper-consistency-depth",))
YAWS = [45.0 * view for view in range(8)]


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return toy.write_folder(tmp_path / "real", "real", toy.real_samples(4))


def made(tmp_path: Path, change: Callable = lambda views: views, count: int = 4) -> Path:
    """What a good method makes, and what became of it."""
    samples = toy.noisy(toy.real_samples(count), 3)
    return toy.write_folder(tmp_path / "made", "made", {k: change(v) for k, v in samples.items()})


def warnings(generated: Path, reference: Path | None = None) -> list[str]:
    sequences = (generated / "walk000").is_dir()
    settings = SEQUENCES if sequences else SETTINGS
    return mvdiffusion_eval.score(generated, reference, settings=settings)["warnings"]


def the_warning(generated: Path, reference: Path | None = None) -> str:
    (found,) = warnings(generated, reference)
    assert str(generated) in found
    return found


def test_methods_without_a_fault_cause_no_warning(world: Path) -> None:
    for method in (
        "real",
        "vae_reconstruction",
        "mvdiffusion",
        "autoregressive_latent",
        "independent",
    ):
        assert warnings(world / method, world / "real") == []
    depth = world.parent / "depth"
    for method in ("real", "vae_reconstruction", "mvdiffusion", "independent"):
        assert warnings(depth / method, depth / "real") == []
    outpaint = world.parent / "outpaint"
    for method in ("mvdiffusion", "independent"):
        assert warnings(outpaint / method, outpaint / "real") == []


def test_the_command_prints_and_stores_warnings(
    tmp_path: Path, real: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made(tmp_path, lambda views: views[::-1])
    toy.score(folder, tmp_path / "score.json", real)
    (found,) = json.loads((tmp_path / "score.json").read_text())["warnings"]
    assert f"Warning: {found}\n" in capsys.readouterr().err


@pytest.mark.parametrize("side", ["generated", "reference"])
def test_bgr_for_rgb(side: str, tmp_path: Path) -> None:
    def swap(views: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(views[..., ::-1])

    rooms = {"generated": toy.noisy(toy.real_samples(4), 3), "reference": toy.real_samples(4)}
    rooms[side] = {name: swap(views) for name, views in rooms[side].items()}
    folders = [toy.write_folder(tmp_path / name, name, s) for name, s in rooms.items()]
    assert "red and blue seem to be swapped" in the_warning(*folders)


def test_colors_that_merely_differ_are_not_taken_for_bgr(tmp_path: Path, real: Path) -> None:
    gray = made(tmp_path, lambda v: np.repeat(v.mean(-1, keepdims=True).astype(np.uint8), 3, -1))
    assert warnings(gray, real) == []


def test_the_warps_border_is_no_overlap() -> None:
    """45° apart at 90°, the ray of a query pixel at x falls into the target where x ≥ tan 0°."""
    size = 33  # the middle column looks straight ahead, where the next view begins
    overlap = neighbor_overlaps(90, YAWS, size, size)[0]
    x, y = np.meshgrid((np.arange(size) - 16) / 16.5, (np.arange(size) - 16) / 16.5)
    turn = np.pi / 4
    ahead = x * np.sin(turn) + np.cos(turn)
    u, v = (x * np.cos(turn) - np.sin(turn)) / ahead, y / ahead
    last = 16 / 16.5  # the outermost pixel centers; beyond, interpolation needs the border
    margin = np.minimum(last - np.abs(u), last - np.abs(v))
    assert not overlap.mask[margin < -1e-3].any()
    assert overlap.mask[margin > 0.05].all()
    assert 0.2 < overlap.mask.mean() < 0.5


def test_the_border_would_be_counted_without_the_mask() -> None:
    """White views on a black border: whatever of the border leaked in would lower the PSNR."""
    views = np.ones((8, 48, 48, 3), np.float32)
    assert (cross_view_psnr(views, neighbor_overlaps(90, YAWS, 48, 48)) == 100).all()


def pasted(views: np.ndarray) -> np.ndarray:
    """Write each view's pixels into the next one, where they overlap, by scipy."""
    size, views = views.shape[1], views.copy()
    middle, focal = (size - 1) / 2, size / 2
    x, y = np.meshgrid((np.arange(size) - middle) / focal, (np.arange(size) - middle) / focal)
    turn = -np.pi / 4  # the previous view is to the left
    ahead = x * np.sin(turn) + np.cos(turn)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = (x * np.cos(turn) - np.sin(turn)) / ahead * focal + middle
        v = y / ahead * focal + middle
    seen = (ahead > 0) & (u >= 0) & (u <= size - 1) & (v >= 0) & (v <= size - 1)
    for view in range(1, len(views)):
        for channel in range(3):
            source = views[view - 1, ..., channel].astype(float)
            values = map_coordinates(source, [v[seen], u[seen]], order=1)
            views[view, ..., channel][seen] = np.round(values)
    return views


def test_pasted_pixels_of_panoramas(tmp_path: Path, real: Path) -> None:
    found = the_warning(made(tmp_path, pasted), real)
    assert found.startswith("28 of 32 overlaps")  # all but the closing pairs


def test_views_of_a_blurred_panorama_are_no_copies(tmp_path: Path) -> None:
    """They agree to 50 dB and more, as a copy does, but not value by value."""
    theirs = foreign.panfusion(tmp_path / "theirs", 2)
    folder = open_folder(theirs, view_size=128)
    views = folder.views("room000").astype(np.float32) / 255
    assert cross_view_psnr(views, neighbor_overlaps(90, YAWS, 128, 128)).max() > 50
    assert mvdiffusion_eval.score(theirs, settings=SETTINGS, view_size=128)["warnings"] == []


def test_pasted_pixels_of_sequences(tmp_path: Path) -> None:
    """The last key frame is the middle one's pixels, carried over the wall, by scipy."""
    frames, poses = toy.noisy(walks.real_samples(2), 3), walks.poses()
    points = walks.wall_points(poses[6])[0]
    local = (points - poses[3][:3, 3]) @ poses[3][:3, :3] @ walks.K.T
    x, y = local[..., 0] / local[..., 2], local[..., 1] / local[..., 2]
    seen = (x >= 0) & (x <= walks.WIDTH - 1) & (y >= 0) & (y <= walks.HEIGHT - 1)
    depth_maps = walks.write_folder(tmp_path / "made", "made", frames)
    assert warnings(depth_maps) == []
    for name, views in frames.items():
        for channel in range(3):
            values = map_coordinates(
                views[3, ..., channel].astype(float), [y[seen], x[seen]], order=1
            )
            views[6, ..., channel][seen] = np.round(values)
        Image.fromarray(views[6]).save(depth_maps / name / "6.png")
    assert the_warning(depth_maps).startswith("2 of 4 overlaps")


def test_flat_views_are_no_copies(tmp_path: Path) -> None:
    rooms = toy.real_samples(2)
    rooms["room001"][:] = 200
    found = the_warning(toy.write_folder(tmp_path / "flat", "flat", rooms))
    assert found.startswith("8 of 16 images")  # nothing of copied pixels


def test_another_number_of_samples(tmp_path: Path, real: Path) -> None:
    folder = made(tmp_path, count=3)
    (found,) = warnings(folder, real)
    assert found.startswith("3 samples were scored, but ")
    assert " has 4; " in found
    with pytest.raises(InputError, match=r"samples \['room003'\] \(1 in all\) are not in the"):
        mvdiffusion_eval.score(real, folder, settings=SETTINGS)


def detailed(count: int, size: int = 64) -> dict[str, np.ndarray]:
    """Views with detail, as JPEG needs to lose some."""
    rng = np.random.default_rng(3)
    samples = {f"room{i:03d}": toy.views_of(i, i % 3, size) for i in range(count)}
    return {
        name: np.clip(v + rng.normal(0, 4, v.shape), 0, 255).astype(np.uint8)
        for name, v in samples.items()
    }


def through_jpeg(views: np.ndarray, quality: int) -> np.ndarray:
    decoded = []
    for view in views:
        buffer = io.BytesIO()
        Image.fromarray(view).save(buffer, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(buffer)))
    return np.stack(decoded)


@pytest.mark.parametrize("lossy", [("generated",), ("reference",), ("generated", "reference")])
def test_jpeg_on_one_side(lossy: tuple[str, ...], tmp_path: Path) -> None:
    rooms = {"generated": toy.noisy(detailed(3), 2), "reference": detailed(3)}
    for side in lossy:
        rooms[side] = {name: through_jpeg(views, 75) for name, views in rooms[side].items()}
    folders = {name: toy.write_folder(tmp_path / name, name, s) for name, s in rooms.items()}
    found = warnings(*folders.values())
    if len(lossy) == 2:
        assert found == []
    else:
        assert found[0].startswith(
            f"the images in {folders[lossy[0]]} are JPEG or lossy WebP, or show the borders"
        )
        assert len(found) == 1


def test_jpeg_files_in_disguise_on_one_side(tmp_path: Path, real: Path) -> None:
    folder = made(tmp_path)
    for path in folder.glob("*/*.png"):
        Image.open(path).convert("RGB").save(path, "JPEG", quality=98)
    assert "borders of 8-pixel blocks" in the_warning(folder, real)


@pytest.mark.parametrize("more", [{}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}])
@pytest.mark.parametrize("lossless", [False, True])
def test_lossy_webp_on_one_side(lossless: bool, more: dict, tmp_path: Path, real: Path) -> None:
    """Plain files and extended ones, whose image is not in the first chunk."""
    folder = made(tmp_path)
    for path in folder.glob("*/*.png"):
        Image.open(path).convert("RGB").save(path, "WEBP", lossless=lossless, quality=90, **more)
    found = [w for w in warnings(folder, real) if "JPEG or lossy WebP" in w]
    assert bool(found) != lossless


def test_prompts_that_clip_cuts(world: Path, extractors: list[Path], tmp_path: Path) -> None:
    """48 tokens with those of start and end: 46 words of one token each are read whole."""
    folder = tmp_path / "made"
    shutil.copytree(world / "mvdiffusion", folder)
    prompts = folder / "room002" / "prompt.txt"
    for words, cut in ((46, False), (47, True)):
        prompts.write_text(("kitchen " + "a " * (words - 1) + "\n") * 8)
        result = mvdiffusion_eval.score(folder, extractors=extractors[1:], settings=SETTINGS_ALL)
        found = [w for w in result["warnings"] if "tokens that miniature-clip reads" in w]
        assert len(found) == cut
    assert found[0].startswith("1 of ")


def test_other_prompts(tmp_path: Path, real: Path) -> None:
    folder = made(tmp_path)
    prompts = folder / "room002" / "prompt.txt"
    prompts.write_text(prompts.read_text().replace("side 5", "side 6"))
    assert the_warning(folder, real).startswith("the prompts of 1 of 4 samples")
    prompts.unlink()
    assert warnings(folder, real) == []


ORDERS = {
    "0, 7, 6, 5, 4, 3, 2, 1": [0, 7, 6, 5, 4, 3, 2, 1],
    "0, 3, 6, 1, 4, 7, 2, 5": [0, 3, 6, 1, 4, 7, 2, 5],
    "0, 1, 2, 3, 5, 4, 6, 7": [0, 1, 2, 3, 5, 4, 6, 7],
}


@pytest.mark.parametrize("order", ORDERS)
def test_views_in_another_order(order: str, tmp_path: Path) -> None:
    numbers = np.argsort(ORDERS[order])  # view `order[n]` of the folder shows direction n
    folder = made(tmp_path, lambda views: views[numbers])
    assert f"in the order {order} than" in the_warning(folder)


@pytest.mark.parametrize("stated", [60.0, 75.0, 110.0])
def test_another_field_of_view(stated: float, tmp_path: Path) -> None:
    """Views of 90 degrees without a manifest, and a wrong --fov-deg or none beside other views."""
    samples = toy.noisy(toy.real_samples(4), 3)
    folder = toy.write_folder(tmp_path / "made", "made", samples, manifest=False)
    told = mvdiffusion_eval.score(folder, settings=SETTINGS, fov_deg=stated)["warnings"]
    (found,) = (warning for warning in told if "field of view" in warning)
    assert f"at a field of view of 90° than at the {stated:g}° that" in found
    assert mvdiffusion_eval.score(folder, settings=SETTINGS, fov_deg=90.0)["warnings"] == []


def test_frames_in_another_order(tmp_path: Path) -> None:
    frames = {name: views[::-1] for name, views in walks.real_samples(2).items()}
    found = the_warning(walks.write_folder(tmp_path / "made", "made", frames))
    assert "in the order last to first than" in found


@pytest.mark.parametrize("name", ["3.png", "7.png"])
def test_missing_views(name: str, tmp_path: Path, real: Path) -> None:
    folder = made(tmp_path)
    (folder / "room001" / name).unlink()
    with pytest.raises(InputError, match=f"room001/{name}: no such view"):
        mvdiffusion_eval.score(folder, real, settings=SETTINGS)
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match="room001"):
        mvdiffusion_eval.score(folder, real, settings=SETTINGS)


def test_a_view_that_is_missing_in_every_sample(tmp_path: Path) -> None:
    """Seven files are seven even views, 51.4 degrees apart, unless their directions are stated."""
    samples = {name: views[:7] for name, views in toy.real_samples(3).items()}
    folder = toy.write_folder(tmp_path / "made", "made", samples, manifest=False)
    (found,) = (warning for warning in warnings(folder) if "the 7 views" in warning)
    assert "by 51.4286°, as nothing states their directions" in found
    told = open_folder(folder, yaw_deg=[45.0 * view for view in range(7)])
    assert odd_spacing(SimpleNamespace(generated=told)) == ""


def test_real_images_scored_as_generated(tmp_path: Path, real: Path) -> None:
    folder = made(tmp_path)
    for view in (2, 3, 4):
        source = real / "room003" / f"{view}.png"
        (folder / "room000" / f"{view}.png").write_bytes(source.read_bytes())
    found = [w for w in warnings(folder, real) if "byte-for-byte copies" in w]
    assert found[0].startswith("3 of 32 images in ")


def test_real_pixels_in_other_files(tmp_path: Path, real: Path) -> None:
    folder = made(tmp_path)
    for view in (2, 3, 4):
        picture = Image.open(real / "room003" / f"{view}.png")
        picture.save(folder / "room003" / f"{view}.png", compress_level=0)
    found = the_warning(folder, real)
    assert found.startswith("3 of 32 images looked at in ")
    assert "pixel-for-pixel copies" in found


@pytest.mark.parametrize("noise", [0, 2])
def test_nearly_empty_views(noise: int, tmp_path: Path, real: Path) -> None:
    """Ramps and faint noise: neighbors agree, because there is nothing to see."""

    def empty(views: np.ndarray) -> np.ndarray:
        ramp = np.linspace(120, 130, views.shape[1])[None, :, None, None]
        faint = np.random.default_rng(0).integers(-noise, noise + 1, views.shape)
        return np.broadcast_to(ramp + faint, views.shape).round().astype(np.uint8)

    found = [w for w in warnings(made(tmp_path, empty), real) if "gradient energy" in w]
    assert len(found) == 1
    assert "which raises the PSNR of overlaps" in found[0]


def test_the_given_view_of_outpainting_may_be_real(tmp_path: Path) -> None:
    rooms = toy.real_samples(4)
    ours = toy.outpainted_samples(4, toy.noisy(rooms, 3))
    folders = [
        toy.write_folder(tmp_path / name, name, samples, given_views=(0,))
        for name, samples in (("made", ours), ("real", rooms))
    ]
    assert warnings(*folders) == []


def test_the_real_views_may_score_themselves(real: Path) -> None:
    assert warnings(real, real) == []
