"""Plays Slurm's programs where there is no Slurm, under their names: jobs run here, at once.

Every call is a line of calls.jsonl beside it, so that tests see what reaches a cluster.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(sys.argv[0]).parent
STATES = HERE / "states"  # a file for each job, with its state


def sbatch(words: list[str]) -> None:
    """Start what --wrap says, in a group of processes of its own, and print a number."""
    number = str(len(list(STATES.iterdir())) + 1)
    (command,) = [word.removeprefix("--wrap=") for word in words if word.startswith("--wrap=")]
    folder, log = words[words.index("-D") + 1], words[words.index("--output") + 1]
    log = log.replace("%j", number)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    end = f"[ $? = 0 ] && echo COMPLETED > {STATES / number} || echo FAILED > {STATES / number}"
    with open(log, "wb") as file:
        job = subprocess.Popen(
            ["sh", "-c", f"({command}); {end}"], cwd=folder, stdout=file, stderr=file,
            start_new_session=True, env=os.environ | {"SLURM_JOB_ID": number},
        )  # fmt: skip
    (STATES / number).write_text(f"RUNNING {job.pid}")
    print(number)


def srun(words: list[str]) -> None:
    """Run the command after the options."""
    command = next(place for place, word in enumerate(words) if not word.startswith("-"))
    os.execvp(words[command], words[command:])


def squeue(words: list[str]) -> None:
    """Print the states of all jobs."""
    for file in STATES.iterdir():
        print(f"{file.name}|{file.read_text().split()[0]}")


def sacct(words: list[str]) -> None:
    """Print the states of all jobs, if asked for them."""
    if "-X" in words:
        squeue(words)


def scancel(words: list[str]) -> None:
    """End jobs."""
    for number in words:
        state = (STATES / number).read_text().split()
        (STATES / number).write_text("CANCELLED")
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.killpg(int(state[1]), signal.SIGKILL)


def sacctmgr(words: list[str]) -> None:
    """Print the accounts of the user."""
    print("lab")


PROGRAMS = {each.__name__: each for each in (sbatch, srun, squeue, sacct, scancel, sacctmgr)}


if __name__ == "__main__":
    STATES.mkdir(exist_ok=True)
    name = Path(sys.argv[0]).name
    with open(HERE / "calls.jsonl", "a") as file:
        file.write(json.dumps([name, *sys.argv[1:]]) + "\n")
    PROGRAMS.get(name, lambda words: None)(sys.argv[1:])
