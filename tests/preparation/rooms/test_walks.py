"""Walks through procedural rooms: depth, poses and colors agree; bytes; restarts; settings."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvdiffusion.data.scannet import DepthSample, ScanNetScene, ScanNetScenes
from mvdiffusion.preparation.key_frames import write_key_frames
from mvdiffusion.preparation.rooms import WALKS, WalkSettings, walks
from mvdiffusion.preparation.rooms.design import FIRST_OBJECT, Room, design_room
from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.paths import FURNITURE_GAP, WALL_GAP, walk_poses
from mvdiffusion.preparation.rooms.render import render_depth, render_frame
from mvdiffusion.preparation.rooms.walks import drop_depth
from mvdiffusion.records import InputError, read_json
from mvdiffusion.settings import parse

# Of what `frames_sha256` renders; recorded results depend on it: a change must be on purpose.
FRAMES_SHA256 = "079c61b2672185a0c24149abeb325347e007d7d894e7b3e6375ba02902336b9e"
K = np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])


def settings(**changes) -> WalkSettings:
    values = {"seed": 3, "num_scenes": {"test": 2, "train": 1}, "num_frames": 12}
    return parse(WalkSettings, {**values, **changes})


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [design_room(Dice(5, 7, scene)) for scene in range(16)]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> tuple[Path, str]:
    output = tmp_path_factory.mktemp("walks") / "data"
    return output, WALKS.render(output, settings(), workers=1)


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> DepthSample:
    """Key frames of one whole walk."""
    output = tmp_path_factory.mktemp("walk") / "data"
    WALKS.render(output, settings(num_scenes={"test": 1}, num_frames=72), workers=1)
    return ScanNetScenes(output, "test", 96, 128, num_views=8, num_between=0).load(0)


def frames_sha256() -> str:
    digest = hashlib.sha256()
    for scene in range(2):
        dice = Dice(0, 101, scene)
        room = design_room(dice)
        for frame, pose in enumerate(walk_poses(room, 4, 0.1, dice)):
            image, depth, shown = render_frame(room, K, pose, 48, 64)
            for part in (pose, image, drop_depth(depth, 4.5, Dice(frame)), shown):
                digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def test_depth_alone_is_that_of_the_frame():
    for scene in range(3):
        room = design_room(Dice(0, 101, scene))
        depth = render_depth(room, K, level(room), 48, 64)
        assert np.array_equal(depth, render_frame(room, K, level(room), 48, 64)[1])


def test_frames_are_those_that_recorded_results_used():
    assert frames_sha256() == FRAMES_SHA256


@pytest.mark.long
def test_frames_do_not_depend_on_vector_instructions():
    environment = {
        **os.environ,
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512_SKX",
        "ATEN_CPU_CAPABILITY": "default",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-W", "ignore", __file__]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == FRAMES_SHA256


def camera_points(depth: np.ndarray, pose: np.ndarray, K: np.ndarray) -> np.ndarray:
    """World points [H, W, 3] of a depth image."""
    y, x = np.indices(depth.shape)
    local = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1)
    return (local * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]


def level(room: Room) -> np.ndarray:
    """A pose at the room's eye, looking along +z and 45° to the left of it."""
    pose = np.eye(4)
    pose[:3, :3] = [[0.5**0.5, 0, -(0.5**0.5)], [0, 1, 0], [0.5**0.5, 0, 0.5**0.5]]
    pose[:3, 3] = room.eye[0], -room.eye[1], room.eye[2]
    return pose


def test_depth_of_an_empty_room_is_that_of_its_planes(rooms):
    room = Room(**{**vars(rooms[0]), "solids": []})
    _, depth, _ = render_frame(room, K, level(room), 48, 64)
    width, height, length = room.size
    rays = camera_points(np.ones((48, 64)), level(room), K) - level(room)[:3, 3]
    planes = [((1, 0, 0), 0), ((1, 0, 0), width), ((0, 1, 0), 0), ((0, 1, 0), -height),
              ((0, 0, 1), 0), ((0, 0, 1), length)]  # fmt: skip
    ahead = []
    for normal, offset in planes:
        with np.errstate(divide="ignore"):
            along = (offset - level(room)[:3, 3] @ normal) / (rays @ normal)
        ahead.append(np.where(along > 0, along, np.inf))
    np.testing.assert_allclose(depth, np.min(ahead, 0), rtol=1e-5)


def test_depth_ends_on_what_it_shows(rooms):
    """Points at the depth lie on the surface of the solid or room; nothing is in front of them."""
    for room in rooms[:4]:
        _, depth, shown = render_frame(room, K, level(room), 48, 64)
        points = camera_points(depth, level(room), K) * [1, -1, 1]  # to the room's frame
        on = np.minimum(points, np.asarray(room.size) - points).min(-1)
        assert (np.abs(on[shown < FIRST_OBJECT]) < 1e-3).all()
        owners = {solid.owner for solid in room.solids}
        for owner in owners:
            solids = [solid for solid in room.solids if solid.owner == owner]
            surface = np.min([abs(_relative(solid, points) - 1) for solid in solids], 0)
            assert (surface[shown == FIRST_OBJECT + owner] < 5e-3).all()
        eye = np.asarray(room.eye)
        for share in np.linspace(0.05, 0.99, 24):
            before = eye + (points - eye) * share
            inside = [_relative(solid, before) < 0.999 for solid in room.solids]
            assert not np.any(inside)


def _relative(solid, points):
    """1 on the surface of a solid, less inside."""
    low, high = np.asarray(solid.part.low), np.asarray(solid.part.high)
    r = np.abs(points - (low + high) / 2) / ((high - low) / 2)
    if solid.part.shape == "ball":
        return np.sqrt((r**2).sum(-1))
    if solid.part.shape == "post":
        return np.maximum(np.sqrt(r[..., 0] ** 2 + r[..., 2] ** 2), r[..., 1])
    return r.max(-1)


def agreement(sample: DepthSample, i: int, j: int, pose_j: int) -> tuple[float, float]:
    """PSNR of the colors of frame i against those of frame j where its pixels land in j by depth
    and poses (of j the pose of `pose_j`), and the share of the pixels compared."""
    points = camera_points(sample.depth[i].numpy(), sample.pose[i].double().numpy(),
                           sample.K[i].double().numpy())  # fmt: skip
    local = (
        np.linalg.inv(sample.pose[pose_j].double().numpy())
        @ np.concatenate([points.reshape(-1, 3), np.ones((points[..., 0].size, 1))], 1).T
    )
    x, y, z = sample.K[j].double().numpy() @ local[:3]
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = np.round(x / z), np.round(y / z)
    height, width = sample.depth.shape[1:]
    lands = (sample.depth[i].numpy().ravel() > 0) & (z > 0)
    lands &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x[lands].astype(int), y[lands].astype(int)
    seen = np.abs(sample.depth[j].numpy()[y, x] - z[lands]) < 0.05  # not behind something in j
    colors = ((sample.views.numpy() + 1) / 2).transpose(0, 2, 3, 1)
    error = colors[i].reshape(-1, 3)[lands][seen] - colors[j][y, x][seen]
    return -10 * np.log10((error**2).mean()), seen.mean() * lands.mean()


def test_colors_agree_where_depth_and_poses_say_so(walk):
    right, wrong, shares = [], [], []
    for i in range(7):
        psnr, share = agreement(walk, i, i + 1, i + 1)
        right.append(psnr)
        shares.append(share)
        wrong.append(agreement(walk, i, i + 1, i)[0])  # the camera did not move
    assert np.mean(right) > 27
    assert np.mean(right) > np.mean(wrong) + 8
    assert min(np.subtract(right, wrong)) > 0.5  # a plain wall looks alike everywhere
    assert min(shares) > 0.5


def test_camera_walks_and_keeps_clear(rooms):
    for scene, room in enumerate(rooms):
        poses = walk_poses(room, 40, 0.05, Dice(1, scene))
        R, places = poses[:, :3, :3], poses[:, :3, 3]
        np.testing.assert_allclose(R @ R.swapaxes(1, 2), [np.eye(3)] * len(R), atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(R), 1)
        assert (R[:, 1, 0] == 0).all()  # no roll
        pitch = np.degrees(np.arcsin(R[:, 1, 2]))  # positive is down
        assert (pitch >= 0).all()
        assert (pitch <= 12.1).all()
        x, height, z = places[:, 0], -places[:, 1], places[:, 2]
        assert (height > 1.3).all()
        assert (height < 1.65).all()
        assert min(x.min(), z.min()) >= WALL_GAP * 0.95
        assert max((x - room.size[0]).max(), (z - room.size[2]).max()) <= -WALL_GAP * 0.95
        for x0, x1, z0, z1 in room.standing:
            gap = np.max([x0 - x, x - x1, z0 - z, z - z1], 0)
            assert (gap >= FURNITURE_GAP * 0.9).all()
        steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
        assert steps.max() < 0.15
        assert steps.sum() > 0.5
        ahead = R[:, :, 2]
        turns = np.cross(ahead[:-1], ahead[1:])[:, 1]
        assert (turns > 0).all() or (turns < 0).all()


@pytest.mark.slow
def test_whole_walks_have_enough_key_frames(tmp_path):
    WALKS.render(tmp_path / "data", settings(num_scenes={"test": 4}, num_frames=72), workers=1)
    for folder in sorted((tmp_path / "data/test").iterdir()):
        scene = ScanNetScene(folder, 48, 64)
        assert 8 <= len(scene.key_frames) <= 16
        assert scene.key_frames == write_key_frames(folder, 0.65, counted="all")
        between = len(scene.valid_frames) / (len(scene.key_frames) - 1) - 1
        assert between > 4


def test_layout_is_scannets(rendered):
    listed = read_json(rendered[0] / "test.json")
    assert listed["scenes"] == ["test-walk-00000", "test-walk-00001"]
    assert listed["settings"]["num_frames"] == 12
    assert [path.name for path in sorted((rendered[0] / "test").iterdir())] == listed["scenes"]
    scene = ScanNetScene(rendered[0] / "test" / "test-walk-00001", 96, 128)
    assert scene.valid_frames == list(range(12))
    sample = scene.load(scene.valid_frames)
    assert sample.views.shape == (12, 3, 96, 128)
    focal = 64 / np.tan(np.radians(37.5))
    np.testing.assert_allclose(sample.K[0, 0, 0], focal, rtol=1e-6)
    depth = np.asarray(Image.open(scene.folder / "depth/3.png"))
    assert depth.dtype == np.uint16
    assert depth.max() <= 4500
    assert all(" with " in prompt for prompt in sample.prompts)


def test_a_damaged_pose_is_refused(rendered, tmp_path):
    root = shutil.copytree(rendered[0], tmp_path / "walks")
    pose = next(root.glob("test/*/pose/3.txt"))
    pose.write_text(pose.read_text().replace("0", "1", 1))
    with pytest.raises(InputError, match=r"pose/3\.txt: has changed since .*render it again"):
        ScanNetScenes(root, "test", 48, 64, num_views=1, num_between=0)


@pytest.mark.long
def test_worker_count_does_not_change_the_bytes(rendered, tmp_path):
    assert WALKS.render(tmp_path / "again", settings(), workers=2) == rendered[1]


def test_seed_changes_the_bytes_and_each_scene_has_its_room(rendered, tmp_path):
    assert WALKS.render(tmp_path / "seed", settings(seed=4), workers=1) != rendered[1]
    first = {
        (path / "color/0.jpg").read_bytes()
        for split in ("train", "test")
        for path in (rendered[0] / split).iterdir()
    }
    assert len(first) == 3


def test_rooms_differ_from_those_of_panoramas():
    walked = {design_room(Dice(0, 100 + split, i)).size for split in range(3) for i in range(40)}
    photographed = {design_room(Dice(0, split, i)).size for split in range(4) for i in range(40)}
    assert not walked & photographed


def test_finished_walks_are_not_rendered_again(rendered, tmp_path, monkeypatch):
    calls, whole = [], walks.walk_poses

    def count(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(walks, "walk_poses", count)
    with pytest.raises(KeyboardInterrupt):
        WALKS.render(tmp_path / "data", settings(), workers=1)
    assert not (tmp_path / "data").exists()
    assert WALKS.render(tmp_path / "data", settings(), workers=1) == rendered[1]
    assert len(calls) == 2 + 2


def test_expected_hash_is_enforced(rendered, tmp_path):
    with pytest.raises(InputError, match=r"rendered walks have the hash .*expected 00"):
        WALKS.render(tmp_path / "data", settings(num_scenes={"test": 1}), workers=1,
                     expect_sha256="00")  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [".data.partial"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sede": 1}, "unknown setting 'sede'"),
        ({"num_scenes": {"extractor": 1}}, r"unknown setting 'num_scenes\.extractor'"),
        ({"num_scenes": 4}, "setting 'num_scenes' is 4; expected a mapping"),
        ({"num_frames": 1}, "setting 'num_frames' is 1; "),
        ({"height": 90}, "setting 'height' is 90; .*a multiple of 16"),
        ({"width": 128.0}, r"setting 'width' is 128\.0; expected a whole number"),
        ({"fov_deg": "wide"}, "setting 'fov_deg' is 'wide'; expected a number"),
        ({"fov_deg": 170}, "setting 'fov_deg' is 170; expected a number, above 10 and below 150"),
        ({"overlap": 1.0}, r"setting 'overlap' is 1\.0; expected a number, above 0 and below 1"),
        ({"max_depth": 0}, "setting 'max_depth' is 0; "),
        ({"jpeg_quality": 99}, "setting 'jpeg_quality' is 99; "),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(InputError, match=message):
        settings(**changes)


def test_sensor_leaves_holes_where_sensors_do():
    wall = np.full((96, 128), 2.0, np.float32)
    wall[:, 64:] = 3.0
    wall[:, 120:] = 5.0
    holes = np.mean([drop_depth(wall, 4.5, Dice(seed)) == 0 for seed in range(40)], 0)
    assert holes[:, 120:].min() == 1.0  # too far
    assert 0.6 < holes[:, 63:65].mean() < 0.95  # along the edge
    assert holes[:, 5:60].mean() < 0.1  # patches
    assert holes[:, 5:60].mean() > 0.005
    found = drop_depth(wall, 4.5, Dice(0))
    np.testing.assert_array_equal(found[found > 0], wall[found > 0])


def test_holes_of_walks_are_like_a_sensors(rendered):
    shares = [
        (np.asarray(Image.open(path)) == 0).mean() for path in rendered[0].glob("*/*/depth/*.png")
    ]
    assert 0.01 < np.mean(shares) < 0.15


def test_captions_change_along_the_walk(walk):
    assert len(set(walk.prompts)) > 2
    kinds = {prompt.split(" with ")[0] for prompt in walk.prompts}
    assert len(kinds) == 1
    assert torch.isfinite(walk.pose).all()


if __name__ == "__main__":  # for the test above that runs it on fewer instructions
    print(frames_sha256())
