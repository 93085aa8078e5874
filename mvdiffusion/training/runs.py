"""What every training command needs around its loop: data, identity and pictures."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
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
from mvdiffusion.outputs import already_made, check_apart, is_begun
from mvdiffusion.pipelines.loading import check_files
from mvdiffusion.records import InputError, folder_sha256, model_sha256
from mvdiffusion.settings import parse
from mvdiffusion.training.checkpoints import without_steps
from mvdiffusion.training.loop import train
from mvdiffusion.training.settings import FrameSettings, ViewSettings, deciding_settings

SPLIT_FILES = ("train.npy", "train/*/key_frame*.txt", "train/*/valid_frames.npy")  # what is in it

Writer = Callable[[Path], Any]


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

    @property
    def splits(self) -> tuple[tuple[Path, str], tuple[Path, str]]:
        """Folder and name of the split that is learned from, and of the one that is held out."""
        return (self.data, "train"), (self.validation, "validation")

    def panoramas(self, settings: ViewSettings) -> list[Matterport3DPanoramas]:
        """Open both splits of panoramas."""
        return [Matterport3DPanoramas(*split, **asdict(settings)) for split in self.splits]

    def scenes(self, settings: FrameSettings) -> list[ScanNetScenes]:
        """Open both splits of recordings, of which training draws sequences itself."""
        options = {**asdict(settings), "sequences": "disjoint"}
        return [ScanNetScenes(*split, **options) for split in self.splits]


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
            "base": model_sha256(self.base) if self.base else None,
            "code": code_sha256(self.code),
        }

    def is_finished(self) -> bool:
        """Tell whether the model is there, each file as it was written; if so, tell the user.

        Raises:
            InputError: a model of another identity, or something else, lies in its place, or what
                is read or written besides lies in it.
        """
        output, places = self.places.output, self.places
        read = [places.data, places.validation, *([self.base] if self.base else [])]
        check_apart(output, *read, places.checkpoints, places.log_dir)
        check_apart(places.checkpoints, *read, places.log_dir)
        begun = is_begun(output, self.identity, overwrite=self.places.overwrite)
        finished = begun and _is_whole(output)
        if finished:
            already_made(output)
        else:  # before any work
            bound_to = without_steps(self.identity)
            is_begun(places.checkpoints, bound_to, overwrite=places.overwrite)
        return finished

    def carry_out(self, kind: Any, build: Callable[[Any], tuple[nn.Module, Writer]]) -> None:
        """Train and write the model, unless it is there.

        Args:
            kind: class of the settings.
            build: makes of them the module whose forward pass is the loss, and a function that
                writes the trained model into a folder.

        Raises:
            InputError: wrong settings or data, or an output of another identity.
        """
        settings = parse(kind, self.settings)
        if self.is_finished():
            return
        torch.manual_seed(settings.seed)
        task, write = build(settings)
        checkpoints = train(
            task,
            settings.training,
            name=self.stage,
            identity=self.identity,
            checkpoints=self.places.checkpoints,
            log_dir=self.places.log_dir,
            device=settings.device,
            overwrite=self.places.overwrite,
        )
        checkpoints.finish(self.places.output, write)


def _is_whole(output: Path) -> bool:
    """Tell whether a model that was written is still whole; if not, say why it is made again."""
    if not any((output / name).is_file() for name in ("model_index.json", "config.json")):
        return False
    try:
        check_files(output)
    except InputError as error:
        print(f"{error} It is trained again now.", file=sys.stderr)
        return False
    return True


def first_views(panoramas: Matterport3DPanoramas, count: int) -> Tensor:
    """Return up to `count` views [N, 3, H, W]: those of the first panoramas, at yaw 0."""
    needed = min(math.ceil(count / panoramas.num_views), len(panoramas))
    return torch.cat([panoramas.load(index).views for index in range(needed)])[:count]


def picture_rows(*rows: Tensor) -> Tensor:
    """Stack rows of images [N, 3, H, W] in [-1, 1] into one picture [3, H', W'] in [0, 1]."""
    images = torch.cat([row.float().cpu() for row in rows]).clamp(-1, 1)
    picture: Tensor = make_grid(images / 2 + 0.5, nrow=len(rows[0]))
    return picture
