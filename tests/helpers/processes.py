"""Scripts of benchmarks/, and functions of the tests to be killed, in processes of their own.

The functions' processes come from a server without threads: a plain fork of a process that has
threads, as a worker of pytest-xdist or OpenCV's pool has, may never return.
"""

import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = multiprocessing.get_context("forkserver")
# What takes long to import is imported once, by the server.
PROCESSES.set_forkserver_preload(
    ["pytest", "typer.testing", "mvdiffusion.cli", "mvdiffusion_eval.extractors.store"]
)


def start(function, *arguments: object) -> BaseProcess:
    """A started process that calls a function of a test file, which it finds by the file's path."""
    code = function.__code__
    process = PROCESSES.Process(target=_call, args=(code.co_filename, code.co_name, *arguments))
    process.start()
    return process


def exit_code_of(function, *arguments: object) -> int | None:
    """The exit code of a process that calls a function of a test file."""
    process = start(function, *arguments)
    process.join()
    return process.exitcode


def _call(file: str, name: str, *arguments: object) -> None:
    runpy.run_path(file)[name](*arguments)


def run_benchmark(script: str, output: Path, *words: object) -> dict[str, Any]:
    """Run benchmarks/<script>; it must succeed. Returns its report."""
    command = [sys.executable, ROOT / "benchmarks" / script, *map(str, words), "--output", output]
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(output.read_text())


def take_memory() -> None:
    """Have a child take 200 MiB for a moment."""
    take = "import time; taken = bytearray(b'x') * (200 << 20); time.sleep(0.3)"
    subprocess.run([sys.executable, "-c", take], check=True)
