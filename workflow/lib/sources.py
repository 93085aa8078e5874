"""Where each task's data come from: procedural rooms and walks, or real datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from snakemake_interface_common.exceptions import WorkflowError

from mvdiffusion.tasks import Task
from workflow.lib.datasets import DATASETS, SPLITS, Datasets
from workflow.lib.models import needed_models
from workflow.lib.recipes import Recipes

READERS = {"views": "mvdiffusion.data.matterport3d", "frames": "mvdiffusion.data.scannet"}
"""Modules that read the data, by the layout of a task's samples."""
EMBEDDED_BASE = "miniature"  # the base model that the repository holds
EMBEDDED = {"validation": 16, "test": 64}  # rooms that the repository holds, by split
EMBEDDED_ROOMS = {"seed": 0, "face_size": 128, "jpeg_quality": 92}  # what they were rendered with
LEAST_SAMPLES_BY_STEP = 4  # fewer have no error worth printing


class Sources:
    """The data of one experiment.

    Attributes:
        datasets: the real ones.
        started: tasks whose single-view model is needed: those that are run, and outpainting, if a
            method inpaints with its model.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Find out which data the tasks of a configuration need."""
        self.config = config
        self.tasks = [str(task) for task in Task if task in config["tasks"]]
        self.trains_base = not config["base"].get("pretrained")
        self.embeds_base = config["base"].get("pretrained") == EMBEDDED_BASE
        self.names_models = not (self.trains_base or self.embeds_base)
        self.trains_extractors = any(config["evaluation"]["extractors"].values())
        inpaints = any(
            "inpainting" in needed_models(config[task]["methods"]) for task in self.tasks
        )
        self.started = [str(t) for t in Task if t in self.tasks or (inpaints and t == "outpaint")]
        # A base and an inpainting model that are trained learn from panoramas, whatever the tasks.
        from_panoramas = self.trains_base or (inpaints and config["outpaint"]["base"])
        learned = [*self.tasks, *(["panorama"] if from_panoramas else [])]
        self.used = {self.of(task) for task in learned}
        needed = {*self.used, config.get("dataset")}
        self.datasets = Datasets(config, [name for name in DATASETS if name in needed])

    def of(self, task: str) -> str:
        """Name of the data that a task learns from and is tested on."""
        return str(self.config["data"]["sources"]["depth" if task == "depth" else "panorama"])

    @property
    def embedded(self) -> list[str]:
        """Splits of the rooms that the repository holds, just as asked; others are rendered."""
        asked = self.config["data"].get("rooms") or {**EMBEDDED_ROOMS, "num_scenes": EMBEDDED}
        if any(asked[key] != value for key, value in EMBEDDED_ROOMS.items()):
            return []
        return [split for split, held in EMBEDDED.items() if asked["num_scenes"][split] == held]

    def drawn(self, kind: str) -> list[str]:
        """Splits of the `rooms` or the `walks` that are rendered."""
        if kind == "walks":
            return list(SPLITS) if "walks" in self.used else []
        rooms = [split for split in SPLITS if split not in self.embedded]
        own = rooms if "rooms" in self.used else []
        return own + (["extractor"] if self.trains_extractors else [])

    def scenes(self, kind: str, split: str) -> dict[str, Any]:
        """Settings that decide one split of the rooms or the walks, and no other."""
        scenes: dict[str, Any] = self.config["data"][kind]
        return scenes | {"num_scenes": {split: scenes["num_scenes"][split]}}

    def expected_sha256(self, kind: str) -> Callable[[Any], str]:
        """Parameter of a rule that renders a split: the hash that is recorded, or nothing."""
        hashes = self.config["data"].get("expected_sha256") or {}
        own = hashes if kind == "rooms" else hashes.get(kind, {})
        return lambda wildcards: own.get(wildcards.split) or ""

    def embedded_md5(self, folder: Literal["data", "base"]) -> str:
        """Hash of the embedded rooms in data.dvc, or of the embedded base in base.dvc.

        The configuration repeats it, as DVC compares settings between runs, and no file of its own.

        Raises:
            WorkflowError: the file cannot be read, or the configuration has another hash.
        """
        try:
            recorded = str(yaml.safe_load(Path(f"{folder}.dvc").read_text())["outs"][0]["md5"])
        except (OSError, yaml.YAMLError, TypeError, LookupError) as error:
            raise WorkflowError(
                f"{folder}.dvc: names no embedded folder ({type(error).__name__}); bring the file"
                f" back with `git checkout {folder}.dvc`"
            ) from None
        expected = self.config[folder].get("embedded_md5")
        if expected not in (None, recorded):
            raise WorkflowError(
                f"{folder}.dvc: what is embedded has the hash {recorded}, but the configuration's"
                f" '{folder}.embedded_md5' is {expected}; write the new hash there if it was"
                " changed on purpose"
            )
        return recorded

    def rooms_file(self, split: str) -> str:
        """The file that tells of the rooms of a split."""
        rendered = f"<results>/rooms/{split}/{split}.npy"
        return f"data/{split}.npy" if split in self.embedded else rendered

    def file(self, task: str, split: str) -> str:
        """The file that tells of a split's data; the data lie beside it."""
        source = self.of(task)
        if source in DATASETS:
            return self.datasets.captions_file(source, split)
        walks = f"<results>/walks/{split}/{split}.json"
        return walks if source == "walks" else self.rooms_file(split)

    def split(self, name: str) -> Callable[[Any], str]:
        """Input of a rule whose wildcard names the task: the file of a split."""
        return lambda wildcards: self.file(wildcards.task, name)

    def learned(self, task: str = "") -> Callable[[Any], dict[str, str]]:
        """Inputs of a rule that trains: the splits to learn from and to validate on.

        Args:
            task: whose data they are; without, that which the rule's wildcard names.
        """
        splits = {"data": "train", "validation": "validation"}
        return lambda wildcards: {
            name: self.file(task or wildcards.task, split) for name, split in splits.items()
        }

    def steps(self, task: str, *splits: str) -> list[str]:
        """Steps whose results a command reads when it reads splits of a task's data."""
        source = self.of(task)
        step = f"{source}_captions" if source in DATASETS else source
        return [f"{step}_{split}" for split in splits]

    def export_code(self, task: str) -> list[str]:
        """Modules that write a task's real images."""
        export = ["mvdiffusion.cli.data:data_export", "mvdiffusion.generation.export"]
        export += ["mvdiffusion.cli.data:open_dataset", "mvdiffusion.generation.settings"]
        return [*export, READERS[Task(task).layout]]

    def files(self) -> list[str]:
        """What the target `data` makes: a dataset that is asked for, or what the tasks read."""
        if dataset := self.config.get("dataset"):
            return [self.datasets.captions_file(dataset, split) for split in SPLITS]
        read = {self.file(task, split) for task in self.tasks for split in SPLITS}
        return sorted(read) + ([self.rooms_file("extractor")] if self.trains_extractors else [])

    def settings_files(self, recipes: Recipes) -> list[str]:
        """Settings files of the steps that make them."""
        if dataset := self.config.get("dataset"):
            return recipes.settings_files(f"<{dataset}>")
        files = recipes.settings_files(names="rooms_") + recipes.settings_files(names="walks_")
        for name in self.datasets.used:
            files += recipes.settings_files(f"<{name}>")
        return files

    def deciding(self, task: str) -> dict[str, Any]:
        """All that decides a task's data, and the data that its base is trained on."""
        data = self.config["data"]
        layouts = {Task(task).layout: self.of(task)}
        if self.trains_base:
            layouts["views"] = self.of("panorama")
        sources = {
            source: self.datasets.deciding(source) if source in DATASETS else data[source]
            for source in layouts.values()
        }
        return sources | {layout: data[layout] for layout in layouts}

    def shown_configuration(self) -> dict[str, Any]:
        """The configuration without what is not used and what is of this machine."""
        hidden = ("dataset", "datasets", "processes")
        shown = {key: value for key, value in self.config.items() if key not in hidden}
        used = {name: self.datasets.deciding(name) for name in self.datasets.used}
        return shown | ({"datasets": used} if used else {})
