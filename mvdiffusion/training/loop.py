"""One training loop for every model: accelerate, EMA, logs, pictures and exact resume.

Nothing random happens here. Example number p of a run is a pure function of (seed, p), so the
state of a run is its weights, optimizer, EMA and step: a killed run that resumes ends with the
same weights, bit for bit, as one that was never interrupted.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, send_to_device
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import to_pil_image
from tqdm import tqdm

from mvdiffusion.data.workers import end_if_unable_to_send
from mvdiffusion.outputs import make_room
from mvdiffusion.parallel.workers import as_one_of_several, part
from mvdiffusion.records import InputError, atomic_output
from mvdiffusion.settings import Device, choose_precision, torch_device
from mvdiffusion.training.checkpoints import CheckpointFolder
from mvdiffusion.training.lean.memory import keep_freed_memory
from mvdiffusion.training.lean.weights import RoundedWeights
from mvdiffusion.training.settings import TrainingSettings
from mvdiffusion.training.sittings import Sittings

Batch = dict[str, Tensor]
# In the log folder
LOGS = ("metrics.jsonl", "validation.jsonl", "sittings.jsonl", "validation", "tensorboard")


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up to `learning_rate`, then half a cosine to `final_learning_rate`.

    Args:
        step: step of the training, from 0.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    height = (1 + math.cos(math.pi * progress)) / 2
    low, high = settings.final_learning_rate, settings.learning_rate
    return low + (high - low) * height


def parameter_groups(task: Any, parameters: Mapping[str, nn.Parameter]) -> list[dict[str, Any]]:
    """Group what an optimizer trains by what the learning rate is multiplied by: `rate_factor`.

    Args:
        task: module; its attribute `rate_factors`, if it has one, holds the factors of some of its
            parts by their names. That of all others is 1.
        parameters: those that train, by their names in the task.
    """
    factors: Mapping[str, float] = getattr(task, "rate_factors", {})
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(factors.get(name.partition(".")[0], 1.0), []).append(parameter)
    return [{"params": each, "rate_factor": factor} for factor, each in groups.items()]


def divided(settings: TrainingSettings, processes: int) -> TrainingSettings:
    """Have processes compute the parts of a batch at once, rather than one after the other.

    A batch of four in four parts is one step of four processes, and needs no more memory in any.

    Args:
        settings: `gradient_accumulation_steps` is the number of parts.
        processes: how many share the training.
    """
    parts = settings.gradient_accumulation_steps
    return replace(settings, gradient_accumulation_steps=parts // math.gcd(parts, processes))


class MicroBatches(Dataset["Batch | InputError"]):
    """Micro-batch m of a process as a pure function of m: consecutive examples, concatenated."""

    def __init__(
        self, examples: Any, settings: TrainingSettings, processes: int = 1, rank: int = 0
    ) -> None:
        """Divide every micro-batch evenly between the processes.

        Raises:
            InputError: when the batch cannot be divided.
        """
        per_step = settings.batch_size // settings.views_per_panorama
        self.examples, self.rank = examples, rank
        self.all = per_step // settings.gradient_accumulation_steps
        self.own, remainder = divmod(self.all, processes)
        if remainder:
            raise InputError(
                f"a micro-batch of {self.all} panoramas cannot be divided between {processes} "
                "processes; change training.batch_size or gradient_accumulation_steps"
            )

    def __getitem__(self, micro_step: int) -> Batch | InputError:
        """Return the micro-batch, values [panoramas * views, ...].

        An `InputError` is returned, not raised: the loader would wrap it in a traceback.
        """
        first = micro_step * self.all + self.rank * self.own
        try:
            parts = [self.examples[position] for position in range(first, first + self.own)]
        except InputError as error:
            return error
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def train(
    task: nn.Module,
    settings: TrainingSettings,
    *,
    name: str,
    identity: Mapping[str, Any],
    checkpoints: Path,
    log_dir: Path,
    device: Device = "auto",
    overwrite: bool = False,
) -> CheckpointFolder:
    """Train `task` in place; it ends with EMA weights.

    Args:
        task: module whose forward pass is the loss; parameters with `requires_grad` are trained.
            `task.examples[position]` is a pure function of the seed and `position`, with the views
            of one panorama in front; `task.validate()` returns a picture [3, H, W] in [0, 1] and
            figures to record. `task.rate_factors` may slow parts of it, see `parameter_groups`;
            `task.has_idle_parts` says that some of it may be left out of a loss.
        name: what the progress bar and the tracker call the run.
        identity: everything that decides the weights, see `CheckpointFolder`.
        checkpoints: folder of the resumable states.
        log_dir: gets `metrics.jsonl`, `validation.jsonl`, `sittings.jsonl`, TensorBoard events and
            pictures.
        device: `auto`, `cpu` or `cuda`.

    Returns:
        the checkpoints; the caller's `finish(output, write)` puts the result in their place.

    Raises:
        InputError: checkpoints of another identity, or a device or batch that is not available.
    """
    settings = divided(settings, part()[1])
    accelerator = _accelerator(task, settings, log_dir, device)
    files = CheckpointFolder(
        checkpoints, identity, overwrite=overwrite, writable=accelerator.is_main_process
    )
    with as_one_of_several():
        _Run(task, settings, name, log_dir, accelerator, files).execute()
    return files


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        task: Any,
        settings: TrainingSettings,
        name: str,
        log_dir: Path,
        accelerator: Accelerator,
        checkpoints: CheckpointFolder,
    ) -> None:
        self.task, self.settings, self.name, self.log_dir = task, settings, name, log_dir
        self.accelerator, self.checkpoints = accelerator, checkpoints
        self.parameters = {
            key: value for key, value in task.named_parameters() if value.requires_grad
        }
        optimizer = torch.optim.AdamW(
            parameter_groups(task, self.parameters),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=self.accelerator.device.type in ("cpu", "cuda"),
        )
        task.to(memory_format=torch.channels_last)  # convolutions run about 4x faster in bf16
        if self.accelerator.device.type == "cpu":
            keep_thin_convolutions_in_float32(task)
            keep_freed_memory()
        self.module, self.optimizer = self.accelerator.prepare(task, optimizer)
        self.ema = EMAModel(self.parameters.values(), decay=settings.ema_decay, foreach=True)
        self.ema.to(self.accelerator.device)
        self.frozen = RoundedWeights(task, _autocast_dtype(self.accelerator))
        self.main = self.accelerator.is_main_process
        self.accelerator.wait_for_everyone()
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        self.step, self.logged, self.seconds = 0, 0, 0.0

    def execute(self) -> None:
        """Resume, run the steps that are left, and end with the averaged weights."""
        self._resume()
        if self.main:
            if not self.checkpoints.begun:
                for name in LOGS:
                    make_room(self.log_dir / name)
            self.metrics = MetricsLog(self.log_dir / "metrics.jsonl", self.step)
            self.validation = MetricsLog(self.log_dir / "validation.jsonl", self.step)
            self.sittings = Sittings(self.log_dir / "sittings.jsonl", self.step, self.seconds)
        if self.step < self.settings.steps:
            with self.frozen:
                self._steps()
        self.ema.copy_to(self.parameters.values())
        self.accelerator.end_training()

    def _steps(self) -> None:
        self.accelerator.init_trackers(
            "tensorboard", init_kwargs={"tensorboard": {"purge_step": self.step}}
        )
        started = time.monotonic() - self.seconds
        with tqdm(
            total=self.settings.steps,
            initial=self.step,
            desc=self.name,
            unit="step",
            mininterval=0.5 if sys.stderr.isatty() else 10.0,
            disable=not self.main,
        ) as bar:
            for batch in self._batches():
                self._micro_step(batch)
                if not self.accelerator.sync_gradients:
                    continue
                self.step += 1
                bar.update()
                self.seconds = time.monotonic() - started
                self._report(bar)

    def _batches(self) -> Iterator[Batch]:
        accelerator, settings = self.accelerator, self.settings
        dataset = MicroBatches(
            self.task.examples, settings, accelerator.num_processes, accelerator.process_index
        )
        parts = settings.gradient_accumulation_steps
        loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=range(self.step * parts, settings.steps * parts),
            num_workers=settings.num_workers,
            pin_memory=accelerator.device.type == "cuda",
            worker_init_fn=end_if_unable_to_send,
        )
        for batch in loader:
            if isinstance(batch, InputError):
                raise batch
            yield send_to_device(batch, accelerator.device, non_blocking=True)

    def _micro_step(self, batch: Batch) -> None:
        accelerator = self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate_factor"] * learning_rate(self.step, self.settings)
        with accelerator.accumulate(self.module):
            loss = self.module(batch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.loss_sum += loss.detach() / self.settings.gradient_accumulation_steps
        if accelerator.sync_gradients:
            self.ema.step(self.parameters.values())

    def _report(self, bar: tqdm[Any]) -> None:
        if self._due(self.settings.log_every):
            self._log(bar)
        if self.main and self._due(self.settings.validate_every):
            self._validate()
        if self._due(self.settings.checkpoint_every):
            # Each process has the losses of its own examples: what is kept is good for any number.
            self.loss_sum.copy_(self.accelerator.reduce(self.loss_sum, "mean"))
            if self.main:
                self.sittings.record(self.step, self.seconds)
                self.checkpoints.save(self.step, self._state())

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.settings.steps

    def _log(self, bar: tqdm[Any]) -> None:
        steps = self.step - self.logged
        loss = self.accelerator.reduce(self.loss_sum, "mean").item() / steps
        self.loss_sum.zero_()
        self.logged = self.step
        if not math.isfinite(loss):
            raise InputError(
                f"{self.name}: the loss is {loss} at step {self.step}; "
                "lower training.learning_rate or use mixed_precision bf16"
            )
        rate = learning_rate(self.step - 1, self.settings)
        bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self.accelerator.log({"loss": loss, "lr": rate}, step=self.step)
        if self.main:
            line = {"step": self.step, "loss": loss, "lr": rate, "seconds": round(self.seconds, 1)}
            trained = sum(value.numel() for value in self.parameters.values())
            self.metrics.append({**line, "parameters": trained})

    def _validate(self) -> None:
        self.ema.store(self.parameters.values())
        self.ema.copy_to(self.parameters.values())
        with torch.no_grad(), self.accelerator.autocast():
            picture, figures = self.task.validate()
        self.ema.restore(self.parameters.values())
        self.accelerator.log(figures, step=self.step)
        self.validation.append({"step": self.step, **figures})
        path = self.log_dir / "validation" / f"{self.step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_output(path) as temporary:
            to_pil_image(picture.float().clamp(0, 1).cpu()).save(temporary, format="PNG")

    def _state(self) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "step": self.step,
            "steps": self.settings.steps,
            "logged": self.logged,
            "seconds": self.seconds,
            "loss_sum": self.loss_sum,
            "weights": {key: value.detach() for key, value in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
        }

    def _resume(self) -> None:
        state = self.checkpoints.latest()
        if state is None:
            return
        with torch.no_grad():
            for key, value in self.parameters.items():
                value.copy_(state["weights"][key])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.accelerator.device)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.loss_sum.copy_(state["loss_sum"])
        self.step, self.logged, self.seconds = state["step"], state["logged"], state["seconds"]
        if self.main:
            print(f"{self.name}: continues after step {self.step}", file=sys.stderr)
            self._tell_of_other_rates(state["steps"])

    def _tell_of_other_rates(self, begun_for: int) -> None:
        begun = replace(self.settings, steps=begun_for)
        if learning_rate(self.step - 1, begun) != learning_rate(self.step - 1, self.settings):
            print(
                f"{self.name}: was begun for {begun_for} steps; from here on the learning rate is "
                f"that of a run of {self.settings.steps}, so the weights will be of neither.",
                file=sys.stderr,
            )


class MetricsLog:
    """One JSON object per line, each with a `step`; lines after `resumed_step` are dropped.

    It survives a kill.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        self.path = path
        kept = [line for line in self._lines() if line["step"] <= resumed_step]
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_output(path) as temporary:
            Path(temporary).write_text("".join(json.dumps(line) + "\n" for line in kept))

    def append(self, values: Mapping[str, float]) -> None:
        """Add one line and hand it to the operating system."""
        with self.path.open("a") as file:
            file.write(json.dumps(dict(values)) + "\n")

    def _lines(self) -> list[dict[str, float]]:
        lines = []
        for text in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break  # a kill cut this line; the step it stood for is trained again
        return lines


def keep_thin_convolutions_in_float32(module: nn.Module) -> None:
    """Exempt convolutions with fewer than 16 channels in or out from autocast.

    On a CPU their weight gradient takes ten times longer in bf16 than in float32, longer than the
    rest of a small model.
    """

    def exempt(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            with torch.autocast("cpu", enabled=False):
                return forward(x.float())

        return run

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and min(layer.in_channels, layer.out_channels) < 16:
            layer.forward = exempt(layer.forward)  # type: ignore[assignment, method-assign]


def _autocast_dtype(accelerator: Accelerator) -> torch.dtype | None:
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)


def _accelerator(
    task: nn.Module, settings: TrainingSettings, log_dir: Path, device: Device
) -> Accelerator:
    found = torch_device(device)
    if settings.mixed_precision == "fp16" and found == "cpu":
        raise InputError("training.mixed_precision fp16 needs a CUDA device; on a CPU use auto")
    precision: str = settings.mixed_precision
    if precision == "auto":
        precision = {"bfloat16": "bf16"}.get(choose_precision("auto", found), "no")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # loader workers fork
    if found.startswith("cuda:"):  # Accelerator takes the current one
        torch.cuda.set_device(found)
    idle = getattr(task, "has_idle_parts", False)
    made = Accelerator(
        cpu=found == "cpu",
        mixed_precision=precision,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        log_with="tensorboard",
        project_dir=log_dir,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=idle)],
    )
    if made.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise InputError(
            f"accelerate is told to use {made.distributed_type.value}, which divides the weights "
            "that the averages and checkpoints are made of; expected --multi_gpu, or no launcher "
            "and --processes."
        )
    return made
