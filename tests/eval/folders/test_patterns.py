"""Folders whose files go by names of their own, which a pattern states."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image

from mvdiffusion.records import InputError
from mvdiffusion_eval.api import score
from mvdiffusion_eval.artifacts.packing import pack
from mvdiffusion_eval.artifacts.verifying import verify
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.folders.equirectangular import EquirectangularFolder
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import PanoramaFolder
from mvdiffusion_eval.scoring.score_files import as_stored
from mvdiffusion_eval.settings import ScoreSettings

VIEWS, REAL = "{room}/{id}/mvd_img/{id}_{yaw}.png", "{room}/mvd_img/{id}_{yaw}.png"
PROMPTS = "{room}/text_desc/{id}.txt"
SETTINGS = ScoreSettings(
    protocols=("paper-consistency-pano",), consistency_resolution=toy.SIZE, jackknife_groups=4
)


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Generated views three deep, real ones flat and as BGR, a prompt a scene; and the views."""
    root, made = tmp_path_factory.mktemp("wild"), {}
    for kind, room in enumerate(("kitchen", "library")):
        for scene in ("00000", "00001"):
            real = toy.views_of(10 * kind + int(scene), kind)
            own = toy.noisy({"": real}, 3, int(scene))[""]
            for view, yaw in enumerate(range(0, 360, 45)):
                save(own[view], root / f"{room}/{scene}/mvd_img/{scene}_{yaw}.png")
                save(real[view][..., ::-1], root / f"{room}/mvd_img/{scene}_{yaw}.png")
            (root / room / "text_desc").mkdir(exist_ok=True)
            (root / room / f"text_desc/{scene}.txt").write_text(f"A {room}.\n")
            made[f"{room}_{scene}"] = own
    return root, made


def test_a_layout_met_in_the_wild(
    wild: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, made = wild
    folder = open_folder(root, views=VIEWS, prompts=PROMPTS)
    assert isinstance(folder, PanoramaFolder)
    assert folder.sample_ids == tuple(made)
    assert folder.yaw_deg == tuple(range(0, 360, 45))  # not in the order of the names
    for name, views in made.items():
        assert (folder.views(name) == views).all()
        assert folder.prompts(name) == [f"A {name.partition('_')[0]}."] * 8
    words = ["--generated", root, "--views", VIEWS, "--prompts", PROMPTS, "--reference", root,
             "--reference-views", REAL, "--protocol", "paper-consistency-pano",
             "--settings", toy.SCORE_SETTINGS, "--output", tmp_path / "s.json"]  # fmt: skip
    toy.run("score", *map(str, words))
    content = json.loads((tmp_path / "s.json").read_text())
    assert "red and blue seem to be swapped" in capsys.readouterr().err
    assert content["images"]["named_by"] == {"views": VIEWS, "prompts": PROMPTS}
    assert content["reference"]["named_by"] == {"views": REAL}
    # The same views in the usual layout have the same numbers.
    plain = toy.write_folder(tmp_path / "plain", "", made, manifest=False)
    expected = as_stored(score(plain, settings=SETTINGS)["metrics"]["cross_view_psnr"])
    assert content["metrics"]["cross_view_psnr"] == expected


def test_packed_and_verified(wild: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    root, _ = wild
    words = ["--generated", root, "--views", VIEWS, "--prompts", PROMPTS, "--reference", root,
             "--reference-views", REAL, "--protocol", "paper-consistency-pano",
             "--settings", toy.SCORE_SETTINGS, "--output", tmp_path / "s.json"]  # fmt: skip
    toy.run("score", *map(str, words))
    packed = pack(tmp_path / "s.json", root, tmp_path / "a.zip", root, images=True)
    assert f"--views '{VIEWS}'" in packed.manifest.command
    assert f"--reference-views '{REAL}'" in packed.manifest.command
    assert packed.manifest.arguments["reference_views"] == REAL
    found = verify(tmp_path / "a.zip", reference=root)
    assert found.agrees, found.findings
    assert any(f.part == "numbers" and f.verdict == "agrees" for f in found.findings)
    toy.run("score", *map(str, words), "--limit", "2")
    with pytest.raises(InputError, match="only 2 of 4 samples were scored"):
        pack(tmp_path / "s.json", root, tmp_path / "b.zip", root)


def test_checked_by_pattern(
    wild: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = wild
    names = ["--views", VIEWS, "--prompts", PROMPTS, "--reference-views", REAL]
    toy.run("check", str(root), "--reference", str(root), *names, "--json")
    report = json.loads(capsys.readouterr().out)
    generated = report["generated"]
    assert (generated["samples"], generated["images"], generated["prompts"]) == (4, 32, 4)
    assert report["ok"]
    with pytest.raises(SystemExit) as end:
        main(["check", str(root), "--views", "{id}/{yaw}.jpg", "--json"])
    assert end.value.code == 2
    (problem,) = [p for p in json.loads(capsys.readouterr().out)["generated"]["problems"]
                  if "names no file" in p["problem"]]  # fmt: skip
    assert "an image that is there: kitchen/00000/mvd_img/00000_0.png" in problem["problem"]


def write(root: Path, *names: str, size: tuple[int, int] = (16, 16)) -> Path:
    for number, name in enumerate(names):
        shade = np.full((size[1], size[0], 3), number, np.uint8)
        shade[:4] = 255 - number
        save(shade, root / name)
    return root


def test_numbers_directions_and_other_text(tmp_path: Path) -> None:
    """Views counted from 1, two digits; directions from −135 to 180; text that names nothing."""
    write(tmp_path / "a", *(f"run7/room-x_v{view:02d}.png" for view in range(1, 11)))
    folder = open_folder(tmp_path / "a", views="*/room-{id}_v{index}.png")
    assert folder.sample_ids == ("x",)
    assert [path.stem[-2:] for path in folder.view_paths("x")] == [f"{v:02d}" for v in range(1, 11)]
    assert isinstance(folder, PanoramaFolder)
    assert folder.yaw_deg == tuple(36.0 * view for view in range(10))
    write(tmp_path / "b", *(f"s/{yaw}.png" for yaw in (-120, 0, "+120.0")))
    folder = open_folder(tmp_path / "b", views="{id}/{yaw}.png")
    assert isinstance(folder, PanoramaFolder)
    assert folder.yaw_deg == (0.0, 120.0, 240.0)
    assert [path.stem for path in folder.view_paths("s")] == ["0", "+120.0", "-120"]


def test_fields_in_another_order_make_the_same_ids(tmp_path: Path) -> None:
    write(tmp_path, *(f"a/b/{view}.png" for view in range(3)), "b-a/0_0.png")
    one = open_folder(tmp_path, views="{house}/{id}/{view}.png")
    other = open_folder(tmp_path, views="{id}-{house}/0_{view}.png")
    assert one.sample_ids == other.sample_ids == ("a_b",)


def test_whole_panoramas_by_pattern(tmp_path: Path) -> None:
    write(tmp_path, "x/out/pano.png", "y/out/pano.png", size=(32, 16))
    (tmp_path / "x.txt").write_text("A hall.")
    (tmp_path / "y.txt").write_text("A shed.")
    folder = open_folder(tmp_path, views="{id}/out/pano.png", prompts="{id}.txt", view_size=16)
    assert isinstance(folder, EquirectangularFolder)
    assert folder.prompts("y") == ["A shed."] * 8
    assert folder.views("x").shape == (8, 16, 16, 3)


def test_prompts_of_a_known_layout_by_pattern(tmp_path: Path) -> None:
    write(tmp_path / "v", "x/0.png", "x/1.png", "x/2.png")
    (tmp_path / "v/x/caption_long.txt").write_text("A hall.")
    folder = open_folder(tmp_path / "v", prompts="{id}/*_long.txt")
    assert folder.prompts("x") == ["A hall."] * 3


EIGHT = tuple(f"a/x/x_{45 * view}.png" for view in range(8))


@pytest.mark.parametrize(
    ("names", "pattern", "message"),
    [
        (EIGHT, "view.png", r"--views 'view\.png': has no field; expected a path below"),
        (EIGHT, "/tmp/{id}_{yaw}.png", "leads out of the folder"),
        (EIGHT, "../{id}_{yaw}.png", "leads out of the folder"),
        (EIGHT, "./{room}/{id}/{id}_{yaw}.png", r"has a '\.' or '/' too many"),
        (EIGHT, "{room}//{id}/{id}_{yaw}.png", r"has a '\.' or '/' too many"),
        (EIGHT, "{room}/{id}/{id:03d}_{yaw}.png", "has brackets that enclose no name"),
        (EIGHT, "{room}/[a-z]/{id}_{yaw}.png", "has brackets that enclose no name"),
        (EIGHT, "{room}/{id}{yaw}.png", "has two fields with nothing between them"),
        (EIGHT, "{id}/{view}_{yaw}.png", "states the views twice"),
        (EIGHT, "a/x/x_{yaw}.png", "names no sample"),
        (EIGHT, "{id}/{yaw}.png", r"names no file in .*; an image that is there: a/x/x_0\.png"),
        (EIGHT, "{id}/{room}/{id}_{yaw}.png", r"the nearest is a/x/x_0\.png, in which a field"),
        ((), "{id}/{yaw}.png", "which holds no images at all"),
        ((*EIGHT, "a/x/x_360.png"), "{room}/{id}/{id}_{yaw}.png",
         r"x_0\.png and .*x_360\.png are both yaw 0 of the sample 'a_x'"),
        (("a/1/x_0.png", "a/2/x_0.png"), "{room}/*/{id}_{view}.png", "are both view 0 of"),
        (("x_y_z_0.png",), "{room}_{id}_{view}.png", "can be read in two ways, as {room} = x_y"),
        (("a_b/c_0.png", "a/b_c_0.png"), "{room}/{id}_{view}.png",
         "make the same sample id, 'a_b_c'"),
        (("x/0.png", "x/1.png", "y/0.png", "z/0.png", "z/1.png"), "{id}/{view}.png",
         r"the sample 'y' lacks view 1, which most samples have, as .*y/0\.png"),
        (("x/0.png", "x/1.png", "y/0.png", "z/0.png"), "{id}/{view}.png",
         r"x/1\.png is a view that most samples lack"),
        (("x/0.png", "x/1.png", "x/3.png"), "{id}/{view}.png", "numbers 0, 1, 3; expected one aft"),
    ],
)  # fmt: skip
def test_one_clear_error(
    tmp_path: Path, names: tuple[str, ...], pattern: str, message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("{", r"\{")) as raised:
        open_folder(write(tmp_path, *names), views=pattern)
    assert pattern in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("text/{id}.txt", r"--prompts 'text/{id}\.txt': names no file of the sample with id x"),
        ("{any}/note_{yaw}.txt", "names a file for each view"),
        ("*/note.txt", "has no field"),
        ("*/{ID}.txt", r"no field is a part of the samples' names; expected one of {id}"),
        ("x/a{rest}txt", r"no field is a part of the samples' names; expected one of {id}"),
        ("{id}/{which}.txt", r"names 2 files of the sample with id x: x/a\.txt, x/b\.txt"),
    ],
)
def test_prompts_that_are_not_found(tmp_path: Path, pattern: str, message: str) -> None:
    write(tmp_path, "x/0.png", "x/1.png", "x/2.png")
    for name in "ab":
        (tmp_path / f"x/{name}.txt").write_text("A hall.")
    with pytest.raises(InputError, match=re.sub(r"\{", r"\{", message)):
        open_folder(tmp_path, prompts=pattern)


def test_what_the_names_state_is_not_stated_again(tmp_path: Path) -> None:
    write(tmp_path, *EIGHT)
    with pytest.raises(InputError, match=r"--yaw: --views '.*' states the directions"):
        open_folder(tmp_path, views="{room}/{id}/{id}_{yaw}.png", yaw_deg=[0.0, 180.0])
    made = toy.write_folder(tmp_path / "made", "m", {"x": toy.views_of(0, 0)})
    with pytest.raises(InputError, match=r"--views: .*manifest\.json says which files there are"):
        open_folder(made, views="{id}/{view}.png")
    with pytest.raises(InputError, match="--reference-views: names files of real views; give"):
        score(made, reference_views="{id}/{view}.png")
