"""Every ablation, from its declaration to images: its training, its model on disk, its sampling."""

from typing import Any

import pytest
import torch
from tiny_training import VIEW, places, settings

from mvdiffusion.methods.registry import methods
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.training.stage2 import train_stage2

ABLATIONS = {name: own for name, own in methods().items() if own.role == "ablation"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_trains_and_samples(
    name: str, rooms: Any, base_folder: Any, tmp_path: Any
) -> None:
    changes = ABLATIONS[name].training.changes
    run = settings(**changes, training__steps=2, data={**VIEW, "num_views": 8})
    train_stage2("panorama", run, base_folder, places(tmp_path, rooms))
    pipeline = MVDiffusionPanoramaPipeline.from_pretrained(tmp_path / "output")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.unet.attention.changes() == changes.get("attention", {})
    assert pipeline.unet.config["variant"] == changes.get("variant", "released")
    last = [own.to_out.weight for own in pipeline.unet.correspondence_up]
    assert any(weight.abs().max() > 0 for weight in last)  # they start at zero

    options = {"num_inference_steps": 2, "output_type": "latent", "height": 16, "width": 16}
    noise = torch.randn(
        1, 8, *pipeline.latent_shape(16, 16), generator=torch.Generator().manual_seed(0)
    )
    prompts = ["a red room"] * 8
    together, alone = (
        pipeline(prompts, latents=noise, correspondence_attention=on, **options).images
        for on in (True, False)
    )
    assert together.isfinite().all()
    assert not torch.equal(together, alone)
