"""Run a method of a task over a split: seeds, batches, files, restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from tqdm.auto import tqdm

from mvdiffusion.generation.sample_folder import SampleFolder, sample_seed
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.methods.base import Batch
from mvdiffusion.pipelines import PIPELINES, MultiViewPipeline
from mvdiffusion.pipelines.checks import check_numbers
from mvdiffusion.pipelines.loading import check_model, is_multi_view, readable
from mvdiffusion.settings import choose_precision, torch_device
from mvdiffusion.tasks import Task

if TYPE_CHECKING:
    from mvdiffusion.methods.registry import Method  # which other methods there are is no matter


def load_pipeline(
    kind: str, model: Path, settings: GenerationSettings, is_base: bool = False
) -> MultiViewPipeline:
    """Load a stage-2 folder, or a single-view one (its multi-view layers are the identity).

    Args:
        kind: a task, or `module:class` of a further pipeline.
        model: the folder.
        settings: scheduler, precision and device.
        is_base: whether it is the model that all training starts from, which need not know what the
            task gives beside text.

    Raises:
        InputError: no model there, or one of another task.
    """
    check_model(model)
    pipelines = PIPELINES[kind] if kind in PIPELINES else resolve_name(kind)
    load: Callable[..., MultiViewPipeline] = pipelines.from_single_view
    if is_multi_view(model):
        load = pipelines.from_pretrained
    elif is_base:
        load = partial(load, ignore_condition=True)
    with readable(model, f"no model of the task {kind}"):
        pipeline = load(model)
    scheduler = getattr(diffusers, settings.scheduler)
    options = {"algorithm_type": settings.algorithm_type} if settings.algorithm_type else {}
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    check_numbers(settings.num_inference_steps, settings.guidance_scale, pipeline.scheduler)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.set_view_chunk(settings.view_chunk)
    device = torch_device(settings.device)
    pipeline.unet.to(getattr(torch, choose_precision(settings.dtype, device)))
    return pipeline.to(device)


def _generator(seed: int, sample: Any) -> torch.Generator:
    return torch.Generator().manual_seed(sample_seed(seed, sample.sample_id))


def draw_noise(
    pipeline: MultiViewPipeline,
    samples: Sequence[Any],
    height: int,
    width: int,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Draw initial noise on the CPU, so that every device starts alike.

    Args:
        pipeline: the model.
        samples: B samples of V prompts each.
        height, width: of a view in pixels.
        generators: one per sample.

    Returns:
        Noise [B, V, C, h, w].
    """
    noises = []
    for sample, generator in zip(samples, generators, strict=True):
        shape = (len(sample.prompts), *pipeline.latent_shape(height, width))
        noises.append(randn_tensor(shape, generator))
    return torch.stack(noises).to(pipeline.unet.device)


def generate_split(
    method: Method,
    model: Path,
    dataset: Any,
    settings: GenerationSettings,
    folder: SampleFolder,
    others: Mapping[str, Path] | None = None,
    options: Any = None,
) -> None:
    """Generate a split's samples with one method; finished samples are kept.

    Args:
        method: what makes the views.
        model: folder of its main model.
        dataset: `Matterport3DPanoramas`, or for the task "depth" `ScanNetScenes`; gives prompts
            and, as the task or method needs them, views, depth and cameras.
        settings: numbers of the sampling.
        folder: where samples and, last, the manifest are written; knows the task and the samples,
            which are the split's first, and which part of the batches is this process's.
        others: folders of its further models by their names.
        options: its own numbers, of the class `Method.options`; None takes the defaults.

    Raises:
        InputError: no model of the task.
    """
    if folder.is_finished():
        return
    manifest = folder.manifest
    make_views = method.function(manifest.task)
    models = _Models(method, {**(others or {}), method.model: model}, manifest.task, settings)
    count, size = len(manifest.samples), (manifest.height, manifest.width)
    # Depth may be rendered: then there are no color images, and only some methods need them.
    reading = {"views": method.reads_views} if manifest.task == Task.DEPTH else {}
    options = options or method.read_options({})
    rank, processes = folder.part
    starts = range(0, count, settings.batch_size)[rank::processes]
    name = f"{manifest.task} {manifest.method}"
    for start in tqdm(starts, desc=name, unit="batch", mininterval=2):
        batch = range(start, min(start + settings.batch_size, count))
        if not all(folder.has_sample(manifest.samples[index]) for index in batch):
            # The whole batch again: results must not depend on what was finished before.
            for samples in _by_shape([dataset.load(index, **reading) for index in batch]):
                generators = [_generator(settings.seed, sample) for sample in samples]
                noise = draw_noise(models.main, samples, *size, generators)
                sampling = (settings.sampling(), dataset, models.others, generators, options)
                with torch.no_grad():
                    views = make_views(Batch(models.main, samples, noise, *sampling))
                _write(samples, views, settings.seed, folder)
    if folder.is_whole:
        folder.write_manifest()
    else:
        folder.end()


class _Models:
    """The models of a method, loaded when the first is needed: all may be made already."""

    def __init__(
        self, method: Method, places: Mapping[str, Path], task: Task, settings: GenerationSettings
    ) -> None:
        self.method, self.places, self.task, self.settings = method, places, task, settings

    @cached_property
    def loaded(self) -> dict[str, MultiViewPipeline]:
        """All of them by name."""
        return {
            name: load_pipeline(
                self.method.pipeline(name, self.task), place, self.settings, name == "base"
            )
            for name, place in self.places.items()
        }

    @property
    def main(self) -> MultiViewPipeline:
        """The one that makes the views."""
        return self.loaded[self.method.model]

    @property
    def others(self) -> dict[str, MultiViewPipeline]:
        """The further ones by name."""
        return {name: each for name, each in self.loaded.items() if name != self.method.model}


def _by_shape(samples: Sequence[Any]) -> list[list[Any]]:
    """Part samples into those that can run together: sequences with the same key frames."""
    parts: dict[Any, list[Any]] = {}
    for sample in samples:
        layout = sample.is_key.tolist() if hasattr(sample, "is_key") else []
        parts.setdefault(tuple(layout), []).append(sample)
    return list(parts.values())


def _write(samples: Sequence[Any], views: Tensor, seed: int, folder: SampleFolder) -> None:
    for sample, images in zip(samples, 2 * views - 1, strict=True):
        if not folder.has_sample(sample.sample_id):
            record = {"seed": sample_seed(seed, sample.sample_id)}
            folder.write_sample(sample.sample_id, images, sample.prompts, record, sample.geometry)
