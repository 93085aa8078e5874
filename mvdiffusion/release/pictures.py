"""Pictures of a model card: the losses of its trainings, and samples as the training went on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from mvdiffusion.records import InputError
from mvdiffusion.release.trainings import Training

SHOWN = 6  # samples over the training
LABEL = 90  # pixels left of them


def draw_curves(trainings: Sequence[Training], path: Path) -> None:
    """Draw the loss of each training against its steps, and its held-out loss if it has one."""
    figure = Figure(figsize=(8, 3), dpi=100, layout="constrained")
    axes = figure.subplots(1, len(trainings), squeeze=False)[0]
    for axis, training in zip(axes, trainings, strict=True):
        curve = training.lines("metrics.jsonl")
        axis.plot([line["step"] for line in curve], [line["loss"] for line in curve], lw=0.8)
        held_out = [
            line for line in training.lines("validation.jsonl") if "validation_loss" in line
        ]
        if held_out:
            losses = [line["validation_loss"] for line in held_out]
            axis.plot([line["step"] for line in held_out], losses, "o-", ms=3, label="held out")
            axis.legend()
        axis.set(title=training.title, xlabel="step", ylabel="loss", xscale="log")
        axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Software": None})


def draw_samples(logs: Sequence[Path], path: Path) -> None:
    """Draw held-out views, and below them samples from their captions at steps of the training.

    Args:
        logs: log folders of the trainings, one after the other, whose pictures hold the views above
            the samples.
        path: the PNG file to write.

    Raises:
        InputError: a training left no picture.
    """
    pictures: list[tuple[int, Path]] = []
    for log in logs:
        found = sorted((log / "validation").glob("*.png"))
        if not found:
            raise InputError(f"{log / 'validation'}: no picture; expected those of the training.")
        before = pictures[-1][0] if pictures else 0
        pictures += [(before + int(picture.stem), picture) for picture in found]
    last = len(pictures) - 1
    chosen = sorted({round(index * last / (SHOWN - 1)) for index in range(SHOWN)})
    rows: list[tuple[str, Image.Image]] = []
    for step, file in (pictures[index] for index in chosen):
        with Image.open(file, formats=("PNG",)) as picture:
            half = (0, picture.height // 2, picture.width, picture.height)
            rows.append((f"step {step:,}", picture.convert("RGB").crop(half)))
            views = picture.convert("RGB").crop((0, 0, picture.width, picture.height // 2))
    rows.insert(0, ("held out", views))
    width, height = views.width + LABEL, sum(row.height for _, row in rows)
    sheet, top = Image.new("RGB", (width, height), "white"), 0
    for label, row in rows:
        sheet.paste(row, (LABEL, top))
        ImageDraw.Draw(sheet).text((4, top + row.height // 2 - 6), label, fill="black")
        top += row.height
    sheet.save(path, format="PNG", optimize=True)
