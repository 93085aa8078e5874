"""Photo spheres, films and contact sheets against what they were made from."""

import base64
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mvdiffusion.generation.media import (
    contact_sheet,
    to_pixels,
    turning_frames,
    write_film,
    write_panorama,
    write_photo_spheres,
)
from mvdiffusion.geometry.cameras import even_yaws, level_rotations
from mvdiffusion.geometry.panoramas import cut_views, stitch
from mvdiffusion.records import InputError
from mvdiffusion.viewer.panoramas import covered_rows

GPANO = "{http://ns.google.com/photos/1.0/panorama/}"


def world(height: int = 128) -> torch.Tensor:
    """A smooth panorama [3, H, 2 H] in −1 … 1."""
    latitude = torch.linspace(1, -1, height)[:, None].expand(-1, 2 * height)
    longitude = torch.linspace(-torch.pi, torch.pi, 2 * height).expand(height, -1)
    return torch.stack([latitude, 0.8 * torch.sin(longitude), 0.8 * torch.cos(2 * longitude)])


def fields(xmp: str) -> dict[str, str]:
    description = next(
        element
        for element in ElementTree.fromstring(xmp).iter()
        if element.tag.endswith("Description")
    )
    return {
        key.removeprefix(GPANO): value
        for key, value in description.attrib.items()
        if key.startswith(GPANO)
    }


def packet(data: bytes) -> str:
    start, end = data.index(b"<x:xmpmeta"), data.index(b"</x:xmpmeta>")
    return data[start : end + 12].decode()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_viewers_find_the_sphere(tmp_path: Path, suffix: str) -> None:
    panorama, covered = stitch(
        cut_views(world(), 90.0, level_rotations(even_yaws(8)), 64, 64), 90.0, 128
    )
    write_photo_spheres(panorama, covered, tmp_path)
    path = tmp_path / f"panorama.{suffix}"
    image = Image.open(path)
    found = fields(packet(path.read_bytes()))
    if suffix == "png":
        assert found == fields(image.text["XML:com.adobe.xmp"].split("?>", 1)[1])
    assert found["ProjectionType"] == "equirectangular"
    assert found["UsePanoramaViewer"] == "True"
    top, rows = int(found["CroppedAreaTopPixels"]), int(found["CroppedAreaImageHeightPixels"])
    assert image.size == (int(found["CroppedAreaImageWidthPixels"]), rows) == (256, rows)
    assert (found["FullPanoWidthPixels"], found["FullPanoHeightPixels"]) == ("256", "128")
    assert found["CroppedAreaLeftPixels"] == "0"
    # Eight views of 90° cover all around up to atan(cos 22.5°) = 42.73°, half a row more or less.
    band = 2 * np.degrees(np.arctan(np.cos(np.pi / 8)))
    assert abs(rows - band * 128 / 180) <= 2
    assert top == (128 - rows) // 2
    # What it shows is the sphere's own rows, and nothing gray.
    shown = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
    assert (shown - world()[:, top : top + rows]).abs().mean() < 0.02


def test_views_that_leave_gaps_are_no_sphere(tmp_path: Path) -> None:
    """Three views of 90°: a viewer would show gray where the metadata promise a panorama."""
    panorama, covered = stitch(
        cut_views(world(), 90.0, level_rotations(even_yaws(3)), 64, 64), 90.0, 128
    )
    write_photo_spheres(panorama, covered, tmp_path)
    for suffix in ("png", "jpg"):
        path = tmp_path / f"panorama.{suffix}"
        assert Image.open(path).width == 256
        assert b"GPano" not in path.read_bytes()


def test_rows_of_a_panorama_with_gaps() -> None:
    covered = torch.zeros(8, 16, dtype=torch.bool)
    covered[2:5, 3:9] = True
    assert covered_rows(covered) == (2, 3)
    covered[3] = True
    assert covered_rows(covered) == (3, 1)


def test_the_film_turns_through_the_views() -> None:
    views = cut_views(world(), 90.0, level_rotations(even_yaws(8)), 64, 64)
    panorama, covered = stitch(views, 90.0, 128)
    frames = list(turning_frames(panorama, covered, 90.0, 64, 16))
    height, width, _ = frames[0].shape
    assert (height, width) == (48, 64)
    for view in range(8):  # every second frame looks where a view does
        expected = to_pixels(views[view])[8:56].astype(int)
        assert np.abs(frames[2 * view] - expected).mean() < 3
    narrow = covered.clone()
    narrow[:54] = narrow[-54:] = False  # a band of 20 rows: 28°
    frame = next(iter(turning_frames(panorama, narrow, 90.0, 64, 1)))
    assert frame.shape[0] <= 2 * 32 * np.tan(np.radians(14.1))


def test_films_can_be_read(tmp_path: Path) -> None:
    views = cut_views(world(), 90.0, level_rotations(even_yaws(8)), 64, 64)
    frames = [to_pixels(view) for view in views]
    write_film(frames, tmp_path / "a.mp4", 12)
    film = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == 12
    for frame in frames:
        whole, found = film.read()
        assert whole
        difference = cv2.cvtColor(found, cv2.COLOR_BGR2RGB).astype(float) - frame
        assert 10 * np.log10(255**2 / np.square(difference).mean()) > 25
    assert not film.read()[0]
    with pytest.raises(InputError, match="no frames"):
        write_film([], tmp_path / "b.mp4", 12)
    with pytest.raises(InputError, match="could not open a film"):
        write_film(frames, tmp_path / "nowhere" / "b.mp4", 12)


def test_contact_sheet_shows_every_view() -> None:
    views = torch.linspace(-1, 0.5, 5)[:, None, None, None].expand(-1, 3, 6, 10)
    sheet = np.array(contact_sheet(views, columns=3, margin=2))
    assert sheet.shape == (2 * 8 + 2, 3 * 12 + 2, 3)
    for index, view in enumerate(views):
        row, column = divmod(index, 3)
        found = sheet[2 + 8 * row :, 2 + 12 * column :][:6, :10]
        assert np.array_equal(found, to_pixels(view))
    assert (sheet[10:16, 26:36] == 255).all()


@pytest.mark.parametrize("count", [8, 3])
def test_the_viewer_shows_what_the_photo_sphere_declares(tmp_path: Path, count: int) -> None:
    """Angles by the fields of Google's schema, as Pannellum computes them from a file's metadata.

    Three views of 90° leave gaps, whose rows the plain image next to it has, too.
    """
    views = cut_views(world(), 90.0, level_rotations(even_yaws(count)), 64, 64)
    write_panorama(views, 90.0, tmp_path, seconds=0.2)
    page = (tmp_path / "viewer.html").read_text()
    content = page[page.index('registerPanoramas("own", ') :]
    shown = json.loads(content[content.index("{") : content.index(");\n")])["own"]
    image = Image.open(io.BytesIO(base64.b64decode(shown["jpeg"])))
    beside = Image.open(tmp_path / "panorama.jpg")
    assert (image.width - 2, image.height) == beside.size  # a column is repeated at either end
    assert shown["haov"] == pytest.approx(360 * image.width / beside.width)
    assert shown["vaov"] == pytest.approx(180 * beside.height / (beside.width / 2))
    assert shown["vOffset"] == 0
    difference = np.asarray(image).astype(float)[:, 1:-1] - np.asarray(beside)
    assert np.abs(difference).mean() < 2
    if count == 8:
        found = fields(packet((tmp_path / "panorama.jpg").read_bytes()))
        rows, full = (
            float(found[f"{name}Pixels"]) for name in ("CroppedAreaImageHeight", "FullPanoHeight")
        )
        assert shown["vaov"] == pytest.approx(rows / full * 180)
