"""What a training step costs, as a ratio to that of another checkout of this repository.

Both checkouts train the same task on the same examples, each in a process of its own. They take
turns, step by step, so that what else the machine does weighs on both alike. Their losses are
compared, as the faster step must learn the same: those of the timed steps, and of a few steps in
float32, where rounding hides nothing.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

TRAININGS = (
    "panorama_stage1",
    "panorama_stage2",
    "outpaint_base",
    "outpaint_stage2",
    "depth_stage1",
    "depth_stage2",
)
STARTS = {  # the models of a finished experiment that a training starts from, None for its base
    "panorama_stage2": "panorama_stage1",
    "outpaint_stage2": "outpaint_base",
    "depth_stage2": "depth_stage1",
}
HERE = Path(__file__).resolve().parent.parent
EXACT_STEPS = 4


def settings_of(training: str, config: dict[str, Any], precision: str | None) -> dict[str, Any]:
    """Take a training's settings out of an experiment's configuration.

    Args:
        precision: replaces the configured one.
    """
    task, stage = training.split("_")
    settings: dict[str, Any] = config[task][stage]
    if precision is not None:
        settings["training"]["mixed_precision"] = precision
    data = config["data"]["frames" if task == "depth" else "views"]
    return {"seed": config["seed"], "device": config["device"], "data": data, **settings}


def build(training: str, settings: dict[str, Any], places: Any, base: Path) -> tuple[Any, Any]:
    """Make the task of a training as its command does, and its checked settings."""
    import torch

    from mvdiffusion.settings import parse
    from mvdiffusion.training import stage1, stage2
    from mvdiffusion.training.diffusion import freeze, load_parts
    from mvdiffusion.training.settings import STAGE2_SETTINGS, FrameStage, ViewStage

    task, stage = training.split("_")
    torch.manual_seed(0)
    parts = load_parts(base)
    if stage == "stage2":
        checked = parse(STAGE2_SETTINGS[task], settings)
        parts = stage2._with_attention(parts, task, checked)
        return stage2.multi_view_task(checked, places, parts, task), checked
    checked = parse(FrameStage if task == "depth" else ViewStage, settings)
    freeze(parts.vae, parts.text_encoder)
    parts.unet.train()
    return stage1.view_task(checked, places, parts, task), checked


def work(arguments: argparse.Namespace) -> None:
    """Train a step for every line of the standard input; answer each with a line of JSON."""
    from mvdiffusion.training import loop
    from mvdiffusion.training.runs import Places

    task, _ = arguments.worker.split("_")
    results, scratch = arguments.results, Path(arguments.scratch)
    rooms = results / "walks" if task == "depth" else results / "rooms"
    held_out = rooms / "validation" if task == "depth" else arguments.rooms
    places = Places(rooms / "train", held_out, scratch / "model", scratch / "states", scratch)
    start = STARTS.get(arguments.worker)
    base = results / "models" / start if start else arguments.base
    config = yaml.safe_load(arguments.config.read_text())
    settings = settings_of(arguments.worker, config, arguments.precision)
    trained, checked = build(arguments.worker, settings, places, base)
    given = {
        "task": trained,
        "settings": checked.training,
        "log_dir": scratch,
        "device": checked.device,
    }
    # Checkouts differ in what they make an accelerator of.
    names = inspect.signature(loop._accelerator).parameters
    accelerator = loop._accelerator(**{name: given[name] for name in names})
    run = loop._Run(trained, checked.training, "benchmark", scratch, accelerator, None)  # type: ignore[arg-type]
    batches = loop.MicroBatches(trained.examples, checked.training)
    with ExitStack() as stack:
        if hasattr(run, "frozen"):
            stack.enter_context(run.frozen)
        for step, _line in enumerate(sys.stdin):
            began = time.process_time()
            batch = loop.send_to_device(batches[step], accelerator.device)
            read, wall = time.process_time(), time.perf_counter()
            run.step = step
            run.loss_sum.zero_()
            run._micro_step(batch)
            spent = {"loss": run.loss_sum.item(), "data": read - began}
            spent["step"] = time.process_time() - read
            spent["wall"] = time.perf_counter() - wall
            spent["memory_mib"] = round(
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1
            )
            print(json.dumps(spent), flush=True)


@contextmanager
def worker(
    training: str, checkout: Path, arguments: argparse.Namespace, precision: str | None
) -> Iterator[Any]:
    """Start a process that trains with the code of a checkout; yields what lets it step."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [sys.executable, __file__, "--worker", training, "--scratch", scratch]
        for key in ("results", "rooms", "base", "config"):
            words += [f"--{key}", str(getattr(arguments, key).resolve())]
        words += [] if precision is None else ["--precision", precision]
        threads = str(arguments.threads)
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, "PYTHONPATH": str(checkout), **dict.fromkeys(names, threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process: Any = subprocess.Popen(words, env=environment, cwd=checkout, **pipes)

        def step() -> dict[str, float]:
            process.stdin.write("step\n")
            process.stdin.flush()
            for line in process.stdout:
                if line.startswith('{"loss"'):
                    return json.loads(line)
            raise RuntimeError(f"{training} of {checkout} ended with status {process.wait()}")

        try:
            yield step
        finally:
            process.stdin.close()
            process.wait()


def steps_of_both(
    training: str, arguments: argparse.Namespace, count: int, precision: str | None = None
) -> dict[str, list[dict[str, float]]]:
    """Let both checkouts take turns."""
    taken: dict[str, list[dict[str, float]]] = {"before": [], "after": []}
    with ExitStack() as stack:
        steps = {
            name: stack.enter_context(worker(training, checkout, arguments, precision))
            for name, checkout in (("before", arguments.before), ("after", HERE))
        }
        for _ in range(count):
            for name, step in steps.items():
                taken[name].append(step())
    return taken


def largest_difference(taken: dict[str, list[dict[str, float]]]) -> float:
    """How far the losses of the checkouts lie apart at most, relatively."""
    pairs = zip(taken["after"], taken["before"], strict=True)
    return max(abs(a["loss"] - b["loss"]) / b["loss"] for a, b in pairs)


def measure(training: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare the steps of both checkouts; the first one of each is not timed."""
    taken = steps_of_both(training, arguments, arguments.steps + 1)
    report: dict[str, Any] = {
        name: {
            **{
                f"{key}_seconds": statistics.median(each[key] for each in rows[1:])
                for key in ("step", "data", "wall")
            },
            "memory_mib": max(each["memory_mib"] for each in rows[1:]),
            "losses": [each["loss"] for each in rows],
        }
        for name, rows in taken.items()
    }
    pairs = list(zip(taken["after"][1:], taken["before"][1:], strict=True))
    report["ratio"] = {
        "step": statistics.median(a["step"] / b["step"] for a, b in pairs),
        "wall": statistics.median(a["wall"] / b["wall"] for a, b in pairs),
        "step_and_data": statistics.median(
            (a["step"] + a["data"]) / (b["step"] + b["data"]) for a, b in pairs
        ),
    }
    exact = steps_of_both(training, arguments, EXACT_STEPS, "no")
    report["largest_relative_difference_of_losses"] = largest_difference(taken)
    report["largest_relative_difference_of_losses_in_float32"] = largest_difference(exact)
    return report


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trainings", nargs="*", help=f"of {', '.join(TRAININGS)} (default: all)")
    parser.add_argument("--before", type=Path, help="folder of the other checkout")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="of `make run`")
    parser.add_argument("--rooms", type=Path, default=HERE / "data", help="validation split")
    parser.add_argument("--base", type=Path, default=HERE / "base", help="the miniature's base")
    parser.add_argument("--config", type=Path, default=HERE / "workflow/config/mini.yaml")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    arguments.trainings = arguments.trainings or list(TRAININGS)
    if unknown := set(arguments.trainings) - set(TRAININGS):
        parser.error(f"unknown trainings: {', '.join(sorted(unknown))}")
    if arguments.worker is None and arguments.before is None:
        parser.error("--before: name a checkout to compare with")
    return arguments


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    if arguments.worker:
        work(arguments)
        return
    from mvdiffusion.records import provenance, write_json

    found = {}
    for training in arguments.trainings:
        found[training] = measure(training, arguments)
        print(training, json.dumps(found[training]["ratio"]), flush=True)
    commit = subprocess.run(
        ["git", "-C", arguments.before, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    report = {
        "format": 1,
        "settings": {key: getattr(arguments, key) for key in ("steps", "threads")},
        "before_commit": commit or None,
        "trainings": found,
        "provenance": provenance(),
    }
    if arguments.output is not None:
        write_json(arguments.output, report)


if __name__ == "__main__":
    main()
