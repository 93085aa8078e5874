"""The official lists of scans and houses that come with the package."""

import re
from importlib.resources import files
from itertools import groupby

import pytest

LISTS = files("mvdiffusion.preparation") / "lists"


def read_list(name: str) -> list[str]:
    text = (LISTS / f"{name}.txt").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")


@pytest.mark.parametrize(
    ("name", "count", "pattern"),
    [
        ("matterport3d", 90, r"[0-9A-Za-z]{11}"),
        ("scannet_train", 1513, r"scene0[0-7]\d\d_0\d"),
        ("scannet_test", 100, r"scene0[78]\d\d_00"),
    ],
)
def test_lists_are_whole_and_sorted(name, count, pattern):
    ids = read_list(name)
    assert len(set(ids)) == len(ids) == count
    assert ids == sorted(ids, key=str.lower)
    assert [text for text in ids if not re.fullmatch(pattern, text)] == []


def test_scans_are_of_the_707_scenes_without_gaps():
    scans = [(int(text[5:9]), int(text[10:])) for text in read_list("scannet_train")]
    scenes = [
        (scene, [rescan for _, rescan in group])
        for scene, group in groupby(scans, key=lambda scan: scan[0])
    ]
    assert [scene for scene, _ in scenes] == list(range(707))
    assert all(rescans == list(range(len(rescans))) for _, rescans in scenes)


def test_scans_per_scene_are_the_published_ones():
    """Places of scenes in the official list, and scenes scanned most often."""
    ids = read_list("scannet_train")
    places = {70: 149, 140: 307, 210: 456, 350: 740, 420: 895, 490: 1045, 560: 1182, 630: 1342}
    assert {scene: ids.index(f"scene{scene:04d}_00") for scene in places} == places
    often = {text[5:9] for text in ids if int(text[10:]) >= 5}
    assert often == {"0101", "0451", "0474", "0630", "0673"}
    assert (ids[0], ids[-1]) == ("scene0000_00", "scene0706_00")


def test_test_scans_follow_the_training_scans():
    train, test = read_list("scannet_train"), read_list("scannet_test")
    assert test == [f"scene{scene:04d}_00" for scene in range(707, 807)]
    assert not set(train) & set(test)
