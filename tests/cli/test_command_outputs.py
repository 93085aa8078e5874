"""No command deletes or changes what it did not write: foreign folders, `.`, and its inputs."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from noise_data import write_rooms
from PIL import Image
from scenes import write_scene
from tiny_training import BASE_PARTS, VAE_MODEL, VIEW, settings
from typer.main import get_command
from typer.testing import CliRunner

import mvdiffusion_eval.cli
from mvdiffusion.cli import app
from mvdiffusion.outputs import RECORD
from mvdiffusion.records import (
    folder_sha256,
    model_sha256,
    reporting_input_errors,
    write_json,
)
from mvdiffusion.training.runs import SPLIT_FILES

APPS = {"mvdiffusion": app, "mvdiffusion-eval": mvdiffusion_eval.cli.app}
WRITTEN = {"output", "output_dir", "checkpoints", "metrics"}  # logs are added to what is there
READ = {("report", "metrics")}
ROOMS = {"seed": 0, "num_scenes": {"train": 1}, "face_size": 16, "jpeg_quality": 90}
WALKS = {
    "seed": 0, "num_scenes": {"train": 1}, "num_frames": 2, "height": 16, "width": 16,
    "fov_deg": 60.0, "jpeg_quality": 90, "overlap": 0.5, "max_depth": 5.0,
}  # fmt: skip
KNOWN = {  # words that stand for others
    "ROOMS": ROOMS,
    "WALKS": WALKS,
    "VIEW": {"data": VIEW},
    "VAE": settings(model=VAE_MODEL),
    "BASE": settings(**BASE_PARTS),
    "STAGE": settings(),
    "FRAMES": settings(data={"height": 16, "width": 16, "num_views": 3}),
}
OWN = {"vae": "VAE", "base": "BASE", "controlnet": "FRAMES"}  # settings of single trainings
PLACES = "--data rooms --validation rooms "
VIEWS = "generated/mine"
SCORES = "scores/mine.json"
# What each option is tried with, by command: words, and the inputs that are tried as its value.
# OUT is the tried value. Other outputs go to `elsewhere`.
TABLE: dict[tuple[str, str], tuple[str, list[str]]] = {
    ("data rooms", "output"): ("--settings ROOMS --output OUT", []),
    ("data walks", "output"): ("--settings WALKS --output OUT", []),
    ("data export", "output"): (
        "--data rooms --split train --settings VIEW --output OUT", ["rooms"]),
    ("data views", "output"): ("equirect/a.png --output OUT", ["equirect"]),
    ("data stitch", "output"): (f"--views {VIEWS} --output OUT", ["generated", VIEWS]),
    ("data labels", "output"): (
        "matterport3d --archive archives/mp3d_skybox.tar --output OUT", ["archives"]),
    ("data prepare", "output"): (
        "matterport3d --unit house --source archives/house.zip --output OUT", ["archives"]),
    ("data equirect", "output"): ("--data rooms --split train --output OUT", ["rooms"]),
    ("data import", "output"): (
        "equirect --split train --caption a --output OUT", ["equirect"]),
    **{
        (f"train {stage}", option): (
            PLACES + " ".join(
                f"--{name} " + ("OUT" if name == option else f"elsewhere/{name}")
                for name in ("output", "checkpoints", "log_dir")
            ).replace("_", "-") + (" --base panorama" if stage != "vae" else "")
            + " --settings " + OWN.get(stage, "STAGE"),
            ["rooms", *(["panorama"] if stage != "vae" else [])],
        )
        for stage in (
            "vae", "decoder", "base", "inpainting", "stage1", "panorama-finetune", "controlnet",
            "stage2")
        for option in ("output", "checkpoints")
    },
    ("generate split", "output"): (
        "--method mvdiffusion --model panorama --data rooms --split train --settings VIEW"
        " --output OUT", ["panorama", "rooms"]),
    ("generate panorama", "output"): ("--model panorama --prompt a --output OUT", ["panorama"]),
    ("generate outpaint", "output"): (
        "--model outpaint --prompt a --image equirect/a.png --output OUT",
        ["outpaint", "equirect"]),
    ("generate depth", "output"): (
        "--model depth --prompt a --scene walks/train/scene --output OUT", ["depth", "walks"]),
    ("external run", "output"): (
        "panfusion --data rooms --split train --settings VIEW --only-requests --output OUT",
        ["rooms"]),
    ("external import", "output"): (
        "panfusion equirect --layout equirectangular --files {sample}.png --output OUT",
        ["equirect"]),
    ("external check", "output"): (f"panfusion {VIEWS} --output OUT", [VIEWS]),
    ("fetch-base", "output"): ("--model panorama --output OUT", ["panorama"]),
    ("fetch-released", "output"): ("panorama --from archives --output OUT", ["archives"]),
    ("release-base", "output"): (
        "--vae trained/vae --vae-log trained/log --base trained/base --base-log trained/log"
        " --rooms rooms --trials trained/trials.csv --output OUT",
        ["trained/vae", "trained/base", "trained/log", "rooms"]),
    ("convert", "output"): (
        "--checkpoint archives/pano.ckpt --base panorama --output OUT", ["archives", "panorama"]),
    ("mesh", "output"): ("--sample walks/train/scene --output OUT", ["walks"]),
    ("score", "output"): (f"--generated {VIEWS} --output OUT", [VIEWS]),
    ("compare", "output"): (f"{VIEWS} --output OUT", [VIEWS, "generated"]),
    ("tables", "output_dir"): (
        f"{SCORES} --output-dir OUT --metrics elsewhere.json", [VIEWS, "scores"]),
    ("tables", "metrics"): (f"{SCORES} --output-dir elsewhere --metrics OUT", ["scores"]),
    ("figures", "output_dir"): (f"--generated panorama/mine={VIEWS} --output-dir OUT", [VIEWS]),
    ("report", "output"): (
        "--tables scores --figures scores --metrics scores/mine.json --config scores/mine.json"
        " --output OUT", ["scores"]),
    ("leaderboard", "output"): (f"{SCORES} --output OUT", ["scores"]),
    ("pack", "output"): (f"{SCORES} --generated {VIEWS} --output OUT", [VIEWS, "scores"]),
    ("study", "output"): (f"a={VIEWS} b={VIEWS} --output OUT", [VIEWS]),
    ("study-score", "output"): (f"{SCORES} {SCORES} --output OUT", ["scores"]),
    ("train-extractor", "output"): (f"--kind clip --views {VIEWS} --output OUT", [VIEWS]),
}  # fmt: skip
ADDS = ("data import", "output")  # to a data folder: files beside those that are there


def options(command: Any, words: str = "") -> Iterator[tuple[str, str]]:
    """Every option of a command and its subcommands that names what is written."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from options(inner, f"{words} {name}".strip())
    pairs = ((words, each.name) for each in command.params if each.name in WRITTEN)
    yield from (pair for pair in pairs if pair not in READ)


def test_the_table_has_every_command_that_writes() -> None:
    found = [pair for each in APPS.values() for pair in options(get_command(each))]
    assert sorted(found) == sorted(TABLE)


def write_trainings(root: Path, rooms: Path) -> None:
    """What trainings of the base leave, as far as a release reads it before it writes."""
    split = [folder_sha256(rooms, pattern) for pattern in SPLIT_FILES]
    write_json(root / "vae" / RECORD, {"steps": 1, "train_split": split})
    of_vae = {"base": model_sha256(root / "vae")}
    write_json(root / "base" / RECORD, {"steps": 1, "train_split": split, **of_vae})
    write_json(root / "base/model_index.json", {})
    (root / "log").mkdir()
    (root / "log/sittings.jsonl").write_text('{"from_step": 0, "step": 1}\n')
    (root / "trials.csv").write_text("recipe\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path]) -> Path:
    """Inputs of all commands, with a record as outputs of earlier commands have."""
    root = tmp_path_factory.mktemp("made")
    write_rooms(root / "rooms", "train", ["a", "b"], 0)
    write_rooms(root / "rooms", "validation", ["c"], 1)
    write_scene(root / "walks/train/scene", 3, [0, 2])
    write_trainings(root / "trained", root / "rooms")
    for task, model in models.items():
        shutil.copytree(model, root / task)
    (root / "equirect").mkdir()
    Image.linear_gradient("L").convert("RGB").resize((512, 256)).save(root / "equirect/a.png")
    toy.write_folder(root / VIEWS, "mine", toy.real_samples(4))
    (root / "archives").mkdir()
    for name in ("mp3d_skybox.tar", "house.zip", "pano.ckpt"):
        (root / "archives" / name).write_bytes(b"refused before it is read")
    words = ["score", "--generated", root / VIEWS, "--output", root / SCORES]
    scored = CliRunner().invoke(APPS["mvdiffusion-eval"], [str(word) for word in words])
    assert scored.exit_code == 0, scored.output
    for folder in (*models, "rooms", "equirect", VIEWS, "archives", "scores", "walks"):
        (root / folder / RECORD).write_text(json.dumps({"seed": 5}))
    (root / "own/photos").mkdir(parents=True)
    (root / "own/thesis.txt").write_text("three years of work")
    (root / "own/photos/1.jpg").write_bytes(b"holidays")
    return root


@pytest.fixture
def work(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The inputs beside somebody's own files, as the current folder; nothing in it may change."""
    monkeypatch.chdir(made)
    return made


def invoke(words: str, output: str, *more: str) -> tuple[int, str]:
    """Run a command; its exit code, and what it says of a mistake."""
    known = {key: json.dumps(value) for key, value in KNOWN.items()} | {"OUT": output}
    parts = [known.get(word, word) for word in words.split()]
    name = "mvdiffusion-eval" if parts[0] in EVALUATION else "mvdiffusion"

    def run() -> None:
        with reporting_input_errors(name):
            APPS[name](args=[*parts, *more])

    return ended(run)


EVALUATION = {command.split()[0] for command, _ in options(get_command(APPS["mvdiffusion-eval"]))}


def ended(run: Any) -> tuple[int, str]:
    """Exit code and standard error of a function that exits."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        run()
    return int(end.value.code or 0), said.getvalue()


def overwriting(command: str) -> list[list[str]]:
    """Further words to try: nothing, and --overwrite if there is such an option."""
    inner: Any = get_command(APPS["mvdiffusion-eval" if command in EVALUATION else "mvdiffusion"])
    for word in command.split():
        inner = inner.commands[word]
    return [[], *([["--overwrite"]] if "overwrite" in {each.name for each in inner.params} else [])]


REFUSED = (
    "holds other files", "holds the input", "is a folder; expected", "lies inside",
    "is the output of another command", "was made with other settings",
    "expected a name that ends in", "expected the name of a page",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("command", "option"), TABLE)
def test_foreign_folders_and_inputs_are_left_as_they_are(
    work: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str
) -> None:
    words, inputs = TABLE[command, option]
    before = contents(work)
    for output in [*inputs, *([] if (command, option) == ADDS else ["own", "."])]:
        for more in overwriting(command):
            code, said = invoke(f"{command} {words}", output, *more)
            assert code == 2, f"{output} {more}: {said}"
            assert any(reason in said for reason in REFUSED), f"{output} {more}: {said}"
            assert contents(work) == before, f"{output} {more}"


QUERIES = (
    "data check equirect --caption a", "data check rooms", "data check own", "protocols",
    "data key-frames --scene walks/train/scene --list",
    "data key-frames --scene walks/train/scene --list --overwrite", "protocols --json",
)  # fmt: skip


@pytest.mark.parametrize("words", QUERIES)
def test_queries_write_nothing(work: Path, words: str) -> None:
    before = contents(work)
    code, said = invoke(words, "")
    assert code in (0, 1, 2), said
    assert contents(work) == before


def contents(folder: Path) -> dict[str, tuple[int, ...]]:
    """Files below a folder, and what changes when one is written, replaced or moved."""
    files = (path for path in folder.rglob("*") if path.is_file() and "elsewhere" not in path.parts)
    stats = ((path.relative_to(folder).as_posix(), path.stat()) for path in files)
    return {name: (found.st_ino, found.st_size, found.st_mtime_ns) for name, found in stats}
