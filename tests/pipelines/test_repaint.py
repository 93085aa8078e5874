"""RePaint: its schedule as the paper writes it, its climbs, and what it keeps."""

from types import SimpleNamespace
from typing import Any, get_args

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.generation.settings import Scheduler
from mvdiffusion.geometry.depth import normalized_inverse_depth
from mvdiffusion.geometry.warping import depth_views, warp_by_depth
from mvdiffusion.methods import repaint as method
from mvdiffusion.methods.base import Batch
from mvdiffusion.pipelines import MVDiffusionDepthPipeline
from mvdiffusion.pipelines import repaint as module
from mvdiffusion.pipelines.repaint import Resampling, Sampler, repaint, visited_levels
from mvdiffusion.pipelines.sequential import encode_view, sample_view
from mvdiffusion.records import InputError

STEPS, SAMPLING = 6, {"num_inference_steps": 2, "guidance_scale": 2.0, "negative_prompt": ""}


def generators(count: int = 1) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def schedule_of_the_paper(t_T: int, jump_len: int, jump_n_sample: int) -> list[int]:
    """The pseudo code of RePaint's appendix: times of the states, -1 for the image."""
    jumps = {}
    for j in range(0, t_T - jump_len, jump_len):
        jumps[j] = jump_n_sample - 1
    t = t_T
    ts = []
    while t >= 1:
        t = t - 1
        ts.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] = jumps[t] - 1
            for _ in range(jump_len):
                t = t + 1
                ts.append(t)
    ts.append(-1)
    return ts


@pytest.mark.parametrize(("jump", "times"), [(10, 10), (1, 3), (2, 4), (7, 2), (300, 5)])
def test_jumps_follow_the_schedule_of_the_paper(jump: int, times: int) -> None:
    expected = [t + 1 for t in schedule_of_the_paper(250, jump, times)]
    assert visited_levels(250, Resampling(jump, times)) == expected


def test_a_schedule_written_out() -> None:
    found = visited_levels(5, Resampling(2, 2))
    assert found == [5, 4, 3, 4, 5, 4, 3, 2, 1, 2, 3, 2, 1, 0]
    assert visited_levels(3, Resampling(1, 1)) == [3, 2, 1, 0]
    with pytest.raises(InputError, match="got 0 and 3"):
        Resampling(0, 3)


def test_a_climb_is_one_step_of_the_forward_process() -> None:
    """With as many steps as the training had: x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z."""
    scheduler = diffusers.DDIMScheduler(beta_schedule="linear", timestep_spacing="trailing")
    sampler = Sampler(scheduler, 1000, torch.device("cpu"))
    betas = torch.linspace(0.0001, 0.02, 1000)
    x, z = noise(1, 1, 4, 2, 2), noise(1, 1, 4, 2, 2, seed=1)
    for level in (1, 10, 500, 999):
        expected = (1 - betas[level]).sqrt() * x + betas[level].sqrt() * z
        torch.testing.assert_close(sampler.climb(x, level, z), expected, atol=2e-4, rtol=2e-3)
    clean = torch.cumprod(1 - betas, 0)
    expected = clean[499].sqrt() * x + (1 - clean[499]).sqrt() * z
    torch.testing.assert_close(sampler.noised(x, 500, z), expected)


class Knowing:
    """A model that knows the image: it predicts just the noise that is in the latents."""

    unet = SimpleNamespace(dtype=torch.float32)
    guidance_scale = 1.0

    def __init__(self, name: str, image: Tensor) -> None:
        self.scheduler = getattr(diffusers, name).from_config({"clip_sample": False})
        self.image = image
        # Those that scale their input have states image + sigma x noise.
        self.grows = self.scheduler.init_noise_sigma > 1.5
        if not self.grows:  # not yet known to some of them
            self.scheduler.set_timesteps(4)
            self.grows = self.scheduler.init_noise_sigma > 1.5

    def predict(self, latents: Tensor, t: Tensor, embeds: Any, extra_channels: Any) -> Tensor:
        clean = self.scheduler.alphas_cumprod.double().numpy()
        sigmas = 0.5 * np.log((1 - clean) / clean)
        sigma = float(np.exp(np.interp(float(t), np.arange(len(clean)), sigmas)))
        signal = 1.0 if self.grows else (1 + sigma**2) ** -0.5
        return (latents - signal * self.image) / (sigma * signal)


@pytest.mark.parametrize("name", get_args(Scheduler))
def test_every_scheduler_comes_down_right_after_climbs(name: str) -> None:
    """Levels, restarts and noise fit together: the model's image is found; what is known stays."""
    image, other = noise(2, 1, 4, 4, 4), noise(2, 1, 4, 4, 4, seed=5)
    known = torch.zeros(2, 1, 1, 4, 4, dtype=torch.bool)
    known[0, ..., :2] = True
    given = torch.where(known, other, image)
    pipeline: Any = Knowing(name, given)
    start, embeds = noise(2, 1, 4, 4, 4, seed=9), torch.zeros(2, 1, 1, 1)
    numbers = (STEPS, 1.0, Resampling(2, 3), generators(2))
    made = repaint(pipeline, start, embeds, given, known, *numbers)
    assert (made - given).abs().max() < 0.1
    assert torch.equal(made[:, :, :, :, :2][0], other[:, :, :, :, :2][0])


DETERMINISTIC = [n for n in get_args(Scheduler) if "Ancestral" not in n and n != "DDPMScheduler"]


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_with_nothing_known_it_is_plain_sampling(
    name: str, depth: MVDiffusionDepthPipeline
) -> None:
    prompts, start, channel = ["a red room"], noise(1, 4, 6, 8), noise(1, 1, 1, 6, 8)
    before = depth.scheduler
    depth.scheduler = getattr(diffusers, name).from_config(before.config)
    try:
        plain = sample_view(depth, prompts, start, SAMPLING, extra_channels=channel)
        nothing = torch.zeros(1, 1, 1, 6, 8, dtype=torch.bool)
        embeds = encode_view(depth, prompts, SAMPLING)
        image = noise(1, 1, 4, 6, 8, seed=3)
        numbers = (2, 2.0, Resampling(1, 1), generators())
        made = repaint(depth, start[:, None], embeds, image, nothing, *numbers, channel)
    finally:
        depth.scheduler = before
    assert torch.equal(made[:, 0], plain)


def test_what_is_known_is_kept_and_guides_the_rest(depth: MVDiffusionDepthPipeline) -> None:
    """Through resampling, to the bit; other known latents give another rest."""
    start, embeds = noise(2, 1, 4, 6, 8), encode_view(depth, ["a room"] * 2, SAMPLING)
    known = torch.zeros(2, 1, 1, 6, 8, dtype=torch.bool)
    known[..., :3] = True
    made = []
    for seed in (1, 2):
        image = noise(2, 1, 4, 6, 8, seed=seed)
        numbers = (4, 2.0, Resampling(1, 3), generators(2))
        channel = noise(2, 1, 1, 6, 8)
        made.append(repaint(depth, start, embeds, image, known, *numbers, channel))
        assert torch.equal(made[-1][..., :3], image[..., :3])
    assert (made[0] - made[1])[..., 3:].abs().max() > 0.01


def test_a_sample_does_not_depend_on_its_batch(depth: MVDiffusionDepthPipeline) -> None:
    start, image = noise(2, 1, 4, 6, 8), noise(2, 1, 4, 6, 8, seed=1)
    known, channel = noise(2, 1, 1, 6, 8, seed=2) > 0, noise(2, 1, 1, 6, 8)

    def made(chosen: slice) -> Tensor:
        embeds = encode_view(
            depth, ["a room", "a red room"][chosen], SAMPLING | {"guidance_scale": 1}
        )
        inputs = (start[chosen], embeds, image[chosen], known[chosen])
        numbers = (3, 1.0, Resampling(1, 2), generators(2)[chosen])
        return repaint(depth, *inputs, *numbers, channel[chosen])

    torch.testing.assert_close(made(slice(0, 2))[1:], made(slice(1, 2)), atol=1e-4, rtol=1e-4)


def test_frames_get_the_warped_latents_of_the_frame_before(
    depth: MVDiffusionDepthPipeline, walks: ScanNetScenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [walks.load(0, views=False), walks.load(1, views=False)]
    start, seen = noise(2, 5, 4, 6, 8), []

    def record(
        _: object, noise: Tensor, __: object, image: Tensor, known: Tensor, *rest: Any
    ) -> Tensor:
        assert rest[2] == Resampling(2, 3)  # nine tenths of two steps
        seen.append((noise, image, known, rest[-1]))
        return noise + 1  # some latents

    monkeypatch.setattr(module, "repaint", record)
    options = method.RePaintOptions(jump_share=0.9, times=3)
    batch = Batch(depth, samples, start, SAMPLING, walks, generators=generators(2), options=options)
    images = method.depth(batch)
    assert images.shape == (2, 5, 3, 12, 16)
    first = {"key_frames": [0, 2, 4], "correspondence_attention": False, "output_type": "pt"}
    plain = batch.depth(**first)
    torch.testing.assert_close(images[:, 0], plain[:, 0])
    posed = {name: batch.stack(name) for name in ("depth", "K", "pose")}
    views = [view.resized(6, 8) for view in depth_views(**posed)]
    latents = start[:, 1] + 1
    for frame in (2, 3, 4):
        found = seen[frame - 1]
        assert torch.equal(found[0], start[:, frame : frame + 1])
        image, known = warp_by_depth(latents, views[frame - 1], views[frame], "nearest")
        assert torch.equal(found[1][:, 0], image)
        assert torch.equal(found[2][:, 0, 0], known)
        assert 0.5 < known.float().mean() < 1
        channel = normalized_inverse_depth(posed["depth"][:, frame : frame + 1], 6, 8)
        assert torch.equal(found[3], channel)
        latents = start[:, frame] + 1
