"""Recordings as other tools write them: the right frames, order, poses, depth in meters and K."""

import shutil

import foreign_recordings
import numpy as np
import pytest
from foreign_recordings import COUNT, HEIGHT, WIDTH, WRITERS, color, intrinsics, pose
from foreign_recordings import depth as depth_of
from PIL import Image
from typer.testing import CliRunner

from mvdiffusion.cli import app
from mvdiffusion.data.scannet import INTRINSICS
from mvdiffusion.geometry.matrix_files import read_intrinsics, read_pose
from mvdiffusion.images import read_depth
from mvdiffusion.preparation.custom.check import CheckSettings, recognize, survey
from mvdiffusion.preparation.custom.depth_files import in_meters, read_counts
from mvdiffusion.preparation.custom.importing import import_folder
from mvdiffusion.preparation.custom.layouts.registry import LAYOUTS
from mvdiffusion.preparation.custom.settings import Kind
from mvdiffusion.records import InputError

NUMBERS = {"frames_25k": range(0, 100 * COUNT, 100), "nerfstudio_windows": range(1, COUNT + 1)}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    folder = tmp_path / "room"
    write, kind = WRITERS[request.param]
    write(folder)
    return request.param, folder, kind


def test_frames_poses_depth_and_cameras(written):
    name, folder, kind = written
    assert recognize(folder) == [kind]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = survey(folder, CheckSettings(caption="x"))
    assert found.stopping == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    recording, looks, _ = found.recordings[0]
    numbers = [frame.number for frame in recording.frames]
    assert numbers == list(NUMBERS.get(name, range(COUNT)))
    first = np.linalg.inv(recording.frames[0].pose)
    for place, look in enumerate(looks):
        seen = np.asarray(Image.open(look.frame.color).convert("RGB"), float)
        assert np.abs(seen - color(place)).mean() < 4
        assert np.abs(seen - color(place ^ 1)).mean() > 5  # of no other frame
        expected = np.linalg.inv(pose(0)) @ pose(place)
        assert np.allclose(first @ look.frame.pose, expected, atol=1e-6)
        assert np.allclose(look.K, intrinsics(), atol=1e-6)
        depth = in_meters(read_counts(look.frame.depth), look.unit)
        assert np.abs(depth - depth_of(place)).max() < 0.00051


def share(one: int, other: int) -> float:
    """The share of the points of a frame that another sees, by its own closed form."""
    found = foreign_recordings.points(one)[0].reshape(-1, 3)
    seen = (found - pose(other)[:3, 3]) @ pose(other)[:3, :3] @ intrinsics().T
    x, y = (seen[:, :2] / seen[:, 2:]).T
    inside = (x > -0.5) & (x < WIDTH - 0.5) & (y > -0.5) & (y < HEIGHT - 0.5) & (seen[:, 2] > 0)
    return float(inside.mean())


def key_places(overlap: float) -> list[int]:
    """Each key frame is the last one that shares enough with the one before it."""
    keys = [0]
    for place in range(1, COUNT):
        if min(share(keys[-1], place), share(place, keys[-1])) < overlap:
            keys.append(max(place - 1, keys[-1] + 1))
    return keys


def test_what_is_imported(written, tmp_path):
    """In millimeters, by number, with the same key frames whoever wrote the recording."""
    _, folder, _ = written
    found = survey(folder, CheckSettings(caption="x", overlap=0.69))
    assert list(import_folder(found, tmp_path / "out", "test")) == ["room"]
    scene = tmp_path / "out/test/room"
    numbers = sorted(int(path.stem) for path in (scene / "color").iterdir())
    keys = [int(line) for line in (scene / "key_frame_0.6.txt").read_text().split()]
    assert [numbers.index(key) for key in keys] == key_places(0.69)
    assert np.allclose(read_intrinsics(scene / INTRINSICS), intrinsics(), atol=1e-6)
    first, last = (read_pose(scene / f"pose/{numbers[place]}.txt").numpy() for place in (0, -1))
    expected = np.linalg.inv(pose(0)) @ pose(COUNT - 1)
    assert np.allclose(np.linalg.inv(first) @ last, expected, atol=1e-5)
    depth = read_depth(scene / f"depth/{numbers[-1]}.png")
    assert np.abs(depth - depth_of(COUNT - 1)).max() < 0.00061


def test_several_scenes_of_one_layout(tmp_path):
    for name in ("office0", "room1"):
        foreign_recordings.replica(tmp_path / name)
    assert recognize(tmp_path) == ["replica"]
    found = survey(tmp_path, CheckSettings(caption="x"))
    assert [recording.name for recording, *_ in found.recordings] == ["office0", "room1"]
    assert found.stopping == []


def test_poses_of_removed_frames_are_skipped(tmp_path):
    foreign_recordings.replica(tmp_path / "room")
    for name in ("frame000003.jpg", "depth000003.png"):
        (tmp_path / "room/results" / name).unlink()
    frames = survey(tmp_path / "room").recordings[0][0].frames
    assert [frame.number for frame in frames] == [0, 1, 2, *range(4, COUNT)]
    assert all(np.allclose(frame.pose, pose(frame.number)) for frame in frames)


def test_poses_that_are_not_one_for_each_frame(tmp_path):
    foreign_recordings.deep_video_mvs(tmp_path)
    lines = (tmp_path / "poses.txt").read_text().splitlines()
    (tmp_path / "poses.txt").write_text("\n".join(lines[:-2]))
    problem = survey(tmp_path).stopping[0]
    assert (problem.file, problem.problem) == ("poses.txt", "10 poses for 12 frames")
    (tmp_path / "poses.txt").write_text("1 2 3\n")
    assert "found lines of 3 numbers" in survey(tmp_path).stopping[0].problem


def test_moments_without_depth_or_pose_are_left_out(tmp_path):
    foreign_recordings.tum(tmp_path)
    depths = sorted((tmp_path / "depth").iterdir())
    depths[4].unlink()
    lines = (tmp_path / "groundtruth.txt").read_text().splitlines()
    gone = [line for line in lines[2:] if 1305031453.08 < float(line.split()[0]) < 1305031453.13]
    kept = "\n".join(line for line in lines if line not in gone)
    (tmp_path / "groundtruth.txt").write_text(kept)
    found = survey(tmp_path, CheckSettings(caption="x"))
    words = {problem.problem for problem in found.problems if not problem.stops}
    assert {"no depth within 0.02 s", "no pose within 0.02 s"} <= words
    recording = found.recordings[0][0]
    places = [0, 1, 2, 3, 5, *range(7, COUNT)]
    for frame, place in zip(recording.frames, places, strict=True):
        assert np.allclose(frame.pose, pose(place), atol=1e-6)


def test_intrinsics_that_no_file_gives(tmp_path):
    foreign_recordings.tum(tmp_path)
    (tmp_path / "calibration.txt").unlink()
    problem = survey(tmp_path).stopping[0]
    assert (problem.file, problem.problem) == ("intrinsic/intrinsic_depth.txt", "no such file")
    assert "fx fy cx cy into calibration.txt" in problem.fix


def test_no_depth_is_65535_in_every_unit(tmp_path):
    foreign_recordings.tum(tmp_path)
    path = sorted((tmp_path / "depth").iterdir())[0]
    counts = np.array(Image.open(path))
    counts[5, 5] = 65535
    Image.fromarray(counts).save(path)
    found = survey(tmp_path, CheckSettings(caption="x"))
    assert "pixels of 65535, which is no depth" in {each.problem for each in found.problems}
    import_folder(found, tmp_path.parent / "out", "test")
    scene = next((tmp_path.parent / "out/test").iterdir())
    assert np.array(Image.open(scene / "depth/0.png"))[5, 5] == 0


def test_a_pgm_of_few_bits_is_not_stretched(tmp_path):
    path = tmp_path / "0.pgm"
    path.write_bytes(b"P5\n# by a tool\n2 1\n8191\n" + np.array([1500, 0], ">u2").tobytes())
    assert read_counts(path).tolist() == [[1500, 0]]


@pytest.mark.parametrize(
    ("files", "content", "fix"),
    [
        (["a.sens"], "a recording of ScanNet", "mvdiffusion data prepare scannet"),
        (
            ["keyframes/cameras/1.json", "keyframes/depth/1.png"],
            "Polycam",
            "ns-process-data polycam",
        ),
        (["EXR_RGBD/rgb/0.jpg"], "Record3D", "ns-process-data record3d"),
        (["walk.bag"], "ROS", "timestamps in their names"),
        (["transforms_train.json", "train/r_0.png"], "NeRF's synthetic data", "transforms.json"),
        (["iphone/pose_intrinsic_imu.json", "iphone/rgb/0.jpg"], "ScanNet++", "prepare_iphone"),
    ],
)
def test_layouts_that_are_named(tmp_path, files, content, fix):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(("png", "jpg")):
            Image.new("RGB", (64, 48)).save(tmp_path / name)
        else:
            (tmp_path / name).touch()
    assert recognize(tmp_path) == []
    (problem,) = survey(tmp_path).problems
    assert content in problem.problem
    assert fix in problem.fix
    assert problem.stops


def test_frames_in_no_known_layout_get_no_advice_about_panoramas(tmp_path):
    foreign_recordings.deep_video_mvs(tmp_path)
    (tmp_path / "poses.txt").unlink()
    found = survey(tmp_path)
    assert [each.problem for each in found.stopping] == ["an RGB-D recording in no known layout"]
    assert all(layout.content in found.stopping[0].fix for layout in LAYOUTS.values())
    words = str(
        [(each.problem, each.fix) for each in survey(tmp_path, CheckSettings("panoramas")).problems]
    )
    assert "8-bit" not in words


def test_every_kind_of_recording_can_be_asked_for():
    from mvdiffusion.cli.custom import Kind as Option

    assert set(LAYOUTS) | {"panoramas", "faces", "matterport3d"} == set(Kind.__args__)
    assert {"auto", *Kind.__args__} == set(Option.__args__)


def test_depth_images_of_an_unknown_unit(tmp_path):
    """The advice of the check, followed, brings the right depth."""
    folder = tmp_path / "room"
    foreign_recordings.frames_25k(folder)
    for number in range(0, 100 * COUNT, 100):
        (folder / f"depth/{number:06d}.png").unlink()
        foreign_recordings.png(folder / f"depth/{number:06d}", number // 100, 5000)
    problem = survey(folder, CheckSettings(caption="x")).stopping[0]
    assert "the poses look like 0.2 of the depth's unit" in problem.problem
    assert "--depth-unit 1/5000" in problem.fix
    found = survey(folder, CheckSettings(caption="x", depth_unit=1 / 5000))
    assert found.stopping == []
    import_folder(found, tmp_path / "out", "test")
    depth = read_depth(tmp_path / "out/test/room/depth/300.png")
    assert np.abs(depth - depth_of(3)).max() < 0.0007
    shutil.rmtree(tmp_path / "out")


def test_images_of_several_sizes_are_resampled_to_the_commonest(tmp_path):
    """COLMAP's undistorter writes one camera and one size per image, a few pixels apart."""
    folder = tmp_path / "room"
    (folder / "sparse").mkdir(parents=True)
    (folder / "depth").mkdir()
    (folder / "images").mkdir()
    cameras, images = [], []
    for frame in range(COUNT):
        width, height = (62, 46) if frame in (0, 5) else (WIDTH, HEIGHT)
        K = intrinsics(width, height)
        numbers = f"{K[0, 0]} {K[1, 1]} {K[0, 2] + 0.5} {K[1, 2] + 0.5}"
        cameras.append(f"{frame + 1} PINHOLE {width} {height} {numbers}\n")
        inverse = np.linalg.inv(pose(frame))
        half = np.deg2rad(2.0 * frame) / 2
        numbers = (np.cos(half), 0, -np.sin(half), 0, *inverse[:3, 3])
        words = " ".join(repr(float(number)) for number in numbers)
        images.append(f"{frame + 1} {words} {frame + 1} {frame}.png\n\n")
        Image.fromarray(color(frame, width, height)).save(folder / f"images/{frame}.png")
        millimeters = np.round(1000 * foreign_recordings.points(frame, width, height)[1])
        Image.fromarray(millimeters.astype(np.uint16)).save(folder / f"depth/{frame}.png")
    (folder / "sparse/cameras.txt").write_text("".join(cameras))
    (folder / "sparse/images.txt").write_text("".join(images))
    (folder / "sparse/points3D.txt").touch()
    found = survey(folder, CheckSettings(caption="x"))
    assert found.stopping == []
    assert "images of 2 sizes" in [each.problem for each in found.problems]
    import_folder(found, tmp_path / "out", "test")
    scene = tmp_path / "out/test/room"
    assert np.allclose(read_intrinsics(scene / INTRINSICS), intrinsics(), atol=1e-6)
    inner = np.s_[3:-3, 3:-3]  # the smaller image sees a little less
    for frame in (0, 1, 5):
        seen = np.asarray(Image.open(scene / f"color/{frame}.jpg"), float)
        assert seen.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(seen - color(frame))[inner].mean() < 3
        off = np.abs(read_depth(scene / f"depth/{frame}.png") - depth_of(frame))[inner]
        assert np.median(off) < 0.06  # the nearest of pixels on a slope


def test_depth_of_colmaps_own_stereo(tmp_path):
    """In the unit of the model: both get the scale."""
    foreign_recordings.colmap(tmp_path)
    shutil.rmtree(tmp_path / "depth")
    maps = tmp_path / "stereo/depth_maps"
    maps.mkdir(parents=True)
    for frame in range(COUNT):
        pixels = depth_of(frame).astype("<f4").tobytes()
        header = f"{WIDTH}&{HEIGHT}&1&".encode()
        (maps / f"{frame}.jpg.geometric.bin").write_bytes(header + pixels)
    found = survey(tmp_path, CheckSettings(caption="x"))
    assert found.stopping == []
    assert np.allclose(
        in_meters(read_counts(found.recordings[0][0].frames[4].depth), 1), depth_of(4)
    )
    (problem,) = survey(tmp_path, CheckSettings(caption="x", scale=2.0)).stopping
    assert "--depth-unit 2 " in problem.fix
    both = CheckSettings(caption="x", scale=2.0, depth_unit=2.0)
    assert survey(tmp_path, both).stopping == []


def test_images_of_other_proportions_are_refused(tmp_path):
    foreign_recordings.frames_25k(tmp_path)
    path = tmp_path / "depth/000300.png"
    Image.open(path).crop((0, 0, 40, 48)).save(path)
    problems = {
        each.problem for each in survey(tmp_path).stopping if each.file == "depth/000300.png"
    }
    assert "depth of 40 x 48 pixels; other frames have 64 x 48" in problems


def test_the_command_takes_the_unit_as_a_fraction(tmp_path):
    foreign_recordings.frames_25k(tmp_path)
    command = ["data", "check", str(tmp_path), "--caption", "x", "--depth-unit"]
    assert CliRunner().invoke(app, [*command, "1/1000"]).exit_code == 0
    run = CliRunner().invoke(app, [*command, "1/5000"])
    assert run.exit_code == 1
    assert "contradict" in run.output
    assert CliRunner().invoke(app, [*command, "1/5000", "--accept-poses"]).exit_code == 0
    assert CliRunner().invoke(app, [*command, "millimeters"]).exit_code == 2


@pytest.mark.parametrize("option", [{"scale": 2.0}, {"depth_unit": 0.001}])
def test_units_are_those_of_recordings(tmp_path, option):
    Image.new("RGB", (128, 64)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"--(scale|depth-unit): .* leave the option out"):
        survey(tmp_path, CheckSettings(**option))
