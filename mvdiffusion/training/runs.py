"""What every training command needs around its loop: data, identity and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.utils import make_grid

from mvdiffusion.code_closure import code_sha256
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.outputs import already_made, is_begun
from mvdiffusion.records import folder_sha256
from mvdiffusion.training.checkpoints import CheckpointFolder
from mvdiffusion.training.identity import deciding_settings
from mvdiffusion.training.loop import train
from mvdiffusion.training.settings import FrameSettings, TrainingSettings, ViewSettings

SPLIT_FILES = ("train.npy", "train/*/key_frame*.txt", "train/*/valid_frames.npy")  # what is in it


def open_panoramas(root: Path, split: str, settings: ViewSettings) -> Matterport3DPanoramas:
    """Open one split of a data set in Matterport3D's layout.

    Raises:
        InputError: when the split or one of its files is missing.
    """
    return Matterport3DPanoramas(root, split, **asdict(settings))


def open_scenes(root: Path, split: str, settings: FrameSettings, **changes: Any) -> ScanNetScenes:
    """Open one split of recordings in ScanNet's layout, of which training draws sequences itself.

    Args:
        root: folder that holds the split.
        split: its name.
        settings: how recordings become samples.
        changes: values of other settings than those.

    Raises:
        InputError: when the split or one of its files is missing.
    """
    return ScanNetScenes(root, split, **{**asdict(settings), "sequences": "disjoint", **changes})


@dataclass(frozen=True)
class Places:
    """Where a training reads and writes.

    Attributes:
        data: folder of the split "train".
        validation: folder of the split "validation".
        output: folder of the model, written in one piece.
        checkpoints: folder of resumable states.
        log_dir: folder of logs and pictures.
        overwrite: move a model and checkpoints of another identity aside instead of refusing.
    """

    data: Path
    validation: Path
    output: Path
    checkpoints: Path
    log_dir: Path
    overwrite: bool = False


@dataclass(frozen=True)
class Run:
    """A training: what decides its weights, and its places.

    Attributes:
        stage: its name.
        settings: as given to the command.
        base: model it starts from, if any.
        places: where it reads and writes.
        code: name of the module that trains.
    """

    stage: str
    settings: Mapping[str, Any]
    base: Path | None
    places: Places
    code: str

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the weights; the model and its checkpoints are bound to it."""
        settings = deciding_settings(self.settings)
        training = dict(settings["training"])
        return {
            "stage": self.stage,
            "steps": training.pop("steps"),
            "settings": {**settings, "training": training},
            "train_split": [folder_sha256(self.places.data, pattern) for pattern in SPLIT_FILES],
            "base": folder_sha256(self.base) if self.base else None,
            "code": code_sha256(self.code),
        }

    def is_finished(self) -> bool:
        """Tell whether the model is there; if so, say it to the user.

        Raises:
            InputError: a model of another identity, or something else, lies in its place.
        """
        output = self.places.output
        begun = is_begun(output, self.identity, overwrite=self.places.overwrite)
        finished = begun and any(
            (output / name).is_file() for name in ("model_index.json", "config.json")
        )
        if finished:
            already_made(output)
        return finished

    def train(self, task: nn.Module, training: TrainingSettings, device: str) -> CheckpointFolder:
        """Train `task` in place; the checkpoints returned finish the run (see `loop.train`).

        Args:
            task: module whose forward pass is the loss.
            training: settings of the loop.
            device: "auto", "cpu" or "cuda".
        """
        return train(
            task,
            training,
            name=self.stage,
            identity=self.identity,
            checkpoints=self.places.checkpoints,
            log_dir=self.places.log_dir,
            device=device,
            overwrite=self.places.overwrite,
        )


def first_views(panoramas: Matterport3DPanoramas, count: int) -> Tensor:
    """Return up to `count` views [N, 3, H, W]: those of the first panoramas, at yaw 0."""
    parts: list[Tensor] = []
    for index in range(len(panoramas)):
        if sum(map(len, parts)) >= count:
            break
        parts.append(panoramas.load(index).views)
    return torch.cat(parts)[:count]


def picture_rows(*rows: Tensor) -> Tensor:
    """Stack rows of images [N, 3, H, W] in [-1, 1] into one picture [3, H', W'] in [0, 1]."""
    images = torch.cat([row.float().cpu() for row in rows]).clamp(-1, 1)
    picture: Tensor = make_grid(images / 2 + 0.5, nrow=len(rows[0]))
    return picture
