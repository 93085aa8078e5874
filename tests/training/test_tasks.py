"""Outpainting and depth, end to end on tiny models: what is drawn, what trains, what is written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from noise_data import HEIGHT, WIDTH, write_scene
from safetensors.torch import load_file
from tiny_training import VIEW, places, settings, start_afresh

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScenes
from mvdiffusion.geometry.depth import normalized_inverse_depth
from mvdiffusion.pipelines import MVDiffusionDepthPipeline, MVDiffusionOutpaintPipeline
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.diffusion import load_parts
from mvdiffusion.training.examples import Frames, MaskedViews, OutpaintedViews, Sequences
from mvdiffusion.training.settings import MultiFrameSettings, Outpainting
from mvdiffusion.training.stage1 import train_inpainting, train_stage1
from mvdiffusion.training.stage2 import multi_view_task, train_stage2

FRAMES = {"height": HEIGHT, "width": WIDTH, "num_views": 3, "num_between": 1}
KEYS = [0, 4, 6, 7]


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("walks")
    for split, count in (("train", 3), ("validation", 1)):
        for scene in range(count):
            write_scene(root / split / f"scene{scene}", KEYS, 8, scene)
    return root


@pytest.fixture(scope="module")
def scenes(walks) -> ScanNetScenes:
    return ScanNetScenes(walks, "train", HEIGHT, WIDTH, 3)


def unet_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def inpainting(rooms, base_folder, tmp_path_factory) -> Path:
    start_afresh()
    root = tmp_path_factory.mktemp("inpainting")
    train_inpainting(settings(), base_folder, places(root, rooms))
    return root / "output"


@pytest.fixture(scope="module")
def depth_base(walks, base_folder, tmp_path_factory) -> Path:
    start_afresh()
    root = tmp_path_factory.mktemp("depth")
    run = settings() | {"data": FRAMES}
    train_stage1("depth", run, base_folder, places(root, walks))
    return root / "output"


def test_new_channels_and_the_whole_unet_train(base_folder, inpainting, depth_base):
    before = unet_weights(base_folder)
    for folder, channels in ((inpainting, 9), (depth_base, 5)):
        after = unet_weights(folder)
        assert after["conv_in.weight"].shape[1] == channels
        assert after["conv_in.weight"][:, 4:].any()  # started at zero
        assert not torch.equal(after["conv_in.weight"][:, :4], before["conv_in.weight"])


@pytest.mark.parametrize("task", ["outpaint", "depth"])
def test_stage_two_trains_new_layers_only(task, rooms, walks, inpainting, depth_base, tmp_path):
    base, data = (inpainting, rooms) if task == "outpaint" else (depth_base, walks)
    run = settings(training__steps=4, training__mixed_precision="bf16")
    run |= {"data": FRAMES} if task == "depth" else {}
    train_stage2(task, run, base, places(tmp_path, data))
    before, after = unet_weights(base), unet_weights(tmp_path / "output")
    for name, value in before.items():
        assert torch.equal(after[f"unet.{name}"], value), name
    ends = [value for name, value in after.items() if name.endswith("to_out.weight")]
    assert all(value.any() for value in ends)  # they start at zero
    pipelines = {"outpaint": MVDiffusionOutpaintPipeline, "depth": MVDiffusionDepthPipeline}
    assert (tmp_path / "output" / "sha256.json").is_file(), "loading checks the files"
    pipelines[task].from_pretrained(tmp_path / "output")
    if task == "depth":
        conditions = [value for name, value in after.items() if "conditioning.up.0.conv2" in name]
        assert all(value.any() for value in conditions)


def test_a_base_of_another_task_is_refused(rooms, base_folder, tmp_path):
    with pytest.raises(InputError, match="takes 4 channels; expected 9 for the task 'outpaint'"):
        train_stage2("outpaint", settings(), base_folder, places(tmp_path, rooms))


def test_masks_of_inpainting(rooms):
    source = MaskedViews(Matterport3DPanoramas(rooms, "train", **VIEW), 0, 4)
    masks = torch.cat([source.draw(position).given["mask"] for position in range(100)])
    assert masks.shape == (400, 1, 16, 16)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    share = masks.mean(dim=(1, 2, 3))
    assert 0.3 < (share == 1).float().mean() < 0.5  # nothing given
    assert 0.15 < (share == 0).float().mean() < 0.35  # everything given, or an empty rectangle


def test_given_views_of_outpainting(rooms):
    panoramas = Matterport3DPanoramas(rooms, "train", **VIEW)

    def given(shares):
        source = OutpaintedViews(panoramas, 0, 4, shares)
        return torch.stack([1 - source.draw(p).given["mask"].amax((1, 2, 3)) for p in range(200)])

    found = given([0.7, 0.2, 0.1])
    counts = found.sum(1)
    assert set(counts.tolist()) == {1.0, 2.0, 3.0}
    assert 0.6 < (counts == 1).float().mean() < 0.8
    assert (found.mean(0) > 0.2).all()  # at any place
    for position in range(20):  # the draws with which the reference results were trained
        random = np.random.default_rng([0, 1, position])
        random.integers(360)
        count = random.choice([1, 2, 3], p=[0.7, 0.2, 0.1])
        expected = random.permutation(4)[:count].tolist()
        assert found[position].nonzero().flatten().tolist() == sorted(expected)
    assert given([0, 0, 0, 0, 1]).sum(1).unique().tolist() == [3]  # never all of them
    assert given(None)[:, 0].all()  # the released training step: mask[:, 0] = 0
    assert not given(None)[:, 1:].any()


def test_shares_of_given_views_are_of_a_whole():
    training = settings()["training"]
    with pytest.raises(InputError, match=r"expected numbers whose sum is 1, not 0\.9"):
        parse(Outpainting, {"training": training, "given_view_shares": [0.7, 0.2]})


def test_frames_are_those_of_a_scene(scenes):
    source = Frames(scenes.scenes, 0, 5)
    drawn = source.draw(3)
    assert drawn.views.shape == (5, 3, HEIGHT, WIDTH)
    assert drawn.given["depth"].shape == (5, HEIGHT, WIDTH)
    numbers = [int(prompt.split("no. ")[-1]) for prompt in drawn.prompts]
    assert numbers == sorted(set(numbers))
    again = source.draw(3)
    assert torch.equal(drawn.views, again.views)


def test_sequences_are_key_frames_or_a_pair_with_what_lies_between(scenes):
    source = Sequences(scenes.scenes, 0, 3, 0.5)
    kinds = []
    for position in range(60):
        drawn = source.draw(position)
        numbers = [int(prompt.split("no. ")[-1]) for prompt in drawn.prompts]
        known = drawn.given["known"].tolist()
        kinds.append(known[0])
        if known == [1, 0, 1]:
            first, middle, last = numbers
            assert (first, last) in {(0, 4), (4, 6)}  # nothing lies between 6 and 7
            assert first < middle < last
        else:
            assert known == [0, 0, 0]
            assert numbers in (KEYS[:3], KEYS[1:])
        assert drawn.given["pose"].shape == (3, 4, 4)
    assert 0.15 < sum(kinds) / 60 < 0.6


@pytest.mark.parametrize(("share", "expected"), [(0.0, {0.0}), (1.0, {0.0, 1.0})])
def test_share_of_interpolation(scenes, share, expected):
    source = Sequences(scenes.scenes, 0, 3, share)
    known = [source.draw(position).given["known"][0].item() for position in range(20)]
    assert set(known) == expected  # a pair without frames between becomes key frames


def test_share_must_be_one(walks):
    wrong = r"'interpolation_share' is 1\.5; expected a number, at least 0"
    with pytest.raises(InputError, match=wrong):
        parse(MultiFrameSettings, settings(interpolation_share=1.5) | {"data": FRAMES})


def test_unet_sees_depth_and_known_latents(walks, depth_base):
    parts = load_parts(depth_base)
    run = parse(MultiFrameSettings, settings(interpolation_share=1.0) | {"data": FRAMES})
    from mvdiffusion.training.stage2 import _with_attention

    task = multi_view_task(run, places(walks, walks), _with_attention(parts, "depth", run), "depth")
    seen = {}

    def unet(latents, timesteps, embeds, geometry, condition, added_cond_kwargs):
        seen.update(latents=latents, geometry=geometry, condition=condition)
        return type("Output", (), {"sample": torch.zeros_like(latents[:, :, :4])})

    task.unet.forward = unet
    batch = next(b for p in range(9) if (b := task.examples[p])["known"].any())
    task(batch)
    expected = normalized_inverse_depth(batch["depth"][None], 6, 8)
    assert torch.equal(seen["latents"][:, :, 4:], expected)
    assert torch.equal(seen["geometry"].pose[0], batch["pose"])
    clean = task.encode(batch["pixels"])
    for view, known in enumerate(batch["known"].tolist()):
        torch.testing.assert_close(seen["condition"][0, view, :4], clean[view] * known)
        assert (seen["condition"][0, view, 4] == known).all()
