"""Faults that damage, delete or age files."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from fault_scene import Missed, Scene

WAYS = ("one bit flipped", "cut", "a page of zeros", "emptied")


def damaged(pattern: str, *ways: str) -> Callable[[Scene], None]:
    """A fault: a random file is damaged in a random way, and is as old as before."""

    def fault(scene: Scene) -> None:
        file = scene.rng.choice(scene.files(pattern))
        way = scene.rng.choice(ways or WAYS)
        harm(file, way, scene.rng)
        scene.harmed = os.path.relpath(file, scene.project.results)
        scene.done.append(f"{file.relative_to(scene.project.root)}: {way}")

    return fault


def harm(file: Path, way: str, rng: random.Random) -> None:
    """Change a file's bytes, but not its time."""
    times, content = file.stat(), bytearray(file.read_bytes())
    place = rng.randrange(max(1, len(content)))
    if way == "one bit flipped":
        content[place] ^= 1 << rng.randrange(8)
    elif way == "cut":
        content = content[:place]
    elif way == "a page of zeros":
        place -= place % 4096
        content[place : place + 4096] = bytes(len(content[place : place + 4096]))
    else:
        content = bytearray()
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def deleted(pattern: str) -> Callable[[Scene], None]:
    """A fault: a random file is deleted."""

    def fault(scene: Scene) -> None:
        file = scene.rng.choice(scene.files(pattern))
        file.unlink()
        scene.harmed = os.path.relpath(file, scene.project.results)
        scene.done.append(f"{file.relative_to(scene.project.root)}: deleted")

    return fault


def damaged_checkpoint(scene: Scene) -> None:
    """Kill a training after its first checkpoints, and damage the newest of them."""
    run = scene.start()
    while len(found := scene.files(f"training/{scene.step}/checkpoints/*.pt")) < 1:
        if run.poll() is not None:
            raise Missed(str(scene.step))
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    scene.end(run)
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    way = scene.rng.choice(WAYS)
    harm(newest, way, scene.rng)
    scene.done.append(f"killed {scene.step}, then {newest.name}: {way}")


def from_the_future(pattern: str) -> Callable[[Scene], None]:
    """A fault: the clock was wrong; files are of tomorrow."""

    def fault(scene: Scene) -> None:
        file = scene.rng.choice(scene.files(pattern))
        later = time.time() + scene.rng.uniform(3600, 86400)
        os.utime(file, (later, later))
        scene.harmed = os.path.relpath(file, scene.project.results)
        scene.done.append(f"{file.relative_to(scene.project.root)}: is of tomorrow")

    return fault


def state_lost(scene: Scene) -> None:
    """Delete Snakemake's own folder."""
    shutil.rmtree(scene.project.root / ".snakemake")
    scene.done.append(".snakemake: deleted")
