"""Faults and the moments at which they strike a run, and what is found afterwards."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_project import RESULTS, Project, Ran, Reference

from mvdiffusion.locks import processes
from workflow.lib.process import LOCK

HOOK = Path(__file__).parent / "hook"
TICK = os.sysconf("SC_CLK_TCK")
# Every command, by the step that it makes.
COMMANDS = {
    "rooms_train": "data rooms .*--split train",
    "walks_train": "data walks .*--split train",
    "vae": "train vae",
    "base": "train base",
    "panorama_stage1": "train stage1 --task panorama",
    "panorama_stage2": "train stage2 --task panorama",
    "depth_stage2": "train stage2 --task depth",
    "panorama_real": "data export --task panorama --split test",
    "panorama_mvdiffusion": "generate split --task panorama --method mvdiffusion",
    "depth_mvdiffusion": "generate split --task depth --method mvdiffusion",
    "classifier": "train-extractor --kind classifier",
    "clip": "train-extractor --kind clip",
    "score_panorama_mvdiffusion": "mvdiffusion_eval score .*scores/panorama/mvdiffusion.json",
    "score_depth_mvdiffusion": "mvdiffusion_eval score .*scores/depth/mvdiffusion.json",
    "tables": "mvdiffusion_eval tables",
    "figures": "mvdiffusion_eval figures",
    "report": "mvdiffusion_eval report",
}
# One line that says what happened and what to do: of a command, or of the workflow.
SENTENCE = re.compile(
    r"^(mvdiffusion[-_a-z]*: .+|WorkflowError( in .+)?:$|.*: is not what the workflow.+)"
)


class Missed(Exception):
    """The command ended before the moment that was drawn."""


class Scene:
    """A case: a project that is about to run a step, and what happened to it so far.

    Args:
        reference: the undisturbed run.
        project: the copy.
        step: name of the recipe that is not made yet; None: all is made.
        rng: draws moments and places.
    """

    def __init__(
        self, reference: Reference, project: Project, step: str | None, rng: random.Random
    ) -> None:
        self.reference, self.project, self.step, self.rng = reference, project, step, rng
        self.target = "run" if step in (None, "figures", "report") else "tables"
        self.log = project.root.with_suffix(".fault.log")
        self.said: list[str] = []  # what disturbed runs printed
        self.done: list[str] = []  # what was done, in words
        self.tells = False  # whether the disturbed run has to say in one line what happened
        self.harmed: str | None = None  # the result that is damaged, below the folder of results
        self.kept: dict[Path, int] = {}  # files that are not to be made again, and their times

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        """Start the run that is to be disturbed."""
        return self.project.start(self.log, self.target, **variables)

    def run(self) -> Ran:
        """Run the plain command to its end."""
        return self.project.run(self.target)

    def command(self) -> int | None:
        """The process of the step's command, if it is at work now."""
        assert self.step
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_text().split("\0")
                its_own = "-m" in words[:3] and re.search(COMMANDS[self.step], " ".join(words))
                if its_own and os.path.samefile(folder / "cwd", self.project.root):
                    found.append(int(folder.name))
            except OSError:  # ended meanwhile
                continue
        return min(found, default=None)  # workers that it forks have its words, too

    def moment(self, run: subprocess.Popen[bytes], least: float = 0.05) -> int:
        """Wait until the step's command has computed for a random share of what it needs.

        A share of computing, as a loaded machine stretches all other times.

        Args:
            run: the run.
            least: the least share.

        Returns:
            The command's process.

        Raises:
            Missed: the run has ended.
        """
        assert self.step
        share = self.rng.uniform(least, 0.9)
        seconds = share * self.reference.seconds(self.step)
        while (pid := self.command()) is None or computed(pid) < seconds:
            if run.poll() is not None:
                raise Missed(self.step)
            time.sleep(0.02)
        self.done.append(f"{self.step} after {seconds:.1f} s of computing ({share:.0%})")
        return pid

    def end(self, run: subprocess.Popen[bytes]) -> Ran:
        """Wait for the end of the disturbed run."""
        code = run.wait()
        said = self.log.read_text(errors="replace")
        self.said.append(said)
        return Ran(code, said)

    def wait_for_jobs(self) -> None:
        """Wait until no job of a killed run is left."""
        while processes(self.project.root / LOCK):
            time.sleep(0.1)

    def made(self) -> dict[Path, int]:
        """Files inside the folders that the step makes, but their indexes, with their times.

        Snakemake deletes the index, or the one file of a step, before it runs a job again.
        """
        assert self.step
        found = {}
        for pattern in self.reference.recipes.steps[self.step].makes:
            for folder in self.project.root.glob(pattern):
                for path in folder.rglob("*"):
                    index = path.parent == folder and path.suffix in (".json", ".npy")
                    if path.is_file() and not index and "training" not in path.parts:
                        found[path] = path.stat().st_mtime_ns
        return found

    def made_again(self) -> list[str]:
        """Those that were finished and have been written again, or are gone."""
        now = {path: path.stat().st_mtime_ns for path in self.kept if path.is_file()}
        changed = (path for path, time in self.kept.items() if now.get(path) != time)
        return sorted(str(path.relative_to(self.project.results)) for path in changed)

    def files(self, pattern: str) -> list[Path]:
        """Files of the results that match; of the whole project, if it begins with a dot."""
        root = self.project.root if pattern.startswith(".") else self.project.results
        return sorted(path for path in root.glob(pattern) if path.is_file())


def computed(pid: int) -> float:
    """Seconds of a processor that a process has taken; infinite if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def children(pid: int) -> list[int]:
    """Processes that a process has started and that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, task.read_text().split())
    return found


# Kills.


def kill_workflow(scene: Scene) -> None:
    """Kill -9 Snakemake alone; its job goes on, so the same command is refused until that ends.

    The job is stopped for as long as the refusal takes, so that it does not end before. What it has
    made in the end must not be made again.
    """
    run = scene.start()
    pid = scene.moment(run)
    os.kill(pid, signal.SIGSTOP)
    run.kill()
    scene.end(run)
    second = scene.run()
    os.kill(pid, signal.SIGCONT)
    scene.done.append("killed Snakemake alone, and started the run again at once")
    assert second.code
    assert "jobs of one that was killed" in second.said
    scene.done.append("refused while the killed run's job was at work")
    scene.said.append(second.said)
    scene.wait_for_jobs()
    scene.kept = scene.made()


def signalled(number: signal.Signals, whom: str) -> Callable[[Scene], None]:
    """A fault: a signal to the whole group, to the workflow or to the step's command."""

    def fault(scene: Scene) -> None:
        run = scene.start()
        pid = scene.moment(run)
        if whom == "group":
            os.killpg(run.pid, number)
        else:
            os.kill(pid if whom == "command" else run.pid, number)
        scene.done.append(f"{number.name} to the {whom}")
        scene.end(run)
        scene.wait_for_jobs()

    return fault


def kill_loader(scene: Scene) -> None:
    """Kill -9 a worker of the training's data loader."""
    run = scene.start()
    while True:
        pid = scene.command()
        if pid is not None and (workers := [c for c in children(pid) if is_fork(c, pid)]):
            os.kill(workers[0], signal.SIGKILL)
            break
        if run.poll() is not None:
            raise Missed(str(scene.step))
        time.sleep(0.01)
    scene.done.append(f"{scene.step}: SIGKILL to a worker of its data loader")
    scene.tells = bool(scene.end(run).code)
    scene.done += [] if scene.tells else ["it had loaded all already, so the run went on"]


def is_fork(child: int, parent: int) -> bool:
    """Whether a process is a copy of another, not a program of its own."""
    try:
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (child, parent)]
    except OSError:
        return False
    return lines[0] == lines[1]


def kill_at_a_rename(scene: Scene) -> None:
    """Kill -9 the command before or after it gives a finished file its name."""
    assert scene.step
    number, side = scene.rng.randint(1, 6), scene.rng.choice(["before", "after"])
    words = COMMANDS[scene.step].split(" .*")[0]
    run = scene.start(PYTHONPATH=str(HOOK), FAULT_RENAME=f"{words}:{number}:{side}")
    ran = scene.end(run)
    if not ran.code:
        raise Missed(scene.step)
    scene.done.append(f"{scene.step}: SIGKILL {side} its rename no. {number}")


def stop_and_go_on(scene: Scene) -> None:
    """Stop the command; a second run is refused; let it go on."""
    run = scene.start()
    pid = scene.moment(run)
    os.kill(pid, signal.SIGSTOP)
    second = scene.run()
    os.kill(pid, signal.SIGCONT)
    assert second.code, second.said
    assert "another Snakemake is at work" in second.said, second.said
    scene.done.append("SIGSTOP to the command, a second run was refused, SIGCONT")
    assert scene.end(run).code == 0


def second_run(scene: Scene) -> None:
    """Start a second run while the first is at work."""
    run = scene.start()
    scene.moment(run)
    second = scene.run()
    assert second.code, second.said
    assert "another Snakemake is at work" in second.said, second.said
    scene.done.append("a second run was refused while the first was at work")
    assert scene.end(run).code == 0


# Resources.


def disk_full(scene: Scene) -> None:
    """Let the disk be full at a random moment: results lie on a small file system of their own."""
    results, away = scene.project.results, scene.project.root / "results/away"
    if os.geteuid():
        pytest.skip("a small file system can be mounted by root alone")
    results.rename(away)
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "faults", str(results)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copytree(away, results, symlinks=True, dirs_exist_ok=True)
        used = shutil.disk_usage(results).used
        assert scene.step
        needed = size_of(scene.reference.project.results, scene.reference.recipes.steps[scene.step])
        left = int(scene.rng.uniform(0.1, 0.8) * needed) // 4096 * 4096
        resize(results, used + left)
        scene.done.append(f"{scene.step}: the disk has {left:,} of {needed:,} bytes left")
        scene.tells = True
        if not scene.end(scene.start()).code:
            raise Missed(scene.step)
        resize(results, 1 << 30)
        scene.wait_for_jobs()
        shutil.rmtree(away)
        shutil.copytree(results, away, symlinks=True)
    finally:
        subprocess.run(["umount", str(results)], check=True)
    results.rmdir()
    away.rename(results)


def resize(mounted: Path, size: int) -> None:
    """Give a small file system another size, in bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(mounted)], check=True)


def size_of(results: Path, recipe: object) -> int:
    """Bytes of what a step makes."""
    root = results.parents[1]
    made = [path for pattern in recipe.makes for path in root.glob(pattern)]  # type: ignore[attr-defined]
    inside = [file for path in made for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in inside if file.is_file())


def limited(kind: str) -> Callable[[Scene], None]:
    """A fault: from a random moment on, the command gets no more memory or writes no large file."""

    def fault(scene: Scene) -> None:
        run = scene.start()
        # Memory runs out once libraries are loaded: while they are, any of them may crash.
        pid = scene.moment(run, 0.5 if kind == "memory" else 0.0)
        number, most = {
            "memory": (resource.RLIMIT_AS, address_space(pid)),
            "size of files": (resource.RLIMIT_FSIZE, 2048),
        }[kind]
        resource.prlimit(pid, number, (most, most))
        scene.tells = True
        scene.done.append(f"the {kind} of the command limited to {most:,} bytes")
        if not scene.end(run).code:
            raise Missed(str(scene.step))

    return fault


def address_space(pid: int) -> int:
    """Bytes of a process's address space."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def not_permitted(pattern: str) -> Callable[[Scene], None]:
    """A fault: nothing can be written into a folder of the results."""

    def fault(scene: Scene) -> None:
        folder = scene.project.results / pattern
        folder.mkdir(parents=True, exist_ok=True)
        (own := folder / "notes.txt").touch()  # Snakemake fails itself where it may not delete
        scene.tells = True  # an empty folder
        with read_only(folder):
            ran = scene.end(scene.start())
        own.unlink()
        scene.done.append(f"{RESULTS}/{pattern}: nothing may be written there")
        if not ran.code:
            raise Missed(str(scene.step))

    return fault


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the permission to write; root has it anyway unless the folder cannot change."""
    if os.geteuid():
        mode = folder.stat().st_mode
        folder.chmod(0o555)
        yield
        folder.chmod(mode)
        return
    chattr = ["chattr", "+i", folder]
    if not shutil.which("chattr") or subprocess.run(chattr, check=False).returncode:
        pytest.skip("root may write everywhere, and chattr +i does not work here")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)
