"""Where the demo's requests are generated: one at a time, each to be stopped after any step."""

from __future__ import annotations

import secrets
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvdiffusion.data.scannet import ScanNetScene
from mvdiffusion.demo.requests import (
    Wish,
    checked_attention,
    checked_image,
    checked_prompts,
    checked_steps,
    chosen_task,
    whole,
)
from mvdiffusion.demo.settings import Limits, Sampling
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.generation.single import create_panorama, create_sequence, sequence_frames
from mvdiffusion.generation.split import load_pipeline
from mvdiffusion.records import InputError, listed, remove
from mvdiffusion.tasks import Task

OnProgress = Callable[[int, int], None]
"""Called with the number of denoising steps that are done and that of all."""

Create = Callable[..., None]
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever an archive is made


class CanceledError(Exception):
    """A request was stopped by whoever made it."""


@dataclass(frozen=True)
class Result:
    """What one generation made.

    Attributes:
        task: its task.
        attention: with attention between the views, or the independent baseline.
        folder: as `mvdiffusion generate` writes it.
        archive: all files of the folder as zip.
        views: the images in order.
    """

    task: Task
    attention: bool
    folder: Path
    archive: Path
    views: tuple[Path, ...]

    @property
    def panorama(self) -> Path | None:
        """The panorama as JPEG with the metadata of viewers; a sequence has none."""
        return None if self.task is Task.DEPTH else self.folder / "panorama.jpg"

    @property
    def viewer(self) -> Path | None:
        """The page to look around in the panorama, which needs no other file."""
        return None if self.task is Task.DEPTH else self.folder / "viewer.html"

    @property
    def film(self) -> Path:
        """The panorama turning once, or the sequence."""
        return self.folder / ("sequence.mp4" if self.task is Task.DEPTH else "turning.mp4")


@dataclass(eq=False)
class _Job:
    visitor: str | None
    stopped: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        if self.stopped.is_set():
            raise CanceledError


class Studio:
    """Generates what visitors ask for, in folders of its own."""

    def __init__(
        self,
        models: Mapping[Task, Path],
        folder: Path,
        samplings: Mapping[Task, Sampling],
        scenes: Mapping[str, Path] | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Take over models and a folder.

        Args:
            models: model folders by task.
            folder: an existing folder for the results.
            samplings: how each model is sampled.
            scenes: scenes of sequences by name; without any, no sequences are offered.
            limits: bounds of the requests.
        """
        self.models, self.folder, self.samplings = models, folder, samplings
        self.scenes, self.limits = scenes or {}, limits or Limits()
        self.tasks = [task for task in models if task is not Task.DEPTH or self.scenes]
        self._jobs: list[_Job] = []
        self._one_at_a_time = threading.Lock()
        self._loaded: tuple[Task | None, Any] = (None, None)

    def generate(
        self, wish: Wish, visitor: str | None = None, on_progress: OnProgress | None = None
    ) -> list[Result]:
        """Generate what is asked for; a request waits until the one before it has ended.

        Args:
            wish: the request.
            visitor: who asks, for `cancel`.
            on_progress: is told of every step.

        Returns:
            One result, or two: with attention between the views and without.

        Raises:
            InputError: a wrong or too large request, in one sentence.
            CanceledError: `cancel` was called meanwhile.
        """
        task, create = self._prepared(wish)
        sides = checked_attention(wish.attention)
        with self._job(visitor) as job, self._one_at_a_time:
            job.check()
            self._make_room()
            place = self.folder / secrets.token_hex(16)
            results = []
            try:
                for number, attention in enumerate(sides):

                    def on_step(step: int, steps: int, before: int = number) -> None:
                        job.check()
                        if on_progress:
                            on_progress(before * steps + step, len(sides) * steps)

                    results.append(self._make(task, create, place, attention, on_step))
            except BaseException:
                remove(place)
                raise
            return results

    def cancel(self, visitor: str | None) -> int:
        """Stop the requests of a visitor after the step under way.

        Returns:
            How many there were.
        """
        jobs = [job for job in self._jobs if job.visitor == visitor]
        for job in jobs:
            job.stopped.set()
        return len(jobs)

    def cancel_all(self) -> None:
        """Stop the requests of all visitors after the step under way."""
        for job in list(self._jobs):
            job.stopped.set()

    def is_busy(self) -> bool:
        """Whether anything is generated."""
        return self._one_at_a_time.locked()

    @contextmanager
    def _job(self, visitor: str | None) -> Iterator[_Job]:
        job = _Job(visitor)
        self._jobs.append(job)
        try:
            yield job
        finally:
            self._jobs.remove(job)

    def _prepared(self, wish: Wish) -> tuple[Task, Create]:
        """Check a request; give its task, and a function that still needs output and attention."""
        task = chosen_task(wish, self.tasks)
        sampling, model = self.samplings[task], self.models[task]
        settings = sampling.asked(
            num_inference_steps=checked_steps(wish.steps, self.limits),
            guidance_scale=wish.guidance_scale,
            seed=whole(wish.seed),
        )
        if task is Task.DEPTH:
            return task, self._sequence(wish, settings)
        lines = checked_prompts(wish, task, 0, self.limits) or []
        texts = [sampling.prompt_prefix + line for line in lines]
        given = {0: checked_image(wish.image, self.limits)} if task is Task.OUTPAINT else None

        def create(output: Path, **options: Any) -> None:
            create_panorama(model, output, texts, settings, given, **options)

        return task, create

    def _sequence(self, wish: Wish, settings: GenerationSettings) -> Create:
        if wish.scene not in self.scenes:
            raise InputError(f"Choose one of the scenes: {listed(self.scenes)}.")
        sampling, model = self.samplings[Task.DEPTH], self.models[Task.DEPTH]
        scene, size = self.scenes[wish.scene], (sampling.frame_height, sampling.frame_width)
        opened = ScanNetScene(scene, *size)
        keys = min(self.limits.frames, len(opened.key_frames))
        frames = len(sequence_frames(opened, keys, 0))
        lines = checked_prompts(wish, Task.DEPTH, frames, self.limits)
        prefix = sampling.prompt_prefix
        texts = None if lines is None else [prefix + line for line in lines]

        def create(output: Path, **options: Any) -> None:
            further = {"key_frames": keys, "stride": 0, "prompt_prefix": prefix, **options}
            create_sequence(model, output, scene, texts, settings, *size, **further)

        return create

    def _make(
        self, task: Task, create: Create, place: Path, attention: bool, on_step: OnProgress
    ) -> Result:
        folder = place / ("with_attention" if attention else "independent_views")
        create(folder, correspondence_attention=attention, load=self._load, on_step=on_step)
        (sample,) = (path.parent for path in folder.glob("*/sample.json"))
        views = sorted(
            (path for path in sample.glob("*.png") if path.stem.isdigit()),
            key=lambda path: int(path.stem),
        )
        archive = folder.with_suffix(".zip")
        _pack(folder, archive)
        return Result(task, attention, folder, archive, tuple(views))

    def _load(self, task: Task, model: Path, settings: GenerationSettings) -> Any:
        """Give a pipeline; the last one is kept, as its visitors choose only seeds and the like."""
        if self._loaded[0] is not task:
            self._loaded = (None, None)  # makes room for the next one
            self._loaded = (task, load_pipeline(task, model, settings))
        return self._loaded[1]

    def _make_room(self) -> None:
        """Delete the oldest results while there are too many bytes of them."""
        ages = sorted((path.stat().st_mtime, path) for path in self.folder.iterdir())
        sizes = {path: size_of(path) for _, path in ages}
        for _, path in ages[:-1]:  # the last one may still be on its way to its visitor
            if sum(sizes.values()) <= self.limits.kept_bytes // 2:
                break
            remove(path)
            del sizes[path]


def size_of(folder: Path) -> int:
    """Sum the bytes of a folder's files."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # deleted meanwhile
            total += path.lstat().st_size
    return total


def _pack(folder: Path, archive: Path) -> None:
    """Write a folder's files as zip; images and films are compressed already."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            file.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes())
