"""Processes of one command, and the GPUs that each takes for itself, without a network or a GPU."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvdiffusion.parallel import gpus, workers
from mvdiffusion.parallel.workers import LOST, as_one_of_several, part
from mvdiffusion.records import InputError

SCRIPT = """
import os, sys, time
from mvdiffusion.parallel.workers import part, share
from mvdiffusion.records import reporting_input_errors, InputError
with reporting_input_errors("mvdiffusion"):
    done = share(int(sys.argv[1]), "cpu", joined=sys.argv[2] == "joined")
    rank, size = part()
    threads = os.environ.get("OMP_NUM_THREADS")
    print(f"rank {rank} of {size}, threads {threads}, done {done}", flush=True)
    if size > 1:
        {work}
"""


def command(folder: Path, work: str) -> Path:
    """A command whose processes do some work."""
    path = folder / "command.py"
    path.write_text(SCRIPT.replace("{work}", work))
    return path


def run(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, path, *words], env=os.environ | {"OMP_NUM_THREADS": "5"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_process_has_its_number_and_the_first_command_goes_on(tmp_path: Path) -> None:
    ran = run(command(tmp_path, "pass"), "2", "parts")
    assert ran.returncode == 0, ran.stderr
    assert "rank 0 of 2, threads 2, done False" in ran.stdout
    assert "rank 1 of 2, threads 2, done False" in ran.stderr
    assert "rank 0 of 1, threads 5, done True" in ran.stdout
    alone = run(tmp_path / "command.py", "1", "parts")
    assert alone.stdout == "rank 0 of 1, threads 5, done False\n"


def test_the_same_mistake_in_all_processes_is_one_message(tmp_path: Path) -> None:
    for work in ("raise InputError('the key is wrong')", "time.sleep(0.3 * rank); 1 / 0"):
        ran = run(command(tmp_path, work), "3", "joined")
        assert ran.returncode == (2 if "wrong" in work else 1)
        assert ran.stderr.count("is wrong") + ran.stderr.count("ZeroDivisionError") == 1


@pytest.mark.long
def test_a_mistake_of_the_last_process_is_told_and_ends_the_others(tmp_path: Path) -> None:
    work = "time.sleep(60 * (rank < 2)); raise InputError(f'no room {rank}')"
    began = time.monotonic()
    ran = run(command(tmp_path, work), "3", "parts")
    assert (ran.returncode, ran.stderr.strip().splitlines()[-1]) == (2, "mvdiffusion: no room 2")
    assert time.monotonic() - began < 50


def test_one_that_lost_another_says_nothing_and_the_killed_one_is_named(tmp_path: Path) -> None:
    work = f"os.kill(os.getpid(), 9) if rank else (time.sleep(0.5), sys.exit({LOST}))"
    ran = run(command(tmp_path, work), "2", "joined")
    assert ran.returncode == 2
    assert ran.stderr == (
        "mvdiffusion: process 2 of 2 was ended by SIGKILL (perhaps for want of memory), and so the "
        "others were; run the same command again: it goes on from what is finished.\n"
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_command(tmp_path: Path, number: signal.Signals) -> None:
    """And each holds the open files of the job that began it, as the workflow's lock is one."""
    work = "found = os.path.exists(sys.argv[4]); file = open(sys.argv[3] + str(rank), 'w')"
    work += "; print(os.getpid(), found, end='', file=file, flush=True); time.sleep(600)"
    with (tmp_path / "lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        started = subprocess.Popen(
            [sys.executable, command(tmp_path, work), "2", "joined", tmp_path / "rank",
             f"/proc/self/fd/{file.fileno()}"], close_fds=False,
        )  # fmt: skip
    written = [tmp_path / f"rank{rank}" for rank in range(2)]
    while not all(path.exists() and path.read_text().endswith("True") for path in written):
        assert started.poll() is None
        time.sleep(0.02)
    started.send_signal(number)
    assert started.wait() == (-9 if number == signal.SIGKILL else 143)
    children = [path.read_text().split()[0] for path in written]
    limit = time.monotonic() + 30
    while any(map(_runs, children)) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not any(map(_runs, children))


def _runs(process: str) -> bool:
    """A process that has ended may wait, as a zombie, for somebody to ask how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_training_of_several_processes_is_not_told_one_gpu() -> None:
    with pytest.raises(InputError, match=r"the device is 'cuda:1'; expected 'auto' or 'cuda'"):
        workers.share(2, "cuda:1", joined=True)


def test_a_connection_that_broke_is_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as ended, as_one_of_several():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]")
    assert ended.value.code == LOST
    with pytest.raises(RuntimeError, match="shapes"), as_one_of_several():
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is '2' and WORLD_SIZE '2'"),
        ({"RANK": "1"}, "RANK is '1' and WORLD_SIZE not set"),
        ({"WORLD_SIZE": "2"}, "RANK is not set and WORLD_SIZE '2'"),
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE 'two'"),
    ],
)
def test_a_part_has_both_numbers(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else half of a split would be made, and none of it missed."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert part() == (0, 1)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        part()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three GPUs, as its driver tells."""
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf '0, GPU-a\\n1, GPU-b\\n2, GPU-c\\n'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "held", [])


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, ["GPU-a", "GPU-b", "GPU-c"]),
        ("2,0", ["GPU-c", "GPU-a"]),
        ("GPU-b", ["GPU-b"]),
        ("MIG-x/1/0", ["MIG-x/1/0"]),
        ("1,-1,2", ["GPU-b"]),
        ("", []),
    ],
)
def test_visible_gpus_are_those_of_the_variable(
    named: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible_gpus() == expected


TAKE = """
import sys
from mvdiffusion.parallel.gpus import take_gpus
print(",".join(take_gpus(int(sys.argv[1]))), flush=True); sys.stdin.read()
"""


def take(count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.usefixtures("machine")
def test_commands_take_different_gpus_and_wait_for_free_ones() -> None:
    """A killed command gives its GPUs back; whoever needs two does not keep one meanwhile."""
    first = take(2)
    assert first.stdout.readline() == "GPU-a,GPU-b\n"
    second = take(2)
    assert second.stderr.readline() == "waits for 2 of 3 GPUs, which others use\n"
    third = take(1)
    assert third.stdout.readline() == "GPU-c\n"
    first.kill()
    assert second.stdout.readline() == "GPU-a,GPU-b\n"
    for process in (first, second, third):
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("machine")
def test_a_part_of_a_gpu_can_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-a/1/0")
    assert gpus.take_gpus(1) == ["MIG-GPU-a/1/0"]
    for file in gpus.held:
        os.close(file)


@pytest.mark.usefixtures("machine")
def test_any_command_can_have_a_gpu_of_its_own(tmp_path: Path) -> None:
    """The slot is that of the program which takes the place, words and exit code are its own."""
    words = [sys.executable, "-m", "mvdiffusion.parallel", "sh", "-c"]
    shown = "echo $CUDA_VISIBLE_DEVICES; read line; exit 3"
    first = subprocess.Popen([*words, shown], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"GPU-a\n"
    second = subprocess.run([*words, shown], input=b"", capture_output=True, check=False)
    assert second.stdout == b"GPU-b\n"
    first.communicate(b"\n")
    assert (first.returncode, second.returncode) == (3, 3)


@pytest.mark.usefixtures("machine")
def test_processes_see_gpus_of_their_own_and_a_joined_training_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, str]] = []

    def start(variables: dict[str, str], output: object) -> subprocess.Popen[bytes]:
        seen.append(variables)
        return subprocess.Popen(["true"])

    monkeypatch.setattr(workers, "_start", start)
    assert workers.share(2)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in seen] == ["GPU-a", "GPU-b"]
    for file in gpus.held:
        os.close(file)
    gpus.held.clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    seen.clear()
    assert workers.share(2, joined=True)
    assert [each["CUDA_VISIBLE_DEVICES"] for each in seen] == ["GPU-a,GPU-b"] * 2
    assert [each["LOCAL_RANK"] for each in seen] == ["0", "1"]
    with pytest.raises(InputError, match=r"--processes 3: .* expected 2 at most"):
        workers.share(3)
    for file in gpus.held:
        os.close(file)


def test_where_there_is_no_driver_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.take_gpus(4) == []
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
