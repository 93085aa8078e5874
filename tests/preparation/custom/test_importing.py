"""Imports of a user's own data: geometry, orientation, bytes, restarts, refusals."""

import json
import shutil
from pathlib import Path

import numpy as np
import py360convert
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from mvdiffusion.cli import app
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import INTRINSICS, ScanNetScenes
from mvdiffusion.geometry.cameras import even_yaws, level_rotations, rotation
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion.geometry.matrix_files import read_intrinsics
from mvdiffusion.geometry.panoramas import cut_views
from mvdiffusion.images import read_depth, read_image, save_depth
from mvdiffusion.preparation.custom import importing
from mvdiffusion.preparation.custom.check import CheckSettings, survey
from mvdiffusion.preparation.custom.importing import ImportSettings, cut_face, import_folder
from mvdiffusion.records import InputError, folder_sha256, read_json

FACES = ("up", "left", "front", "right", "back", "down")


def smooth(height: int) -> np.ndarray:
    """Waves that every size samples well and that tell all directions apart; [H, 2 H, 3]."""
    longitude = (np.arange(2 * height) + 0.5) / height * np.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    waves = [
        np.cos(latitude)[:, None] * np.sin(k * longitude + k) + np.sin(k * latitude)[:, None]
        for k in (1, 2, 3)
    ]
    return (np.stack(waves, -1) * 55 + 128).round().clip(0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(
        -10 * np.log10(np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2) / 255**2)
    )


@pytest.fixture
def source(tmp_path) -> Path:
    """Two panoramas in two houses."""
    for name, flip in (("north/hall.png", False), ("south/my room.png", True)):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(smooth(128)[:, ::-1] if flip else smooth(128)).save(path)
    return tmp_path / "source"


def bring(source: Path, root: Path, split: str = "test", caption: str | None = "a", **settings):
    checked = survey(source, CheckSettings(caption=caption))
    return import_folder(checked, root, split, ImportSettings(**settings))


def test_views_of_the_faces_are_those_of_the_panorama(tmp_path, source):
    assert bring(source, tmp_path / "root") == {"hall": 6, "my-room": 6}
    panoramas = Matterport3DPanoramas(tmp_path / "root", "test", image_size=32)
    assert [panoramas.sample_id(i) for i in range(2)] == ["hall", "my-room"]
    R = level_rotations(even_yaws(8))
    for index, name in enumerate(("north/hall.png", "south/my room.png")):
        sample = panoramas.load(index)
        expected = cut_views(read_image(source / name), 90.0, R, 32, 32)
        assert psnr(sample.views * 127.5, expected * 127.5) > 45
        assert sample.prompts[0] == "This is one view of a scene. a"


def test_faces_against_py360convert():
    panorama = smooth(256)
    image = torch.from_numpy(panorama).permute(2, 0, 1).float() / 127.5 - 1
    # (yaw, pitch) of Matterport3D's faces; up and down with an extra yaw of −90°
    views = ((-90, 90), (-90, 0), (0, 0), (90, 0), (180, 0), (-90, -90))
    for face, (yaw, pitch) in enumerate(views):
        expected = py360convert.e2p(panorama, 90, yaw, pitch, (128, 128))
        assert psnr(cut_face(image, face, 128), expected) > 38, FACES[face]


def tilted_faces(panorama: np.ndarray, size: int) -> list[Image.Image]:
    """Faces as a camera sees them that turns its head from the front, from our own rotations."""
    image = torch.from_numpy(panorama).permute(2, 0, 1).float()
    R = torch.stack([rotation(0, 90), *(rotation(y) for y in (-90, 0, 90, 180)), rotation(0, -90)])
    middle = (size - 1) / 2
    K = torch.tensor([[size / 2, 0, middle], [0, size / 2, middle], [0, 0, 1]]).expand(6, 3, 3)
    views = equirectangular_to_views(image, K, R, size, size)
    pixels = views.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(face) for face in pixels]


@pytest.mark.parametrize(
    "style", ["cave_{word}.png", "cave-{word}.png", "cave_{letter}.png", "cave/{word}.png"]
)
def test_named_faces_are_turned_as_matterport3d_has_them(tmp_path, style):
    folder = tmp_path / "cube"
    for word, face in zip(FACES, tilted_faces(smooth(128), 64), strict=True):
        path = folder / style.format(word=word, letter=word[0].upper())
        path.parent.mkdir(parents=True, exist_ok=True)
        face.save(path)
    assert bring(folder, tmp_path / "root") == {"cave": 6}
    images = tmp_path / "root/cube/matterport_skybox_images"
    panorama = torch.from_numpy(smooth(128)).permute(2, 0, 1).float() / 127.5 - 1
    for face in range(6):
        found = Image.open(images / f"cave_skybox{face}_sami.jpg")
        assert found.layer[0][1:3] == (1, 1)  # colors are not thinned out
        assert psnr(found, cut_face(panorama, face, 64)) > 40, FACES[face]


def test_up_touches_the_front_face_with_its_lower_edge():
    up, _, front, _, _, down = (np.asarray(face, int) for face in tilted_faces(smooth(128), 64))
    assert np.abs(up[-1] - front[0]).max() < 12
    assert np.abs(down[0] - front[-1]).max() < 12


def test_faces_of_matterport3d_keep_their_bytes(tmp_path):
    images = tmp_path / "source/house/matterport_skybox_images"
    images.mkdir(parents=True)
    (tmp_path / "source/house/blip3").mkdir()
    for face, image in enumerate(tilted_faces(smooth(64), 32)):
        image.save(images / f"id_skybox{face}_sami.jpg", quality=60)
    for degrees in range(0, 360, 45):
        (tmp_path / f"source/house/blip3/id_{degrees}.txt").write_text(f"at {degrees}\n")
    bring(tmp_path / "source", tmp_path / "root", caption=None)
    copied = tmp_path / "root/house/matterport_skybox_images"
    for path in images.iterdir():
        assert (copied / path.name).read_bytes() == path.read_bytes()
    panoramas = Matterport3DPanoramas(tmp_path / "root", "test", image_size=8)
    assert panoramas.load(0).prompts[3] == "This is one view of a scene. at 135"


def test_captions_by_image_and_direction(tmp_path, source):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "hall.txt").write_text("a hall\n")
    (texts / "hall_90.txt").write_text("a door\n")
    (texts / "my room.txt").write_text("a room\n")
    checked = survey(source, CheckSettings(captions=texts))
    import_folder(checked, tmp_path / "root", "test")
    panoramas = Matterport3DPanoramas(tmp_path / "root", "test", image_size=8, prompt_prefix="")
    assert panoramas.load(0).prompts == ["a hall"] * 2 + ["a door"] + ["a hall"] * 5
    assert panoramas.load(1).prompts == ["a room"] * 8


def test_face_size_and_two_splits_of_one_root(tmp_path, source):
    root = tmp_path / "root"
    bring(source / "north", root, "test", face_size=48)
    bring(source / "south", root, "train")
    size = Image.open(root / "north/matterport_skybox_images/hall_skybox0_sami.jpg").size
    assert size == (48, 48)
    assert len(Matterport3DPanoramas(root, "test", image_size=8)) == 1
    assert Matterport3DPanoramas(root, "train", image_size=8).sample_id(0) == "my-room"


def write_recording(folder: Path, count: int = 8, step: float = 0.2) -> Path:
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    np.savetxt(folder / "intrinsic/intrinsic_depth.txt", [[64, 0, 31.5], [0, 64, 23.5], [0, 0, 1]])
    for frame in range(count):
        color = np.random.default_rng(frame).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(color).save(folder / f"color/{5 * frame}.jpg")
        save_depth(np.full((48, 64), 2.0), folder / f"depth/{5 * frame}.png")
        pose = np.eye(4)
        pose[0, 3] = step * frame
        np.savetxt(folder / f"pose/{5 * frame}.txt", pose)
    return folder


def test_recording(tmp_path):
    source = write_recording(tmp_path / "room")
    np.savetxt(source / "pose/10.txt", np.full((4, 4), -np.inf))
    counts = bring(source, tmp_path / "root", caption="a wall")
    scene = tmp_path / "root/test/room"
    # A frame further, the wall moves by 6.4 of 64 pixels: three steps leave 68 %, four 58 %.
    keys = [int(line) for line in (scene / "key_frame_0.6.txt").read_text().split()]
    assert keys == [0, 15, 30]
    assert counts == {"room": 3}
    assert 10 not in np.load(scene / "valid_frames.npy")
    for name in ("color/5.jpg", "depth/5.png"):
        assert (scene / name).read_bytes() == (source / name).read_bytes()
    assert torch.equal(read_intrinsics(scene / INTRINSICS), read_intrinsics(source / INTRINSICS))
    sample = ScanNetScenes(tmp_path / "root", "test", 48, 64, num_views=3).load(0)
    assert sample.prompts[0] == "a wall"
    assert torch.allclose(sample.pose[:, 0, 3], torch.tensor(sample.frames) / 5 * 0.2)


def test_several_recordings_with_their_captions(tmp_path):
    for name in "ab":
        scene = write_recording(tmp_path / "source" / name, 3)
        (scene / "prompt").mkdir()
        for frame in (0, 5, 10):
            (scene / f"prompt/{frame}.txt").write_text(f"{name} {frame}\n")
    assert set(bring(tmp_path / "source", tmp_path / "root", caption=None)) == {"a", "b"}
    assert (tmp_path / "root/test/b/prompt/5.txt").read_text() == "b 5\n"
    assert not survey(tmp_path / "root").stopping


def test_png_colors_other_depth_units_and_another_camera(tmp_path):
    """A frame of a slightly longer lens is resampled to the first one's camera."""
    (tmp_path / "source/images").mkdir(parents=True)
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None] * 4, 48, 0)
    frames = []
    for frame, focal in enumerate((64.0, 66.0)):
        columns = 31.5 + (np.arange(64) - 31.5) * 64 / focal  # what the longer lens sees
        pixels = np.repeat((columns * 4).round().astype(np.uint8)[None], 48, 0)
        Image.fromarray(np.stack([pixels] * 3, -1)).save(tmp_path / f"source/images/{frame}.png")
        depth = np.full((48, 64), 200, np.uint16)
        depth[:, 40:] = 300
        Image.fromarray(depth).save(tmp_path / f"source/images/{frame}_depth.png")
        matrix = np.diag([1.0, -1, -1, 1])
        frames.append(
            {
                "file_path": f"images/{frame}.png",
                "depth_file_path": f"images/{frame}_depth.png",
                "fl_x": focal,
                "fl_y": focal,
                "transform_matrix": matrix.tolist(),
            }
        )
    meta = {"w": 64, "h": 48, "cx": 32, "cy": 24, "depth_unit_scale_factor": 0.01, "frames": frames}
    (tmp_path / "source/transforms.json").write_text(json.dumps(meta))
    bring(tmp_path / "source", tmp_path / "root")
    scene = tmp_path / "root/test/source"
    for frame in range(2):
        found = np.asarray(Image.open(scene / f"color/{frame}.jpg"), int)[:, 2:-2, 0]
        assert np.abs(found - ramp[:, 2:-2]).max() <= 4
    depth = read_depth(scene / "depth/0.png")
    assert depth[0, [0, 39, 40, 63]].tolist() == pytest.approx([2, 2, 3, 3])
    moved = read_depth(scene / "depth/1.png")
    assert set(np.unique(moved).tolist()) <= {0.0, 2.0, 3.0}  # no mean of two surfaces


def test_images_outside_the_folder(tmp_path):
    """transforms.json may name its images by absolute paths."""
    frames = []
    for frame in range(2):
        color, depth = tmp_path / f"elsewhere/{frame}.jpg", tmp_path / f"elsewhere/{frame}.png"
        color.parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), "red").save(color)
        save_depth(torch.full((48, 64), 2.0), depth)
        matrix = np.diag([1.0, -1, -1, 1]).tolist()
        files = {"file_path": str(color), "depth_file_path": str(depth)}
        frames.append({**files, "transform_matrix": matrix})
    (tmp_path / "source").mkdir()
    camera = {"w": 64, "h": 48, "fl_x": 64, "fl_y": 64, "cx": 32, "cy": 24}
    (tmp_path / "source/transforms.json").write_text(json.dumps({**camera, "frames": frames}))
    for _ in range(2):
        assert bring(tmp_path / "source", tmp_path / "root") == {"source": 1}


def test_the_same_bytes_again_and_the_source_untouched(tmp_path, source):
    before = folder_sha256(source)
    for root in ("one", "two"):
        bring(source, tmp_path / root)
    recording = write_recording(tmp_path / "room")
    for root in ("three", "four"):
        bring(recording, tmp_path / root)
    names = ("one", "two", "three", "four")
    one, two, three, four = (folder_sha256(tmp_path / name) for name in names)
    assert one == two
    assert three == four
    assert folder_sha256(source) == before


def test_interrupted_and_started_again(tmp_path, source, monkeypatch):
    bring(source, tmp_path / "whole")
    real, calls = importing.write_panorama, []

    def killed(panorama, *arguments):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(panorama.id)
        real(panorama, *arguments)

    monkeypatch.setattr(importing, "write_panorama", killed)
    with pytest.raises(KeyboardInterrupt):
        bring(source, tmp_path / "root")
    assert not (tmp_path / "root/test.npy").exists()
    assert not (tmp_path / "root/north").exists()
    first = tmp_path / "root/.import_test.partial/north/matterport_skybox_images"
    before = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    monkeypatch.setattr(importing, "write_panorama", real)
    bring(source, tmp_path / "root")
    assert folder_sha256(tmp_path / "root") == folder_sha256(tmp_path / "whole")
    after = tmp_path / "root/north/matterport_skybox_images"
    assert {path.name: path.stat().st_mtime_ns for path in after.iterdir()} == before


def test_a_scene_is_whole_or_not_there(tmp_path, monkeypatch):
    source = write_recording(tmp_path / "room")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(importing, "write_key_frames", full)
        with pytest.raises(InputError, match="nothing was kept"):
            bring(source, tmp_path / "root")
    assert list((tmp_path / "root/test").iterdir()) == []
    assert bring(source, tmp_path / "root") == {"room": 3}
    times = (tmp_path / "root/test/room/pose/0.txt").stat().st_mtime_ns
    assert bring(source, tmp_path / "root") == {"room": 3}
    assert (tmp_path / "root/test/room/pose/0.txt").stat().st_mtime_ns == times


def test_refusals(tmp_path, source):
    (tmp_path / "file").touch()
    root = tmp_path / "root"
    bring(source, root)
    for again, word in (({"quality": 98}, "settings"), ({"caption": "b"}, "captions_sha256")):
        with pytest.raises(
            InputError, match=f"an earlier import of the split 'test' differs in .*{word}"
        ):
            bring(source, root, **again)
    Image.fromarray(smooth(64)).save(source / "north/hall.png")
    with pytest.raises(InputError, match="differs in source_sha256"):
        bring(source, root)
    with pytest.raises(
        InputError, match="north: exists already and does not belong to this import"
    ):
        bring(source, root, "train")
    with pytest.raises(InputError, match="already in the project's layout"):
        bring(root, tmp_path / "other", caption=None)
    with pytest.raises(InputError, match="could not be created"):
        bring(source, source.parent / "file" / "root")
    with pytest.raises(InputError, match="lies inside"):
        bring(source, source / "out")
    with pytest.raises(InputError, match=r"--split '\.\./x': expected a name"):
        bring(source, tmp_path / "new", "../x")
    with pytest.raises(InputError, match=r"setting 'quality' is 50; .* at least 90 and at most"):
        ImportSettings(quality=50)
    with pytest.raises(InputError, match=r"setting 'face_size' is 33; .* a multiple of 2"):
        ImportSettings(face_size=33)
    with pytest.raises(InputError, match=r"--face-size: .* no equirectangular"):
        bring(write_recording(tmp_path / "room"), tmp_path / "new", face_size=32)
    (source / "south/bad.png").touch()
    with pytest.raises(InputError, match="zero bytes, and 0 more problems; list them with"):
        bring(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_records(tmp_path, source):
    bring(source, tmp_path / "root")
    record = read_json(tmp_path / "root/import_test.json")
    assert record["units"] == {"north": ["hall"], "south": ["my-room"]}
    assert str(tmp_path) not in str(record)
    made = read_json(tmp_path / "root/import_test_provenance.json")
    assert made["source"] == str(source)
    moved = Path(shutil.move(source, tmp_path / "elsewhere"))
    bring(moved, tmp_path / "again")
    assert read_json(tmp_path / "again/import_test.json") == record


def test_command(tmp_path, source):
    command = ["data", "import", str(source), "--output", str(tmp_path / "root"), "--split", "test"]
    run = CliRunner().invoke(app, [*command, "--face-size", "32"])
    assert run.exit_code == 0, run.output
    assert "test.npy: 2 panoramas" in run.output
    assert "mvdiffusion" in run.output  # names the command that makes captions
    with pytest.raises(InputError, match="no such file; expected a caption"):
        Matterport3DPanoramas(tmp_path / "root", "test", image_size=8).load(0)
