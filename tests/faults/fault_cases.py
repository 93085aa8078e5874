"""What strikes which step of the experiment, and how it must end."""

from __future__ import annotations

import random
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from fault_damage import damaged, damaged_checkpoint, deleted, from_the_future, state_lost
from fault_project import RESULTS, Reference
from fault_scene import (
    SENTENCE,
    Missed,
    Scene,
    disk_full,
    kill_at_a_rename,
    kill_loader,
    kill_workflow,
    limited,
    not_permitted,
    second_run,
    signalled,
    stop_and_go_on,
)
from workflow_project import ROOT

from mvdiffusion.records import listed, remove

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
TRACEBACK = "Traceback (most recent call last)"
TRIES = 4  # of a moment that a step's command can end before


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        name: what happens, in words.
        step: the recipe that is not made when it happens; None: all is made.
        fault: brings it about, up to the end of the disturbed run.
        remedy: what the one error of the next run tells the user to delete, below the results, if
            that run can need help.
        features: the feature cache is there although scores are not.
        touch: the remedy is to touch the file that was harmed.
    """

    name: str
    step: str | None
    fault: Callable[[Scene], None]
    remedy: str = ""
    features: bool = False
    touch: bool = False


@dataclass(frozen=True)
class Row:
    """How a case ended.

    Attributes:
        case: its name.
        seed: of the random moments and places.
        done: the moment, and what was done.
        said: the one line that told the user of it, if any.
        outcome: how the plain command ended.
        lost: what is wrong; empty if nothing was lost.
        code: the commit that was measured, and whether files differ from it.
    """

    case: str
    seed: int
    done: str
    said: str
    outcome: str
    lost: str
    code: str


def strike(case: Case, reference: Reference, folder: Path, seed: int) -> Row:
    """Bring a fault about, run the plain command, and compare what it ends in with the reference.

    Args:
        folder: an empty one, for the project.
        seed: of the random moments and places.
    """
    rng = random.Random(f"{case.name} {seed}")
    for number in range(TRIES):
        project = reference.copy(folder / f"project{number}", case.step, case.features)
        scene = Scene(reference, project, case.step, rng)
        try:
            case.fault(scene)
            break
        except Missed:
            remove(project.root)
    else:
        raise AssertionError(f"{case.name}: the command always ended before the fault")
    return judged(case, scene, seed)


def judged(case: Case, scene: Scene, seed: int) -> Row:
    """Run the plain command after a fault, do what its error says, and compare."""
    ran = scene.run()
    said = [*scene.said, ran.said]
    outcome, wrong = "the plain command completes", []
    if ran.code:
        way, remedy = ("touch", scene.harmed or "") if case.touch else ("rm -r", case.remedy)
        outcome = f"one error; after `{way} {remedy}` the plain command completes"
        wrong += [] if helps(ran.said, remedy) else ["the error does not say what to do"]
        for path in scene.project.results.glob(remedy) if remedy else ():
            path.touch() if case.touch else remove(path)
        ran = scene.run()
        said.append(ran.said)
        wrong += [f"the run after that fails: {ran.said[-2000:]}"] if ran.code else []
    wrong += ["the fault is not told"] if scene.tells and not sentence(scene.said) else []
    wrong += ["a traceback"] if any(map(fails_with_a_traceback, said)) else []
    wrong += [f"differs: {name}" for name in differing(scene)]
    wrong += [f"left behind: {name}" for name in scene.project.debris()]
    again = scene.made_again()
    wrong += [f"made again: {listed(again)}"] if again else []
    outcome += "; nothing that was finished was made again" if scene.kept and not again else ""
    if aside := scene.project.moved_aside():
        outcome += f"; made again, and what was there is at {', '.join(aside)}"
    if scene.harmed in unlike(scene):
        outcome += "; the damaged file stays"
    done = "; ".join(scene.done)
    return Row(case.name, seed, done, sentence(said), outcome, "; ".join(wrong), commit())


def commit() -> str:
    """The code of this checkout, as git names it; empty where there is no git."""
    words = [
        "git",
        "-C",
        str(ROOT),
        "describe",
        "--always",
        "--exclude=*",
        "--abbrev=12",
        "--dirty",
    ]
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout.strip()


def fails_with_a_traceback(said: str) -> bool:
    """Whether a traceback is shown; those do not count that a library's clean-up leaves at exit."""
    return TRACEBACK in re.sub(rf"Exception ignored in .*\n{re.escape(TRACEBACK)}", "", said)


def helps(said: str, remedy: str) -> bool:
    """Whether an error names a path in what is to be deleted."""
    start = f"{RESULTS}/{remedy}".split("*")[0]
    return bool(remedy) and any(start in line for line in sentences(said))


def unlike(scene: Scene) -> set[str]:
    """Results that are not the reference's."""
    expected, found = scene.reference.files, scene.project.files()
    names = {name for name in {*expected, *found} if expected.get(name) != found.get(name)}
    if scene.target == "tables":
        names = {name for name in names if not name.startswith(("figures/", "leaderboard.html"))}
    return names


def differing(scene: Scene) -> list[str]:
    """Those that count: a damaged file that nothing reads again may stay."""
    names = unlike(scene)
    shown = {name for name in names if name.startswith(("tables/", "metrics.json", "figures/"))}
    return sorted(names if scene.harmed is None else shown | (names - {scene.harmed}))


def sentences(said: str) -> list[str]:
    """The lines that tell a user what happened, without repetitions."""
    lines = [line.strip() for line in said.splitlines()]
    found = [
        lines[number + 1] if line.startswith("WorkflowError") and lines[number + 1 :] else line
        for number, line in enumerate(lines)
        if SENTENCE.match(line)
    ]
    return [line for line in dict.fromkeys(found) if not line.startswith("At least one job")]


def sentence(said: list[str]) -> str:
    """What the user was told, in one line, with no machine's paths and numbers of processes."""
    told = dict.fromkeys(line for each in said for line in sentences(each))
    text = re.sub(r"/\S*/project\d+/", "", " / ".join(told))
    return re.sub(r"(process(?:es)?) \d+(?:, \d+)*", r"\1 …", text)


STAGE2, GENERATE, SCORE = "panorama_stage2", "panorama_mvdiffusion", "score_panorama_mvdiffusion"
MODEL, VIEWS, SCORES = "models/panorama_stage2", "images/panorama/mvdiffusion", "scores/panorama"

CASES = [
    Case("kill -9 of the run, rooms", "rooms_train", signalled(KILL, "group")),
    Case("kill -9 of Snakemake, rooms", "rooms_train", kill_workflow),
    Case("kill -9 of a command, walks", "walks_train", signalled(KILL, "command")),
    Case("kill -9 of Snakemake, VAE", "vae", kill_workflow),
    Case("kill -9 at a rename, base model", "base", kill_at_a_rename),
    Case("kill -9 of a command, stage 1", "panorama_stage1", signalled(KILL, "command")),
    Case("kill -9 of the run, stage 2", STAGE2, signalled(KILL, "group")),
    Case("kill -9 of Snakemake, stage 2", STAGE2, kill_workflow),
    Case("kill -9 of a data loader, stage 2", STAGE2, kill_loader),
    Case("kill -9 at a rename, stage 2", STAGE2, kill_at_a_rename),
    Case("kill -9 of a command, stage 2 of depth", "depth_stage2", signalled(KILL, "command")),
    Case("SIGTERM to a command (time limit), stage 2", STAGE2, signalled(TERM, "command")),
    Case("kill -9 of the run, generation", GENERATE, signalled(KILL, "group")),
    Case("kill -9 of Snakemake, generation", GENERATE, kill_workflow),
    Case("kill -9 of a command, frames", "depth_mvdiffusion", signalled(KILL, "command")),
    Case("kill -9 at a rename, generation", GENERATE, kill_at_a_rename),
    Case("Ctrl-C, generation", GENERATE, signalled(INT, "group")),
    Case("kill -9 at a rename, real views", "panorama_real", kill_at_a_rename),
    Case("kill -9 of a command, extractor", "clip", signalled(KILL, "command")),
    Case("kill -9 of Snakemake, extractor", "classifier", kill_workflow),
    Case("kill -9 at a rename, extractor", "classifier", kill_at_a_rename),
    Case("kill -9 of Snakemake, scores", SCORE, kill_workflow),
    Case("kill -9 of a command, scores", "score_depth_mvdiffusion", signalled(KILL, "command")),
    Case("SIGTERM to Snakemake, scores", SCORE, signalled(TERM, "workflow")),
    Case("kill -9 of the run, tables", "tables", signalled(KILL, "group")),
    Case("kill -9 at a rename, tables", "tables", kill_at_a_rename),
    Case("kill -9 of a command, figures", "figures", signalled(KILL, "command")),
    Case("kill -9 of the run, report", "report", signalled(KILL, "group")),
    Case("SIGSTOP, second run, SIGCONT, stage 2", STAGE2, stop_and_go_on),
    Case("second run, generation", GENERATE, second_run),
    Case("second run, scores", SCORE, second_run),
    Case("disk full, stage 2", STAGE2, disk_full),
    Case("disk full, generation", GENERATE, disk_full),
    Case("disk full, figures", "figures", disk_full),
    Case("limit of a file's size, stage 2", STAGE2, limited("size of files")),
    Case("limit of a file's size, generation", GENERATE, limited("size of files")),
    Case("out of memory, stage 2", STAGE2, limited("memory")),
    Case("out of memory, generation", GENERATE, limited("memory")),
    Case("out of memory, scores", SCORE, limited("memory")),
    Case("no permission, models", STAGE2, not_permitted("models")),
    Case("no permission, images", GENERATE, not_permitted("images/panorama")),
    Case("no permission, scores", SCORE, not_permitted("scores/panorama")),
    Case("no permission, tables", "tables", not_permitted("tables")),
    Case("damaged checkpoint", STAGE2, damaged_checkpoint, f"training/{STAGE2}/checkpoints"),
    Case("damaged weights", GENERATE, damaged(f"{MODEL}/**/*.safetensors"), MODEL),
    Case("damaged model index", GENERATE, damaged(f"{MODEL}/model_index.json"), MODEL),
    Case("damaged room", "panorama_stage1", damaged("rooms/train/*/*/*.jpg"), "rooms/train"),
    Case("damaged view", SCORE, damaged(f"{VIEWS}/*/[0-7].png"), VIEWS),
    Case("damaged manifest", SCORE, damaged(f"{VIEWS}/manifest.json"), VIEWS),
    Case("damaged record of an output", GENERATE, damaged(f"{MODEL}/.output.json"), MODEL),
    Case("damaged extractor", SCORE, damaged("extractors/clip/*"), "extractors/clip"),
    Case("damaged feature", SCORE, damaged("features/**/*.safetensors"), features=True),
    Case("damaged score", "tables", damaged(f"{SCORES}/real.json"), f"{SCORES}/real.json"),
    Case("damaged table before the report", "report", damaged("tables/*.csv"), "tables/recipe-*"),
    Case("damaged table at the end", None, damaged("tables/*.csv"), "tables/recipe-*"),
    Case("damaged metrics at the end", None, damaged("metrics.json"), "tables/recipe-*"),
    Case("damaged view at the end", None, damaged(f"{VIEWS}/*/[0-7].png")),
    Case("damaged metadata of Snakemake", "tables", damaged(".snakemake/metadata/*")),
    Case("deleted view", SCORE, deleted(f"{VIEWS}/*/[0-7].png"), VIEWS),
    Case("deleted part of a model", GENERATE, deleted(f"{MODEL}/**/*.safetensors"), MODEL),
    Case("deleted score at the end", None, deleted(f"{SCORES}/*.json")),
    Case("deleted table at the end", None, deleted("tables/*.csv")),
    Case("model of tomorrow", GENERATE, from_the_future(f"{MODEL}/model_index.json"), touch=True),
    Case("score of tomorrow", "tables", from_the_future(f"{SCORES}/*.json"), touch=True),
    Case("state of Snakemake deleted", "tables", state_lost),
]  # fmt: skip


def as_json(row: Row) -> dict[str, object]:
    """A row as JSON can hold it."""
    return asdict(row)
