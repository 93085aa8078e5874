"""A release of the tiny trained base."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from mvdiffusion.outputs import RECORD
from mvdiffusion.records import write_json
from mvdiffusion.release.base import Origin, release_base
from mvdiffusion.release.trainings import Training

ROOMS = {"seed": 3, "num_scenes": {"train": 6}, "face_size": 16}


@pytest.fixture(scope="session")
def origin(
    vae_folder: Path, base_folder: Path, rooms: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Options of the command that releases it."""
    root = tmp_path_factory.mktemp("origin")
    shutil.copytree(rooms, root / "rooms")
    write_json(root / "rooms" / RECORD, {"settings": ROOMS})
    (root / "trials.csv").write_text('recipe,PSNR\n"f8, 12|16 channels",27.5\n')
    return {
        "vae": vae_folder,
        "vae_log": vae_folder.parent / "log",
        "base": base_folder,
        "base_log": base_folder.parent / "log",
        "rooms": root / "rooms",
        "trials": root / "trials.csv",
    }


def release(origin: dict[str, Path], output: Path, **options: Any) -> None:
    """Release what the trainings of an origin have left."""
    vae = Training("VAE", origin["vae"], origin["vae_log"])
    base = Training("base", origin["base"], origin["base_log"])
    tuned = {
        part: Training(part, origin[part], origin[f"{part}_log"])
        for part in ("decoder", "unet")
        if part in origin
    }
    release_base(Origin(vae, base, origin["rooms"], origin["trials"], **tuned), output, **options)
