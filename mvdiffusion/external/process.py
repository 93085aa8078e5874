"""Processes of external methods: started, watched, ended with this one, and quoted if they fail."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import IO

from mvdiffusion.records import InputError

LAST_LINES = 15
_TICK = 0.2  # seconds between two looks at a process
_SECRET = re.compile("TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)
_PROGRAMS = Path(sys.executable).parent
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")

# The system signals a process when its parent ends, however that ends (Linux). It is asked for by a
# small program between this one and the command, which then ends all that the command has started.
_LAUNCH = """
import ctypes, os, signal, subprocess, sys, time

def stop(number, frame):
    raise SystemExit

signal.signal(signal.SIGTERM, stop)
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit()
try:
    code = subprocess.Popen(sys.argv[2:]).wait()
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}; install it, or make it executable")
except SystemExit:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    for _ in range(30):
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        time.sleep(0.1)
    os.killpg(0, signal.SIGKILL)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def run(
    command: Sequence[str],
    folder: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    on_tick: Callable[[], None] = lambda: None,
) -> None:
    """Run a command to its end; what it says goes to a log, secrets left out.

    Args:
        command: its words.
        folder: where it runs.
        log: file that its output is added to.
        environment: environment variables beside those of this process.
        on_tick: called several times a second.

    Raises:
        InputError: it failed; the message has its last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    launched = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command]
    variables = {name: value for name, value in os.environ.items() if name not in _OURS}
    # Last, so that programs installed with this one, such as `hf`, are found and hide no others.
    variables["PATH"] = os.pathsep.join([variables.get("PATH", os.defpath), str(_PROGRAMS)])
    last: deque[str] = deque(maxlen=LAST_LINES)
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"$ {_hidden(shlex.join(command))}\n")
        process = subprocess.Popen(
            launched,
            cwd=folder,
            env=variables | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        reader = Thread(target=_read, args=(process.stdout, file, last), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                on_tick()
                time.sleep(_TICK)
        finally:
            _end(process)
            reader.join(timeout=5)
    if process.returncode:
        raise InputError(_failure(command, process.returncode, last, log))


def _read(stream: IO[str] | None, file: IO[str], last: deque[str]) -> None:
    for line in stream or ():
        said = _hidden(line)
        file.write(said)
        file.flush()
        last.append(said.rstrip())


def _hidden(text: str) -> str:
    """Replace the values of environment variables that hold secrets."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) > 5:
            text = text.replace(value, f"<{name}>")
    return text


def _end(process: subprocess.Popen[str]) -> None:
    """End a process that still runs, as after Ctrl-C, with all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                continue


def _failure(command: Sequence[str], code: int, last: Sequence[str], log: Path) -> str:
    """Say how a command ended, in its own last words."""
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    words = "".join(f"\n  | {line}" for line in last) or "\n  | (it said nothing)"
    return (
        f"`{_hidden(shlex.join(command))[:300]}` {how}; its last lines were{words}\n"
        f"All of them are in {log}. Fix the cause and run the same command again: what is "
        "finished is kept."
    )
