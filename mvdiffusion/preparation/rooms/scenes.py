"""Rendering many scenes into one folder: settings, worker processes, restarts and hashes."""

from __future__ import annotations

import multiprocessing
import operator
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import features
from tqdm import tqdm

from mvdiffusion.code_closure import code_sha256
from mvdiffusion.data.splits import FACES, HASHES
from mvdiffusion.outputs import already_made, begin, end, is_begun, keep_spares, make_room
from mvdiffusion.records import VISIBLE, InputError, folder_sha256, record_hashes

# Captions and lists of frames may be made anew, by other commands.
_PICTURES = [f"**/{kind}/*" for kind in (FACES, "color", "depth", "pose")]


@dataclass(frozen=True)
class Scenes:
    """A kind of scenes, and how they are rendered into one folder.

    Attributes:
        kind: their name, for messages.
        path: from split and index to a scene's path inside the folder.
        draw: writes a scene's folder atomically; gets the root, split, index and settings.
        list_split: writes a split's list when its scenes are there; gets root, split, settings.
    """

    kind: str
    path: Callable[[str, int], str]
    draw: Callable[[Path, str, int, Any], None]
    list_split: Callable[[Path, str, Any], None]

    def render(
        self,
        output: Path,
        settings: Any,
        splits: Sequence[str] | None = None,
        workers: int | None = None,
        expect_sha256: str | None = None,
        overwrite: bool = False,
    ) -> str:
        """Render splits into one folder; an interrupted run resumes.

        Args:
            output: the folder, which appears when all scenes are there.
            settings: a dataclass with `num_scenes` that decides the bytes.
            splits: some of `settings.num_scenes` (default: all of them).
            workers: processes (default: one per core); they do not change the bytes.
            expect_sha256: the hash that the folder must have.

        Returns:
            The hash of the folder's scenes and lists (`records.folder_sha256`).

        Raises:
            InputError: a split is unknown, `output` is of other settings, the hash differs, or the
                disk refuses.
        """
        counts = settings.num_scenes
        splits = tuple(counts) if splits is None else splits
        if unknown := [split for split in splits if split not in counts]:
            found = ", ".join(counts) or "none"
            raise InputError(f"num_scenes.{unknown[0]}: missing; found {found}.")
        made_of = {
            "splits": list(splits),
            "settings": asdict(settings),
            "code": code_sha256(self.draw.__module__),
            "versions": _versions(),
        }
        if is_begun(output, made_of, overwrite=overwrite):
            already_made(output)
            return _checked_sha256(output, self.kind, expect_sha256)
        output = output.resolve()
        partial = output.with_name(f".{output.name}.partial")
        begin(partial, made_of, overwrite=overwrite)
        self._draw_all(partial, settings, splits, workers or os.cpu_count() or 1)
        for split in splits:
            self.list_split(partial, split, settings)
        made = _checked_sha256(partial, self.kind, expect_sha256)
        keep_spares(partial)
        record_hashes(partial, HASHES, _PICTURES)
        make_room(output)
        partial.replace(output)
        end(partial)
        return made

    def _draw_all(self, root: Path, settings: Any, splits: Sequence[str], workers: int) -> None:
        """Draw the scenes that are not there."""
        scenes = [(split, i) for split in splits for i in range(settings.num_scenes[split])]
        jobs = [
            partial(self.draw, root, *scene, settings)
            for scene in scenes
            if not (root / self.path(*scene)).is_dir()
        ]
        done, title = len(scenes) - len(jobs), f"{'+'.join(splits)} {self.kind}"
        with tqdm(total=len(scenes), initial=done, desc=title) as progress:
            for _ in _each_drawn(jobs, workers):
                progress.update()


def _versions() -> dict[str, str | None]:
    """What draws and encodes; other versions may give other bytes."""
    return {"numpy": np.__version__, "Pillow": PIL.__version__, "libjpeg": features.version("jpg")}


def _each_drawn(jobs: list[partial[None]], workers: int) -> Iterator[None]:
    """Draw the scenes, yielding once after each."""
    if workers == 1 or len(jobs) < 2:
        yield from map(operator.call, jobs)
        return
    context = multiprocessing.get_context("spawn")  # forking a process with threads may hang
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        try:
            yield from pool.map(operator.call, jobs, chunksize=4)
        except BrokenProcessPool:
            raise InputError(
                "--workers: a worker process was killed, perhaps because memory was short; run the "
                "same command again, with fewer workers. Finished scenes are kept."
            ) from None


def _start_worker() -> None:
    """Let a worker compute in one thread, and die when its parent was killed."""
    torch.set_num_threads(1)  # there are as many workers as cores; more threads wait for each other
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _checked_sha256(folder: Path, kind: str, expected: str | None) -> str:
    found = folder_sha256(folder, VISIBLE)
    if expected is not None and found != expected:
        versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
        raise InputError(
            f"{folder}: the rendered {kind} have the hash {found}; expected {expected}. They were "
            f"rendered with {versions}. Install the versions of constraints.txt, or record the new "
            f"hash if the {kind} were changed on purpose."
        )
    return found
