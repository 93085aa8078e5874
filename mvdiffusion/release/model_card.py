"""The model card: what a released base is, who trained it how, and how good it is."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mvdiffusion.outputs import RECORD
from mvdiffusion.records import provenance, read_json
from mvdiffusion.release.trainings import Training

if TYPE_CHECKING:
    from mvdiffusion.release.base import Origin

TEMPLATE = "model_card.md"


def write_card(path: Path, origin: Origin, parameters: Mapping[str, int], rooms: str) -> None:
    """Write the card as Markdown.

    Args:
        path: the file.
        origin: what the model is made of.
        parameters: number of parameters by part.
        rooms: SHA-256 of the rooms that it learned from.
    """
    trainings = origin.trainings
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    last = origin.pipeline.sittings[-1]
    text = environment.get_template(TEMPLATE).render(
        side=origin.base.settings["data"]["image_size"],
        perceptual=any(
            training.settings.get("loss", {}).get(name, 0) > 0
            for training in trainings
            for name in ("perceptual_weight", "feature_adversarial_weight")
        ),
        seed=origin.base.settings["seed"],
        parameters=[(part, f"{number:,}") for part, number in parameters.items()],
        total=f"{sum(parameters.values()) / 1e6:.1f}",
        measured=[
            (training.title, name, f"{value:.4g}")
            for training in trainings
            for name, value in training.measured.items()
        ],
        sittings=[_sitting(training, line) for training in trainings for line in training.sittings],
        hours=f"{sum(training.hours for training in trainings):.1f}",
        recipe=yaml.safe_dump(_recipe(origin), sort_keys=False, width=100).rstrip(),
        rooms=rooms,
        packages=sorted((k, v) for k, v in last["packages"].items() if v),
        python=last["python"],
        code=[(training.title, training.identity["code"]) for training in trainings],
        trials=_markdown(origin.trials),
        released_by=_commit(provenance()),
    )
    path.write_text(text, encoding="utf-8")


def _sitting(training: Training, line: Mapping[str, Any]) -> list[str]:
    """One row of the table of sittings."""
    machine = f"{line['cpu']}, {line['threads']} of {line['cores']} threads"
    return [
        training.title,
        line["started"][:16],
        f"{line['from_step']:,}–{line['step']:,}",
        f"{line['seconds'] / 3600:.2f}",
        ", ".join([machine, *([line["accelerator"]] if line["accelerator"] else [])]),
        _commit(line),
    ]


def _commit(made: Mapping[str, Any]) -> str:
    name = f"`{made['git_commit'][:12]}`" if made["git_commit"] else "unknown"
    return f"{name} with edits" if made["git_dirty"] else name


def _recipe(origin: Origin) -> dict[str, Any]:
    """All settings that decided the weights."""
    rooms = read_json(origin.rooms / RECORD)["settings"]
    shared = {key: origin.base.settings[key] for key in ("seed", "data")}
    parts = {
        "vae": origin.vae,
        "decoder": origin.decoder,
        "diffusion": origin.base,
        "unet": origin.unet,
    }
    own = {
        part: {k: v for k, v in training.settings.items() if k not in shared}
        for part, training in parts.items()
        if training is not None
    }
    return {"rooms": rooms, **shared, **own}


def _markdown(table: Path) -> str:
    """A CSV file as a Markdown table; nothing if it has no rows."""
    with table.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    return "\n".join(map(_row, [header, ["---"] * len(header), *rows])) if rows else ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
