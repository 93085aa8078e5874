"""Houses of Matterport3D: owners' bytes kept, broken panoramas left out, stitched for others."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import py360convert
import pytest
import torch
from archives_of_rooms import FOLDER, HOUSES, house_files, panorama_id, row, write_zip
from PIL import Image

from mvdiffusion.geometry.cubemap import cube_to_equirectangular, face_rotations
from mvdiffusion.preparation import matterport3d
from mvdiffusion.preparation.matterport3d import (
    HousePreparation,
    prepare_house,
    write_equirectangular,
)
from mvdiffusion.records import InputError, folder_sha256

HOUSE = HOUSES[0]


def member(number: int, face: int) -> str:
    return f"{HOUSE}/{FOLDER}/{panorama_id(HOUSE, number)}_skybox{face}_sami.jpg"


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def prepare(tmp_path: Path, files: dict[str, bytes], settings=None, **options) -> Path:
    archive = write_zip(tmp_path / f"{FOLDER}.zip", files)
    prepare_house(archive, tmp_path / HOUSE, HOUSE, settings or HousePreparation(), **options)
    return tmp_path / HOUSE


def faces_of(house: Path) -> dict[str, bytes]:
    return {
        f"{HOUSE}/{FOLDER}/{path.name}": path.read_bytes() for path in (house / FOLDER).iterdir()
    }


def test_owners_bytes_are_kept(tmp_path):
    files = house_files(HOUSE)
    house = prepare(tmp_path, {**files, f"{HOUSE}/{FOLDER}/notes.txt": b"not a face"})
    assert faces_of(house) == files
    record = json.loads((house / "prepared.json").read_text())
    assert record["files"] == {
        name.removeprefix(f"{HOUSE}/"): hashlib.sha256(content).hexdigest()
        for name, content in files.items()
    }
    assert (record["unit"], record["skipped"]) == (HOUSE, [])
    assert record["settings"] == {"face_size": None}
    assert sorted(path.name for path in tmp_path.iterdir()) == [HOUSE, f"{FOLDER}.zip"]


def test_done_already_it_is_not_done_again(tmp_path, monkeypatch):
    files = house_files(HOUSE)
    house = prepare(tmp_path, files)
    (house / "blip3").mkdir()
    (house / "blip3" / "x_0.txt").write_text("a room\n")
    (house / "notes.txt").write_text("mine")
    extracted = []
    extract = matterport3d.extract
    monkeypatch.setattr(
        matterport3d, "extract", lambda *words: extracted.append(words) or extract(*words)
    )
    prepare(tmp_path, files)
    assert extracted == []
    wanted = HousePreparation(face_size=16)
    with pytest.raises(InputError, match=r"other settings \(settings\.face_size\)"):
        prepare(tmp_path, files, wanted)
    assert (extracted, len(faces_of(house))) == ([], 12)
    prepare(tmp_path, files, wanted, overwrite=True)
    with pytest.raises(InputError, match=r"other settings \(source\.bytes, source\.sha256\)"):
        prepare(tmp_path, house_files(HOUSE, 1), wanted)
    prepare(tmp_path, house_files(HOUSE, 1), wanted, overwrite=True)
    assert len(extracted) == 2
    assert len(faces_of(house)) == 6
    assert (house / "blip3" / "x_0.txt").read_text() == "a room\n"
    assert (house / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path, overwrite):
    (tmp_path / HOUSE).mkdir()
    (tmp_path / HOUSE / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(thesis\.txt"):
        prepare(tmp_path, house_files(HOUSE), overwrite=overwrite)
    assert [path.name for path in (tmp_path / HOUSE).iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "face 3 is missing"),
        (b"", "face 3 is not a whole square image"),
        (b"no image", "face 3 is not a whole square image"),
        (house_files(HOUSE, 1)[member(0, 3)][:-200], "face 3 is not a whole square image"),
        (jpeg(16, 15), "face 3 is not a whole square image"),
        (jpeg(24, 24), "face 3 is 24 pixels wide, not 16"),
    ],
)
def test_a_broken_panorama_is_left_out_and_listed(tmp_path, content, reason):
    files = house_files(HOUSE, 3)
    del files[member(1, 3)]
    if content is not None:
        files[member(1, 3)] = content
    house = prepare(tmp_path, files)
    bad = panorama_id(HOUSE, 1)
    assert faces_of(house) == {k: v for k, v in files.items() if bad not in k}
    record = json.loads((house / "prepared.json").read_text())
    assert record["skipped"] == [{"panorama": bad, "reason": reason}]


def test_a_house_without_a_whole_panorama(tmp_path):
    with pytest.raises(InputError, match=r"none of its 2 panoramas .* 16 pixels wide, not 512"):
        prepare(tmp_path, house_files(HOUSE), HousePreparation(face_size=512))
    with pytest.raises(InputError, match="none of the expected files"):
        prepare(tmp_path, {f"{HOUSE}/cameras/x.txt": b"x"})
    assert not (tmp_path / HOUSE).exists()
    with pytest.raises(InputError, match="face_size"):
        HousePreparation(face_size=0)


def test_threads_do_not_change_the_bytes(tmp_path):
    files = house_files(HOUSE, 4)
    files[member(2, 0)] = b"x"
    first = folder_sha256(prepare(tmp_path, files))
    shutil.rmtree(tmp_path / HOUSE)
    assert folder_sha256(prepare(tmp_path, files, workers=3)) == first


def waves(rays: torch.Tensor) -> torch.Tensor:
    """Colors [..., 3] that vary smoothly over directions [..., 3]."""
    x, y, z = (rays / rays.norm(dim=-1, keepdim=True)).double().unbind(-1)
    parts = [torch.sin(3 * x + y), torch.cos(2 * y - z) * x, torch.sin(4 * z) * y]
    return torch.stack(parts, -1) * 100 + 128


def painted(size: int, samples: int = 1) -> torch.Tensor:
    """Faces [6, 3, S, S] of `waves`, looked at through the middles of pixels."""
    steps = (torch.arange(size).double() + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    local = torch.stack([x, y, torch.ones_like(x)], -1)
    rays = torch.einsum("fij,hwj->fhwi", face_rotations().double(), local)
    return waves(rays).permute(0, 3, 1, 2)


def sphere(height: int) -> torch.Tensor:
    """Directions [H, 2 H, 3] of an equirectangular image, written out once more."""
    row_, column = torch.meshgrid(
        torch.arange(height).double(), torch.arange(2 * height).double(), indexing="ij"
    )
    theta = (row_ + 0.5) / height * torch.pi  # from the top
    phi = (column + 0.5) / (2 * height) * 2 * torch.pi - torch.pi
    return torch.stack([theta.sin() * phi.sin(), -theta.cos(), theta.sin() * phi.cos()], -1)


def test_a_stitched_panorama_is_the_function_that_was_painted():
    panorama = cube_to_equirectangular(painted(64), 128)
    assert panorama.shape == (3, 128, 256)
    error = (panorama.permute(1, 2, 0) - waves(sphere(128))).abs()
    # Of 200: linear interpolation loses a little, most where two faces meet.
    assert float(error.max()) < 0.8
    assert float(error.quantile(0.99)) < 0.2
    assert float(error.mean()) < 0.04


def test_a_stitched_panorama_is_that_of_another_library():
    faces = painted(128)
    up, left, front, right, back, down = faces.permute(0, 2, 3, 1).numpy()
    # Theirs: up and down as seen when the head is tilted from the front.
    cube = {"L": left, "F": front, "R": right, "B": back}
    cube |= {"U": np.rot90(up, -1), "D": np.rot90(down, 1)}
    expected = py360convert.c2e(cube, 256, 512, mode="bilinear", cube_format="dict")
    found = cube_to_equirectangular(faces, 256).permute(1, 2, 0).numpy()
    # Half a pixel of a face lies between the two: they put the first pixel's middle at the edge.
    step = max(float(faces.diff(dim=axis).abs().max()) for axis in (2, 3))
    difference = np.abs(found - expected)
    assert difference.mean() < 0.3 * step
    assert difference.max() < 1.5 * step


def test_a_small_panorama_keeps_the_mean_of_what_it_shows():
    """A checkerboard of single pixels becomes even gray, and light stays where it was."""
    board = torch.arange(64)[:, None] + torch.arange(64) & 1
    gray = cube_to_equirectangular(board.float().expand(6, 1, 64, 64) * 255, 16)
    assert float((gray - 127.5).abs().max()) < 25  # 127.5 if pixels were picked
    assert float((cube_to_equirectangular(painted(256), 8)).isfinite().all())
    fine = waves(sphere(256)).reshape(8, 32, 16, 32, 3)
    weight = sphere(256)[:, :, ::2].square().sum(-1).sqrt().reshape(8, 32, 16, 32, 1)
    mean = (fine * weight).sum((1, 3)) / weight.sum((1, 3))
    found = cube_to_equirectangular(painted(256), 8).permute(1, 2, 0)
    assert float((found - mean).abs().max()) < 0.5
    unweighted = fine.mean((1, 3))
    assert float((unweighted - mean).abs().max()) > 1  # the area does matter


@pytest.fixture
def root(tmp_path) -> Path:
    prepare(tmp_path, house_files(HOUSE, 2, 32))
    np.save(tmp_path / "test.npy", np.array([row(HOUSE, number) for number in range(2)]))
    return tmp_path


def test_stitching_a_split(root):
    assert write_equirectangular(root, "test", root / "out", 64) == 2
    names = [panorama_id(HOUSE, number) for number in range(2)]
    assert sorted(path.stem for path in (root / "out").glob("*.png")) == sorted(names)
    with Image.open(root / "out" / f"{names[0]}.png") as image:
        assert image.size == (128, 64)
        stitched = np.asarray(image, float)
    with Image.open(root / member(0, 2)) as image:
        front = np.asarray(image, float)
    # Near the horizon, straight ahead, the panorama is the front face, 1.27 times as fine.
    assert np.abs(stitched[28:36, 60:68].mean((0, 1)) - front[13:19, 13:19].mean((0, 1))).max() < 6


def test_stitching_goes_on_where_it_was(root):
    write_equirectangular(root, "test", root / "out", 16)
    first, second = sorted((root / "out").glob("*.png"))
    whole = second.read_bytes()
    second.unlink()
    first.write_bytes(whole)  # finished, so it is taken as it is
    write_equirectangular(root, "test", root / "out", 16, workers=2)
    assert (first.read_bytes(), second.read_bytes()) == (whole, whole)
    with pytest.raises(InputError, match="--height"):
        write_equirectangular(root, "test", root / "out", 1)


def test_panoramas_of_other_faces_are_not_kept_for_new_ones(root):
    write_equirectangular(root, "test", root / "out", 16)
    before = {path.name: path.read_bytes() for path in (root / "out").glob("*.png")}
    with pytest.raises(InputError, match=r"other settings \(height\)"):
        write_equirectangular(root, "test", root / "out", 8)
    (root / member(0, 2)).write_bytes(jpeg(32, 32))
    name = panorama_id(HOUSE, 0)
    with pytest.raises(InputError, match=rf"other settings \(faces\.{name}\)"):
        write_equirectangular(root, "test", root / "out", 16)
    write_equirectangular(root, "test", root / "out", 16, overwrite=True)
    assert (root / "out" / f"{name}.png").read_bytes() != before[f"{name}.png"]
    assert {path.name: path.read_bytes() for path in (root / "out.old").glob("*.png")} == before
