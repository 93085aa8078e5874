"""Release of the miniature's base model: a folder that is small enough to ship."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mvdiffusion.outputs import already_made, check_apart, is_begun, whole_output
from mvdiffusion.pipelines.loading import WEIGHTS, check_model, load_single_view, record_files
from mvdiffusion.records import InputError, folder_sha256, read_json, sha256_file, write_json
from mvdiffusion.release.model_card import write_card
from mvdiffusion.release.pictures import draw_curves, draw_samples
from mvdiffusion.release.trainings import Training
from mvdiffusion.training.runs import SPLIT_FILES
from mvdiffusion.training.vae import load_vae

LARGEST = 25_000_000  # bytes, since the repository holds them
RENDERED = "**/[!.]*"  # the files of rendered rooms that their recorded hash is of


@dataclass(frozen=True)
class Origin:
    """What a release is made of.

    Attributes:
        vae: the training of the VAE.
        base: that of text encoder and UNet on it.
        rooms: folder of the rooms that all of them learned from.
        trials: table of recipes that were tried, as CSV.
        decoder: the fine-tuning of the VAE's decoder, if there was one.
        unet: the fine-tuning of the UNet, if there was one.
    """

    vae: Training
    base: Training
    rooms: Path
    trials: Path
    decoder: Training | None = None
    unet: Training | None = None

    @property
    def pipeline(self) -> Training:
        """The training whose model is released, with the VAE's last decoder."""
        return self.unet or self.base

    @property
    def trainings(self) -> list[Training]:
        """All trainings, in the order of the release's parts."""
        parts = (self.vae, self.decoder, self.base, self.unet)
        return [training for training in parts if training is not None]

    def __post_init__(self) -> None:
        """Refuse a VAE, a base and rooms that later parts were not trained on.

        Raises:
            InputError: they are others.
        """
        for training in self.trainings[1:]:
            start = self.base if training is self.unet else self.vae
            if training.identity["base"] != start.sha256:
                raise InputError(
                    f"{training.model}: was trained on another model than {start.model}; give "
                    "the folder of that one."
                )
        split = [folder_sha256(self.rooms, pattern) for pattern in SPLIT_FILES]
        for training in self.trainings:
            if training.identity["train_split"] != split:
                raise InputError(
                    f"{training.model}: learned from other rooms than {self.rooms}; give the "
                    "folder of those."
                )


def release_base(origin: Origin, output: Path, overwrite: bool = False) -> None:
    """Write the trained base in half precision, with hashes and its model card.

    Args:
        origin: what it is made of.
        output: the folder to write, whole or not at all.
        overwrite: move a release of another origin aside instead of refusing.

    Raises:
        InputError: a part of the origin is missing or fits no other, the weights are beyond the
            range of half precision, or the folder would be too large.
    """
    model, trainings = origin.pipeline.model, origin.trainings
    check_model(model)
    read = [path for training in trainings for path in (training.model, training.log)]
    check_apart(output, *read, origin.rooms, origin.trials)
    rooms_sha256 = folder_sha256(origin.rooms, RENDERED)
    made_of = {
        "models": [training.sha256 for training in trainings],
        "logs": [folder_sha256(training.log, "*.jsonl") for training in trainings],
        "rooms": rooms_sha256,
        "trials": sha256_file(origin.trials),
    }
    if is_begun(output, made_of, overwrite=overwrite) and (output / "README.md").is_file():
        return already_made(output)
    pipeline = load_single_view(model)
    if origin.decoder is not None:
        pipeline.vae = load_vae(origin.decoder.model)
    _halve(pipeline, model)
    with whole_output(output, made_of) as folder:
        pipeline.save_pretrained(folder)
        _forget_places(folder)
        (folder / "pictures").mkdir()
        draw_curves(trainings, folder / "pictures/curves.png")
        logs = [training.log for training in (origin.base, origin.unet) if training]
        draw_samples(logs, folder / "pictures/samples.png")
        parameters = {part: getattr(pipeline, part).num_parameters() for part in WEIGHTS}
        write_card(folder / "README.md", origin, parameters, rooms_sha256)
        record_files(folder)
        _check_size(folder, output)


def _halve(pipeline: Any, model: Path) -> None:
    """Bring the weights to half precision.

    Raises:
        InputError: one of them is too large for it.
    """
    pipeline.to(torch.float16)
    for part in WEIGHTS:
        for name, weights in getattr(pipeline, part).named_parameters():
            if not weights.isfinite().all():
                raise InputError(
                    f"{model / part}: '{name}' holds weights beyond half precision's range, or "
                    "NaN; expected finite ones below 65,504. Train again at a lower learning rate."
                )


def _forget_places(folder: Path) -> None:
    """Take out of a model's configurations where it was loaded from."""
    for path in folder.rglob("*.json"):
        config = read_json(path)
        if config.pop("_name_or_path", None) is not None:
            write_json(path, config)


def _check_size(folder: Path, output: Path) -> None:
    """Check that the repository can hold a folder.

    Raises:
        InputError: it is too large.
    """
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST:
        raise InputError(
            f"{output}: would hold {size / 1e6:.1f} MB; expected at most {LARGEST / 1e6:g} MB, "
            "since the repository ships it. Make the UNet, the text encoder or the VAE smaller."
        )
