"""One process at a time fills an output."""

import os
import signal
import subprocess
import sys

import pytest
from processes import exit_code_of

from mvdiffusion import locks, outputs
from mvdiffusion.outputs import RECORD, begin, end
from mvdiffusion.records import InputError, read_json, write_json

SETTINGS = {"guidance_scale": 7.5}
FILL = """
import sys, time
from pathlib import Path
from mvdiffusion.outputs import begin
folder = Path(sys.argv[1])
begin(folder, {"guidance_scale": 7.5})
print("begun", flush=True)
sys.stdin.read()
(folder / "late.png").write_bytes(b"7.5")
"""


@pytest.fixture
def filling(tmp_path):
    """A process that has begun to fill `out`, and writes into it when its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", FILL, str(tmp_path / "out")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"begun\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("settings", [SETTINGS, {"guidance_scale": 1.5}])
def test_a_folder_that_another_process_fills_is_refused(tmp_path, filling, settings, overwrite):
    expected = rf"out: is being written by another command \(process {filling.pid}\); wait until"
    with pytest.raises(InputError, match=expected):
        begin(tmp_path / "out", settings, overwrite=overwrite)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", RECORD]
    assert read_json(tmp_path / "out" / RECORD) == SETTINGS
    filling.send_signal(signal.SIGKILL)
    filling.wait()
    begin(tmp_path / "out", settings, overwrite=overwrite)
    assert read_json(tmp_path / "out" / RECORD) == settings


def test_processes_that_end_meanwhile_are_passed_over(tmp_path, filling, monkeypatch):
    """Some processes are gone when their open files are looked at."""
    ended, scandir = [], os.scandir

    def gone(folder):
        if str(folder).endswith("/fd") and str(filling.pid) not in str(folder) and len(ended) < 9:
            ended.append(folder)
            raise FileNotFoundError(folder)
        return scandir(folder)

    monkeypatch.setattr(locks.os, "scandir", gone)
    assert locks.processes(tmp_path / "out" / RECORD) == [filling.pid]
    assert ended


def test_what_a_process_leaves_is_moved_aside_once_it_has_ended(tmp_path, filling):
    filling.communicate()
    assert not begin(tmp_path / "out", {"guidance_scale": 1.5}, overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [RECORD]
    assert (tmp_path / "out.old/late.png").read_bytes() == b"7.5"


@pytest.mark.long
def test_of_two_that_begin_at_once_one_is_refused(tmp_path):
    """The record is locked before it is read, so no moment lies between."""
    race = (
        "import sys, time; from pathlib import Path; from mvdiffusion.outputs import begin\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "begin(Path(sys.argv[1]), {'seed': int(sys.argv[2])}); time.sleep(1)"
    )
    for trial in range(3):
        out = tmp_path / str(trial)
        both = [
            subprocess.Popen(
                [sys.executable, "-c", race, str(out), str(seed)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for seed in range(2)
        ]  # fmt: skip
        assert [process.stdout.readline() for process in both] == [b"ready\n"] * 2
        for process in both:
            process.stdin.close()
        refused = [b"is being written by another" in process.stderr.read() for process in both]
        assert [process.wait() for process in both] == [int(wrong) for wrong in refused]
        assert sum(refused) == 1
        assert read_json(out / RECORD) == {"seed": refused.index(False)}


def test_a_folder_that_is_begun_while_it_is_looked_at_is_nobody_elses(tmp_path, monkeypatch):
    check_empty = outputs.check_empty

    def begun_meanwhile(output):
        write_json(output / RECORD, SETTINGS)
        check_empty(output)

    monkeypatch.setattr(outputs, "check_empty", begun_meanwhile)
    (tmp_path / "out").mkdir()
    assert outputs.is_begun(tmp_path / "out", SETTINGS)


def test_a_folder_that_is_made_while_it_is_looked_for_is_no_file(tmp_path, monkeypatch):
    """Another process has made the folder, and not yet begun it."""
    lexists = os.path.lexists

    def made_meanwhile(path):
        os.mkdir(path)
        return lexists(path)

    monkeypatch.setattr(outputs.os.path, "lexists", made_meanwhile)
    assert not outputs.is_begun(tmp_path / "out", SETTINGS)


def begin_elsewhere(folder):
    begin(folder, SETTINGS)


def test_a_process_keeps_its_folder_until_the_end(tmp_path):
    for _ in range(2):  # its own lock is no obstacle
        begin(tmp_path / "out", SETTINGS)
    assert exit_code_of(begin_elsewhere, tmp_path / "out") == 1
    end(tmp_path / "out")
    assert exit_code_of(begin_elsewhere, tmp_path / "out") == 0


def test_a_file_system_without_locks_locks_nothing(tmp_path, monkeypatch):
    def none(file, operation):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(locks.fcntl, "flock", none)
    assert not begin(tmp_path / "out", SETTINGS)
    assert begin(tmp_path / "out", SETTINGS)


def test_workers_of_a_killed_process_hold_nothing(tmp_path):
    """A data loader's worker outlives its parent by seconds, and reads only."""
    code = (
        "import os, sys, time; from pathlib import Path; from mvdiffusion.outputs import begin\n"
        "begin(Path(sys.argv[1]), {})\n"
        "if os.fork() == 0:\n"
        "    print(os.getpid(), flush=True); time.sleep(60)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE
    )
    worker = int(process.stdout.readline())
    with pytest.raises(InputError, match=f"another command \\(process {process.pid}\\)"):
        begin(tmp_path / "out", {})
    process.kill()
    process.wait()
    assert begin(tmp_path / "out", {})
    os.kill(worker, signal.SIGKILL)
    process.stdout.close()
