"""Owners' scripts, played by stand-ins: run, retried, checked; and what is said without them."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
from archives_of_rooms import HOUSES, write_house, write_script
from typer.testing import CliRunner

from mvdiffusion.cli import app
from mvdiffusion.preparation.fetch import fetch_unit, find_download
from mvdiffusion.records import InputError

HOUSE = HOUSES[0]
PLACE = f"v1/scans/{HOUSE}/matterport_skybox_images.zip"


@pytest.fixture
def archive(tmp_path) -> Path:
    return write_house(tmp_path / "server", HOUSE, 1)


def fetch(tmp_path: Path, script: Path | None, **options) -> Path:
    options = {"accept_terms": True, "first_wait_s": 0.001, "retries": 3, **options}
    return fetch_unit("matterport3d", HOUSE, tmp_path / "downloads", script, **options)


def starts(script: Path) -> list[str]:
    log = Path(f"{script}.log")
    return log.read_text().splitlines() if log.exists() else []


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_script_is_run_once_and_its_file_recorded(tmp_path, archive, monkeypatch, capfd):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    script = write_script(tmp_path / "download_mp.py", archive)
    for _ in range(2):
        assert fetch(tmp_path, script) == tmp_path / "downloads" / PLACE
    assert starts(script) == [f"{HOUSE} matterport_skybox_images "]
    assert "Press any key" in capfd.readouterr().out
    content = archive.read_bytes()
    assert (tmp_path / "downloads" / PLACE).read_bytes() == content
    assert json.loads((tmp_path / "downloads" / f"{PLACE}.json").read_text()) == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert files(tmp_path / "downloads") == [PLACE, f"{PLACE}.json"]


def test_failures_are_tried_again(tmp_path, archive, monkeypatch, capfd):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    script = write_script(tmp_path / "get.py", archive, ("fail", "half", "nothing", "whole"))
    assert fetch(tmp_path, script, first_wait_s=5.0).read_bytes() == archive.read_bytes()
    assert (len(starts(script)), waits) == (4, [5.0, 10.0, 20.0])
    said = capfd.readouterr().err
    assert "the server does not answer" in said
    assert "ended with code 1" in said
    assert "not a whole" in said
    assert "Trying again (3 of 3)" in said
    assert files(tmp_path / "downloads") == [PLACE, f"{PLACE}.json"]


@pytest.mark.parametrize(
    ("step", "reason"), [("fail", "code 1"), ("nothing", "code 0"), ("half", "not a whole")]
)
def test_a_script_that_never_delivers(tmp_path, archive, step, reason):
    script = write_script(tmp_path / "get.py", archive, (step,))
    with pytest.raises(InputError, match=rf"did not deliver house {HOUSE} .*{reason}"):
        fetch(tmp_path, script, retries=1)
    assert len(starts(script)) == 2
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_script_for_another_python(tmp_path, archive):
    script = tmp_path / "get.py"
    script.write_text("raw_input('')\n")
    with pytest.raises(InputError, match="such an interpreter with --python"):
        fetch(tmp_path, script, first_wait_s=1000)
    with pytest.raises(InputError, match="could not be started"):
        fetch(tmp_path, script, python=str(tmp_path / "python2"), retries=0)


def test_what_a_killed_run_left_is_cleared_away(tmp_path, archive):
    left = tmp_path / "downloads" / f".{HOUSE}.999999999-0123abcd.tmp"
    left.mkdir(parents=True)
    fetch(tmp_path, write_script(tmp_path / "get.py", archive))
    assert not left.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"script": None}, ["no such file", "MP_TOS.pdf", "niessner.github.io/Matterport"]),
        ({"script": None}, ["datasets.matterport3d.script", "datasets.matterport3d.downloads"]),
        ({"script": Path("none.py")}, ["none.py: no such file", "download_mp.py"]),
        ({"accept_terms": False}, ["MP_TOS.pdf", "datasets.matterport3d.accept_terms: true"]),
    ],
)
def test_what_is_missing_is_said(tmp_path, archive, options, said):
    script = write_script(tmp_path / "get.py", archive)
    with pytest.raises(InputError) as error:
        fetch(tmp_path, **{"script": script, **options})
    assert [word for word in said if word not in str(error.value)] == []
    assert "\n" not in str(error.value)
    assert starts(script) == []


def test_a_place_that_cannot_hold_downloads(tmp_path, archive):
    script = write_script(tmp_path / "get.py", archive)
    (tmp_path / "downloads").write_text("a file")
    with pytest.raises(
        InputError, match=r"downloads: cannot be used for downloads \(Not a directory\)"
    ):
        fetch(tmp_path, script)
    assert starts(script) == []


def test_unknown_units(tmp_path):
    with pytest.raises(
        InputError, match=r"Matterport3D has no house '\.\./x'; expected one of its 90"
    ):
        fetch_unit("matterport3d", "../x", tmp_path)
    with pytest.raises(InputError, match="ScanNet has no scene 'scene0707_01'"):
        fetch_unit("scannet", "scene0707_01", tmp_path)


def test_a_folder_already_downloaded(tmp_path):
    path = write_house(tmp_path / "downloads", HOUSE, 1)
    assert fetch(tmp_path, None, accept_terms=False) == path
    assert json.loads(Path(f"{path}.json").read_text())["bytes"] == path.stat().st_size
    assert fetch(tmp_path, None, verify=True) == path


def test_a_damaged_file_is_noticed_and_fetched_again(tmp_path, archive):
    path, whole = write_house(tmp_path / "downloads", HOUSE, 1), archive.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match=r"not a whole .*; delete .* requires a signed license"):
        fetch(tmp_path, None)
    script = write_script(tmp_path / "get.py", archive)
    assert fetch(tmp_path, script).read_bytes() == whole
    path.write_bytes(whole[:-100])  # now a record says what it should be
    with pytest.raises(InputError, match=r"does not match matterport_skybox_images\.zip\.json"):
        fetch(tmp_path, None)
    assert fetch(tmp_path, script).read_bytes() == whole
    path.write_bytes(whole[:50] + b"?" + whole[51:])
    assert fetch(tmp_path, script).read_bytes() != whole  # of the same size
    assert fetch(tmp_path, script, verify=True).read_bytes() == whole
    assert len(starts(script)) == 3
    aside = [f"{PLACE}.old{number}" for number in ("", 2, 3)]
    assert files(tmp_path / "downloads") == [PLACE, f"{PLACE}.json", *aside]
    assert (tmp_path / "downloads" / aside[0]).read_bytes() == whole[:-100]


def sens(frames: int = 2) -> bytes:
    """A recording with a header as the format has it; the payloads are none of fetching's."""
    header = struct.pack("<IQ4s64f", 4, 4, b"test", *range(64))
    header += struct.pack("<iiIIIIfQ", 2, 1, 8, 6, 8, 6, 1000.0, frames)
    frame = struct.pack("<16fQQQQ", *range(16), 0, 0, 3, 5) + b"colorxxx"
    return header + frame * frames


@pytest.mark.parametrize(
    ("scene", "folder", "questions"),
    [("scene0000_01", "scans", 2), ("scene0707_00", "scans_test", 1)],
)
def test_scans_of_scannet(tmp_path, scene, folder, questions):
    (tmp_path / "server.sens").write_bytes(sens())
    place = f"{folder}/{{id}}/{{id}}.sens"
    script = write_script(
        tmp_path / "get.py", tmp_path / "server.sens", ("half", "whole"), place, questions
    )
    options = {"script": script, "accept_terms": True, "first_wait_s": 0.001}
    found = fetch_unit("scannet", scene, tmp_path / "downloads", **options)
    assert found == tmp_path / "downloads" / folder / scene / f"{scene}.sens"
    assert found.read_bytes() == sens()
    assert starts(script) == [f"{scene} .sens "] * 2
    with pytest.raises(InputError, match=r"ScanNet_TOS\.pdf.*datasets\.scannet\.script"):
        fetch_unit("scannet", scene, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("dataset", "unit", "place"),
    [
        ("matterport3d", HOUSE, PLACE),
        ("matterport3d", HOUSE, PLACE.removeprefix("v1/")),
        ("matterport3d", HOUSE, PLACE.removeprefix("v1/scans/")),
        ("scannet", "scene0001_00", "scans/scene0001_00/scene0001_00.sens"),
        ("scannet", "scene0001_00", "scans/scene0001_00/scene0001_00_vh.sens"),
        ("scannet", "scene0806_00", "scans_test/scene0806_00/scene0806_00.sens"),
        ("scannet", "scene0806_00", "scans/scene0806_00/scene0806_00.sens"),
    ],
)
def test_places_where_downloads_are_found(tmp_path, dataset, unit, place):
    assert find_download(dataset, unit, tmp_path) is None
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(b"x")
    assert find_download(dataset, unit, tmp_path) == tmp_path / place


def test_the_command(tmp_path, archive):
    script = write_script(tmp_path / "get.py", archive)
    words = ["data", "fetch", "matterport3d", "--unit", HOUSE, "--script", str(script)]
    words += ["--downloads", str(tmp_path / "downloads"), "--retries", "0"]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, InputError)
    ran = CliRunner().invoke(app, [*words, "--accept-terms"])
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[-1] == str(tmp_path / "downloads" / PLACE)
