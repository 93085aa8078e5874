"""A split that several processes generate, each a part: the folder is that of one process."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from noise_data import write_rooms

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.generation import split
from mvdiffusion.generation.sample_folder import SampleFolder, split_manifest
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.methods.registry import find_method
from mvdiffusion.outputs import begin, begin_part, end
from mvdiffusion.records import InputError, folder_sha256
from mvdiffusion.tasks import Task

SETTINGS = GenerationSettings(num_inference_steps=1, guidance_scale=2.0, batch_size=2, device="cpu")
ROOMS = [f"room{index}" for index in range(7)]
VIEW = {"image_size": 16, "num_views": 8, "fov_deg": 90.0}


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rooms")
    write_rooms(root, "test", ROOMS, 0)
    return root


def generate(model: Path, rooms: Path, root: Path, part: tuple[int, int] = (0, 1)) -> list[str]:
    """Fill a folder, or a part of it; the samples that were made now."""
    dataset = Matterport3DPanoramas(rooms, "test", **VIEW)
    manifest = split_manifest(Task.PANORAMA, "mvdiffusion", dataset, None, "0" * 64)
    folder, made = SampleFolder(root, manifest, {}, part=part), []
    write = folder.write_sample

    def note(sample_id: str, *rest: object) -> None:
        made.append(sample_id)
        write(sample_id, *rest)  # type: ignore[arg-type]

    folder.write_sample = note  # type: ignore[method-assign, assignment]
    method = find_method("mvdiffusion", "panorama")
    split.generate_split(method, model, dataset, SETTINGS, folder)
    return made


@pytest.mark.parametrize("count", [2, 3])
def test_parts_make_the_folder_of_one_process(
    count: int, model: Path, seven: Path, tmp_path: Path
) -> None:
    """In batches of two and one, which are those of one process; one alone ends it."""
    assert generate(model, seven, tmp_path / "whole") == ROOMS
    made = [generate(model, seven, tmp_path / "parts", (rank, count)) for rank in range(count)]
    assert made[0][:2] == ["room0", "room1"]
    assert made[1][:2] == ["room2", "room3"]
    assert sorted(itertools.chain(*made)) == ROOMS  # each once
    assert not (tmp_path / "parts/manifest.json").exists()
    assert generate(model, seven, tmp_path / "parts") == []
    assert folder_sha256(tmp_path / "parts") == folder_sha256(tmp_path / "whole")


def test_a_run_goes_on_in_another_number_of_parts(
    model: Path, seven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three parts one is made, of two one; one process makes the rest, and nothing again."""
    generate(model, seven, tmp_path / "whole")
    rest = tmp_path / "rest"
    made = [generate(model, seven, rest, part) for part in ((1, 3), (0, 2))]
    assert made == [["room2", "room3"], ["room0", "room1", "room4", "room5"]]
    assert generate(model, seven, rest) == ["room6"]
    assert folder_sha256(rest) == folder_sha256(tmp_path / "whole")
    (rest / "manifest.json").unlink()  # as Snakemake deletes it before the rule runs again
    monkeypatch.setattr(split, "load_pipeline", None)  # nothing is left for a model to do
    assert generate(model, seven, rest) == []
    assert folder_sha256(rest) == folder_sha256(tmp_path / "whole")


HOLD = """
import sys
from pathlib import Path
from mvdiffusion.outputs import begin, begin_part
root, number, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if count == 1:
    begin(root, {"seed": 1})
else:
    begin_part(root, {"seed": 1}, (number, count))
print("begun", flush=True); sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that another process fills, all of it or a part."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out", *map(str, request.param)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    yield tmp_path / "out"
    process.communicate()


@pytest.mark.parametrize("other", [(0, 2)], indirect=True)
def test_a_part_is_filled_by_one_process_and_parts_are_of_one_number(other: Path) -> None:
    begin_part(other, {"seed": 1}, (1, 2))  # the other part is free
    for part in ((0, 2), (0, 3), (1, 3)):
        with pytest.raises(InputError, match="is being written by another command"):
            begin_part(other, {"seed": 1}, part)
    with pytest.raises(InputError, match="is being written by another command"):
        begin(other, {"seed": 1})
    (other / "view.png").touch()
    with pytest.raises(InputError, match="made with other settings"):
        begin_part(other, {"seed": 2}, (1, 2))


@pytest.mark.parametrize("other", [(0, 1)], indirect=True)
def test_nobody_fills_a_part_of_what_one_process_fills(
    other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mvdiffusion.outputs._PATIENCE", 0.2)
    with pytest.raises(InputError, match="is being written by another command"):
        begin_part(other, {"seed": 1}, (0, 2))


BEGIN = """
import sys
from pathlib import Path
from mvdiffusion.outputs import begin_part
print("ready", flush=True); sys.stdin.read(1)
begin_part(Path(sys.argv[1]), {"seed": 1}, (int(sys.argv[2]), 4), overwrite=True)
print("begun", flush=True); sys.stdin.read()
"""


def test_parts_begin_at_once_beside_what_is_moved_aside_once(tmp_path: Path) -> None:
    """Four processes begin a new folder at one moment, and one of other settings."""
    begin(tmp_path / "out", {"seed": 0})
    (tmp_path / "out/old.png").touch()
    end(tmp_path / "out")
    parts = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN, tmp_path / "out", str(rank)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(4)
    ]  # fmt: skip
    assert [part.stdout.readline() for part in parts] == ["ready\n"] * 4
    for part in parts:
        part.stdin.write("\n")
        part.stdin.flush()
    assert [part.stdout.readline() for part in parts] == ["begun\n"] * 4
    for part in parts:
        part.communicate()
    assert json.loads((tmp_path / "out/.output.json").read_text()) == {"seed": 1}
    assert [path.name for path in tmp_path.iterdir() if path.name != "out"] == ["out.old"]
    assert (tmp_path / "out.old/old.png").exists()


@pytest.mark.slow
def test_two_processes_generate_the_folder_of_one(
    models: dict[str, Path], seven: Path, tmp_path: Path
) -> None:
    """By the command, byte by byte."""
    numbers = {"num_inference_steps": 1, "batch_size": 2, "device": "cpu", "data": VIEW}
    words = ["generate", "split", "--method", "mvdiffusion", "--model", str(models["panorama"])]
    words += ["--data", str(seven), "--settings", json.dumps(numbers)]
    paths = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    for count in ("1", "2"):
        subprocess.run(
            [sys.executable, "-m", "mvdiffusion.cli", *words, "--output", str(tmp_path / count),
             "--processes", count], env=environment, check=True,
        )  # fmt: skip
    one, two = (
        {
            path.relative_to(tmp_path / count): path.read_bytes()
            for path in (tmp_path / count).rglob("*")
            if path.is_file()
        }
        for count in ("1", "2")
    )
    assert len(one) > 7 * 8
    assert one.keys() == two.keys()
    assert [path for path in one if one[path] != two[path]] == []
