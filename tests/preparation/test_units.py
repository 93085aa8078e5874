"""Prepared houses and scenes: whole or not at all, recorded, recognized when nothing changed."""

import hashlib
import json
from pathlib import Path

import pytest

from mvdiffusion.preparation.custom.check import changed_files
from mvdiffusion.preparation.units import RECORD, Unit, collect
from mvdiffusion.records import InputError

SETTINGS = {"size": 4, "sides": (1, 2)}


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "source.zip"
    path.write_bytes(b"source")
    return path


def prepare(folder: Path, source: Path, settings=SETTINGS, content: str = "pixels") -> None:
    unit = Unit(folder, "matterport3d", "house", settings, source)
    with unit.made() as made:
        (made / "images").mkdir()
        (made / "images" / "one.jpg").write_text(content)
        (made / "blip3").mkdir()
        (made / "blip3" / "new_0.txt").write_text("new")
        unit.skipped.append({"panorama": "two", "reason": "broken"})


def test_the_record_says_of_what_and_how(tmp_path, source):
    prepare(tmp_path / "house", source)
    assert json.loads((tmp_path / "house" / RECORD).read_text()) == {
        "format": 1,
        "dataset": "matterport3d",
        "unit": "house",
        "settings": {"size": 4, "sides": [1, 2]},
        "source": {
            "name": "source.zip",
            "bytes": 6,
            "sha256": hashlib.sha256(b"source").hexdigest(),
        },
        "files": {"images/one.jpg": hashlib.sha256(b"pixels").hexdigest()},
        "skipped": [{"panorama": "two", "reason": "broken"}],
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["house", "source.zip"]


def test_it_is_recognized_until_something_changes(tmp_path, source):
    folder = tmp_path / "house"

    def known(unit: str = "house", settings=SETTINGS, file: Path = source, **options: bool) -> bool:
        return Unit(folder, "matterport3d", unit, settings, file).is_prepared(**options)

    assert not known()
    prepare(folder, source)
    assert known()
    with pytest.raises(InputError, match="record of a scannet unit"):
        Unit(folder, "scannet", "house", SETTINGS, source).is_prepared()
    renamed = source.with_name("renamed.zip")
    renamed.write_bytes(b"source")
    edited = source.with_name("edited.zip")
    edited.write_bytes(b"Source")
    changes = {
        "unit": {"unit": "other"},
        r"settings\.size": {"settings": {**SETTINGS, "size": 5}},
        r"source\.name": {"file": renamed},
        r"source\.sha256": {"file": edited},
    }
    for name, change in changes.items():
        with pytest.raises(InputError, match=name):
            known(**change)
        assert not known(**change, overwrite=True)
    assert known()
    (folder / "images" / "one.jpg").write_text("")
    assert not known()
    (folder / "images" / "one.jpg").unlink()
    assert not known()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', "null", '{"format": 1}'])
def test_a_broken_record_is_refused(tmp_path, source, text):
    prepare(tmp_path / "house", source)
    (tmp_path / "house" / RECORD).write_text(text)
    with pytest.raises(InputError, match=RECORD):
        Unit(tmp_path / "house", "matterport3d", "house", SETTINGS, source).is_prepared()
    with pytest.raises(InputError, match=RECORD):
        collect(tmp_path, "matterport3d", [tmp_path / "house"])
    assert (tmp_path / "house" / "images" / "one.jpg").is_file()


def test_captions_outlive_a_new_preparation(tmp_path, source):
    folder = tmp_path / "house"
    prepare(folder, source)
    (folder / "blip3" / "new_0.txt").write_text("edited")
    (folder / "blip3" / "old_0.txt").write_text("old")
    prepare(folder, source, {}, "other")
    assert (folder / "images" / "one.jpg").read_text() == "other"
    captions = {path.name: path.read_text() for path in (folder / "blip3").iterdir()}
    assert captions == {"new_0.txt": "new", "old_0.txt": "old"}


def test_a_failure_leaves_what_was_there(tmp_path, source):
    prepare(tmp_path / "house", source)
    with pytest.raises(TypeError):
        prepare(tmp_path / "house", source, content=3)
    assert Unit(tmp_path / "house", "matterport3d", "house", SETTINGS, source).is_prepared()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["house", "source.zip"]


def test_nothing_to_prepare(tmp_path, source):
    with (
        pytest.raises(InputError, match="nothing usable"),
        Unit(tmp_path / "house", "matterport3d", "house", {}, source).made(),
    ):
        pass
    with (
        pytest.raises(InputError, match="no such file; fetch matterport3d house first"),
        Unit(tmp_path / "house", "matterport3d", "house", {}, tmp_path / "none").made(),
    ):
        pass
    assert list(tmp_path.iterdir()) == [source]


def test_units_are_collected_by_the_hash_of_their_records(tmp_path, source):
    folders = [tmp_path / "train" / name for name in "ba"]
    for folder in folders:
        prepare(folder, source)
    digest = hashlib.sha256((folders[0] / RECORD).read_bytes()).hexdigest()
    assert collect(tmp_path, "matterport3d", folders) == {
        "train/a": digest,
        "train/b": digest,
    }
    (folders[1] / "images" / "one.jpg").write_text("pixelz")
    found = [problem.named_in(tmp_path).file for problem in changed_files(tmp_path)]
    assert found == ["train/a/images/one.jpg"]
    for spoil in (lambda path: path.write_text(""), Path.unlink):
        spoil(folders[1] / "images" / "one.jpg")
        with pytest.raises(InputError, match=r"a/images/one\.jpg: missing or empty"):
            collect(tmp_path, "matterport3d", folders)
    with pytest.raises(InputError, match="expected the record of a scannet unit"):
        collect(tmp_path, "scannet", folders)
    with pytest.raises(InputError, match="no such file"):
        collect(tmp_path, "matterport3d", [tmp_path / "none"])
