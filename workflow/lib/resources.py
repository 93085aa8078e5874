"""What jobs ask of the machine that they run on: threads, memory, time and GPUs.

These figures decide no result. Rules take them as `resources: **needs.training`, Snakemake hands
them on to a cluster, and `--set-resources train_stage2:mem_mb=64000` changes one of them. Profiles
say only what is a site's own: how jobs reach it, and how many at once.

Memory follows from peaks that were measured with the miniature on two cores (docs/cluster.md). At
the paper's size, where weights weigh most, it is an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil, prod
from typing import Any

from mvdiffusion.settings import parse
from mvdiffusion.tasks import Task
from mvdiffusion.training.settings import FrameSettings, MultiView, ViewSettings
from workflow.lib.command_settings import command_settings
from workflow.lib.tasks import Tasks

Resources = dict[str, int | Callable[..., int]]

PROGRAM = 2000  # MB of a command with its libraries: 950 measured, 1,900 when it scores
WORKER = 1000  # MB of a process that reads or renders data; 600 measured
WEIGHTS = 24_000  # MB of Stable Diffusion, or BLIP-2: what is loaded, learned, averaged and saved
TRAINING = 0.016  # MB for each pixel of a pass: 0.005 (panoramas) to 0.011 (depth) measured
SAMPLING = 0.004  # likewise, without gradients: 0.001 measured
# Minutes. The miniature's longest training took 32; few sites let jobs run for more than two days.
SHORT, LONG, DAYS = 240, 1440, 2880


class Needs:
    """The needs of the jobs of one experiment.

    Attributes:
        cores: threads of a job that uses all the cores it can have.
        shared_cores: threads of a job beside others. The miniature's models keep few cores busy, so
            that its jobs run in pairs. Models that the configuration names may be large: one at a
            time, so that a GPU need not hold two.
        training_threads: threads of a training, which has all cores if it is the only one.
        large: whether models of the size of Stable Diffusion train and sample.
        on_gpus: whether jobs that train, sample or score ask for GPUs. Those of the miniature do
            not unless its `device` is one: they do not need it, and would wait for one another.
        hours: minutes of a job that computes for long, but not for days.
    """

    def __init__(self, tasks: Tasks, cores: int) -> None:
        """Read the sizes of models and images in a configuration.

        Args:
            tasks: those of the configuration.
            cores: that Snakemake may use for one job.
        """
        self.config, self.sources, self.cores = tasks.config, tasks.sources, cores
        self.processes = tasks.processes
        self.large = self.sources.names_models
        self.shared_cores = cores if self.large else max(1, cores // 2)
        several = len(tasks.names) + len(tasks.trainings) > 1
        self.training_threads = self.shared_cores if several else cores
        device = str(self.config["device"])
        self.on_gpus = device.startswith("cuda") or (device == "auto" and self.large)
        self.hours = LONG if self.large else SHORT

    @property
    def training(self) -> Resources:
        """Of a job that trains a model: it goes on where a job was that ended too early."""
        trainings = list(self._trainings())
        passing = TRAINING * max(_pixels_of_a_pass(each) for each in trainings)
        workers = WORKER * max(each.training.num_workers for each in trainings)
        return self._computing("training", DAYS if self.large else SHORT, passing, workers)

    @property
    def sampling(self) -> Resources:
        """Of a job that generates a split: it goes on after the last sample that is there."""
        passes = (
            self.config[task]["generation"]["batch_size"] * views.num_views * prod(views.size)
            for task in self.sources.tasks
            for views in [self._views(task)]
        )
        return self._computing("generation", self.hours, SAMPLING * max(passes))

    @property
    def scoring(self) -> Resources:
        """Of a job that computes features and scores."""
        return self._computing("scoring", self.hours, PROGRAM)

    @property
    def extracting(self) -> Resources:
        """Of a job that trains a network for features."""
        return self._computing("", self.hours, PROGRAM)

    @property
    def external(self) -> Resources:
        """Of a job that runs a method of others: they want a GPU, and go on where they were."""
        gpu = {} if self.config["device"] == "cpu" else {"gpu": 1}
        return {"mem_mb": PROGRAM + WEIGHTS, "runtime": LONG, **gpu}

    @property
    def captioning(self) -> Resources:
        """Of a job that captions images with BLIP-2, and goes on where it was."""
        datasets = self.config.get("datasets", {}).values()
        gpu = {"gpu": 1} if any(each["captions"]["device"] != "cpu" for each in datasets) else {}

        def memory(wildcards: Any, threads: int) -> int:
            return PROGRAM + WEIGHTS + WORKER * threads

        return {"mem_mb": memory, "runtime": LONG, **gpu}

    @property
    def preparing(self) -> Resources:
        """Of a job that renders or prepares data in as many processes as it has threads."""

        def memory(wildcards: Any, threads: int) -> int:
            return PROGRAM + WORKER * threads

        return {"mem_mb": memory, "runtime": self.hours}

    @property
    def reporting(self) -> Resources:
        """Of a job that copies, counts or draws."""
        return {"mem_mb": 2 * PROGRAM, "runtime": SHORT}

    def _computing(self, kind: str, runtime: int, passing: float, workers: int = 0) -> Resources:
        """Of a job with a network, in as many processes as the configuration asks for.

        Args:
            kind: of its processes, a key of `processes` in the configuration; others have one.
            runtime: minutes.
            passing: MB of what passes through the network, in the memory of a GPU if there is one.
            workers: MB of the processes that read its data.
        """
        processes = self.processes(kind)
        weights = WEIGHTS if self.large else 0
        one = PROGRAM + weights + workers + (0 if self.on_gpus else passing)
        memory = {"mem_mb": 1000 * ceil(one * processes / 1000), "runtime": runtime}
        return {**memory, "gpu": processes} if self.on_gpus else {**memory}

    def _views(self, task: str) -> ViewSettings | FrameSettings:
        layout = Task(task).layout
        told = self.config["data"][layout]
        return parse(ViewSettings, told) if layout == "views" else parse(FrameSettings, told)

    def _trainings(self) -> Iterator[Any]:
        """Settings of all trainings of the configuration that its tasks may run."""
        for section, kind, told in command_settings(self.config):
            if "training" in told and section.split(".")[0] in ("base", *self.sources.started):
                yield parse(kind, {**told, "device": "auto"})


def _pixels_of_a_pass(told: Any) -> int:
    """How many pixels go through the network together when it trains.

    Args:
        told: settings of a training.
    """
    training, data = told.training, told.data
    views = data.num_views if isinstance(told, MultiView) else 1
    examples = training.batch_size // training.gradient_accumulation_steps
    return examples * views * prod(getattr(told, "size", data.size))
