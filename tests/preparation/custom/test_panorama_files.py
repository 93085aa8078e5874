"""Panoramas and cube faces as other tools name and lay them out."""

import numpy as np
import py360convert
import pytest
from PIL import Image
from typer.testing import CliRunner

from mvdiffusion.cli import app
from mvdiffusion.preparation.custom.check import CheckSettings, recognize, survey
from mvdiffusion.preparation.custom.importing import import_folder

NAMES = {
    "words": ("up", "left", "front", "right", "back", "down"),
    "top and bottom": ("Top", "Left", "Front", "Right", "Back", "Bottom"),
    "axes": ("py", "nx", "pz", "px", "nz", "ny"),
    "letters": ("u", "l", "f", "r", "b", "d"),
    "game engines": ("UP", "LF", "FT", "RT", "BK", "DN"),
}


def panorama(height: int = 64) -> np.ndarray:
    """A smooth panorama [H, 2 H, 3] that has no symmetry."""
    y, x = np.mgrid[:height, : 2 * height] + 0.5
    longitude, latitude = x / height * np.pi, (0.5 - y / height) * np.pi
    bands = [np.sin(longitude + 1), np.cos(longitude - 0.5), np.sin(longitude * 2)]
    waves = np.stack(bands, -1) * np.cos(latitude)[..., None] + np.sin(latitude)[..., None]
    return np.round(127.5 + 60 * waves).astype(np.uint8)


def faces(size: int = 32) -> list[np.ndarray]:
    """Six faces, up and down as seen when tilting the head, by py360convert."""
    views = ((0, 90), (-90, 0), (0, 0), (90, 0), (180, 0), (0, -90))  # yaw and pitch in degrees
    return [py360convert.e2p(panorama(), 90, yaw, pitch, (size, size)) for yaw, pitch in views]


@pytest.mark.parametrize("style", NAMES)
@pytest.mark.parametrize("start", ["", "hall_"])
def test_names_of_faces(tmp_path, style, start):
    folder = tmp_path / "cave"
    folder.mkdir()
    for name, face in zip(NAMES[style], faces(), strict=True):
        Image.fromarray(face).save(folder / f"{start}{name}.png")
    assert recognize(folder) == ["faces"]
    found = survey(folder, CheckSettings(caption="x"))
    assert found.problems == []
    (cube,) = found.panoramas
    assert cube.id == ("hall" if start else "cave")
    assert tuple(look.path.stem.removeprefix("hall_") for look in cube.images) == NAMES[style]


def test_faces_that_are_turned_or_exchanged_are_noted(tmp_path):
    made = faces()
    made[1], made[3] = made[3], made[1]
    made[0] = np.rot90(made[0], -1)
    for name, face in zip(NAMES["words"], made, strict=True):
        Image.fromarray(np.ascontiguousarray(face)).save(tmp_path / f"{name}.png")
    problems = {each.file: each for each in survey(tmp_path, CheckSettings(caption="x")).problems}
    assert "left and right look exchanged" in problems["left.png"].problem
    assert "Turn it by 90° anticlockwise" in problems["up.png"].fix
    assert set(problems) == {"left.png", "up.png"}


def test_faces_of_other_names_are_not_ready(tmp_path):
    folder = tmp_path / "cube"
    folder.mkdir()
    for place in range(6):
        Image.new("RGB", (32, 32)).save(folder / f"tile{place}x.png")
    found = survey(folder, CheckSettings("faces", caption="x"))
    assert [each.problem for each in found.stopping] == ["no cube faces found"]
    assert "<id>_front.png" in found.stopping[0].fix
    assert "py nx pz px nz ny" in found.stopping[0].fix
    options = ["--kind", "faces", "--caption", "x"]
    run = CliRunner().invoke(app, ["data", "check", str(folder), *options])
    assert run.exit_code == 1
    assert "ready" not in run.output
    out = ["--output", str(tmp_path / "out"), "--split", "test"]
    run = CliRunner().invoke(app, ["data", "import", str(folder), *options, *out])
    assert run.exit_code == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("width", "height"), [(192, 32), (32, 192), (128, 96), (96, 128)])
def test_six_faces_in_one_image(tmp_path, width, height):
    """A strip, or a cross whose corners are empty."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    if max(width, height) == 128:
        for rows in (slice(0, 32), slice(height - 32, height)):
            for columns in (slice(0, 32), slice(width - 32, width)):
                pixels[rows, columns] = 0
    Image.fromarray(pixels).save(tmp_path / "cube.png")
    problem = survey(tmp_path, CheckSettings(caption="x")).stopping[0]
    assert "six faces of a cube in one image" in problem.problem
    assert "<id>_front.png" in problem.fix


def test_frames_of_a_camera_get_no_advice_to_crop(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    problem = survey(tmp_path, CheckSettings(caption="x")).stopping[0]
    assert "not twice as wide as high" in problem.problem
    assert "crop" not in problem.fix
    assert "with depth and poses" in problem.fix


def test_depth_is_not_to_be_saved_with_8_bits(tmp_path):
    Image.fromarray(np.full((64, 128), 1500, np.uint16)).save(tmp_path / "depth.png")
    problem = survey(tmp_path, CheckSettings(caption="x")).stopping[0]
    assert "as depth has" in problem.problem
    assert "8" not in problem.fix


def test_panoramas_of_one_name_get_their_folders_names(tmp_path):
    """Structured3D: scene/2D_rendering/room/panorama/full/rgb_rawlight.png."""
    source = tmp_path / "source"
    rooms = (("scene_00000", "485142"), ("scene_00000", "906322"), ("scene_00002", "485142"))
    for place, (scene, room) in enumerate(rooms):
        folder = source / scene / "2D_rendering" / room / "panorama/full"
        folder.mkdir(parents=True)
        Image.new("RGB", (128, 64), (80 * place, 0, 0)).save(folder / "rgb_rawlight.png")
    found = survey(source, CheckSettings(caption="x"))
    assert found.stopping == []
    ids = [f"{scene}-{room}-rgb_rawlight" for scene, room in rooms]
    assert [panorama.id for panorama in found.panoramas] == ids
    assert import_folder(found, tmp_path / "out", "test") == dict.fromkeys(ids, 6)
    for place, name in enumerate(ids):
        face = tmp_path / f"out/full/matterport_skybox_images/{name}_skybox2_sami.jpg"
        assert abs(Image.open(face).getpixel((5, 5))[0] - 80 * place) <= 3


def test_equal_names_at_different_depths(tmp_path):
    for name in ("a/pano.png", "b/c/pano.png", "b/other.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (128, 64)).save(tmp_path / name)
    found = survey(tmp_path, CheckSettings(caption="x"))
    assert sorted(panorama.id for panorama in found.panoramas) == ["a-pano", "b-c-pano", "other"]
    assert found.stopping == []
