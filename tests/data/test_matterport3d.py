"""Views of panoramas against released code's output and py360convert; every input error."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import py360convert
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.cubemap import cube_to_views
from mvdiffusion.records import InputError
from mvdiffusion.settings import parse
from mvdiffusion.training.settings import ViewSettings

GOLDEN = Path(__file__).parent.parent / "golden" / "skybox_views.safetensors"
FACE_YAW, FACE_PITCH = (-90, 270, 0, 90, 180, -90), (90, 0, 0, 0, 0, -90)


def write_panorama(root: Path, name: str, faces: np.ndarray) -> list[str]:
    """Write faces [6, S, S, 3] losslessly (the suffix does not decide the format)."""
    images = root / name / "matterport_skybox_images"
    images.mkdir(parents=True)
    (root / name / "blip3").mkdir()
    for face, pixels in enumerate(faces):
        Image.fromarray(pixels).save(images / f"{name}_skybox{face}_sami.jpg", "PNG")
    for degrees in range(0, 360, 45):
        (root / name / "blip3" / f"{name}_{degrees}.txt").write_text(f"{name} at {degrees}\nmore\n")
    return [f"{name}/matterport_skybox_images/{name}_skybox{face}_sami.jpg" for face in range(6)]


def random_faces(seed: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (6, size, size, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path) -> Path:
    entries = [write_panorama(tmp_path, name, random_faces(i)) for i, name in enumerate("ab")]
    np.save(tmp_path / "test.npy", np.asarray(entries))
    return tmp_path


def open_panoramas(root: Path, split: str = "test", **options) -> Matterport3DPanoramas:
    return Matterport3DPanoramas(root, split, **{"image_size": 8, **options})


def test_views_are_the_released_ones(tmp_path):
    with safe_open(GOLDEN, "np") as file:
        faces, expected = file.get_tensor("faces"), file.get_tensor("views").astype(float)
        yaws = json.loads(file.metadata()["yaw_degrees"])
    np.save(tmp_path / "test.npy", np.asarray([write_panorama(tmp_path, "a", faces)]))
    panoramas = open_panoramas(tmp_path, image_size=128)
    for view, yaw in zip(expected, yaws, strict=True):
        found = panoramas.load(0, yaw, [0]).views[0].permute(1, 2, 0).numpy() * 127.5 + 127.5
        difference = np.abs(found - view)
        # At face borders the released code adds two warps; elsewhere it is the same.
        assert np.mean(difference) < 0.7
        assert np.quantile(difference, 0.98) < 1


def test_views_are_those_of_an_independent_projection(tmp_path):
    longitude, latitude = np.meshgrid(np.linspace(-1, 1, 512), np.linspace(1, -1, 256))
    waves = [np.sin(3.1 * k * longitude * np.pi) * np.cos(4 * latitude) for k in (1, 2, 3)]
    panorama = np.stack(waves, -1) * np.cos(latitude[..., None] * np.pi / 2) * 90 + 128
    faces = [
        py360convert.e2p(panorama, 90, yaw, pitch, (256, 256))
        for yaw, pitch in zip(FACE_YAW, FACE_PITCH, strict=True)
    ]
    entry = write_panorama(tmp_path, "a", np.stack(faces).round().clip(0, 255).astype(np.uint8))
    np.save(tmp_path / "test.npy", np.asarray([entry]))
    sample = open_panoramas(tmp_path, image_size=64).load(0, 17)
    for view in range(8):
        expected = py360convert.e2p(panorama, 90, (17 + 45 * view + 180) % 360 - 180, 0, (64, 64))
        found = sample.views[view].permute(1, 2, 0).numpy() * 127.5 + 127.5
        difference = np.abs(found - expected)
        assert difference.mean() < 1.5
        assert np.quantile(difference, 0.99) < 8


@pytest.mark.parametrize(
    ("face_size", "image_size", "fov", "samples"),
    [(64, 32, 90, 2), (64, 24, 100, 3), (16, 40, 60, 1)],
)
def test_views_are_means_of_exact_samples(tmp_path, face_size, image_size, fov, samples):
    faces = random_faces(5, face_size)
    np.save(tmp_path / "test.npy", np.asarray([write_panorama(tmp_path, "a", faces)]))
    panoramas = open_panoramas(tmp_path, image_size=image_size, fov_deg=fov)
    found = panoramas.load(0, 73, [3, 0]).views * 127.5 + 127.5
    fine = image_size * samples
    K, R = panorama_cameras(fine, fine, 8, fov, 73)
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).float()
    exact = cube_to_views(pixels, K[[3, 0]], R[[3, 0]], fine, fine)
    difference = (found - torch.nn.functional.avg_pool2d(exact, samples)).abs()
    assert difference.mean() < 0.3
    assert difference.quantile(0.999) < 1.01  # rounded twice


def test_sample_holds_views_and_id(root):
    sample = open_panoramas(root).load(1, 30)
    assert sample.sample_id == "b"
    assert sample.views.shape == (8, 3, 8, 8)
    assert sample.views.min() >= -1
    assert sample.views.max() <= 1


@pytest.mark.parametrize(
    ("yaw", "degrees"),
    [(0, 0), (22, 0), (23, 45), (337, 315), (338, 0), (359, 0), (-44, 315), (-22, 0)],
)
def test_caption_is_of_the_nearest_direction(root, yaw, degrees):
    panoramas = open_panoramas(root)
    prefix = "This is one view of a scene. "
    assert panoramas.load(0, yaw, [0]).prompts == [f"{prefix}a at {degrees}"]
    assert panoramas.load(0, yaw, [2]).prompts == [f"{prefix}a at {(degrees + 90) % 360}"]


def test_prompts_are_those_of_the_released_loader(root):
    """Its rule for Matterport3D: the prefix and `f.readlines()[0]`, here without the line's end."""
    expected = []
    for degrees in range(0, 360, 45):
        with open(root / f"b/blip3/b_{degrees}.txt") as file:
            expected.append("This is one view of a scene. " + file.readlines()[0].rstrip("\n"))
    assert open_panoramas(root).load(1).prompts == expected
    settings = parse(ViewSettings, {"image_size": 8})
    assert Matterport3DPanoramas(root, "test", **asdict(settings)).load(1).prompts == expected


def test_chosen_views_are_those_of_the_whole(root):
    panoramas = open_panoramas(root)
    whole, part = panoramas.load(0, 12), panoramas.load(0, 12, [5, 1])
    torch.testing.assert_close(part.views, whole.views[[5, 1]], rtol=0, atol=1e-6)
    assert part.prompts == [whole.prompts[5], whole.prompts[1]]


def test_prefix_num_views_and_field_of_view(root):
    panoramas = open_panoramas(root, num_views=4, fov_deg=60.0, prompt_prefix="")
    sample = panoramas.load(0)
    assert sample.prompts == [f"a at {degrees}" for degrees in (0, 90, 180, 270)]


def test_every_panorama_of_a_good_split_can_be_loaded(root):
    panoramas = open_panoramas(root)
    assert all(panoramas.load(i).prompts for i in range(len(panoramas)))


def face(root: Path, number: int) -> Path:
    return root / "b" / "matterport_skybox_images" / f"b_skybox{number}_sami.jpg"


def cut_jpeg(path: Path, keep: float) -> None:
    Image.fromarray(random_faces(9, 64)[0]).save(path, "JPEG", quality=92)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


BROKEN = [
    (
        lambda root: face(root, 3).write_bytes(b"no image"),
        "b_skybox3_sami.jpg: not a readable image",
    ),
    (lambda root: face(root, 3).write_bytes(b""), "b_skybox3_sami.jpg: not a readable image"),
    (lambda root: cut_jpeg(face(root, 3), 0.5), "b_skybox3_sami.jpg: not a readable image"),
    (lambda root: cut_jpeg(face(root, 3), 0.97), "b_skybox3_sami.jpg: not a readable image"),
    (
        lambda root: Image.new("RGB", (16, 12)).save(face(root, 2), "PNG"),
        "b_skybox2_sami.jpg: 16 x 12 pixels; expected a square",
    ),
    (
        lambda root: Image.new("RGB", (20, 20)).save(face(root, 4), "PNG"),
        "b_skybox4_sami.jpg: is 20 x 20 pixels; expected 16",
    ),
    (
        lambda root: (root / "b/blip3/b_135.txt").write_text("\nx"),
        "b_135.txt: the first line is empty",
    ),
    (
        lambda root: (root / "b/blip3/b_135.txt").write_text(""),
        "b_135.txt: the first line is empty",
    ),
    (lambda root: (root / "b/blip3/b_135.txt").unlink(), "b_135.txt: no such file"),
    (lambda root: (root / "b/blip3/b_135.txt").write_bytes(b"\xff\xfe"), "b_135.txt: not UTF-8"),
]


@pytest.mark.parametrize(("spoil", "message"), BROKEN)
def test_broken_files_are_named(root, spoil, message):
    panoramas = open_panoramas(root)
    spoil(root)
    with pytest.raises(InputError, match=message):
        assert all(panoramas.load(i).prompts for i in range(len(panoramas)))
    panoramas.load(0)  # the other panorama is fine
    with pytest.raises(InputError, match=message):
        panoramas.load(1)


def test_truncation_is_seen_wherever_it_is(root):
    panoramas = open_panoramas(root)
    path = face(root, 0)
    cut_jpeg(path, 1)
    data = path.read_bytes()
    for missing in (1, 2, 3, 10, 100, len(data) // 3, len(data) - 30):
        path.write_bytes(data[:-missing])
        with pytest.raises(InputError, match="not a readable image"):
            panoramas.load(1)


def test_missing_split_lists_those_present(root):
    with pytest.raises(InputError, match=r"train\.npy: no such split; splits present: test"):
        open_panoramas(root, "train")
    with pytest.raises(InputError, match="splits present: none"):
        open_panoramas(root / "nowhere")


def good_entries(root: Path) -> list[list[str]]:
    return np.load(root / "test.npy").tolist()


def renamed(entries, row, column, name):
    entries[row][column] = name
    return np.asarray(entries)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda e: np.asarray([row[:5] for row in e]), r"found an array \(2, 5\)"),
        (lambda e: np.asarray(e[0]), r"found an array \(6,\)"),
        (lambda e: np.zeros((2, 6)), "of float64"),
        (lambda e: np.asarray(e, dtype="S"), r"of \|S"),
        (lambda e: np.empty((0, 6), "U3"), r"found an array \(0, 6\)"),
        (lambda e: np.asarray(e, dtype=object), "not an array of text"),
        (lambda e: np.asarray([e[0], e[0]]), "entry 1 repeats the panorama 'a'"),
        (lambda e: renamed(e, 1, 2, "../" + e[1][2]), r"entry \[1, 2\].*leads outside"),
        (lambda e: renamed(e, 1, 2, "/" + e[1][2]), r"entry \[1, 2\].*leads outside"),
        (lambda e: renamed(e, 1, 2, e[1][3]), r"entry \[1, 2\].*expected <scene>/"),
        (lambda e: renamed(e, 1, 2, e[0][2]), r"entry \[1, 2\].*expected a face of the same"),
        (lambda e: renamed(e, 1, 2, "b/elsewhere/b_skybox2_sami.jpg"), "expected <scene>/"),
    ],
)
def test_wrong_split_files(root, make, message):
    np.save(root / "test.npy", make(good_entries(root)), allow_pickle=True)
    with pytest.raises(InputError, match=message):
        open_panoramas(root)


def test_listed_face_that_is_absent(root):
    face(root, 5).unlink()
    with pytest.raises(InputError, match=r"b_skybox5_sami\.jpg: no such file, but test\.npy lists"):
        open_panoramas(root)


def test_file_that_is_no_array(root):
    (root / "test.npy").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"test\.npy: not an array of text"):
        open_panoramas(root)


def test_an_archive_of_arrays_is_no_split(root):
    entries = good_entries(root)
    with open(root / "test.npy", "wb") as file:
        np.savez(file, entries=np.asarray(entries))
    with pytest.raises(InputError, match=r"test\.npy: is an archive of arrays; expected one"):
        open_panoramas(root)
