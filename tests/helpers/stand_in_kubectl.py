"""Plays kubectl where there is no Kubernetes: jobs run here, at once, outside of any image.

Every job is a file of its folder with what was asked for; a second one has how it ended.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

JOBS = Path(sys.argv[0]).parent / "jobs"
# Of its sender, a pod inherits nothing; the latter two tell stand-ins for commands how to fail.
INHERITED = ("PATH", "FAIL_AT", "HANG_AT")


def create() -> None:
    """Start the job that is described on the standard input, and print its name."""
    job = json.load(sys.stdin)
    name = f"{job['metadata']['generateName']}{len(list(JOBS.glob('*.json'))):05}"
    (JOBS / f"{name}.json").write_text(json.dumps(job))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command, end = " ".join(container["command"]), JOBS / f"{name}.end"
    with open(JOBS / f"{name}.log", "wb") as file:
        process = subprocess.Popen(
            ["sh", "-c", f"{command} && echo Complete > {end} || echo Failed > {end}"],
            stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
            cwd="/", env={name: os.environ[name] for name in INHERITED if name in os.environ},
        )  # fmt: skip
    (JOBS / f"{name}.group").write_text(str(process.pid))
    print(f"job.batch/{name}")


def get(name: str) -> None:
    """Print how a job ended, if it did."""
    end = JOBS / f"{name}.end"
    if (JOBS / f"{name}.json").exists():
        print("found", end.read_text() if end.exists() else "")


def delete(names: list[str]) -> None:
    """End jobs and forget them."""
    for name in names:
        (JOBS / f"{name}.json").rename(JOBS / f"{name}.deleted")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int((JOBS / f"{name}.group").read_text()), signal.SIGKILL)


if __name__ == "__main__":
    JOBS.mkdir(exist_ok=True)
    names = [word.rpartition("/")[2] for word in sys.argv[2:] if word.startswith("job.batch/")]
    match sys.argv[1]:
        case "create":
            create()
        case "get":
            get(*names)
        case "delete":
            delete(names)
