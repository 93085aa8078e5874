"""What keys of different sections of a configuration must agree on, so that no step fails later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import atan, degrees, lcm, radians, tan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdiffusion.methods.declaration import MODELS
from mvdiffusion.methods.registry import expected, find_method, method_names, methods
from mvdiffusion.preparation.settings import ROOM_KINDS
from mvdiffusion.records import InputError
from mvdiffusion.settings import mistake, parse, suggest
from mvdiffusion.tasks import Task
from mvdiffusion.training.baselines.settings import METHOD_TRAININGS
from mvdiffusion.training.settings import TrainingSettings
from mvdiffusion_eval.protocols.names import protocol_extractors, protocol_tasks
from workflow.lib.datasets import DATASETS
from workflow.lib.models import needed_models, own_training, training_section
from workflow.lib.sources import EMBEDDED_BASE, LEAST_SAMPLES_BY_STEP

if TYPE_CHECKING:
    from workflow.lib.sections import Configuration

Mistakes = Iterator[Any]
PRETRAINED_TIMESTEPS = 1000  # of Stable Diffusion and of the miniature
PRETRAINED_FACTOR = 8  # pixels per latent cell of Stable Diffusion; the miniature's has no more
COMPARED_BORDER = 4  # pixels of an overlap that interpolation makes useless, both views together


def disagreements(config: Configuration) -> Mistakes:
    """Describe each key that does not go with those of another section."""
    yield from _missing_data(config)
    yield from _missing_models(config)
    yield from _wrong_methods(config)
    yield from _wrong_options(config)
    yield from _wrong_trainings(config)
    yield from _wrong_sizes(config)
    yield from _wrong_numbers_of_samples(config)
    yield from _wrong_steps(config)
    yield from _wrong_seeds(config)
    yield from _wrong_extractors(config)
    yield from _wrong_protocols(config)
    yield from _wrong_processes(config)


def _renders(config: Configuration, kind: str) -> bool:
    return None not in (getattr(config.data, kind), config.data.expected_sha256)


def _missing_data(config: Configuration) -> Mistakes:
    """Describe each source of data whose section is not there."""
    for key, source in vars(config.data.sources).items():
        if source in DATASETS and getattr(config.datasets, source) is None:
            beside = f"a dataset that 'datasets.{source}' describes"
            yield mistake(f"data.sources.{key}", source, beside)
        if source not in DATASETS and not _renders(config, source):
            beside = f"'data.{source}' and 'data.expected_sha256' beside it"
            yield mistake(f"data.sources.{key}", source, beside)
    trained = [key for key, value in vars(config.evaluation.extractors).items() if value]
    if trained and not _renders(config, "rooms"):
        beside = "none without 'data.rooms' and 'data.expected_sha256'"
        yield mistake("evaluation.extractors", trained, beside)
    if config.dataset and getattr(config.datasets, config.dataset) is None:
        yield mistake("dataset", config.dataset, "a dataset that 'datasets' describes")


def _wrong_seeds(config: Configuration) -> Mistakes:
    """Describe training seeds that repeat, or whose first is not that of everything else."""
    seeds = config.seeds
    if seeds and (seeds[0] != config.seed or len({*seeds}) < len(seeds)):
        yield mistake("seeds", seeds, f"different ones, the first of them 'seed' = {config.seed}")


def _missing_models(config: Configuration) -> Mistakes:
    """Describe each model that is neither trained nor pretrained."""
    trained = "its training, as only a pretrained base of the task knows it without"
    models = config.base.pretrained or {}
    if not models or EMBEDDED_BASE in models.values():
        if config.outpaint.base is None:
            yield mistake("outpaint.base", None, trained)
        if config.depth.stage1 is None:
            yield mistake("depth.stage1", None, trained)


def _wrong_methods(config: Configuration) -> Mistakes:
    """Describe each method that cannot run."""
    for task in Task:
        section, known = getattr(config, task), method_names(task)
        for name in section.methods:
            if name not in known:
                yield mistake(f"{task}.methods", name, expected(name, task))
            elif find_method(name, task).is_control and section.control_samples is None:
                number = f"a number, as 'methods' names the control '{name}'"
                yield mistake(f"{task}.control_samples", None, number)


def _wrong_options(config: Configuration) -> Mistakes:
    """Describe options of methods that are none, or have none."""
    for task in Task:
        able = [name for name in method_names(task) if methods()[name].options]
        for name in getattr(config, task).options:
            if name not in able:
                some = f"a method of the task that has options{_known(name, able)}"
                yield mistake(f"{task}.options", name, some if able else "{}")


def _wrong_trainings(config: Configuration) -> Mistakes:
    """Describe settings of models that no method trains, and models without settings."""
    for task in Task:
        section = getattr(config, task)
        able = [name for name in method_names(task) if methods()[name].training]
        for name in section.trainings:
            if name not in able:
                some = f"a method of the task that trains a model{_known(name, able)}"
                yield mistake(f"{task}.trainings", name, some if able else "{}")
        needed = [name for name in needed_models(section.methods) if name not in MODELS]
        for name in dict.fromkeys([*section.trainings, *needed]):
            command = own_training(methods()[name]).command
            if task not in METHOD_TRAININGS.get(command, ()):
                commands = ", ".join(c for c, tasks in METHOD_TRAININGS.items() if task in tasks)
                able_to = f"methods whose training is by one of the commands {commands}"
                yield mistake(f"{task}.methods", name, able_to)
            elif training_section(vars(section), name) is None:
                settings = f"the settings of `mvdiffusion train {command}`, which a method needs"
                yield mistake(f"{task}.trainings.{name}", None, settings)
            given = section.trainings.get(name) or {}
            for key, found, own in _overruled(given, own_training(methods()[name]).changes):
                that = f"none, as the method has {own!r}"
                yield mistake(f"{task}.trainings.{name}.{key}", found, that)


def _known(wrong: str, names: list[str]) -> str:
    return suggest(wrong, names).removesuffix(".")  # what follows adds it again


def _overruled(
    given: Mapping[str, Any], changes: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """List settings that a method has otherwise: the key, what is given, what the method has."""
    for key, own in changes.items():
        found = given.get(key, own)
        if isinstance(own, Mapping) and isinstance(found, Mapping):
            yield from ((f"{key}.{rest}", *both) for rest, *both in _overruled(found, own))
        elif found != own:
            yield key, found, own


def _wrong_sizes(config: Configuration) -> Mistakes:
    """Describe each image that is no whole number of latent cells, and views that do not meet."""
    views, frames = config.data.views, config.data.frames
    levels = config.base.vae and config.base.vae.model.get("block_out_channels", [128] * 3)
    factor = 2 ** (len(levels) - 1) if levels else PRETRAINED_FACTOR
    sides = {"views.image_size": views.image_size}
    sides |= {"frames.height": frames.height, "frames.width": frames.width}
    for key, side in sides.items():
        if side % factor:
            cells = f"a multiple of {factor}, the pixels of a latent cell"
            yield mistake(f"data.{key}", side, cells)
    compared = config.evaluation.score.consistency_resolution or views.image_size
    side = min(views.image_size, compared)
    seen = 2 * degrees(atan((1 - COMPARED_BORDER / side) * tan(radians(views.fov_deg) / 2)))
    if seen <= (step := 360 / views.num_views):
        wider = f"enough for the {views.num_views} views, {step:g} degrees apart, to overlap"
        yield mistake("data.views.fov_deg", views.fov_deg, wider)
    walks = config.data.walks if config.data.sources.depth == "walks" else None
    if walks and frames.num_views > walks.num_frames:
        most = f"at most the {walks.num_frames} frames of a walk"
        yield mistake("data.frames.num_views", frames.num_views, most)


def _wrong_numbers_of_samples(config: Configuration) -> Mistakes:
    """Describe each number of samples that is above what there is to sample."""
    for task in Task:
        there = _samples(config, task)
        section = getattr(config, task)
        asked = {"generation.num_samples": section.generation.num_samples}
        for key, number in (asked | {"control_samples": section.control_samples}).items():
            if there and number and number > there:
                yield mistake(f"{task}.{key}", number, f"at most {there}, those of the test split")


def _samples(config: Configuration, task: str) -> int | None:
    """Samples of a task's test split, at most; None where only the data themselves tell."""
    data = config.data
    if task != "depth":
        if data.rooms is None or data.sources.panorama != "rooms":
            return None
        return data.rooms.num_scenes["test"]
    if (walks := data.walks) is None or data.sources.depth != "walks":
        return None
    # A walk has at most as many sequences as fit, and one that overlaps the one before it.
    return walks.num_scenes["test"] * -(-walks.num_frames // data.frames.num_views)


def _wrong_steps(config: Configuration) -> Mistakes:
    """Describe each sampling of more steps than the base model is trained for."""
    trained = config.base.diffusion
    scheduler = trained.scheduler if trained else {"timestep_spacing": "trailing"}
    there = scheduler.get("num_train_timesteps", PRETRAINED_TIMESTEPS)
    # Leading timesteps begin at 1 and come twice, or lie beyond the end, if nearly all are taken.
    most = there // 2 if scheduler.get("timestep_spacing", "leading") == "leading" else there
    for task in Task:
        steps = getattr(config, task).generation.num_inference_steps
        if steps > most:
            yield mistake(f"{task}.generation.num_inference_steps", steps, f"at most {most}")


def _wrong_extractors(config: Configuration) -> Mistakes:
    """Describe each training of an extractor that the rooms set aside for it cannot serve."""
    for name in config.evaluation.score.extractors:
        if name not in (known := protocol_extractors()) and not Path(name).is_dir():
            names = f"a folder, or one of {', '.join(known)}"
            yield mistake("evaluation.score.extractors", name, names)
    if config.data.rooms is None:
        return
    rooms, views = config.data.rooms.num_scenes["extractor"], config.data.views.num_views
    for kind, training in vars(config.evaluation.extractors).items():
        if training is None:
            continue
        where = f"evaluation.extractors.{kind}"
        held_out = round(rooms * training.held_out)
        if not 0 < held_out < rooms:
            left = f"a share that leaves some of the {rooms} rooms on either side"
            yield mistake(f"{where}.held_out", training.held_out, left)
        elif training.batch_size > (most := (rooms - held_out) * views):
            yield mistake(f"{where}.batch_size", training.batch_size, f"at most the {most} views")
    classifier = config.evaluation.extractors.classifier
    if classifier and sorted(classifier.classes) != sorted(ROOM_KINDS):
        kinds = f"the kinds of rooms, each once: {', '.join(ROOM_KINDS)}"
        yield mistake("evaluation.extractors.classifier.classes", list(classifier.classes), kinds)


def _wrong_protocols(config: Configuration) -> Mistakes:
    """Describe protocols that do not exist, and tasks for which there is none."""
    named, known = config.evaluation.score.protocols, protocol_tasks()
    for name in named:
        if name not in known:
            yield mistake("evaluation.score.protocols", name, f"some of {', '.join(known)}")
    for task in config.tasks:
        if named and not any(task in known.get(name, ()) for name in named):
            of_task = [name for name, tasks in known.items() if task in tasks]
            one = f"at least one for the task '{task}': {', '.join(of_task)}"
            yield mistake("evaluation.score.protocols", list(named), one)
    fewest = config.panorama.generation.num_samples or LEAST_SAMPLES_BY_STEP
    if "error-accumulation" in named and fewest < LEAST_SAMPLES_BY_STEP:
        more = f"at least {LEAST_SAMPLES_BY_STEP} for the protocol 'error-accumulation'"
        yield mistake("panorama.generation.num_samples", fewest, more)


def _wrong_processes(config: Configuration) -> Mistakes:
    """Describe each batch that the processes of a training cannot divide between them."""
    count = config.processes.training
    for name, training in _trainings(config):
        panoramas = training.batch_size // training.views_per_panorama
        if panoramas % lcm(count, training.gradient_accumulation_steps):
            evenly = f"a number of processes that divide {name}.training evenly: {panoramas}"
            yield mistake("processes.training", count, f"{evenly} panoramas or sequences a step")


def _trainings(config: Configuration) -> Iterator[tuple[str, TrainingSettings]]:
    """List how each model is trained, those of single methods too, by their sections."""
    parts = {"base": config.base} | {task.value: getattr(config, task) for task in Task}
    for name, part in parts.items():
        for key, section in vars(part).items():
            if training := getattr(section, "training", None):
                yield f"{name}.{key}", training
        for method in needed_models(getattr(part, "methods", ())):
            with suppress(InputError):  # of wrong keys, its own command's settings tell
                if told := getattr(part, "trainings", {}).get(method):
                    training = parse(TrainingSettings, told.get("training", {}))
                    yield f"{name}.trainings.{method}", training
