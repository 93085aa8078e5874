"""Wrong settings give one readable error that names the key."""

import pytest
from tiny_training import BASE_PARTS, VAE_MODEL, settings

from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.diffusion import load_parts
from mvdiffusion.training.settings import (
    STAGE2_SETTINGS,
    BaseSettings,
    MultiFrameSettings,
    MultiViewSettings,
    VaeSettings,
)

FRAMES = {"height": 16, "width": 24, "num_views": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training__stepz": 1}, "unknown setting 'training.stepz'; did you mean 'steps'?"),
        ({"training__steps": "many"}, "'training.steps' is 'many'; expected a whole number"),
        ({"training__steps": True}, "'training.steps' is True"),
        ({"training__steps": 2.5}, "'training.steps' is 2.5"),
        ({"training__mixed_precision": "bf17"}, "expected one of 'no', 'bf16', 'fp16', 'auto'"),
        (
            {"training__steps": 0},
            "setting 'training.steps' is 0; expected a whole number, at least 1.",
        ),
        (
            {"training__gradient_accumulation_steps": 3},
            "'training.batch_size' is 2; expected a multiple of ",
        ),
        ({"training": {"steps": 3, "batch_size": 2}}, "'training.learning_rate' is missing"),
        ({"training": 3}, "'training' is 3; expected a mapping"),
        ({"data": {"image_size": 16, "size": 3}}, "unknown setting 'data.size'"),
        ({"loss": {"caption_dropout": 0.1}}, "unknown setting 'loss.caption_dropout'"),
        ({"device": "gpu"}, "expected one of 'auto', 'cpu', 'cuda'"),
    ],
)
def test_wrong_settings_name_the_key(change, message):
    with pytest.raises(InputError) as caught:
        parse(VaeSettings, settings(model=VAE_MODEL) | settings(**change))
    assert message in str(caught.value)


def test_heads_divide_the_width_of_the_text_encoder():
    parts = BASE_PARTS | {"text_encoder": {"hidden_size": 32, "num_attention_heads": 3}}
    with pytest.raises(InputError, match=r"'text_encoder\.hidden_size' is 32; expected a multiple"):
        parse(BaseSettings, settings(**parts))


@pytest.mark.parametrize("stage", STAGE2_SETTINGS.values())
def test_attention_between_views_trains_on_all_of_them(stage):
    wrong = r"'training\.views_per_panorama' is 2; expected 1, as all views of a sample train to"
    data = {"data": FRAMES} if stage is MultiFrameSettings else {}
    parse(stage, settings(**data))
    with pytest.raises(InputError, match=wrong):
        parse(stage, settings(**data, training__views_per_panorama=2))


def test_a_training_starts_from_a_single_view_model(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "unet/config.json").write_text('{"_class_name": "MultiViewUNet"}')
    with pytest.raises(InputError, match="is a multi-view model; expected one of single views"):
        load_parts(tmp_path)


def test_missing_top_level_key():
    with pytest.raises(InputError, match="setting 'model' is missing"):
        parse(VaeSettings, settings())


def test_whole_numbers_are_numbers_and_null_is_allowed_where_it_means_something():
    parsed = parse(
        MultiViewSettings, settings(training__learning_rate=1, loss={"min_snr_gamma": None})
    )
    assert parsed.training.learning_rate == 1.0
    assert isinstance(parsed.training.learning_rate, float)
    assert parsed.loss.min_snr_gamma is None
