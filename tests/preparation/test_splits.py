"""Splits: the authors' where the user has them, otherwise disjoint by house; killed and resumed."""

import hashlib
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from archives_of_rooms import (
    DEGREES,
    FOLDER,
    HOUSES,
    authors_files,
    house_files,
    npy,
    panorama_id,
    row,
    write_house,
    write_tar,
    write_zip,
)
from processes import exit_code_of
from typer.testing import CliRunner

from mvdiffusion.cli import app
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.splits import read_split
from mvdiffusion.preparation.labels import (
    extract_labels,
    find_labels,
)
from mvdiffusion.preparation.matterport3d import HousePreparation, prepare_house
from mvdiffusion.preparation.splits import (
    PanoramaSplits,
    scene_list,
    split_of_scene,
    write_panorama_splits,
    write_scene_splits,
)
from mvdiffusion.preparation.units import Unit
from mvdiffusion.records import InputError, folder_sha256

pytestmark = pytest.mark.long

TRAIN = [(HOUSES[0], 1), (HOUSES[2], 0), (HOUSES[0], 0)]
TEST = [(HOUSES[1], 0)]


@pytest.fixture(scope="session")
def archives(tmp_path_factory) -> Path:
    """Archives of four houses and of the authors' labels."""
    folder = tmp_path_factory.mktemp("archives")
    for house in HOUSES:
        write_zip(folder / f"{house}.zip", house_files(house))
    write_tar(folder / "mp3d_skybox.tar", authors_files(TRAIN, TEST, "data/mp3d_skybox/"))
    return folder


@pytest.fixture
def prepared(archives, tmp_path) -> Path:
    for house in HOUSES:
        path = tmp_path / "prepared" / house
        prepare_house(archives / f"{house}.zip", path, house, HousePreparation())
    return tmp_path / "prepared"


@pytest.fixture
def labels(archives, tmp_path) -> Path:
    extract_labels("matterport3d", [archives / "mp3d_skybox.tar"], tmp_path / "labels")
    return tmp_path / "labels"


def by_hash(seed: int, names) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def rows(split: Path) -> list[list[str]]:
    return np.load(split, allow_pickle=False).tolist()


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_own_splits_are_disjoint_by_house(prepared, seed):
    summary = write_panorama_splits(prepared, PanoramaSplits(seed, 0.25, 1, 1))
    order = by_hash(seed, HOUSES)
    expected = {"test": order[:1], "validation": order[1:2], "train": order[2:]}
    assert {name: split["houses"] for name, split in summary["splits"].items()} == {
        name: sorted(houses) for name, houses in expected.items()
    }
    assert {name: split["panoramas"] for name, split in summary["splits"].items()} == {
        "train": 4,
        "validation": 1,
        "test": 2,
    }
    for name, houses in expected.items():
        found = read_split(prepared, name)
        assert {faces[0].split("/")[0] for faces in found} == set(houses)
        assert found == sorted(found)
    held = order[1]
    first = by_hash(seed, [f"{held}/{panorama_id(held, number)}" for number in range(2)])[0]
    assert f"{held}/{FOLDER}/{first.split('/')[1]}_" in rows(prepared / "validation.npy")[0][0]
    assert json.loads((prepared / "splits.json").read_text()) == summary


def test_files_are_those_that_anyone_would_write(prepared):
    summary = write_panorama_splits(prepared, PanoramaSplits())
    content = (prepared / "test.npy").read_bytes()
    (house,) = summary["splits"]["test"]["houses"]
    assert content == npy(sorted(row(house, number) for number in range(2)))
    assert summary["splits"]["test"]["sha256"] == hashlib.sha256(content).hexdigest()
    record = (prepared / house / "prepared.json").read_bytes()
    assert summary["units"][house] == hashlib.sha256(record).hexdigest()
    assert Counter(summary["units"].keys()) == Counter(HOUSES)
    assert (summary["labels"], summary["dropped"]) == (False, 0)


@pytest.mark.parametrize(("houses", "share", "test"), [(70, 0.1, 7), (71, 0.1, 8), (5, 0.01, 1)])
def test_the_share_of_test_houses_is_rounded_up(tmp_path, houses, share, test):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    for number in range(houses):
        name = f"house{number}"
        with Unit(tmp_path / "p" / name, "matterport3d", name, {}, source).made() as folder:
            (folder / FOLDER).mkdir()
            for face in range(6):
                (folder / FOLDER / f"x_skybox{face}_sami.jpg").write_bytes(b"x")
    splits = write_panorama_splits(tmp_path / "p", PanoramaSplits(0, share, 3))["splits"]
    assert [splits[name]["panoramas"] for name in ("test", "validation", "train")] == [
        test,
        3,
        houses - 3 - test,
    ]


def test_too_few_houses(prepared):
    with pytest.raises(InputError, match="2 houses are prepared; with 1 for testing and 1 for"):
        write_panorama_splits(prepared, PanoramaSplits(), houses=HOUSES[:2])
    write_panorama_splits(prepared, PanoramaSplits(validation_houses=0), houses=HOUSES[:2])
    assert sorted(path.name for path in prepared.glob("*.npy")) == ["test.npy", "train.npy"]
    with pytest.raises(InputError, match="nothing prepared"):
        write_panorama_splits(prepared / "none", PanoramaSplits())
    with pytest.raises(InputError, match="no such file"):
        write_panorama_splits(prepared, PanoramaSplits(), houses=[*HOUSES, "none"])


@pytest.mark.parametrize(
    "settings",
    [{"test_share": 0.0}, {"test_share": 1.0}, {"validation_houses": -1}],
)
def test_settings_out_of_range(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        PanoramaSplits(**settings)


def test_the_authors_splits_are_taken_as_they_are(prepared, labels):
    summary = write_panorama_splits(prepared, PanoramaSplits(validation_panoramas=2), labels)
    assert rows(prepared / "train.npy") == [row(*panorama) for panorama in TRAIN]
    assert rows(prepared / "test.npy") == [row(*panorama) for panorama in TEST]
    names = [f"{house}/{panorama_id(house, number)}" for house, number in TRAIN]
    chosen = by_hash(0, names)[:2]
    assert rows(prepared / "validation.npy") == [
        row(*panorama) for panorama, name in zip(TRAIN, names, strict=True) if name in chosen
    ]
    assert (summary["labels"], summary["dropped"]) == (True, 0)


def test_the_authors_captions_come_along(prepared, labels):
    house, number = TRAIN[0]
    own = prepared / house / "blip3"
    own.mkdir()
    name = f"{panorama_id(house, number)}_45.txt"
    (own / name).write_text("our own\n")
    (own / "other_0.txt").write_text("kept\n")
    write_panorama_splits(prepared, PanoramaSplits(), labels)
    given = find_labels(labels, f"{house}/blip3")
    assert (own / name).read_bytes() == (given / name).read_bytes() != b"our own\n"
    assert (own / "other_0.txt").read_text() == "kept\n"
    assert len(list(own.iterdir())) == 1 + 2 * len(DEGREES)
    panoramas = Matterport3DPanoramas(prepared, "train", image_size=8)
    assert all(panoramas.load(i).prompts for i in range(len(panoramas)))
    text = (given / name).read_text().strip()
    assert panoramas.load(0, 45, [0]).prompts[0].endswith(text)


def test_captions_of_what_is_not_prepared_stay_out(prepared, labels):
    house, number = TEST[0]
    for path in (prepared / house / FOLDER).glob(f"{panorama_id(house, 1)}*"):
        assert path.is_file()  # prepared, but the authors list only the other
    stray = find_labels(labels, f"{house}/blip3") / "feedfeed_0.txt"
    stray.write_text("stray\n")
    write_panorama_splits(prepared, PanoramaSplits(), labels)
    found = {path.name.rsplit("_", 1)[0] for path in (prepared / house / "blip3").iterdir()}
    assert found == {panorama_id(house, number)}


def test_panoramas_that_are_not_prepared(prepared, labels):
    some = HOUSES[:2]
    with pytest.raises(InputError, match=r"1 of its 3 panoramas are not prepared \(such as 1pXn"):
        write_panorama_splits(prepared, PanoramaSplits(), labels, some)
    settings = PanoramaSplits(allow_missing=True)
    summary = write_panorama_splits(prepared, settings, labels, some)
    assert summary["dropped"] == 1
    assert rows(prepared / "train.npy") == [row(*TRAIN[0]), row(*TRAIN[2])]
    with pytest.raises(InputError, match=r"test\.npy: 1 of its 1 panoramas .*one panorama of"):
        write_panorama_splits(prepared, settings, labels, HOUSES[:1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no array", "not an array of text"),
        (npy([["a"] * 5]), r"expected \(N, 6\) of text"),
        (npy([["a"] * 6]), "row 0 is 'a' …; expected the six faces"),
        (npy([row(*TEST[0])[::-1]]), "row 0 is .* expected the six faces"),
    ],
)
def test_wrong_lists(prepared, labels, content, message):
    find_labels(labels, "test.npy").write_bytes(content)
    with pytest.raises(InputError, match=message):
        write_panorama_splits(prepared, PanoramaSplits(), labels)
    find_labels(labels, "test.npy").unlink()
    with pytest.raises(
        InputError, match=r"contains no test\.npy; extract the authors' mp3d_skybox"
    ):
        write_panorama_splits(prepared, PanoramaSplits(), labels)


@pytest.mark.parametrize("before", ["", "./", "a/b/c/"])
def test_labels_are_found_whatever_folders_lead_to_them(tmp_path, before):
    files = {
        f"{before}scannet/train/scene0000_00/{name}": name.encode()
        for name in ("prompt/0.txt", "prompt/12.txt", "key_frame_0.6.txt", "valid_frames.npy")
    }
    other = {f"{before}scannet/train/scene0000_00/color/0.jpg": b"x", f"{before}readme": b"x"}
    archive = write_tar(tmp_path / "scannet_train.tar.gz", files | other)
    second = write_tar(tmp_path / "scannet_test.tar", {"scene0707_00/prompt/3.txt": b"a wall\n"})
    assert extract_labels("scannet", [archive, second], tmp_path / "labels") == 5
    scene = find_labels(tmp_path / "labels", "scene0000_00")
    found = {path.relative_to(scene).as_posix() for path in scene.rglob("*") if path.is_file()}
    assert found == {"prompt/0.txt", "prompt/12.txt", "key_frame_0.6.txt", "valid_frames.npy"}
    assert find_labels(tmp_path / "labels", "scene0707_00").parent.name == "scannet_test"
    assert find_labels(tmp_path / "labels", "scene0001_00") is None
    by_hand = tmp_path / "by hand" / "scannet" / "test" / "scene0708_00"
    by_hand.mkdir(parents=True)
    assert find_labels(tmp_path / "by hand", "scene0708_00") == by_hand
    with pytest.raises(InputError, match="two archives are called 'scannet_train'"):
        extract_labels("scannet", [archive, archive], tmp_path / "labels")
    with pytest.raises(InputError, match="none of the expected files"):
        extract_labels("matterport3d", [archive], tmp_path / "new")
    (scene / "notes.txt").write_text("mine")
    assert extract_labels("scannet", [archive, second], tmp_path / "labels") == 0
    with pytest.raises(InputError, match=r"other settings \(archives\.scannet_test\.tar\)"):
        extract_labels("scannet", [archive], tmp_path / "labels")
    assert extract_labels("scannet", [archive], tmp_path / "labels", overwrite=True) == 4
    aside = tmp_path / "labels.old" / scene.relative_to(tmp_path / "labels")
    assert (aside / "notes.txt").read_text() == "mine"


def test_official_splits_of_scenes():
    assert {split_of_scene(scene) for scene in scene_list("scannet_train")} == {"train"}
    assert {split_of_scene(scene) for scene in scene_list("scannet_test")} == {"test"}
    for wrong in ("scene0807_00", "scene12_00", "x", ""):
        with pytest.raises(InputError, match="not a scene of ScanNet"):
            split_of_scene(wrong)


def write_scene(folder: Path, source: Path) -> None:
    with Unit(folder, "scannet", folder.name, {}, source).made() as made:
        (made / "valid_frames.npy").write_bytes(b"x")


def test_splits_of_scenes(tmp_path, archives):
    source, prepared = archives / "mp3d_skybox.tar", tmp_path / "prepared"
    for name in ("train/scene0000_00", "train/scene0001_01", "validation/scene0706_00"):
        write_scene(prepared / name, source)
    write_scene(prepared / "test" / "scene0707_00", source)
    summary = write_scene_splits(prepared, labels=True)
    digest = hashlib.sha256((prepared / "train/scene0000_00/prepared.json").read_bytes())
    found = json.loads((prepared / "train.json").read_text())["scenes"]
    assert (list(found), found["scene0000_00"]) == (
        ["scene0000_00", "scene0001_01"],
        digest.hexdigest(),
    )
    assert summary["splits"]["train"] == {
        "scenes": 2,
        "sha256": hashlib.sha256((prepared / "train.json").read_bytes()).hexdigest(),
    }
    assert {name: split["scenes"] for name, split in summary["splits"].items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    assert json.loads((prepared / "splits.json").read_text()) == summary


@pytest.mark.parametrize(
    ("extra", "asked", "message"),
    [
        ("test/scene0001_00", None, r"test/scene0001_00: belongs to the owners' split train"),
        ("train/scene0707_00", None, "belongs to the owners' split test"),
        ("validation/scene0000_00", None, "is also prepared as"),
        ("train/scene0002_00", ["scene0000_00"], "scene0002_00: is not among the requested scenes"),
        (
            "train/scene0002_00",
            ["scene0000_00", "scene0002_00", "scene0003_00"],
            "scene0003_00: is not prepared",
        ),
        ("train/office", None, "not a scene of ScanNet"),
    ],
)
def test_scenes_in_a_wrong_place(tmp_path, archives, extra, asked, message):
    for name in ("train/scene0000_00", extra):
        write_scene(tmp_path / name, archives / "mp3d_skybox.tar")
    with pytest.raises(InputError, match=message):
        write_scene_splits(tmp_path, scenes=asked)
    with pytest.raises(InputError, match="nothing prepared"):
        write_scene_splits(tmp_path / "train")


def make(archives: Path, root: Path) -> None:
    """All that leads from archives to splits."""
    extract_labels("matterport3d", [archives / "mp3d_skybox.tar"], root / "labels")
    for house in HOUSES[:3]:
        path = root / "prepared" / house
        prepare_house(archives / f"{house}.zip", path, house, HousePreparation())
    write_panorama_splits(root / "prepared", PanoramaSplits(), root / "labels")


def make_until(archives: Path, root: Path, last: int, seen: Path) -> None:
    """Make everything, but be killed before the event no. `last` that changes files."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (of a process that ends)
    sys.addaudithook(watch)
    make(archives, root)
    seen.write_text(str(count))


def tree(root: Path) -> dict[str, str]:
    return {part: folder_sha256(root / part) for part in ("labels", "prepared")}


def test_killed_anywhere_it_ends_in_the_same_hashes(archives, tmp_path):
    assert exit_code_of(make_until, archives, tmp_path / "whole", -1, tmp_path / "count") == 0
    expected, count = tree(tmp_path / "whole"), int((tmp_path / "count").read_text())
    assert count > 200
    for place in (*range(0, count, count // 12), count - 1, count - 2, count - 3):
        root = tmp_path / f"killed-{place}"
        assert (
            exit_code_of(make_until, archives, root, place, tmp_path / "count") == -signal.SIGKILL
        )
        # And once more, on the way through what the first left.
        exit_code_of(make_until, archives, root, place // 2, tmp_path / "count")
        assert exit_code_of(make_until, archives, root, -1, tmp_path / "count") == 0
        assert tree(root) == expected, place
        assert {path.name for path in root.rglob(".*")} == {".output.json"}, place


def test_the_commands(archives, tmp_path):
    def invoke(*words: object) -> str:
        ran = CliRunner().invoke(app, ["data", *map(str, words)])
        if ran.exception is not None:
            raise ran.exception
        return ran.stdout

    prepared, labels = tmp_path / "prepared", tmp_path / "labels"
    for house in HOUSES:
        words = ("--unit", house, "--source", archives / f"{house}.zip", "--workers", 2)
        invoke("prepare", "matterport3d", *words, "--output", prepared / house)
    said = invoke("splits", "matterport3d", "--prepared", prepared, "--settings", '{"seed": 3}')
    assert said == "train panoramas 4\nvalidation panoramas 2\ntest panoramas 2\n"
    own = folder_sha256(prepared)
    archive = archives / "mp3d_skybox.tar"
    assert "34 files" in invoke("labels", "matterport3d", "--archive", archive, "--output", labels)
    invoke("splits", "matterport3d", "--prepared", prepared, "--labels", labels)
    assert folder_sha256(prepared) != own
    words = ("--data", prepared, "--split", "test", "--height", 8)
    assert "1 panoramas" in invoke("equirect", *words, "--output", tmp_path / "out")
    with pytest.raises(InputError, match="unknown setting 'sed'; did you mean 'seed'"):
        invoke("splits", "matterport3d", "--prepared", prepared, "--settings", '{"sed": 3}')
    with pytest.raises(InputError, match="--labels"):
        invoke(
            *("prepare", "matterport3d", "--unit", "x", "--source", archive),
            *("--output", prepared / "x", "--labels", labels),
        )
    write_house(tmp_path / "downloads", HOUSES[0])
    words = ("--source", tmp_path / "downloads", "--output", tmp_path / "from folder")
    invoke("prepare", "matterport3d", "--unit", HOUSES[0], *words)
    assert len(list((tmp_path / "from folder" / FOLDER).iterdir())) == 12
    with pytest.raises(InputError, match=f"holds no file of {HOUSES[1]}"):
        invoke("prepare", "matterport3d", "--unit", HOUSES[1], *words)
    write_scene(tmp_path / "scenes" / "train" / "scene0000_00", archive)
    assert invoke("splits", "scannet", "--prepared", tmp_path / "scenes") == "train scenes 1\n"
