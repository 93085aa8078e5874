"""What the configurations say is what the commands know: every key of every step is read."""

import json
from pathlib import Path

import pytest
from workflow_project import ROOT, load_experiment

from mvdiffusion import settings
from mvdiffusion.conversion.base_model import PretrainedSettings
from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.preparation.captions import CaptionSettings
from mvdiffusion.preparation.matterport3d import HousePreparation
from mvdiffusion.preparation.rooms import RoomSettings, WalkSettings
from mvdiffusion.preparation.scannet import ScenePreparation
from mvdiffusion.preparation.splits import PanoramaSplits
from mvdiffusion.records import InputError
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
from mvdiffusion_eval.settings import (
    ClaimSettings,
    ClassifierSettings,
    ClipSettings,
    ScoreSettings,
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
PREPARATION = {
    "matterport3d_units": HousePreparation,
    "matterport3d_splits": PanoramaSplits,
    "matterport3d_captions": CaptionSettings,
    "scannet_units": ScenePreparation,
    "scannet_captions": CaptionSettings,
    "panorama_pretrained": PretrainedSettings,
    "outpaint_pretrained": PretrainedSettings,
    "depth_pretrained": PretrainedSettings,
}
EVALUATION = {"classifier": ClassifierSettings, "clip": ClipSettings, "tables": ClaimSettings}


WITHOUT_SETTINGS = ("rooms_validation", "rooms_test", "figures", "report", "scannet_splits")


def read(step: str, path: Path) -> None:
    """Read a settings file as the command of a step does."""
    task = step.split("_")[0]
    if task == "score" or step in EVALUATION:
        kind = ScoreSettings if task == "score" else EVALUATION[step]
        settings.parse(kind, settings.read_settings(str(path)))
        return
    values = settings.read_settings(str(path))
    if step.startswith(("rooms_", "walks_")):
        settings.parse({"rooms": RoomSettings, "walks": WalkSettings}[task], values)
    elif (kind := "_".join(step.split("_")[:2])) in PREPARATION:
        settings.parse(PREPARATION[kind], values)
    elif step in TRAINING:
        settings.parse(TRAINING[step], values)
    else:
        settings.parse(FORM.get(task, ViewSettings), values.pop("data"))
        settings.parse(GenerationSettings, values)


@pytest.mark.parametrize("name", ["mini", "smoke", "paper"])
def test_commands_know_every_key(tmp_path: Path, name: str) -> None:
    steps = load_experiment(ROOT / f"workflow/config/{name}.yaml").recipes.steps
    found = {step: steps[step].settings for step in steps if step not in WITHOUT_SETTINGS}
    data = {"scannet_units", "depth_pretrained"} if name == "paper" else {"walks_test", "vae"}
    assert data | {"depth_stage2", "outpaint_mvdiffusion", "score_depth_vae_reconstruction"} <= set(
        found
    )
    path = tmp_path / "settings.json"
    for step, text in found.items():
        path.write_text(text)
        read(step, path)
        path.write_text(json.dumps(json.loads(text) | {"nobody_knows": 1}))
        with pytest.raises(InputError, match="nobody_knows"):
            read(step, path)
