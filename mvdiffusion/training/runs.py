"""What every training command needs around its loop: data, identity and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.utils import make_grid

import mvdiffusion
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.records import folder_sha256, sha256_file
from mvdiffusion.training.settings import ViewSettings

CODE = ("data", "geometry", "models", "training")  # packages that decide the trained weights


def open_panoramas(root: Path, split: str, settings: ViewSettings) -> Matterport3DPanoramas:
    """Open one split of a data set in Matterport3D's layout.

    Raises:
        InputError: when the split or one of its files is missing.
    """
    return Matterport3DPanoramas(
        root,
        split,
        image_size=settings.image_size,
        num_views=settings.num_views,
        fov_deg=settings.fov_deg,
        prompt_prefix=settings.prompt_prefix,
    )


def run_identity(
    stage: str, settings: Mapping[str, Any], data: Path, base: Path | None = None
) -> dict[str, Any]:
    """Everything that determines a run's weights; checkpoints are bound to its hash."""
    package = Path(mvdiffusion.__file__).parent
    return {
        "stage": stage,
        "settings": dict(settings),
        "train_split": sha256_file(data / "train.npy"),
        "base": folder_sha256(base) if base else None,
        "code": [folder_sha256(package / name, "**/*.py") for name in CODE],
        "torch": torch.__version__,
    }


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
