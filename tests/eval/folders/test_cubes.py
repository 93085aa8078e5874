"""Six cube faces as a layout: against py360convert, in both conventions, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import foreign
import numpy as np
import py360convert
import pytest
import toy
from PIL import Image

import mvdiffusion_eval
from mvdiffusion.geometry.cameras import level_rotations
from mvdiffusion.records import InputError
from mvdiffusion_eval.folders.crops import FaceFolder, crop, cube_6, select_images
from mvdiffusion_eval.folders.cubes import CubeFolder
from mvdiffusion_eval.folders.equirectangular import cut
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import PanoramaFolder
from mvdiffusion_eval.metrics.base import Inputs
from mvdiffusion_eval.scoring.camera_checks import swapped_faces, turned_faces
from mvdiffusion_eval.scoring.sanity_checks import CHECKS
from mvdiffusion_eval.settings import ScoreSettings

SIZE = 64  # of a face; panoramas have twice as many rows
WORDS = {"U": "up", "L": "left", "F": "front", "R": "right", "B": "back", "D": "down"}


def faces_of(seed: int) -> dict[str, np.ndarray]:
    """Faces by py360convert, up and down as seen from the front."""
    return dict(py360convert.e2c(foreign.panorama(seed), SIZE, "bilinear", "dict"))


def matterports(faces: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same in Matterport3D's names and turns."""
    turned = {**faces, "U": np.rot90(faces["U"]), "D": np.rot90(faces["D"], -1)}
    return {f"skybox{number}_sami": turned[name] for number, name in enumerate("ULFRBD")}


def write(root: Path, count: int, name: str = "letters", suffix: str = "png") -> Path:
    for number in range(count):
        faces = faces_of(number)
        if name == "words":
            faces = {WORDS[letter]: face for letter, face in faces.items()}
        if name == "prefixed":
            faces = {f"room{number}_{WORDS[k].title()}": face for k, face in faces.items()}
        if name == "Matterport3D":
            faces = matterports(faces)
        folder = root / f"room{number}"
        folder.mkdir(parents=True)
        for face, pixels in faces.items():
            Image.fromarray(pixels).save(folder / f"{face}.{suffix}", quality=95)
        (folder / "prompt.txt").write_text("A whole room")
    return root


def opened(root: Path, **options: int) -> CubeFolder:
    folder = open_folder(root, **options)
    assert isinstance(folder, CubeFolder)
    return folder


@pytest.mark.parametrize("name", ["letters", "words", "prefixed", "Matterport3D"])
def test_faces_make_the_panorama_that_they_were_cut_from(tmp_path: Path, name: str) -> None:
    """As near to it as py360convert's own way back; turned wrongly, the poles are far from it."""
    folder = opened(write(tmp_path / "cubes", 2, name), view_size=32)
    assert (folder.panorama_size, folder.face_size) == ((4 * SIZE, 2 * SIZE), SIZE)
    for number in range(2):
        found = folder.panorama(f"room{number}").astype(float)
        original = foreign.panorama(number).astype(float)
        back = py360convert.c2e(faces_of(number), 2 * SIZE, 4 * SIZE, cube_format="dict")
        ours, theirs = np.abs(found - original), np.abs(back - original)
        assert ours.mean() <= 1.05 * theirs.mean()
        for rows in (slice(0, 20), slice(-20, None)):  # near the poles
            assert ours[rows].mean() <= 1.05 * theirs[rows].mean() + 0.1
            assert np.abs(np.roll(found, SIZE, 1) - original)[rows].mean() > 4 * ours[rows].mean()
    assert folder.prompts("room1") == ["A whole room"] * 8


def test_the_names_say_how_up_and_down_are_turned(tmp_path: Path) -> None:
    kinds = ("letters", "words", "Matterport3D")
    folders = {kind: opened(write(tmp_path / kind, 1, kind)) for kind in kinds}
    panoramas = [folder.panorama("room0") for folder in folders.values()]
    np.testing.assert_array_equal(panoramas[0], panoramas[1])
    np.testing.assert_array_equal(panoramas[0], panoramas[2])
    told = {kind: folder.arrangement()["up_and_down"] for kind, folder in folders.items()}
    assert told["letters"] == told["words"] == "as seen from the front"
    assert told["Matterport3D"].startswith("turned by a quarter")
    digests = {folder.panorama_digest("room0") for folder in folders.values()}
    assert len(digests) == 2  # by content and turn, not by name


def test_views_come_straight_from_the_faces(tmp_path: Path) -> None:
    """A view at a side is that face; others are those of the panorama, but for its resampling."""
    folder = opened(write(tmp_path / "cubes", 1), view_size=SIZE)
    views = folder.views("room0")
    for view, name in ((0, "F"), (2, "R"), (4, "B"), (6, "L")):
        np.testing.assert_allclose(views[view], faces_of(0)[name], atol=1)
    R = level_rotations(folder.yaw_deg)
    of_panorama = cut(folder.panorama("room0"), 90.0, R, SIZE, SIZE).astype(float)
    assert np.abs(views - of_panorama).mean() < 1.5
    np.testing.assert_array_equal(folder.views("room0", [3, 1]), views[[3, 1]])


def test_faces_of_the_panorama_are_the_faces_again(tmp_path: Path) -> None:
    folder = opened(write(tmp_path / "cubes", 1))
    found = crop(folder, cube_6, 90, SIZE, "py360convert").views("room0").astype(float)
    expected = np.stack([faces_of(0)[name] for name in "ULFRBD"])
    assert np.abs(found - expected).mean((1, 2, 3)).max() < 3


@pytest.mark.long
def test_cubes_are_scored_against_panoramas_of_their_size(
    tmp_path: Path, extractors: list[Path]
) -> None:
    made, real = write(tmp_path / "made", 4), tmp_path / "real"
    real.mkdir()
    for number in range(4):
        Image.fromarray(foreign.panorama(number + 4)).save(real / f"room{number}.png")
    options = {"extractors": extractors[:1], "protocols": ["smgd"], "view_size": 32}
    result = mvdiffusion_eval.score(made, real, **options)
    assert set(result["metrics"]) == {"fid_pole", "fid_equ"}
    assert result["images"]["face_size"] == SIZE
    for path in real.iterdir():
        Image.open(path).resize((2 * SIZE, SIZE)).save(path)
    with pytest.raises(InputError, match="256×128 pixels, but those of the reference"):
        mvdiffusion_eval.score(made, real, **options)
    smaller = mvdiffusion_eval.score(made, real, panorama_height=SIZE, **options)
    assert smaller["images"]["cut_from"] == [2 * SIZE, SIZE]
    assert smaller["images"]["resized_by"] == "sampling of the faces"


def remove_down(folder: Path) -> None:
    (folder / "D.png").unlink()


def second_front(folder: Path) -> None:
    shutil.copy(folder / "F.png", folder / f"{folder.name}_f.png")


def smaller_back(folder: Path) -> None:
    Image.open(folder / "B.png").resize((32, 32)).save(folder / "B.png")


def wide_back(folder: Path) -> None:
    Image.open(folder / "B.png").resize((2 * SIZE, SIZE)).save(folder / "B.png")


def other_names(folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.unlink()
    for name, face in matterports(faces_of(1)).items():
        Image.fromarray(face).save(folder / f"{name}.png")


def no_faces(folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_down, "room1: none of the face 'd'; expected the six faces of a cube"),
        (second_front, "room1: two of the face 'f'; expected the six faces"),
        (smaller_back, r"room1/B\.png: is 32×32 pixels; expected 64×64"),
        (wide_back, r"room1/B\.png: is 128×64 pixels; expected 64×64"),
        (other_names, "room1: its faces are named as if up and down were turned by a quarter"),
        (no_faces, "room1: contains no face 'front' of a cube; expected"),
    ],
)
def test_a_cube_with_wrong_faces_is_refused(tmp_path: Path, damage, message: str) -> None:
    root = write(tmp_path / "cubes", 2)
    damage(root / "room1")
    with pytest.raises(InputError, match=message):
        open_folder(root)


@pytest.mark.parametrize("face", ["U", "D"])
def test_a_face_that_is_turned_wrongly_is_told(tmp_path: Path, face: str) -> None:
    root = write(tmp_path / "cubes", 3)
    inputs = Inputs(opened(root), None, (), ScoreSettings())
    assert turned_faces in CHECKS
    assert turned_faces(inputs) == ""
    for folder in root.iterdir():
        Image.open(folder / f"{face}.png").rotate(90).save(folder / f"{face}.png")
    told = turned_faces(inputs)
    assert told.startswith(f"the faces '{WORDS[face]}' in {root} continue their neighbors")
    assert "by 270°" in told


@pytest.mark.parametrize("mistake", ["names", "mirrored"])
def test_faces_as_seen_from_outside_are_told(tmp_path: Path, mistake: str) -> None:
    root = write(tmp_path / "cubes", 3)
    inputs = Inputs(opened(root), None, (), ScoreSettings())
    assert swapped_faces in CHECKS
    assert swapped_faces(inputs) == ""
    for folder in root.iterdir():
        if mistake == "names":
            (folder / "L.png").rename(folder / "was_left")
            (folder / "R.png").rename(folder / "L.png")
            (folder / "was_left").rename(folder / "R.png")
        else:
            for path in folder.glob("*.png"):
                Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    told = swapped_faces(inputs)
    assert told.startswith(f"the faces 'front' in {root} continue much better")


def test_numbered_files_stay_views(tmp_path: Path) -> None:
    root = toy.write_folder(tmp_path / "views", "x", toy.real_samples(1))
    (root / "manifest.json").unlink()
    folder = open_folder(root)
    assert type(folder) is PanoramaFolder


@pytest.mark.parametrize("name", ["words", "Matterport3D"])
def test_seams_of_a_cube_are_measured_on_its_own_faces(tmp_path: Path, name: str) -> None:
    """A panorama made of the faces would blend their edges."""
    folder = opened(write(tmp_path / "cubes", 1, name))
    spec = {"of": "crops", "directions": "cube_6", "size": SIZE}
    faces = select_images(folder, spec)
    assert isinstance(faces, FaceFolder)
    expected = np.stack([faces_of(0)[letter] for letter in "ULFRBD"])
    assert np.array_equal(faces.views("room0"), expected)
    assert np.array_equal(faces.views("room0", [5, 2]), expected[[5, 2]])
    assert len(set(faces.view_digests("room0"))) == faces.count("room0") == 6
    half = select_images(folder, {**spec, "size": SIZE // 2})
    assert half is not None
    means = expected.reshape(6, SIZE // 2, 2, SIZE // 2, 2, 3).mean((2, 4))
    assert np.abs(half.views("room0") - means).max() <= 0.51
    others = ({"sampling": "py360convert"}, {"fov_deg": 80.0}, {"resized_to": 32})
    for other in others:
        assert not isinstance(select_images(folder, {**spec, **other}), FaceFolder)
