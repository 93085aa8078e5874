"""Write a step's settings file; what an earlier recipe of the step made is moved aside.

A job of the workflow runs this as `python -m workflow.lib.settings_file FILE TEXT PATTERN...`, in
whatever environment it has, so only the standard library is imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from shutil import move

DIGEST = "[0-9a-f]" * 12


def write_settings_file(file: Path, text: str, makes: list[str]) -> list[Path]:
    """Write `<root>/settings/<step>-<digest>.json` after moving outdated results aside.

    They go to `<root>/.old/<step>-<digest of the recipe that made them>`, where nothing reads them
    and nothing deletes them, at the place that they had below the root. After a kill the same call
    goes on.

    Args:
        file: the settings file.
        text: what to write into it.
        makes: patterns of paths below the root that hold the step's results and unfinished work.

    Returns:
        The folders that something was moved to: none or one.
    """
    root, (step, _) = file.parent.parent, file.stem.rsplit("-", 1)
    made = sorted(path for name in makes for path in root.glob(str(Path(name).relative_to(root))))
    earlier = sorted(
        file.parent.glob(f"{step}-{DIGEST}.json"), key=lambda path: path.stat().st_mtime
    )
    outdated = [path for path in earlier if path != file]
    moved = []
    if made:
        name = outdated[-1].stem if outdated else f"{step}-unknown"
        moved = [_move_aside(root, [*made, *outdated[-1:]], root / ".old" / name)]
    for path in outdated:
        path.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, text + "\n")
    return moved


def _write(file: Path, text: str) -> None:
    """Write a file that is whole, or not there, after a kill or a power cut."""
    unfinished = file.with_name(f".{file.name}.tmp")
    with open(unfinished, "w") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    unfinished.replace(file)


def _move_aside(root: Path, paths: list[Path], folder: Path) -> Path:
    """Move paths to their places below the folder, or below one of its name and a number."""
    places = [path.relative_to(root) for path in paths]
    target, number = folder, 1
    while any((target / place).exists() for place in places):
        number += 1
        target = folder.with_name(f"{folder.name}-{number}")
    for path, place in zip(paths, places, strict=True):
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        move(path, target / place)
    return target


if __name__ == "__main__":
    for folder in write_settings_file(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]):
        print(
            f"{Path(sys.argv[1]).stem}: results of other settings or code were moved to {folder};"
            " delete them if you do not need them",
            file=sys.stderr,
        )
