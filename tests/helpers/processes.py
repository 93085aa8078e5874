"""Functions of the tests in processes of their own, to be killed there.

They come from a server without threads: a plain fork of a process that has threads, as a worker of
pytest-xdist or OpenCV's pool has, may never return.
"""

import multiprocessing
import runpy
from multiprocessing.process import BaseProcess

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
