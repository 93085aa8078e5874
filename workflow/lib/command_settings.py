"""The settings that commands get from a configuration, with the class by which each reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mvdiffusion.methods.declaration import MODELS
from mvdiffusion.methods.registry import methods
from mvdiffusion.tasks import Task
from mvdiffusion.training.baselines.settings import METHOD_TRAININGS
from mvdiffusion.training.settings import (
    STAGE2_SETTINGS,
    BaseSettings,
    DecoderSettings,
    FrameStage,
    VaeSettings,
    ViewStage,
)
from workflow.lib.models import needed_models, own_training
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks

Told = tuple[str, type, dict[str, Any]]


def command_settings(config: Mapping[str, Any]) -> Iterator[Told]:
    """List what commands are told of more than one section: the section, the class, the settings.

    A section that a command gets alone is of the command's class already (`sections`). The device
    is left out, as it may be another machine's.
    """
    tasks = Tasks({**config, "device": "auto"}, Sources(config))
    if tasks.sources.trains_base:
        base = config["base"]
        yield "base.vae", VaeSettings, tasks.settings("panorama", base["vae"])
        if base.get("decoder"):
            yield "base.decoder", DecoderSettings, tasks.settings("panorama", base["decoder"])
        yield "base.diffusion", BaseSettings, tasks.settings("panorama", base["diffusion"])
        if base.get("unet"):
            yield "base.unet", ViewStage, tasks.settings("panorama", base["unet"])
    for task in Task:
        section = "base" if task == Task.OUTPAINT else "stage1"
        if config[task][section]:
            single = FrameStage if task == Task.DEPTH else ViewStage
            yield f"{task}.{section}", single, tasks.settings(task, config[task][section])
        yield f"{task}.stage2", STAGE2_SETTINGS[task], tasks.settings(task, config[task]["stage2"])
        needed = [name for name in needed_models(config[task]["methods"]) if name not in MODELS]
        for name in dict.fromkeys([*config[task].get("trainings", {}), *needed]):
            kind = METHOD_TRAININGS[own_training(methods()[name]).command][task]
            yield f"{task}.trainings.{name}", kind, tasks.training_settings(task, name)
        for name, given in config[task].get("options", {}).items():
            if of_method := methods()[name].options:
                yield f"{task}.options.{name}", of_method, given
