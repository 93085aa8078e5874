"""Joint denoising of strips: plain sampling, averages, closure and seeds."""

import copy
import math

import diffusers
import pytest
import torch

from mvdiffusion.pipelines import joint
from mvdiffusion.pipelines.joint import (
    Windows,
    decode_strip,
    denoise_jointly,
    generate_jointly,
    nearest_prompts,
)
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError

STEPS, GUIDANCE = 3, 2.0
PROMPTS = ["a red room", "a room", "red", "a red red room"]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def strip_of(pipeline, start, windows, **options):
    prompts = [nearest_prompts(PROMPTS, windows.yaw_deg)] * len(start)
    return denoise_jointly(pipeline, start, prompts, windows, STEPS, GUIDANCE, **options)


def test_one_window_is_plain_sampling(pipeline: MVDiffusionPanoramaPipeline):
    start = noise(2, 4, 8, 8)
    windows = Windows.level(8, 8, 2, closed=False)
    assert windows.columns.tolist() == [list(range(8))]
    found = denoise_jointly(pipeline, start, [["a red room"]] * 2, windows, STEPS, GUIDANCE)
    embeds = pipeline.encode_prompt([["a red room"]] * 2, "")
    assert torch.equal(found, pipeline.denoise(start[:, None], embeds, None, STEPS, GUIDANCE)[:, 0])


def test_windows_overlap_and_close():
    windows = Windows.level(8, 24, 2)
    assert len(windows.columns) == 12
    assert torch.bincount(windows.columns.flatten()).tolist() == [4] * 24
    assert windows.columns[-1].tolist() == [22, 23, 0, 1, 2, 3, 4, 5]
    assert windows.yaw_deg[:2] == [4 / 24 * 360 - 180, 6 / 24 * 360 - 180]
    opened = Windows.level(8, 23, 2, closed=False)
    assert opened.columns[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 15]
    strip = noise(2, 1, 4, 3, 24)
    torch.testing.assert_close(windows.average(windows.cut(strip)), strip)
    with pytest.raises(InputError, match="no wider than the panorama's 6 columns of latents, got"):
        Windows.level(8, 6, 2)


@pytest.mark.parametrize(
    ("stride", "starts"),
    [(0.25, range(0, 26, 2)), (0.5, range(0, 24, 4)), (0.01, range(25))],
)
def test_the_stride_is_a_share_of_a_window(
    pipeline: MVDiffusionPanoramaPipeline,
    monkeypatch: pytest.MonkeyPatch,
    stride: float,
    starts: range,
):
    """The strip around views of 90 degrees has 8 π = 25.1 columns, a multiple of the stride."""
    seen = []

    def denoise(_: object, start: torch.Tensor, __: object, windows: Windows, *rest: object):
        seen.append(windows)
        return start

    monkeypatch.setattr(joint, "denoise_jointly", denoise)
    generate_jointly(pipeline, [PROMPTS * 2], noise(1, 8, 4, 8, 8), 90.0, stride, 2, 2.0)
    assert seen[0].columns[:, 0].tolist() == list(starts)
    assert seen[0].width == len(starts) * starts.step


def test_a_cell_is_the_mean_of_what_its_windows_say():
    windows = Windows.level(4, 6, 1)
    said = noise(1, len(windows.columns), 1, 2, 4)
    found = windows.average(said)
    for column in range(6):
        values = [said[0, n, 0, :, k] for n in range(6) for k in range(4) if (n + k) % 6 == column]
        torch.testing.assert_close(found[0, 0, 0, :, column], torch.stack(values).mean(0))


@pytest.mark.parametrize(
    "name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_it_is_the_average_of_windows_after_their_steps(name, make):
    """Equation 5 of MultiDiffusion, each window with a sampler of its own."""
    pipeline = make("panorama")
    # Clipping is not affine; models of latents do without it.
    scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.scheduler = copy.deepcopy(scheduler)
    start, windows = noise(1, 4, 8, 12), Windows.level(8, 12, 2)
    found = strip_of(pipeline, start, windows)

    samplers = [copy.deepcopy(scheduler) for _ in windows.columns]
    for sampler in samplers:
        sampler.set_timesteps(STEPS)
    strip = start * samplers[0].init_noise_sigma
    for t in samplers[0].timesteps:
        total, count = torch.zeros_like(strip), torch.zeros(12)
        for index, columns in enumerate(windows.columns):
            prompt = nearest_prompts(PROMPTS, windows.yaw_deg)[index]
            text = pipeline.encode_prompt([[prompt]], "").flatten(0, 1)
            window = strip[..., columns]
            seen = samplers[index].scale_model_input(window, t)
            empty, said = pipeline.unet.unet(torch.cat([seen] * 2), t, text).sample.chunk(2)
            guided = empty + GUIDANCE * (said - empty)
            total[..., columns] += samplers[index].step(guided, t, window).prev_sample
            count[columns] += 1
        strip = total / count
    torch.testing.assert_close(found, strip, atol=1e-4, rtol=1e-4)


def test_the_loop_closes(pipeline: MVDiffusionPanoramaPipeline):
    """No place of the circle is special: a turned panorama is the same panorama, turned."""
    start, stride = noise(1, 4, 8, 12), 2
    for closed, same in ((True, True), (False, False)):
        windows = Windows.level(8, 12, stride, closed)
        texts = [["a red room"] * len(windows.columns)]
        still, turned = (
            denoise_jointly(pipeline, each, texts, windows, STEPS, GUIDANCE)
            for each in (start, start.roll(stride, -1))
        )
        found = torch.allclose(turned, still.roll(stride, -1), atol=1e-5)
        assert found == same


def test_decoding_closes(make):
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4,
    )
    pipeline, latents = make("panorama", vae=vae.eval()), noise(1, 4, 8, 12)
    for closed in (True, False):
        decoded = decode_strip(pipeline, latents, closed)
        assert decoded.shape == (1, 3, 16, 24)
        turned = decode_strip(pipeline, latents.roll(3, -1), closed)
        assert torch.allclose(turned, decoded.roll(6, -1), atol=1e-5) == closed
    plain = pipeline.decode_latents(latents[:, None])[:, 0]
    assert torch.equal(decode_strip(pipeline, latents, closed=False), plain)


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler"])
def test_a_sample_does_not_depend_on_its_batch(name, make):
    pipeline = make("panorama")
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config)
    start, texts = noise(2, 8, 4, 8, 8), [["a red room"] * 8, ["a room"] * 8]

    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    both = generate_jointly(pipeline, texts, start, 90.0, 0.25, 2, 2.0, generator=generators(5, 6))
    alone = generate_jointly(
        pipeline, texts[1:], start[1:], 90.0, 0.25, 2, 2.0, generator=generators(6)
    )
    assert both.shape == (2, 8, 3, 16, 16)
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)


def test_neighboring_views_agree(pipeline: MVDiffusionPanoramaPipeline):
    """Views of one strip show the same at the longitude between them: x = ± tan 22.5°."""
    views = generate_jointly(pipeline, [PROMPTS * 2], noise(1, 8, 4, 8, 8), 90.0, 0.25, 2, 2.0)[0]
    place = math.tan(math.pi / 8) * 8 + 7.5
    near, share = int(place), place % 1
    rights = (1 - share) * views[..., near] + share * views[..., near + 1]
    lefts = (1 - share) * views[..., 15 - near] + share * views[..., 14 - near]
    assert (rights - lefts.roll(-1, 0)).abs().mean() < 0.2 * views.std()


def test_the_nearest_view_speaks():
    assert nearest_prompts("abcd", [-180, -46, -44, 0, 44, 46, 134, 136]) == [*"cdaaabbc"]


def test_views_must_cover_the_circle(pipeline: MVDiffusionPanoramaPipeline):
    with pytest.raises(InputError, match=r"views that cover the circle, got 2 of 90°"):
        generate_jointly(pipeline, [["a", "b"]], noise(1, 2, 4, 8, 8), 90.0, 0.25, 2, 2.0)
