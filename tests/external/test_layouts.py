"""What methods write, in each layout, against views by formula."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvdiffusion.external.layouts import read_views
from mvdiffusion.external.outputs import find_files, samples_in
from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.manifest import Manifest
from mvdiffusion.methods.specification import FACES, Output
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.tasks import Task

SIZE, FINE = 24, 512
YAWS = even_yaws(8)
WANTED = Manifest(Task.PANORAMA, "external/x", SIZE, SIZE, ("a",), None, 90.0, YAWS)
# What the centers of pixels see, from −1 to 1.
CENTERS = (np.arange(FINE) + 0.5) / FINE * 2 - 1


def colors(x, y, z) -> np.ndarray:
    """A smooth world: its color in a direction (x right, y down, z ahead) [..., 3] in 0 … 255."""
    x, y, z = np.broadcast_arrays(x, y, z)
    direction = np.stack([x, y, z], -1) / np.sqrt(x**2 + y**2 + z**2)[..., None]
    return 127.5 + 127.5 * direction


def turned(x, y, z, yaw_deg: float) -> np.ndarray:
    """What a camera sees along (x, y, z) that is turned to the right."""
    cos, sin = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    return colors(cos * x + sin * z, y, cos * z - sin * x)


def expected_views(yaw_deg: float = 0.0) -> np.ndarray:
    """Views [8, SIZE, SIZE, 3] of 90 degrees, of a world turned by an angle to the right."""
    place = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return np.stack([turned(place[None], place[:, None], 1.0, yaw - yaw_deg) for yaw in YAWS])


def save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.round().astype(np.uint8)).save(path)


def layout(**values: object) -> Output:
    return parse(Output, {"files": "{sample}.png", **values})


def read(folder: Path, output: Output, wanted: Manifest = WANTED) -> np.ndarray:
    """Read the sample's views [8, SIZE, SIZE, 3] in −1 … 1."""
    files = find_files(folder, output, "a", len(wanted.yaw_deg)).values()
    return read_views([file for file in files if file], output, wanted).movedim(1, -1).numpy()


def check(folder: Path, output: Output, yaw_deg: float = 0.0, within: float = 2.0) -> None:
    views = read(folder, output)
    assert np.abs(127.5 * views + 127.5 - expected_views(yaw_deg)).max() < within


def test_equirectangular(tmp_path: Path) -> None:
    longitude = np.pi * (np.arange(1024) + 0.5) / 512 - np.pi
    latitude = np.pi / 2 - np.pi * (np.arange(FINE)[:, None] + 0.5) / FINE
    level = np.cos(latitude)
    picture = colors(level * np.sin(longitude), -np.sin(latitude), level * np.cos(longitude))
    save(picture, tmp_path / "a.png")
    check(tmp_path, layout(layout="equirectangular"))
    check(tmp_path, layout(layout="equirectangular", yaw_deg=60.0), 60.0)
    save(picture[:, :1000], tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.png: 1000 x 512 pixels; expected an equirectangular"):
        check(tmp_path, layout(layout="equirectangular"))


def strip(rows: int, columns: int) -> np.ndarray:
    longitude = 2 * np.pi * (np.arange(columns) + 0.5) / columns - np.pi
    height = (np.arange(rows)[:, None] + 0.5 - rows / 2) / (columns / 2 / np.pi)
    return colors(np.sin(longitude), height, np.cos(longitude))


def test_a_level_strip(tmp_path: Path) -> None:
    save(strip(512, 1600), tmp_path / "a.png")
    check(tmp_path, layout(layout="strip"))
    check(tmp_path, layout(layout="strip", yaw_deg=-45.0), -45.0)


def test_a_strip_that_shows_too_little(tmp_path: Path) -> None:
    save(strip(512, 2048), tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.png: has 512 rows; expected 652, as views 90° wide"):
        check(tmp_path, layout(layout="strip"))


UPRIGHT = {
    "front": (CENTERS[None], CENTERS[:, None], 1.0),
    "right": (1.0, CENTERS[:, None], -CENTERS[None]),
    "back": (-CENTERS[None], CENTERS[:, None], -1.0),
    "left": (-1.0, CENTERS[:, None], CENTERS[None]),
    "up": (CENTERS[None], -1.0, CENTERS[:, None]),  # its lower edge is the front's upper one
    "down": (CENTERS[None], 1.0, -CENTERS[:, None]),  # its upper edge is the front's lower one
}


def test_a_cube(tmp_path: Path) -> None:
    """Each face stored in another way."""
    faces = {}
    for number, direction in enumerate(FACES):
        turn, mirrored = number % 4, number % 2 == 0
        picture = np.rot90(colors(*UPRIGHT[direction]), turn)  # counterclockwise
        save(picture[:, ::-1] if mirrored else picture, tmp_path / "a" / f"f{number}.png")
        faces[direction] = {"name": f"f{number}", "turn": turn, "mirrored": mirrored}
    cube = layout(layout="cube", files="{sample}/{face}.png", faces=faces)
    check(tmp_path, cube, within=3.0)
    wide = Manifest(Task.PANORAMA, "x", SIZE, SIZE, ("a",), None, 120.0, YAWS)  # see up and down
    views = read(tmp_path, cube, wide)
    place = np.tan(np.radians(60)) * ((np.arange(SIZE) + 0.5) / SIZE * 2 - 1)
    expected = [turned(place[None], place[:, None], 1.0, yaw) for yaw in YAWS]
    assert np.abs(127.5 * views + 127.5 - np.stack(expected)).max() < 4
    (tmp_path / "a/f3.png").unlink()
    found = find_files(tmp_path, cube, "a", 8)
    assert [name for name, file in found.items() if file is None] == ["a/f3.png"]


def test_views_and_their_size(tmp_path: Path) -> None:
    """Views of the right size are read bit by bit; larger ones are shrunk without aliasing."""
    views = expected_views().round()
    for number, view in enumerate(views):
        save(view, tmp_path / "a" / f"{number}.png")
    output = layout(layout="views", files="{sample}/{view}.png")
    assert np.abs(127.5 * read(tmp_path, output) + 127.5 - views).max() < 1e-3
    checks = np.indices((4 * SIZE, 4 * SIZE)).sum(0) % 2 * 255.0
    save(np.repeat(checks[..., None], 3, -1), tmp_path / "a/0.png")
    shrunk = read(tmp_path, output)[0]
    assert np.abs(shrunk).max() < 0.1  # gray, not a pattern
    save(np.zeros((20, 30, 3)), tmp_path / "a/0.png")
    with pytest.raises(InputError, match=r"0.png: 30 x 20 pixels; expected the proportions"):
        read(tmp_path, output)
    with pytest.raises(InputError, match=r"are 95.0° wide and begin at 0.0°; expected 90.0°"):
        read(tmp_path, layout(**vars(output) | {"fov_deg": 95.0}))


@pytest.mark.parametrize("kind", ["views", "equirectangular", "cube"])
def test_other_layouts_made_elsewhere(run, tmp_path: Path, kind: str) -> None:
    """A method's own layout, or another one that the command line names."""
    theirs, words = tmp_path / "theirs", {"views": ["import", "text2room"]}.get(kind)
    if kind == "views":
        for number, view in enumerate(expected_views()):
            save(view, theirs / "one" / f"{number}.png")
    elif kind == "equirectangular":
        longitude = np.pi * (np.arange(1024) + 0.5) / 512 - np.pi
        height = np.tan(np.pi / 2 - np.pi * (np.arange(FINE)[:, None] + 0.5) / FINE)
        save(colors(np.sin(longitude), -height, np.cos(longitude)), theirs / "one_pano.png")
        words = ["import", "multidiffusion", "--layout", kind, "--files", "{sample}_pano.png"]
    else:
        for direction, rays in UPRIGHT.items():
            save(colors(*rays), theirs / "one" / f"{direction}.png")
        words = ["import", "dreamcube", "--task", "outpaint"]
    code, said = run(*words, theirs, "--size", SIZE, "--output", tmp_path / "ours")
    assert code == 0, said
    assert json.loads((tmp_path / "ours/manifest.json").read_text())["samples"] == ["one"]
    for number, expected in enumerate(expected_views()):
        view = np.asarray(Image.open(tmp_path / f"ours/one/{number}.png")).astype(float)
        assert np.abs(view - expected).max() < 3


def test_a_cube_needs_the_names_of_its_faces(run, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    words = ("import", "multidiffusion", tmp_path / "theirs", "--layout", "cube")
    code, said = run(*words, "--files", "{sample}/{face}.png", "--output", tmp_path / "ours")
    assert code == 2
    assert "faces' is null; expected the six faces of a cube" in said


def test_only_options_that_are_given_are_named(run, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    words = ("import", "multidiffusion", tmp_path / "theirs", "--output", tmp_path / "ours")
    code, said = run(*words, "--layout", "cube")
    assert code == 2
    assert "--layout cube: setting 'files' is '{sample}/strip.png'; expected a pattern" in said
    assert "--files" not in said
    code, said = run(*words, "--files", "{sample:03d}.png")
    assert code == 2
    assert "--files {sample:03d}.png: setting 'files' is '{sample:03d}.png'; expected names" in said
    assert "--layout" not in said


def test_samples_of_a_pattern_with_braces(tmp_path: Path) -> None:
    """Doubled braces are single ones in the names of files, as in `str.format`."""
    output = layout(layout="views", files="{{{sample}}}-{{a/v{view}*.png")
    for name in ("one", "two"):
        (tmp_path / f"{{{name}}}-{{a").mkdir()
        (tmp_path / f"{{{name}}}-{{a/v0 x.png").touch()
    assert samples_in(tmp_path, output) == ["one", "two"]
    assert list(find_files(tmp_path, output, "two", 1)) == ["{two}-{a/v0*.png"]


def test_a_folder_made_elsewhere(run, tmp_path: Path) -> None:
    """Samples are found by the pattern of their files' names; the picture decides the views."""
    for name in ("one", "two"):
        save(strip(512, 1600), tmp_path / "theirs" / name / "strip_1.png")
    words = ("import", "multidiffusion", tmp_path / "theirs", "--size", SIZE)
    code, said = run(*words, "--output", tmp_path / "none")
    assert code == 2
    assert "theirs: no file is called {sample}/strip.png; expected such files." in said
    words = (*words, "--files", "{sample}/strip_*.png", "--output", tmp_path / "ours")
    code, said = run(*words)
    assert code == 0, said
    manifest = json.loads((tmp_path / "ours/manifest.json").read_text())
    assert manifest["method"] == "external/multidiffusion"
    assert manifest["samples"] == ["one", "two"]
    assert manifest["settings"]["commit"] == "elsewhere"
    assert manifest["settings"]["layout"] == "strip"
    view = np.asarray(Image.open(tmp_path / "ours/two/3.png")).astype(float)
    assert np.abs(view - expected_views()[3]).max() < 2
    code, said = run(*words)
    assert code == 0
    assert "already made with these settings" in said
    save(strip(512, 1600)[::-1], tmp_path / "theirs/one/strip_1.png")
    code, said = run(*words)
    assert code == 2
    assert "was made with other settings (settings.files)" in said
