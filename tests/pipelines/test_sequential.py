"""Inpainting of views one after the other: what the model is shown, and of what."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.geometry.warping import erode
from mvdiffusion.methods import inpainting
from mvdiffusion.methods.base import Batch
from mvdiffusion.methods.inpainting import InpaintingOptions
from mvdiffusion.pipelines import MVDiffusionOutpaintPipeline, sequential
from mvdiffusion.pipelines.sequential import inpaint_view, masked_image

SAMPLING = {"num_inference_steps": 2, "guidance_scale": 2.0, "negative_prompt": ""}
PROMPTS = ["a red room", "a blue room"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("dilation", "pixels"), [(0.0, 0), (1 / 64, 1), (1 / 8, 2)])
def test_only_known_pixels_beyond_the_dilation_are_seen(
    outpaint: MVDiffusionOutpaintPipeline, dilation: float, pixels: int
) -> None:
    """All other pixels may change; nothing of the result does."""
    known = random(2, 16, 16, seed=2) > 0.01
    image, other = random(2, 3, 16, 16), random(2, 3, 16, 16, seed=3)
    start = noise(2, 4, 8, 8)

    def painted(image: Tensor) -> Tensor:
        warped = image, known
        return inpaint_view(outpaint, PROMPTS, start, SAMPLING, warped, dilation=dilation)

    first, seen = painted(image), erode(known, pixels)
    assert 0.5 < seen.float().mean() < 1
    changed = torch.where(seen[:, None], image, other)
    assert not torch.equal(changed, image)
    assert torch.equal(first, painted(changed))
    if pixels:  # the outermost pixels that are still seen
        edge = seen & ~erode(known, pixels + 1)
        assert not torch.equal(painted(torch.where(edge[:, None], other, image)), first)
    assert not torch.equal(painted(torch.where(seen[:, None], other, image)), first)


def test_what_the_model_is_shown_is_what_it_was_trained_on(
    outpaint: MVDiffusionOutpaintPipeline, parts: dict[str, Any]
) -> None:
    """The channels of `DiffusionTask.extra_channels`, written out: mask first, 1 = to generate."""
    known, image = random(2, 16, 16, seed=2) > 0.3, 2 * random(2, 3, 16, 16) - 1
    channels = masked_image(outpaint, image, known)[:, 0]
    mask = (~known[:, None]).float()
    assert torch.equal(channels[:, :1], mask[:, :, ::2, ::2])
    vae = parts["vae"]
    with torch.no_grad():
        latents = vae.encode(image * (1 - mask)).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(channels[:, 1:], latents)


def test_a_view_of_which_nothing_is_known_is_painted_from_its_caption(
    outpaint: MVDiffusionOutpaintPipeline,
) -> None:
    """As by the pipeline, of a view beside the given one that sees nothing of it."""
    start = noise(2, 4, 8, 8)
    alone = inpaint_view(outpaint, PROMPTS, start, SAMPLING)
    pair = torch.stack([start, start], 1)
    given = torch.zeros(2, 1, 3, 16, 16)
    prompts = [[text, text] for text in PROMPTS]
    options = {**SAMPLING, "latents": pair, "correspondence_attention": False, "output_type": "pt"}
    expected = outpaint(prompts, given, num_views=2, **options).images[:, 1]
    torch.testing.assert_close(alone, expected)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("panorama", {0: None, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6}),
        ("outpaint", {1: 0, 2: 1, 3: 2, 4: 3, 7: 0, 6: 7, 5: 6}),
    ],
)
def test_every_view_is_painted_from_the_one_before_it(
    outpaint: MVDiffusionOutpaintPipeline,
    dataset: Matterport3DPanoramas,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    expected: dict[int, int | None],
) -> None:
    """Each stand-in of a view is of one color, by which the next ones tell where they come from."""
    sample = dataset.load(0)
    sample = SimpleNamespace(prompts=[str(view) for view in range(8)], views=sample.views * 0 - 1)
    found: dict[int, int | None] = {}

    def paint(
        _: object, prompts: list[str], start: Tensor, __: object, warped: Any, **options: Any
    ) -> Tensor:
        assert options["dilation"] == 0.125
        view = int(prompts[0])
        assert torch.equal(start, starts[:, view])
        found[view] = None
        if warped is not None:
            image, known = warped
            assert 0.3 < known.float().mean() < 0.5
            found[view] = round(float(image[0, 0, 8, 8]) * 8)
        return torch.full((1, 3, 16, 16), view / 8)

    monkeypatch.setattr(sequential, "inpaint_view", paint)
    starts = noise(1, 8, 4, 8, 8)
    options = InpaintingOptions(dilation=0.125)
    batch = Batch(outpaint, [sample], starts, SAMPLING, dataset, options=options)
    made = getattr(inpainting, task)(batch)
    assert found == expected
    assert list(found) == list(expected)
    assert made.shape == (1, 8, 3, 16, 16)
    assert torch.equal(made[0, 5], torch.full((3, 16, 16), 5 / 8))
