"""The settings that the workflow gives to commands are those that the commands know."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from workflow_project import ROOT, load_experiment

from mvdiffusion.generation.settings import ExportSettings, GenerationSettings
from mvdiffusion.methods.registry import find_method
from mvdiffusion.preparation.settings import (
    CaptionSettings,
    HousePreparation,
    PanoramaSplits,
    RoomSettings,
    ScenePreparation,
    WalkSettings,
)
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse, read_settings
from mvdiffusion.training.baselines.settings import ControlNetSettings, PanoramaStage
from mvdiffusion.training.settings import (
    BaseSettings,
    DecoderSettings,
    FrameSettings,
    FrameStage,
    MultiFrameSettings,
    MultiViewSettings,
    OutpaintSettings,
    VaeSettings,
    ViewSettings,
    ViewStage,
)
from mvdiffusion_eval.settings import (
    ClaimSettings,
    ClassifierSettings,
    ClipSettings,
    ScoreSettings,
)

# What the command of a step reads; the first pattern that fits the step's name decides.
CLASSES: dict[str, Any] = {
    # the repository holds these rooms and the miniature; the others' commands have no settings
    "rooms_(validation|test)|miniature|release|scannet_splits|.*_pretrained": None,
    "figures|leaderboard|report": None,
    "rooms_.*": RoomSettings,
    "walks_.*": WalkSettings,
    "vae": VaeSettings,
    "decoder": DecoderSettings,
    "base": BaseSettings,
    "unet|panorama_stage1|outpaint_base|panorama_independent_finetuned_model": ViewStage,
    "panorama_stage2": MultiViewSettings,
    "panorama_panorama_finetune_model": PanoramaStage,
    "depth_controlnet_model": ControlNetSettings,
    "outpaint_stage2": OutpaintSettings,
    "depth_stage1": FrameStage,
    "depth_stage2": MultiFrameSettings,
    "matterport3d_units": HousePreparation,
    "matterport3d_splits": PanoramaSplits,
    "scannet_units": ScenePreparation,
    ".*_captions_.*": CaptionSettings,
    "classifier": ClassifierSettings,
    "clip": ClipSettings,
    "score_.*": ScoreSettings,
    "tables": ClaimSettings,
    "extractor_rooms|.*_real": ExportSettings,
    ".*": GenerationSettings,
}


def class_of(step: str) -> Any:
    return next(known for name, known in CLASSES.items() if re.fullmatch(name, step))


def read(step: str, path: Path) -> None:
    """Read a settings file as the command of a step does."""
    values, known = read_settings(str(path)), class_of(step)
    options = values.pop("options", {}) if known is GenerationSettings else {}
    if options:
        task, _, method = step.partition("_")
        assert asdict(find_method(method, task).read_options(options)) == options
    if known in (ExportSettings, GenerationSettings):
        parse(FrameSettings if step.startswith("depth") else ViewSettings, values.pop("data"))
    parse(known, values)


@pytest.mark.parametrize("name", ["mini", "smoke", "base", "paper"])
def test_commands_know_every_key(tmp_path: Path, name: str) -> None:
    steps = load_experiment(ROOT / f"workflow/config/{name}.yaml").recipes.steps
    found = {step: steps[step].settings for step in steps if class_of(step)}
    own = {"paper": {"scannet_units", "depth_real"}, "base": {"rooms_train", "vae", "base"}}
    assert own.get(name, {"walks_test"}) <= set(found)
    if name != "base":
        assert {"depth_stage2", "outpaint_mvdiffusion", "score_depth_real"} <= set(found)
    path = tmp_path / "settings.json"
    for step, text in found.items():
        path.write_text(text)
        read(step, path)
        path.write_text(json.dumps(json.loads(text) | {"nobody_knows": 1}))
        with pytest.raises(InputError, match="nobody_knows"):
            read(step, path)
