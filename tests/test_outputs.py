"""Outputs made once: resumed, refused, moved aside, and never deleted."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from mvdiffusion.cli import main
from mvdiffusion.outputs import (
    RECORD,
    begin,
    check_file,
    differences,
    is_begun,
    keep_spares,
    remade_output,
    set_aside,
    whole_output,
)
from mvdiffusion.records import (
    InputError,
    model_sha256,
    read_json,
    reporting_input_errors,
    write_json,
)

SETTINGS = {"seed": 0, "data": {"size": 64, "sides": (1, 2)}}


def made(folder, settings=SETTINGS):
    begin(folder, settings)
    (folder / "a").mkdir()
    (folder / "a/0.png").write_bytes(b"image")
    (folder / "notes.txt").write_text("mine")


def test_same_settings_resume(tmp_path):
    assert not begin(tmp_path / "out", SETTINGS)
    assert read_json(tmp_path / "out" / RECORD) == {
        "seed": 0,
        "data": {"size": 64, "sides": [1, 2]},
    }
    assert begin(tmp_path / "out", SETTINGS)
    made(tmp_path / "full")
    assert begin(tmp_path / "full", SETTINGS, overwrite=True)
    assert (tmp_path / "full/notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "out"]


def test_other_settings_are_refused_by_name(tmp_path):
    made(tmp_path / "out")
    other = {"seed": 0, "data": {"size": 32, "sides": [1, 2]}, "steps": 5}
    with pytest.raises(InputError, match=r"other settings \(data\.size, steps\).*--overwrite"):
        begin(tmp_path / "out", other)
    assert (tmp_path / "out/a/0.png").read_bytes() == b"image"
    many = {f"key{number}": number for number in range(9)}
    with pytest.raises(InputError, match=r"\(data, key0, .*, key4 and 5 more\)"):
        begin(tmp_path / "out", many)


def test_overwrite_moves_everything_aside(tmp_path):
    made(tmp_path / "out")
    for seed, aside in ((1, "out.old"), (2, "out.old2")):
        assert not begin(tmp_path / "out", {"seed": seed}, overwrite=True)
        assert (tmp_path / aside / RECORD).is_file()
        assert [path.name for path in (tmp_path / "out").iterdir()] == [RECORD]
        (tmp_path / "out/b").mkdir()
    assert (tmp_path / "out.old/notes.txt").read_text() == "mine"
    assert (tmp_path / "out.old/a/0.png").read_bytes() == b"image"
    assert (tmp_path / "out.old2/b").is_dir()


def test_an_output_that_holds_nothing_yet_takes_other_settings(tmp_path):
    begin(tmp_path / "out", SETTINGS)
    assert not begin(tmp_path / "out", {"seed": 1})
    assert read_json(tmp_path / "out" / RECORD) == {"seed": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_refused(tmp_path, overwrite):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(thesis\.txt"):
        begin(tmp_path, SETTINGS, overwrite=overwrite)
    with pytest.raises(InputError, match=r"thesis\.txt: is a file"):
        begin(tmp_path / "thesis.txt", SETTINGS, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_output_written_in_one_piece(tmp_path):
    out = tmp_path / "out"
    assert not is_begun(out, SETTINGS)
    with whole_output(out, SETTINGS) as folder:
        (folder / "0.png").write_bytes(b"image")
        assert not out.exists()
    assert is_begun(out, SETTINGS)
    assert read_json(out / RECORD) == {"seed": 0, "data": {"size": 64, "sides": [1, 2]}}


def test_a_deleted_index_of_a_whole_output_is_brought_back(tmp_path, capsys):
    """As when Snakemake deletes the file that it tracks of what a killed run's job finished."""
    out = tmp_path / "out"
    with whole_output(out, SETTINGS) as folder:
        (folder / "model_index.json").write_text("{}")
        (folder / "weights.safetensors").write_bytes(b"weights")
        keep_spares(folder)
    (out / "model_index.json").unlink()
    assert not is_begun(out, {"seed": 1}, overwrite=True)
    assert not (out / "model_index.json").exists()  # of other settings
    assert is_begun(out, SETTINGS)
    assert (out / "model_index.json").read_text() == "{}"
    assert capsys.readouterr().err.count("model_index.json: was deleted") == 1
    assert is_begun(out, SETTINGS)
    assert capsys.readouterr().err == ""
    assert [path.name for path in out.glob(".spare*")] == [".spare-model_index.json"]


def test_output_written_in_one_piece_replaces_none(tmp_path):
    made(out := tmp_path / "out")
    assert not is_begun(out, {"seed": 1}, overwrite=True)
    assert (out / "notes.txt").is_file()
    with pytest.raises(KeyError), whole_output(out, {"seed": 1}):
        raise KeyError
    assert (out / "notes.txt").is_file()
    with whole_output(out, {"seed": 1}) as folder:
        (folder / "0.png").write_bytes(b"other image")
    assert is_begun(out, {"seed": 1})
    assert is_begun(tmp_path / "out.old", SETTINGS)
    assert (tmp_path / "out.old/notes.txt").read_text() == "mine"


def test_output_that_every_run_makes_anew(tmp_path):
    def run(*names):
        with remade_output(tmp_path / "tables") as folder:
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text("made")

    run("a.csv", "deep/b.csv")
    (tmp_path / "tables/deep/notes.txt").write_text("mine")
    (tmp_path / "tables/photos").symlink_to(tmp_path)
    run("a.csv", "c.csv")
    found = {path.name for path in (tmp_path / "tables").rglob("*") if path.is_file()}
    assert found == {RECORD, "a.csv", "c.csv", "notes.txt"}
    assert (tmp_path / "tables/photos").readlink() == tmp_path
    (tmp_path / "own").mkdir()
    (tmp_path / "own/thesis.txt").write_text("mine")
    with (
        pytest.raises(InputError, match=r"own: holds other files"),
        remade_output(tmp_path / "own"),
    ):
        pass
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["thesis.txt"]


def test_two_that_make_one_output_anew_leave_no_mixture(tmp_path):
    """The one that ends last replaces what the other has made meanwhile."""

    def write(folder, name):
        (folder / name).write_text("made")

    with remade_output(tmp_path / "tables") as slow:
        with remade_output(tmp_path / "tables") as fast:
            write(fast, "fast.csv")
        write(slow, "slow.csv")
    found = {path.name for path in (tmp_path / "tables").iterdir()}
    assert found == {RECORD, "slow.csv"}


def test_output_of_another_command_is_not_made_anew(tmp_path):
    made(tmp_path / "samples")
    with (
        pytest.raises(InputError, match="samples: is the output of another command"),
        remade_output(tmp_path / "samples"),
    ):
        pass
    assert is_begun(tmp_path / "samples", SETTINGS)


def test_a_link_to_a_folder_stays_one(tmp_path):
    for name in ("tables", "model"):
        (tmp_path / "scratch" / name).mkdir(parents=True)
        (tmp_path / name).symlink_to(tmp_path / "scratch" / name)
    with remade_output(tmp_path / "tables") as folder:
        (folder / "a.csv").write_text("made")
    with whole_output(tmp_path / "model", SETTINGS) as folder:
        (folder / "weights").write_text("made")
    assert (tmp_path / "scratch/tables/a.csv").is_file()
    assert (tmp_path / "scratch/model/weights").is_file()
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(InputError, match="broken: is a broken link"):
        begin(tmp_path / "broken", SETTINGS)


def test_a_file_never_takes_the_place_of_a_folder(tmp_path):
    made(tmp_path / "out")
    with pytest.raises(InputError, match="out: is a folder; expected the name of a file"):
        check_file(tmp_path / "out")
    with pytest.raises(InputError, match=r"score\.json: .* a name that ends in \.zip"):
        check_file(tmp_path / "score.json", ".zip")
    with pytest.raises(InputError, match="out: is a folder; expected the name of a file"):
        write_json(tmp_path / "out", {})
    assert (tmp_path / "out/notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_killed_while_replacing(tmp_path):
    """Between two renames the earlier folder, with a user's files, has a hidden name."""
    code = (
        "import os, signal; from pathlib import Path; from mvdiffusion import outputs\n"
        "def run():\n"
        f"    with outputs.remade_output(Path({str(tmp_path / 'tables')!r})) as folder:\n"
        "        (folder / 'a.csv').write_text('made')\n"
        "run()\n"
        f"Path({str(tmp_path / 'tables/notes.txt')!r}).write_text('mine')\n"
        "rename = Path.rename\n"
        "def killed(path, target):\n"
        "    rename(path, target)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.rename = killed\n"
        "run()"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".old", ".tmp"]
    with remade_output(tmp_path / "tables") as folder:
        (folder / "b.csv").write_text("made")
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]
    found = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert found == [RECORD, "b.csv", "notes.txt"]


def test_setting_aside_goes_by_name(tmp_path, monkeypatch):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "link.old").symlink_to("nowhere")
    assert set_aside(tmp_path / "link") == tmp_path / "link.old2"
    assert os.readlink(tmp_path / "link.old2") == "target"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert set_aside(type(tmp_path)(".")) == tmp_path / "here.old"


def test_differences_of_unlike_values():
    assert list(differences({"a": {"b": 1}, "c": 1}, {"a": 1, "c": 1, "d": None})) == ["a"]
    assert list(differences([1], {"a": 1}, "x")) == ["x"]


def test_killed_while_beginning(tmp_path):
    """What a killed process leaves of the record is no file of somebody else."""
    for call in ("pwrite", "fsync"):
        code = (
            "import os, signal; from pathlib import Path; from mvdiffusion import outputs\n"
            f"os.{call} = lambda *values: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"outputs.begin(Path({str(tmp_path / call)!r}), {{'seed': 0}})"
        )
        killed = subprocess.run([sys.executable, "-c", code], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert not begin(tmp_path / call, SETTINGS)
        assert [path.name for path in (tmp_path / call).iterdir()] == [RECORD]
        assert is_begun(tmp_path / call, SETTINGS)


def test_what_the_system_refuses_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file/out", tmp_path / ("x" * 300)):
        with pytest.raises(SystemExit, match="2"), reporting_input_errors("command"):
            begin(output, SETTINGS)
        said = capsys.readouterr().err
        assert said.startswith(f"command: {output.parent}")
        assert said.endswith("; check this path and its permissions.\n")
    with pytest.raises(OSError, match="no file is named"), reporting_input_errors("command"):
        raise OSError("no file is named")


def test_an_output_that_holds_its_input_is_refused(tmp_path, monkeypatch, capsys):
    made(tmp_path / "views")
    words = ["data", "stitch", "--views", "views", "--output", "views/../views", "--overwrite"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mvdiffusion", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "views/../views: holds the input views; choose another" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["views"]


@pytest.fixture
def umask():
    before = os.umask(0)
    yield os.umask
    os.umask(before)


def test_weights_are_readable_for_whom_the_umask_allows(tmp_path, umask):
    """safetensors writes for the owner alone; what a user keeps to himself stays so."""
    (tmp_path / "hub").touch()
    (tmp_path / "hub").chmod(0o600)
    out = tmp_path / "out"
    for mask, expected in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        umask(mask)
        with remade_output(out) as folder:
            save_file({"w": torch.zeros(3)}, folder / "w.safetensors")
            os.link(tmp_path / "hub", folder / "linked")
        names = ("w.safetensors", RECORD, "linked", "private.txt")[: 3 + (mask != 0o022)]
        modes = [(out / name).stat().st_mode & 0o777 for name in names]
        assert modes == [expected, expected, 0o600, 0o600][: len(names)]
        (out / "private.txt").touch()
        (out / "private.txt").chmod(0o600)


def test_a_model_is_known_by_what_may_be_loaded_of_it(tmp_path):
    """Records and spare copies decide nothing, so a damaged one makes no other model of it."""
    with whole_output(tmp_path / "model", {"steps": 1}) as folder:
        (folder / "model_index.json").write_text("{}")
    before = model_sha256(tmp_path / "model")
    (tmp_path / "model" / RECORD).write_text('{"ste')
    (tmp_path / "model" / ".spare-model_index.json").write_text("{}")
    assert model_sha256(tmp_path / "model") == before
    (tmp_path / "model/unet").mkdir()
    (tmp_path / "model/unet/weights").write_bytes(b"1")
    assert model_sha256(tmp_path / "model") != before
