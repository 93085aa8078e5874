"""The panoramas of the results page, and the files beside it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest
import toy
from PIL import Image

from mvdiffusion.records import InputError
from mvdiffusion.viewer.panoramas import Panorama
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import SampleFolder
from mvdiffusion_eval.report.assets import Assets, assets_folder, page_with_assets
from mvdiffusion_eval.report.panoramas import first_shown, panorama_of_sample
from mvdiffusion_eval.report.viewers import look_around

SHADES = [(30 * view, 255 - 30 * view, 90) for view in range(8)]


def plain_views(size: int = 96) -> np.ndarray:
    return np.stack([np.full((size, size, 3), shade, np.uint8) for shade in SHADES])


def pixels_of(shown: Panorama) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(shown.jpeg))).astype(int)


def test_views_alone_are_stitched(tmp_path: Path) -> None:
    """Plain views: in the direction of a view, the panorama has its color."""
    folder = toy.write_folder(tmp_path / "mine", "", {"room": plain_views()}, manifest=False)
    shown = panorama_of_sample(open_folder(folder), "room")
    pixels = pixels_of(shown)
    height, width = pixels.shape[:2]
    assert shown.vaov == pytest.approx(85.5, abs=2)
    assert shown.vaov / height == pytest.approx(shown.haov / width)
    for view, shade in enumerate(SHADES):  # view 0 looks to the middle, the others to the right
        pixel = pixels[height // 2, round(1 + (width - 2) * (0.5 + view / 8)) % width]
        assert np.abs(np.array(SHADES) - pixel).sum(1).argmin() == view, shade


def sample_with(folder: Path, panorama: np.ndarray) -> Panorama:
    Image.fromarray(panorama).save(folder / "room/panorama.png")
    return panorama_of_sample(open_folder(folder), "room")


def test_the_panorama_that_lies_there_is_shown_without_what_no_view_shows(tmp_path: Path) -> None:
    folder = toy.write_folder(tmp_path / "mine", "mine", {"room": plain_views(32)})
    whole = np.full((100, 200, 3), 128, np.uint8)
    whole[26:74] = 77  # up to 42.3°, which the views show all around
    shown = sample_with(folder, whole)
    assert shown.vaov == pytest.approx(85.5, abs=4)
    assert abs(pixels_of(shown) - 77).max() < 4

    poles = whole.copy()
    poles[:26] = np.arange(200)[:, None]  # the method painted the ceiling, too
    assert sample_with(folder, poles).vaov == 180

    part = whole[30:70]  # not twice as wide as high: which part of the sphere, nobody knows
    assert pixels_of(sample_with(folder, part))[..., 2].mean() == pytest.approx(90, abs=3)


def test_equirectangular_images_are_whole_spheres(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (256, 128), (200, 30, 60)).save(tmp_path / f"{name}.png")
    shown = panorama_of_sample(open_folder(tmp_path), "a")
    assert (shown.vaov, shown.v_offset) == (180, 0)


def test_every_method_is_offered_and_lacks_what_it_lacks(tmp_path: Path) -> None:
    rooms = {"real": "abc", "mine": "ab", "mvdiffusion": "abc", "wrong_correspondence": "a"}
    folders: dict[str, SampleFolder] = {}
    for method, names in rooms.items():
        made = dict.fromkeys(names, plain_views(16))
        folders[method] = open_folder(toy.write_folder(tmp_path / method, method, made))
    (tmp_path / "out").mkdir()
    shown = look_around("panorama", folders, 3, Assets(tmp_path / "out", "out"))
    content = json.loads(shown.partition('json">')[2].partition("</script>")[0])
    assert list(content["titles"]) == ["real", "mvdiffusion", "wrong_correspondence", "mine"]
    assert {s["name"]: sorted(s["methods"]) for s in content["samples"]} == {
        "a": sorted(rooms),
        "b": ["mine", "mvdiffusion", "real"],
    }, "rooms that the most methods have"
    assert (content["left"], content["right"]) == ("mine", "mvdiffusion")
    first = content["samples"][0]
    text = (tmp_path / first["source"]).read_text()
    assert text.startswith('registerPanoramas("panorama/a", {')
    made = json.loads(text[text.index("{") :].rstrip(");\n"))
    assert set(made) == set(rooms)
    assert base64.b64decode(made["mine"]["jpeg"]).startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    ("methods", "shown"),
    [
        (["real", "independent", "mvdiffusion", "mine"], ("independent", "mvdiffusion")),
        (["real", "mvdiffusion"], ("real", "mvdiffusion")),
        (["real", "mine"], ("mine", "real")),
        (["real", "mine", "another", "third"], ("mine", "another")),
        (["real", "independent"], ("real", "independent")),
        (["mine"], ("mine", "mine")),
        (["mvdiffusion"], ("mvdiffusion", "mvdiffusion")),
    ],
)
def test_the_papers_comparison_comes_first(methods: list[str], shown: tuple[str, str]) -> None:
    assert first_shown(methods) == shown


def write(page: Path, content: str) -> None:
    with page_with_assets(page) as (temporary, assets):
        temporary.write_text(assets.add("room", ".js", content.encode()))


def write_and_fail(page: Path) -> None:
    with page_with_assets(page) as (temporary, assets):
        temporary.write_text(assets.add("room", ".js", b"three"))
        raise ZeroDivisionError


def test_a_page_and_its_files_are_replaced_together(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    for text in ("one", "two"):
        write(page, text)
    folder = assets_folder(page)
    assert folder.name == "report_assets"
    (there,) = folder.glob("*.js")
    assert page.read_text() == f"report_assets/{there.name}"
    assert there.read_text() == "two"

    (folder / "notes.txt").write_text("a user's")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(page)
    assert page.read_text() == f"report_assets/{there.name}"
    assert {path.name for path in folder.glob("[!.]*")} == {there.name, "notes.txt"}
    with page_with_assets(page) as (temporary, _):
        temporary.write_text("none")
    assert [path.name for path in folder.glob("[!.]*")] == ["notes.txt"]


def test_addresses_of_files_are_quoted(tmp_path: Path) -> None:
    """The name of a page may hold letters that end the path of an address."""
    page = tmp_path / "run #2, 50%?.html"
    write(page, "one")
    (there,) = assets_folder(page).glob("*.js")
    address = urljoin(page.as_uri(), page.read_text())
    assert url2pathname(urlsplit(address).path) == str(there)


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "report_assets").mkdir()
    (tmp_path / "report_assets/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="report_assets"):
        write(tmp_path / "report.html", "page")
    assert not (tmp_path / "report.html").exists()
    assert (tmp_path / "report_assets/mine.txt").read_text() == "mine"
