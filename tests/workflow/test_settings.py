"""What the configurations say is what the commands know: every key of every step is read."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import ROOT

from eval.claims import ClaimSettings
from eval.evaluators import ClassifierSettings, ClipSettings
from eval.protocols import ScoreSettings
from eval.settings import read_settings
from mvdiffusion.data.rooms import RoomSettings, WalkSettings
from mvdiffusion.generation import GenerationSettings
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.settings import (
    BaseSettings,
    FrameSettings,
    FrameStage,
    MultiFrameSettings,
    MultiViewSettings,
    VaeSettings,
    ViewSettings,
    ViewStage,
)

FORM = {"panorama": ViewSettings, "outpaint": ViewSettings, "depth": FrameSettings}
TRAINING = {
    "vae": VaeSettings,
    "base": BaseSettings,
    "panorama_stage1": ViewStage,
    "panorama_stage2": MultiViewSettings,
    "outpaint_base": ViewStage,
    "outpaint_stage2": MultiViewSettings,
    "depth_stage1": FrameStage,
    "depth_stage2": MultiFrameSettings,
}
EVALUATION = {"classifier": ClassifierSettings, "clip": ClipSettings, "tables": ClaimSettings}


def reader(step: str) -> Callable[[dict[str, Any]], Any]:
    """How the command of a step reads its settings."""
    task = step.split("_")[0]
    if step.startswith("rooms_"):
        return RoomSettings.from_mapping
    if step.startswith("walks_"):
        return WalkSettings.from_mapping
    if step in TRAINING:
        return lambda values: parse(TRAINING[step], values)
    if step == "evaluator_rooms" or (step.endswith("_real") and task in FORM):
        return lambda values: (
            parse(FORM.get(task, ViewSettings), values.pop("data")),
            values.pop("num_samples"),
            parse(GenerationSettings, values),
        )
    if task in FORM:
        return lambda values: (
            parse(FORM[task], values.pop("data")),
            GenerationSettings.from_mapping(values),
        )
    kind = ScoreSettings if task == "score" else EVALUATION[step]
    return lambda values: read_settings(json.dumps(values), kind, step)


def recipes(config: dict[str, Any]) -> dict[str, str]:
    """Settings, as JSON, of all steps but the last two, which are handed single values."""
    names = {"config": config, "workflow": SimpleNamespace(cores=2), "WorkflowError": ValueError}
    for name in ("common", "tasks", "recipes"):
        path = ROOT / f"workflow/rules/{name}.smk"
        exec(compile(path.read_text(), path, "exec"), names)
    texts = {step: recipe.text for step, recipe in names["RECIPES"].items()}
    return {step: text for step, text in texts.items() if step not in ("figures", "report")}


@pytest.mark.parametrize("name", ["mini", "smoke"])
def test_commands_know_every_key(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        Path, "read_text",
        lambda path, read=Path.read_text, **kw: "" if path.name == "data.dvc" else read(path, **kw),
    )  # fmt: skip
    config = yaml.safe_load((ROOT / f"workflow/config/{name}.yaml").read_text())
    found = recipes(config)
    assert {"walks_test", "depth_stage2", "outpaint_mvdiffusion", "score_depth_codec"} <= set(found)
    for step, text in found.items():
        reader(step)(json.loads(text))
        with pytest.raises(InputError, match="nobody_knows"):
            reader(step)(json.loads(text) | {"nobody_knows": 1})
