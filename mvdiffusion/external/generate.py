"""Running an external method over requests: seeds, processes, progress, restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from mvdiffusion.external.outputs import find_files, is_whole
from mvdiffusion.external.process import run
from mvdiffusion.external.requests import (
    INPUTS,
    REQUESTS,
    Request,
    Requests,
    write_requests,
)
from mvdiffusion.external.steps import Place, inside
from mvdiffusion.manifest import read_trajectory
from mvdiffusion.methods.specification import Specification
from mvdiffusion.outputs import end
from mvdiffusion.records import InputError, listed
from mvdiffusion.tasks import Task

LOG, SCRIPT, PENDING = "log.txt", "script.py", "pending.json"


class Run:
    """A folder that an external method fills; started again, it keeps the finished samples."""

    def __init__(self, specification: Specification, requests: Requests, folder: Path) -> None:
        """Look at a folder that `mvdiffusion.outputs.begin` has opened.

        Args:
            specification: the method.
            requests: what it is asked for.
            folder: where it writes, in its own layout.
        """
        self.specification, self.requests, self.folder = specification, requests, folder.resolve()
        self.generation = specification.generation(requests.manifest.task)
        self._whole: set[str] = set()

    def has(self, sample: str) -> bool:
        """Tell whether all files of a sample are there and whole."""
        if sample not in self._whole:
            output, frames = self.generation.output, []
            if self.requests.manifest.task == Task.DEPTH:
                frames = list(read_trajectory(self.folder / INPUTS / sample).frames)
            count = len(self.requests.manifest.yaw_deg)
            files = find_files(self.folder, output, sample, count, frames)
            if all(map(is_whole, files.values())):
                self._whole.add(sample)
        return sample in self._whole

    def pending(self) -> list[Request]:
        """Samples that are not finished."""
        return [sample for sample in self.requests.samples if not self.has(sample.id)]

    def go(self, place: Place, data: Path) -> None:
        """Have the method make what is not finished.

        Args:
            place: where the method is installed.
            data: folder of the data, for methods that read it themselves.

        Raises:
            InputError: the method fails, or ends without having made all that it was asked for.
        """
        write_requests(self.folder / REQUESTS, self.requests, self.requests.samples)
        if self.generation.script:
            (self.folder / SCRIPT).write_text(self.generation.script, encoding="utf-8")
        pending = self.pending()
        count = len(self.requests.samples)
        name = f"{self.requests.manifest.task} {self.specification.method}"
        with tqdm(total=count, initial=count - len(pending), desc=name, unit="sample") as bar:
            parts = [[one] for one in pending] if self.generation.per_sample else [pending]
            for part in parts if pending else []:
                self._start(part, place, data, lambda: self._show(bar))
                self._show(bar)
        if left := [sample.id for sample in self.pending()]:
            raise InputError(
                f"{self.folder}: {self.specification.method} ended without {len(left)} of "
                f"{count} samples ({listed(left)}); its files are called "
                f"{self.generation.output.files}. See {self.folder / LOG}."
            )
        end(self.folder)

    def _show(self, bar: tqdm) -> None:
        bar.update(sum(map(self.has, (s.id for s in self.requests.samples))) - bar.n)

    def _start(
        self, part: list[Request], place: Place, data: Path, on_tick: Callable[[], None]
    ) -> None:
        write_requests(self.folder / PENDING, self.requests, part)
        values = run_values(self.folder, place, data)
        if self.generation.per_sample:
            values |= sample_values(self.folder, part[0])
            (self.folder / part[0].id).mkdir(exist_ok=True)
        words = [word.format(**values) for word in self.generation.command]
        environment = self.specification.environment
        command = inside(environment, place, words, (self.folder, data.resolve()))
        run(command, place.source, self.folder / LOG, on_tick=on_tick)


def run_values(folder: Path, place: Place, data: Path) -> dict[str, str]:
    """What stands for the fields of a command.

    Args:
        folder: where the method writes.
        place: where it is installed.
        data: folder of the data.
    """
    return {
        "source": str(place.source),
        "output": str(folder),
        "requests": str(folder / PENDING),
        "script": str(folder / SCRIPT),
        "data": str(data.resolve()),
    }


def sample_values(folder: Path, sample: Request) -> dict[str, str]:
    """What stands for the further fields of a command that makes one sample.

    Args:
        folder: where the method writes.
        sample: the sample.
    """
    inputs = str(folder / INPUTS / sample.id)
    return {
        "sample": sample.id,
        "prompt": sample.prompt,
        "seed": str(sample.seed),
        "inputs": inputs,
    }
