"""Training of the autoencoder behind FAED on panoramas that no method is trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from tqdm import tqdm

from mvdiffusion.outputs import is_same, make_room
from mvdiffusion.records import InputError, is_sealed, sealed_output

from ..folders.crops import WholeFolder, panoramas
from ..folders.equirectangular import EquirectangularFolder
from ..folders.samples import SampleFolder
from ..settings import FaedSettings
from .faed import CHUNK, PanoramaAutoencoder, prepare_panoramas
from .networks import best_device
from .store import ahead

SEEDS_APART = 1_000_003
"""Between the seeds of epochs, so that neighboring seeds of training share none."""
RANGE = 2.0
"""Of the values that the network sees: errors are told as parts of it."""


def train_autoencoder(
    folder: SampleFolder,
    training: Sequence[str],
    validation: Sequence[str],
    settings: FaedSettings,
    unfinished: Path,
    overwrite: bool = False,
) -> tuple[PanoramaAutoencoder, dict[str, Any]]:
    """Train on some samples of a folder of panoramas, read as they are needed.

    Args:
        folder: the panoramas.
        training, validation: samples to learn from, and to measure the result with.
        settings: of network and training.
        unfinished: file that keeps the state after every epoch. Training resumes from
            the state of the same settings and images, to the same weights as without a break.
        overwrite: move the state of other settings or images aside instead of refusing.

    Returns:
        The network and what it does to the samples for validation: its mean absolute error and, to
        compare with, that of each panorama's own mean color, both as parts of the range of values.

    Raises:
        InputError: the folder holds no whole panoramas, or fewer than a batch; or
            `unfinished` is of other settings or images.
    """
    if not isinstance(folder, EquirectangularFolder):
        raise InputError(
            f"{folder.root}: contains views; expected whole equirectangular panoramas "
            "(<sample>/pano.png, or images in the folder itself)."
        )
    if settings.batch_size > len(training):
        raise InputError(
            f"setting 'batch_size' is {settings.batch_size}; expected at most {len(training)}, the "
            "number of panoramas to train on."
        )
    network = PanoramaAutoencoder(settings.widths)
    whole = panoramas(folder)
    _fit(network, whole, training, settings, unfinished, overwrite)
    return network, _validate(network, whole, validation, settings.height)


def _fit(
    network: PanoramaAutoencoder,
    folder: WholeFolder,
    ids: Sequence[str],
    settings: FaedSettings,
    unfinished: Path,
    overwrite: bool,
) -> None:
    network.to(best_device()).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, settings.learning_rate_decay)
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    made_of = {"settings": asdict(settings), "images": folder.images_sha256()}
    first, steps = _resume(unfinished, made_of, parts, overwrite), len(ids) // settings.batch_size
    bar = tqdm(total=steps * settings.epochs, desc="training", initial=steps * first, disable=None)
    with bar:
        for epoch in range(first, settings.epochs):
            for loss in _epoch(network, optimizer, folder, ids, settings, epoch):
                bar.set_postfix(error=f"{loss / RANGE:.4f}", refresh=False)
                bar.update()
            schedule.step()
            state = {name: part.state_dict() for name, part in parts.items()}
            with sealed_output(unfinished) as file:
                torch.save({"made_of": made_of, "epochs": epoch + 1, **state}, file)
    network.eval()


def _resume(
    unfinished: Path, made_of: Mapping[str, Any], parts: Mapping[str, Any], overwrite: bool
) -> int:
    """Take up the state that is there, if it is of this training; the epochs that it has seen."""
    if not unfinished.exists():
        return 0
    state: dict[str, Any] = {}  # of a damaged file: training begins anew
    if is_sealed(unfinished):
        state = torch.load(unfinished, map_location=best_device(), weights_only=True)
    if not state or not is_same(unfinished, state["made_of"], made_of, overwrite):
        make_room(unfinished)
        return 0
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["epochs"]


def _epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    folder: WholeFolder,
    ids: Sequence[str],
    settings: FaedSettings,
    epoch: int,
) -> Iterator[float]:
    """Go through the panoramas once, in an order and turned as only this epoch does; losses."""
    generator = torch.Generator().manual_seed(settings.seed + SEEDS_APART * epoch)
    order = [ids[i] for i in torch.randperm(len(ids), generator=generator).tolist()]
    size = settings.batch_size
    batches = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    for _, images in ahead(lambda batch: _read(folder, batch), batches):
        values = prepare_panoramas(images.to(best_device()), settings.height)
        yield _step(network, optimizer, _turned(values, generator))


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, target: Tensor) -> float:
    device = target.device.type
    target = target.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        loss = l1_loss(network(target).float(), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _read(folder: WholeFolder, sample_ids: Sequence[str]) -> Tensor:
    """Panoramas of samples, uint8 [N, 3, H, 2 H]."""
    views = np.concatenate([folder.views(sample_id) for sample_id in sample_ids])
    return torch.from_numpy(views).permute(0, 3, 1, 2)


def _turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn each panorama by a random angle and mirror half of them: they are still panoramas."""
    turns = torch.randint(images.shape[-1], (len(images),), generator=generator).tolist()
    mirrored = torch.randint(2, (len(images),), generator=generator).tolist()
    turned = [image.roll(turn, -1) for image, turn in zip(images, turns, strict=True)]
    pairs = zip(turned, mirrored, strict=True)
    return torch.stack([image.flip(-1) if mirror else image for image, mirror in pairs])


@torch.inference_mode()
def _validate(
    network: nn.Module, folder: WholeFolder, ids: Sequence[str], height: int
) -> dict[str, Any]:
    errors, plain = [], []
    parts = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    for _, images in ahead(lambda part: _read(folder, part), parts):
        target = prepare_panoramas(images.to(best_device()), height)
        errors += (network(target) - target).abs().mean((1, 2, 3)).tolist()
        plain += (target.mean((2, 3), keepdim=True) - target).abs().mean((1, 2, 3)).tolist()
    return {
        "num_images": len(ids),
        "reconstruction_error": float(np.mean(errors)) / RANGE,
        "reconstruction_error_of_mean_color": float(np.mean(plain)) / RANGE,
    }
