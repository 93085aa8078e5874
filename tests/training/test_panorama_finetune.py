"""Fine-tuning on equirectangular images: what is drawn, and what trains."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import VIEW, places, settings, start_afresh

from mvdiffusion.cli.train import train_app
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.baselines.panorama_finetune import panorama_task, train_panorama_finetune
from mvdiffusion.training.baselines.settings import PanoramaStage
from mvdiffusion.training.diffusion import load_parts
from mvdiffusion.training.examples import EquirectangularImages


@pytest.fixture(scope="module")
def trained(rooms, base_folder, tmp_path_factory) -> Path:
    start_afresh()
    root = tmp_path_factory.mktemp("panorama")
    run = settings(training__steps=40, training__batch_size=4, training__ema_decay=0.9)
    train_panorama_finetune(run, base_folder, places(root, rooms))
    return root


@pytest.mark.slow
def test_the_loss_falls_and_only_the_unet_changes(rooms, base_folder, trained):
    run = parse(PanoramaStage, settings())

    @torch.no_grad()
    def loss(folder: Path) -> float:
        task = panorama_task(run, places(folder, rooms), load_parts(folder))
        return sum(task(task.examples[position]).item() for position in range(20)) / 20

    assert loss(trained / "output") < 0.9 * loss(base_folder)
    for part, same in (("vae", True), ("text_encoder", True), ("unet", False)):
        before, after = (
            load_file(next((folder / part).glob("*.safetensors")))
            for folder in (base_folder, trained / "output")
        )
        assert all(torch.equal(after[name], value) for name, value in before.items()) == same
    assert list((trained / "log").rglob("metrics.jsonl"))


@pytest.mark.parametrize("circular", [False, True])
def test_padding_follows_the_setting(rooms, base_folder, tmp_path, circular):
    """With circular padding the UNet answers a turned panorama by the turned answer."""
    run = parse(PanoramaStage, settings(circular_padding=circular))
    task = panorama_task(run, places(tmp_path, rooms), load_parts(base_folder))
    batch = task.examples[0]
    assert batch["pixels"].shape == (1, 3, 16, 32)
    assert batch["noise"].shape == (1, 4, 8, 16)
    embeds = torch.zeros(1, 16, 32)
    with torch.no_grad():
        still, turned = (
            task.predict(noise, embeds, batch)
            for noise in (batch["noise"], batch["noise"].roll(4, -1))
        )
    assert torch.allclose(turned, still.roll(4, -1), atol=1e-5) == circular


def test_images_are_the_panoramas_turned(rooms):
    size = {**VIEW, "image_size": 64}
    panoramas = Matterport3DPanoramas(rooms, "train", **size)
    image = panoramas.equirectangular(0)
    assert image.shape == (3, 64, 128)
    turned = panoramas.equirectangular(0, 90.0)
    assert torch.equal(turned, image.roll(-32, -1))
    K, R = panorama_cameras(64, 64, 4)
    seen = equirectangular_to_views(turned, K, R, 64, 64)
    error = (seen - panoramas.views(0, 90.0, range(4))).abs().mean()
    other = (seen - panoramas.views(0, 0.0, range(4))).abs().mean()
    assert error < 0.06 < other


def test_prompts_begin_where_the_image_looks(rooms):
    panoramas = Matterport3DPanoramas(rooms, "train", **VIEW)

    def tokenizer(text: str, **_: object) -> object:
        return type("Tokens", (), {"input_ids": text.split()})

    tokenizer.model_max_length = 1000
    source = EquirectangularImages(panoramas, 3, tokenizer)
    drawn = source.draw(1)
    again = source.draw(1)
    assert torch.equal(drawn.views, again.views)
    assert drawn.prompts == again.prompts
    assert drawn.views.shape == (1, 3, 16, 32)
    assert "one view" not in drawn.prompts[0]


def test_several_views_of_a_panorama_are_refused():
    wrong = r"'training.views_per_panorama' is 2; expected 1, as a panorama is one image"
    with pytest.raises(InputError, match=wrong):
        parse(PanoramaStage, settings(training__views_per_panorama=2))


def test_the_command_is_there():
    assert "panorama-finetune" in {command.name for command in train_app.registered_commands}
