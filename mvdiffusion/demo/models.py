"""Which models and scenes the demo offers: those that it is given, or those of a run at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mvdiffusion.data.scannet import KEY_FRAMES
from mvdiffusion.pipelines import PIPELINES
from mvdiffusion.pipelines.loading import check_model
from mvdiffusion.records import InputError, listed, read_json
from mvdiffusion.tasks import Task

RUNS = ("results", "results/look")
"""Folders of runs whose models are taken if none are given, the first that has some."""

TASKS = {pipeline.__name__: Task(task) for task, pipeline in PIPELINES.items()}


def find_models(folders: Sequence[Path] = ()) -> dict[Task, Path]:
    """Sort model folders by their tasks; without any, look for those of a run.

    Raises:
        InputError: none are there, one is no model with attention between the views, or two are of
            one task.
    """
    if not folders:
        folders = next(filter(None, map(_of_run, RUNS)), [])
    if not folders:
        raise InputError(
            "no model is there; pass --model FOLDER, after `make look` (a small one, in minutes), "
            "`make run` or `mvdiffusion convert` (the authors' checkpoints)."
        )
    found: dict[Task, Path] = {}
    for folder in folders:
        task = _task(folder)
        if task in found:
            raise InputError(
                f"--model {folder}: is of the task {task}, as {found[task]} is; expected one model "
                "for each task."
            )
        found[task] = folder
    return {task: found[task] for task in Task if task in found}


def _of_run(results: str) -> list[Path]:
    folders = (Path(results) / "models" / f"{task}_stage2" for task in Task)
    return [folder for folder in folders if (folder / "model_index.json").is_file()]


def _task(folder: Path) -> Task:
    check_model(folder)
    index = read_json(folder / "model_index.json")
    name = index.get("_class_name") if isinstance(index, dict) else None
    name = name[-1] if isinstance(name, list) and name else name  # [module, class]
    if name not in TASKS:
        raise InputError(
            f"--model {folder}: holds a {name}; expected {listed(TASKS)}, as stage 2 and "
            "`mvdiffusion convert` write it."
        )
    return TASKS[name]


def find_scenes(folders: Sequence[Path]) -> dict[str, Path]:
    """Name the scenes to choose from: folders of one scene each, or of several.

    Args:
        folders: in ScanNet's exported layout, with key frames.

    Raises:
        InputError: a folder holds none, or two scenes have one name.
    """
    scenes: dict[str, Path] = {}
    for folder in folders:
        found = [path.parent for path in (folder / KEY_FRAMES, *folder.glob(f"*/{KEY_FRAMES}"))]
        found = sorted(path for path in found if (path / KEY_FRAMES).is_file())
        if not found:
            raise InputError(
                f"--scene {folder}: no scene with key frames ({KEY_FRAMES}) in it; expected a "
                "folder in ScanNet's layout, or one of such folders (`mvdiffusion data key-frames` "
                "chooses key frames)."
            )
        for path in found:
            if path.name in scenes:
                raise InputError(f"--scene {folder}: a second scene named {path.name}.")
            scenes[path.name] = path
    return scenes
