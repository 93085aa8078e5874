"""Scenes in ScanNet's layout: what is read, which frames, key frames, and every message."""

import multiprocessing
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mvdiffusion.data.scannet import ScanNetScene, ScanNetScenes
from mvdiffusion.generation.export import export_split
from mvdiffusion.generation.sample_folder import SampleFolder, read_views, split_manifest
from mvdiffusion.images import save_depth
from mvdiffusion.preparation.key_frames import (
    key_frame_overlaps,
    write_key_frames,
)
from mvdiffusion.records import InputError, read_json
from mvdiffusion.settings import parse
from mvdiffusion.tasks import Task
from mvdiffusion.training.settings import FrameSettings

STEP, DISTANCE, FOCAL = 0.1, 2.0, 64.0  # a frame further, the plane moves by 3.2 of 64 pixels


def write_scene(folder: Path, num_frames: int = 24, keys: bool = True) -> Path:
    """A camera that slides along a wall; frame 5 has no pose, frame 7 no depth."""
    for part in ("color", "depth", "pose", "intrinsic", "prompt"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.savetxt(folder / "intrinsic/intrinsic_depth.txt", intrinsic(48, 64))
    for frame in range(num_frames):
        color = rng.integers(0, 256, (96, 128, 3), np.uint8)
        Image.fromarray(color).save(folder / f"color/{frame}.jpg", quality=95)
        depth = np.full((48, 64), 0.0 if frame == 7 else DISTANCE)
        save_depth(depth, folder / f"depth/{frame}.png")
        pose = np.eye(4)
        pose[0, 3] = STEP * frame
        np.savetxt(folder / f"pose/{frame}.txt", np.full((4, 4), -np.inf) if frame == 5 else pose)
        (folder / f"prompt/{frame}.txt").write_text(f"a wall {frame}\nmore\n")
    if keys:
        write_key_frames(folder)
    return folder


def intrinsic(height: int, width: int) -> np.ndarray:
    K = np.eye(4)
    K[0, 0] = K[1, 1] = FOCAL
    K[:2, 2] = (width - 1) / 2, (height - 1) / 2
    return K


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scannet")
    write_scene(root / "test" / "scene0001_00")
    shutil.copytree(root / "test" / "scene0001_00", root / "test" / "scene0000_00")
    write_scene(root / "test" / "scene0002_00", num_frames=9)
    return root


@pytest.fixture
def scene(prepared, tmp_path) -> Path:
    return Path(shutil.copytree(prepared / "test" / "scene0001_00", tmp_path / "scene"))


def test_key_frames_are_the_last_ones_that_overlap_enough(scene):
    """Frames k apart share 1 − 3.2 k / 64 less the border: 0.67 for k = 6, 0.62 for k = 7."""
    keys = [0, 6, 12, 18]
    assert write_key_frames(scene, 0.65) == keys
    assert (scene / "key_frame_0.6.txt").read_text().split() == [str(key) for key in keys]
    valid = np.load(scene / "valid_frames.npy", allow_pickle=False)
    assert valid.tolist() == [n for n in range(24) if n not in (5, 7)]
    assert write_key_frames(scene, 0.8) == [0, 3, 6, 9, 12, 15, 18, 21]
    everything = write_key_frames(scene, 0.99)  # nothing overlaps so much: one frame further
    assert everything == valid.tolist()


def test_key_frames_do_not_depend_on_the_size_of_the_depth(scene):
    for frame in range(24):
        depth = np.full((192, 256), 0.0 if frame == 7 else DISTANCE)
        save_depth(depth, scene / f"depth/{frame}.png")
    K = np.eye(4)
    K[0, 0] = K[1, 1] = 4 * FOCAL
    K[:2, 2] = 127.5, 95.5
    np.savetxt(scene / "intrinsic/intrinsic_depth.txt", K)
    assert write_key_frames(scene) == [0, 6, 12, 18]


def test_holes_of_the_sensor_are_not_lost_overlap(scene):
    """Half the rows have no depth: of the pixels that have one, as many are shared as before."""
    for frame in range(24):
        depth = np.full((48, 64), 0.0 if frame == 7 else DISTANCE)
        depth[::2] = 0
        save_depth(depth, scene / f"depth/{frame}.png")
    assert write_key_frames(scene, 0.65) == [0, 6, 12, 18]
    # Of all pixels, at most half are: that is less than 0.65 from the next frame on.
    assert write_key_frames(scene, 0.65, counted="all") == [n for n in range(24) if n not in (5, 7)]
    shares = key_frame_overlaps(scene, [0, 6, 12])
    np.testing.assert_allclose(shares, 1 - 3.2 * 6 / 64, atol=1.5 / 64)
    with pytest.raises(InputError, match="frame 5 has no rigid pose or no depth"):
        key_frame_overlaps(scene, [0, 5])


def test_frames_named_by_time_are_to_be_imported(scene):
    for part, suffix in (("color", "jpg"), ("depth", "png"), ("pose", "txt")):
        path = scene / part / f"0.{suffix}"
        path.rename(path.with_name(f"1305031453.359684.{suffix}"))
    with pytest.raises(
        InputError, match=r"not named by a whole number; .* `mvdiffusion data import`"
    ):
        write_key_frames(scene)


def test_frames_are_read_and_resized(scene):
    opened = ScanNetScene(scene, 24, 32)
    assert opened.key_frames == [0, 6, 12, 18]
    assert opened.frames_between(4, 9) == [6, 8]
    sample = opened.load([6, 8, 12])
    assert sample.views.shape == (3, 3, 24, 32)
    assert sample.frames == [6, 8, 12]
    assert sample.is_key.tolist() == [True, False, True]
    assert sample.prompts[1] == "a wall 8"
    assert sample.depth.shape == (3, 24, 32)
    assert (sample.depth == DISTANCE).all()
    torch.testing.assert_close(sample.pose[:, 0, 3], torch.tensor([6, 8, 12]) * STEP)
    expected = torch.tensor([[32.0, 0, 15.5], [0, 32, 11.5], [0, 0, 1]])
    torch.testing.assert_close(sample.K, expected.expand(3, 3, 3))
    for view, frame in zip(sample.views, sample.frames, strict=True):
        small = Image.open(scene / f"color/{frame}.jpg").resize((32, 24), Image.Resampling.BILINEAR)
        pixels = (view.permute(1, 2, 0).numpy() + 1) * 127.5
        np.testing.assert_allclose(pixels, np.asarray(small, float), atol=1.01)


def test_prompts_are_those_of_the_released_loader(prepared):
    """Its rule for ScanNet: `f.readlines()[0].strip()`, with nothing before it."""
    scenes = ScanNetScenes(prepared, "test", 24, 32, num_views=3, num_between=0)
    sample = scenes.load(0)
    expected = []
    for frame in sample.frames:
        with open(prepared / "test" / "scene0000_00" / f"prompt/{frame}.txt") as file:
            expected.append(file.readlines()[0].strip())
    assert sample.prompts == expected
    settings = parse(FrameSettings, {"height": 24, "width": 32, "num_views": 3})
    assert ScanNetScenes(prepared, "test", **asdict(settings)).load(0).prompts[0] == expected[0]


def test_a_byte_order_mark_is_no_part_of_a_caption(scene):
    (scene / "prompt/0.txt").write_bytes(b"\xef\xbb\xbfa lake\r\n")
    assert ScanNetScene(scene, 24, 32).load([0]).prompts == ["a lake"]


def test_own_prompts_replace_those_of_files(scene):
    shutil.rmtree(scene / "prompt")
    opened = ScanNetScene(scene, 24, 32)
    assert opened.load([0, 6], prompts=["a", "b"]).prompts == ["a", "b"]
    with pytest.raises(InputError, match=r"prompt/0\.txt: no such file; expected a caption"):
        opened.load([0])


@pytest.mark.parametrize("spelling", ["6", "6.jpg", "color/6.jpg"])
def test_spellings_of_key_frames(scene, spelling):
    (scene / "key_frame_0.6.txt").write_text(f"0\n\n{spelling}\n")
    assert ScanNetScene(scene, 24, 32).key_frames == [0, 6]


def test_holes_stay_holes(scene):
    depth = np.full((48, 64), 1.5)
    depth[10:20, 30:50] = 0
    save_depth(depth, scene / "depth/0.png")
    found = ScanNetScene(scene, 24, 32).load([0]).depth[0]
    assert set(found.unique().tolist()) == {0.0, 1.5}
    assert (found[5:10, 15:25] == 0).all()
    assert int((found == 0).sum()) == 5 * 10


def test_sequences_of_a_split(prepared):
    scenes = ScanNetScenes(prepared, "test", 24, 32, num_views=2, num_between=2)
    assert [scene.name for scene in scenes.scenes] == [f"scene000{i}_00" for i in range(3)]
    # Of the third scene's two key frames, 0 and 6, one sequence is made.
    assert len(scenes) == 2 + 2 + 1
    # The first of every scene come first.
    assert [scenes.sample_id(i) for i in (0, 1, 2, 3)] == [
        "scene0000_00-0000", "scene0001_00-0000", "scene0002_00-0000", "scene0000_00-0012",
    ]  # fmt: skip
    assert scenes.frames(3) == [12, 14, 16, 18]
    sample = scenes.load(3)
    assert sample.sample_id == "scene0000_00-0012"
    assert sample.is_key.tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("num_between", "expected"),
    [
        (0, [0, 6]),
        (1, [0, 3, 6]),
        (2, [0, 2, 3, 6]),
        (4, [0, 1, 2, 3, 4, 6]),
        (None, [0, 1, 2, 3, 4, 6]),
        (9, [0, 1, 2, 3, 4, 6]),
    ],
)
def test_frames_between_are_evenly_spaced(prepared, num_between, expected):
    scenes = ScanNetScenes(prepared, "test", 24, 32, num_views=2, num_between=num_between)
    assert scenes.frames(0) == expected  # of the frames 1, 2, 3, 4 (5 has no pose)


def write_lists(scene: Path, keys: list[int], valid: list[int]) -> None:
    (scene / "intrinsic").mkdir(parents=True, exist_ok=True)
    np.savetxt(scene / "intrinsic/intrinsic_depth.txt", intrinsic(48, 64))
    (scene / "key_frame_0.6.txt").write_text("".join(f"{key}\n" for key in keys))
    np.save(scene / "valid_frames.npy", np.array(valid))


def of_scene(scenes: ScanNetScenes, name: str) -> list[list[int]]:
    ids = range(len(scenes))
    return [scenes.frames(i) for i in ids if scenes.sample_id(i).startswith(name)]


SPLITS = st.lists(st.integers(1, 45), min_size=1, max_size=4)  # numbers of key frames of scenes


@settings(max_examples=60, deadline=None)
@given(SPLITS, st.integers(1, 12), st.none() | st.integers(0, 5), st.randoms(use_true_random=False))
def test_no_frame_is_in_two_sequences(counts, num_views, num_between, random):
    if max(counts) < num_views:
        counts = [*counts, num_views]
    with TemporaryDirectory() as root:
        all_keys = []
        for place, count in enumerate(counts):
            valid = sorted(random.sample(range(4 * count), 3 * count))
            all_keys.append(sorted(random.sample(valid, count)))
            write_lists(Path(root, "test", f"scene{place:04d}_00"), all_keys[-1], valid)
        scenes = ScanNetScenes(root, "test", 24, 32, num_views, num_between)
        assert len(scenes) == sum(count // num_views for count in counts)
        assert len({scenes.sample_id(i) for i in range(len(scenes))}) == len(scenes)
        for place, keys in enumerate(all_keys):
            sequences = of_scene(scenes, f"scene{place:04d}_00")
            frames = [frame for sequence in sequences for frame in sequence]
            assert frames == sorted(set(frames))  # once each, and sequence after sequence
            of_keys = [[frame for frame in sequence if frame in keys] for sequence in sequences]
            whole = len(keys) // num_views * num_views
            assert [key for found in of_keys for key in found] == keys[:whole]
            assert {len(found) for found in of_keys} <= {num_views}


@pytest.mark.parametrize("num_views", [1, 3, 10, 12])
def test_released_sequences(tmp_path, num_views):
    """Against the rule in other words: chunks, the last of which slides back to be whole."""
    for count in range(1, 40):
        keys = list(range(0, 6 * count, 6))
        write_lists(tmp_path / "test" / f"scene{count:04d}_00", keys, list(range(6 * count)))
    scenes = ScanNetScenes(tmp_path, "test", 24, 32, num_views, num_between=0, sequences="released")
    for count in range(1, 40):
        keys, found = list(range(0, 6 * count, 6)), of_scene(scenes, f"scene{count:04d}_00")
        if count < 10:
            assert found == []
        elif count >= num_views:
            assert len(found) == -(-count // num_views)
            assert (
                found[:-1] == [keys[: i + num_views][i:] for i in range(0, count, num_views)][:-1]
            )
            assert found[-1] == keys[-num_views:]
        else:
            assert len(found) == 1
            assert (len(found[0]), set(keys) <= set(found[0])) == (num_views, True)
            assert found[0] == sorted(set(found[0]))
            assert set(found[0]) <= set(range(6 * count))
    assert [scene.name for scene in scenes.scenes] == [
        f"scene{count:04d}_00" for count in range(num_views, 40)
    ]


def test_short_released_sequences_are_filled_up(tmp_path):
    """With the same frames every time, others in other scenes; the filling counts as key frames."""
    keys = list(range(0, 100, 10))
    for name in ("scene0000_00", "scene0000_01"):
        scene = write_scene(tmp_path / "test" / name, num_frames=101, keys=False)
        valid = [n for n in range(101) if n not in (5, 7)]
        write_lists(scene, keys, valid)
    write_lists(tmp_path / "test" / "scene0001_00", keys, [*keys, 101])  # not frames enough
    found = [
        ScanNetScenes(tmp_path, "test", 24, 32, 12, num_between=1, sequences="released")
        for _ in range(2)
    ]
    assert len(found[0]) == 2
    assert [found[0].frames(i) for i in (0, 1)] == [found[1].frames(i) for i in (0, 1)]
    assert found[0].frames(0) != found[0].frames(1)
    sample = found[0].load(0)
    assert int(sample.is_key.sum()) == 12
    assert sample.is_key[[0, -1]].all()
    assert not ScanNetScenes(tmp_path, "test", 24, 32, 9, sequences="released").load(0).is_key.all()
    with pytest.raises(InputError, match=r"none of 3 scenes has 12 key frames \(at most 10\)"):
        ScanNetScenes(tmp_path, "test", 24, 32, 12)


def test_released_sequences_need_ten_key_frames(prepared):
    with pytest.raises(InputError, match=r"none of 3 scenes has 10 key frames \(at most 4\)"):
        ScanNetScenes(prepared, "test", 24, 32, num_views=2, sequences="released")


def test_scenes_go_to_worker_processes(prepared):
    scenes = ScanNetScenes(prepared, "test", 24, 32, num_views=2, num_between=1)
    again = pickle.loads(pickle.dumps(scenes))
    torch.testing.assert_close(again.load(0).views, scenes.load(0).views)
    # A fork of a process that has threads, as pytest-xdist's workers have, may never return.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        torch.testing.assert_close(pool.apply(scenes.load, (0,)).views, scenes.load(0).views)


def replace(path: str, text: str):
    return lambda scene: (scene / path).write_text(text)


def save_color(size: tuple[int, int]):
    return lambda scene: Image.new("RGB", size).save(scene / "color/0.jpg")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: (s / "color/0.jpg").unlink(), r"color/0\.jpg: no such file"),
        (lambda s: (s / "depth/0.png").unlink(), r"depth/0\.png: no such file"),
        (lambda s: (s / "pose/0.txt").unlink(), r"pose/0\.txt: no such file; expected 4 x 4"),
        (lambda s: (s / "prompt/0.txt").unlink(), r"prompt/0\.txt: no such file"),
        (replace("prompt/0.txt", "\nlate"), r"prompt/0\.txt: the first line is empty"),
        (replace("color/0.jpg", "no"), r"color/0\.jpg: not a readable image"),
        (replace("pose/0.txt", "1 0 0"), r"pose/0\.txt: found \[1, 3\] numbers; expected 4 x 4"),
        (replace("pose/0.txt", "1 0\n0 x"), r"pose/0\.txt: could not convert.*expected 4 x 4"),
        (replace("pose/0.txt", "1 0\n0"), r"pose/0\.txt: .*expected 4 x 4"),
        (
            lambda s: np.savetxt(s / "pose/0.txt", np.diag([2.0, 1, 1, 1])),
            r"pose/0\.txt: is not a rigid motion",
        ),
        (
            lambda s: np.savetxt(s / "pose/0.txt", np.diag([-1.0, 1, 1, 1])),
            r"pose/0\.txt: is not a rigid motion",
        ),
        (
            lambda s: Image.new("L", (64, 48), 9).save(s / "depth/0.png"),
            r"depth/0\.png: an image of mode L; expected a 16-bit PNG",
        ),
        (
            lambda s: save_depth(np.zeros((48, 64)), s / "depth/0.png"),
            r"depth/0\.png: contains no depth",
        ),
        (save_color((96, 96)), r"depth/0\.png: 64 x 48 pixels, but the color image has 96 x 96"),
        (
            lambda s: save_depth(np.ones((96, 128)), s / "depth/0.png"),
            r"depth/0\.png: 128 pixels wide, but the intrinsics' center is at 32",
        ),
    ],
)
def test_bad_frames(scene, spoil, message):
    spoil(scene)
    with pytest.raises(InputError, match=message):
        ScanNetScene(scene, 24, 32).load([0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda s: (s / "intrinsic/intrinsic_depth.txt").unlink(),
            r"intrinsic_depth\.txt: no such",
        ),
        (replace("intrinsic/intrinsic_depth.txt", "1 0\n0 1"), r"expected 3 x 3 or 4 x 4"),
        (replace("intrinsic/intrinsic_depth.txt", "0 0 0\n" * 3), r"expected .*\[\[fx, 0, cx\]"),
        (lambda s: (s / "valid_frames.npy").unlink(), r"valid_frames\.npy: no such.*key-frames"),
        (replace("valid_frames.npy", "no"), r"valid_frames\.npy: not an array"),
        (
            lambda s: np.save(s / "valid_frames.npy", np.ones((2, 2))),
            r"found an array \(2, 2\) of float64",
        ),
        (lambda s: (s / "key_frame_0.6.txt").unlink(), r"key_frame_0\.6\.txt: no such.*key-frames"),
        (replace("key_frame_0.6.txt", "0\nsix\n"), r"line 2 is 'six'; expected 123 or"),
        (replace("key_frame_0.6.txt", "0\n5\n"), r"key frame 5 is not in valid_frames\.npy"),
    ],
)
def test_bad_scenes(scene, spoil, message):
    spoil(scene)
    with pytest.raises(InputError, match=message):
        ScanNetScene(scene, 24, 32)


def test_bad_splits(prepared):
    with pytest.raises(InputError, match="tset: no such split; splits present: test"):
        ScanNetScenes(prepared, "tset", 24, 32, num_views=2)
    with pytest.raises(InputError, match=r"none of 3 scenes has 5 key frames \(at most 4\)"):
        ScanNetScenes(prepared, "test", 24, 32, num_views=5)


def test_scene_without_usable_frames(tmp_path):
    write_scene(tmp_path / "scene", num_frames=1, keys=False)
    np.savetxt(tmp_path / "scene/pose/0.txt", np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="none of 1 frames has a rigid pose and depth"):
        write_key_frames(tmp_path / "scene")
    with pytest.raises(InputError, match="--overlap is 65"):
        write_key_frames(tmp_path / "scene", 65)


def test_exported_sequences_are_the_dataset(prepared, tmp_path):
    scenes = ScanNetScenes(prepared, "test", 24, 32, num_views=2, num_between=1)
    export_split(scenes, Task.DEPTH, tmp_path / "real", {"num_views": 2}, num_samples=2)
    manifest = read_json(tmp_path / "real/manifest.json")
    assert (manifest["task"], manifest["method"]) == ("depth", "real")
    assert (manifest["height"], manifest["width"]) == (24, 32)
    assert manifest["samples"] == ["scene0000_00-0000", "scene0001_00-0000"]
    assert not {"num_views", "fov_deg", "yaw_deg"} & set(manifest)
    sample, folder = scenes.load(1), tmp_path / "real" / "scene0001_00-0000"
    found = read_views(folder)
    torch.testing.assert_close(found, sample.views, rtol=0, atol=0.5 / 127.5 + 1e-6)
    assert (folder / "prompt.txt").read_text().splitlines() == sample.prompts
    cameras = read_json(folder / "cameras.json")
    assert (cameras["frames"], cameras["key_frames"]) == (sample.frames, [0, 2])
    torch.testing.assert_close(torch.tensor(cameras["K"]), sample.K)
    torch.testing.assert_close(torch.tensor(cameras["pose"]), sample.pose)
    assert sorted(path.name for path in (folder / "depth").iterdir()) == ["0.png", "1.png", "2.png"]
    assert (np.asarray(Image.open(folder / "depth/1.png")) == 2000).all()
    with pytest.raises(InputError, match="num_samples: 9 asked for, the split has 5"):
        export_split(scenes, Task.DEPTH, tmp_path / "more", {}, num_samples=9)


def test_tasks_are_not_mixed_up(prepared, tmp_path):
    scenes = ScanNetScenes(prepared, "test", 24, 32, num_views=2)
    folder = SampleFolder(tmp_path / "b", split_manifest(Task.DEPTH, "ours", scenes), {})
    with pytest.raises(ValueError, match="Expected geometry for the task depth alone"):
        folder.write_sample("s", torch.zeros(2, 3, 24, 32), None)
    sample = scenes.load(0)
    with pytest.raises(ValueError, match=r"Expected \d+ views of \(24, 32\), got \(1, 3, 24, 32\)"):
        folder.write_sample("s", sample.views[:1], None, geometry=sample.geometry)
