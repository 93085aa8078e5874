"""Sample folders: contents, restarts, errors; equirectangular images in and out."""

import errno
import time
from pathlib import Path

import numpy as np
import py360convert
import pytest
import torch
from PIL import Image
from processes import start

from mvdiffusion.cli import app
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.generation import sample_folder as samples_module
from mvdiffusion.generation.export import cut_equirectangular_files, export_split, stitch_folder
from mvdiffusion.generation.sample_folder import SampleFolder, read_views
from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.manifest import Manifest, read_manifest
from mvdiffusion.preparation.rooms import ROOMS, RoomSettings
from mvdiffusion.records import InputError, folder_sha256, read_json
from mvdiffusion.tasks import Task


def sample_folder(
    root: Path, *names: str, method: str = "ours", count: int = 8, stamp: str = "x", **options: bool
) -> SampleFolder:
    yaws = even_yaws(count)
    manifest = Manifest(Task.PANORAMA, method, 16, 16, names or ("s0",), stamp, yaw_deg=yaws)
    return SampleFolder(root, manifest, {"steps": 3}, **options)


def some_views(seed: int, count: int = 8, size: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def prompts(count: int = 8) -> list[str]:
    return [f"view {i}" for i in range(count)]


def smooth_panorama(height: int) -> np.ndarray:
    """Waves that every size samples well; uint8 [H, 2H, 3]."""
    longitude = (np.arange(2 * height) + 0.5) / height * np.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    waves = [
        np.cos(latitude)[:, None] * np.sin(k * longitude + k) + np.sin(k * latitude)[:, None]
        for k in (2, 3, 5)
    ]
    return (np.stack(waves, -1) * 60 + 128).round().clip(0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return -10 * np.log10(np.mean((a.astype(float) - b) ** 2) / 255**2)


def test_sample_and_manifest(tmp_path):
    folder = sample_folder(tmp_path / "out", "s1", "s0", stamp="ab" * 32)
    images = some_views(0)
    folder.write_sample("s1", images, ["a\nb", *prompts(7)], {"seed": 5})
    assert folder.has_sample("s1")
    assert not folder.has_sample("s0")
    folder.write_sample("s0", images, prompts())
    folder.write_manifest()
    pixels = np.asarray(Image.open(tmp_path / "out/s1/3.png"))
    expected = ((images[3] + 1) * 127.5).round().permute(1, 2, 0)
    np.testing.assert_array_equal(pixels, expected)
    assert (tmp_path / "out/s1/prompt.txt").read_text().splitlines() == ["a b", *prompts(7)]
    assert read_json(tmp_path / "out/s1/sample.json") == {"sample_id": "s1", "seed": 5}
    manifest = read_json(tmp_path / "out/manifest.json")
    assert manifest["yaw_deg"] == [0, 45, 90, 135, 180, 225, 270, 315]
    assert manifest["samples"] == ["s0", "s1"]
    named = {key: manifest[key] for key in ("method", "height", "width", "num_views", "fov_deg")}
    assert named == {"method": "ours", "height": 16, "width": 16, "num_views": 8, "fov_deg": 90.0}
    assert manifest["settings_sha256"] == "ab" * 32
    assert manifest["settings"] == {"steps": 3}


def test_pixels_that_are_no_numbers_are_refused(tmp_path):
    """Whatever method made them: they would be black, and kept as finished."""
    folder, images = sample_folder(tmp_path / "out", method="mine"), some_views(0)
    images[3, 1, 2, 2] = torch.nan
    with pytest.raises(InputError, match="s0: the method 'mine' made NaN or infinite pixels"):
        folder.write_sample("s0", images, prompts())
    assert not folder.has_sample("s0")


def fill(root, seed, gate=None):
    """Write two samples of a seed, the second when a file appears."""
    folder = sample_folder(root, "s0", "s1", stamp=str(seed), overwrite=True)
    for number, name in enumerate(("s0", "s1")):
        while number and gate and not gate.exists():
            time.sleep(0.01)
        if not folder.has_sample(name):
            folder.write_sample(name, some_views(10 * seed + number), prompts())
    folder.write_manifest()


@pytest.mark.parametrize("kill", [True, False])
def test_an_orphan_s_samples_are_never_those_of_other_settings(tmp_path, kill):
    """Its parent was killed, and it still writes when the next run begins with other settings."""
    fill(tmp_path / "undisturbed", 2)
    gate, out = tmp_path / "gate", tmp_path / "out"
    orphan = start(fill, out, 1, gate)
    while not (out / "s0").exists():
        assert orphan.is_alive()
        time.sleep(0.01)
    for _ in range(2):
        with pytest.raises(InputError, match=rf"another command \(process {orphan.pid}\)"):
            fill(out, 2)
    assert not (tmp_path / "out.old").exists()
    orphan.kill() if kill else gate.touch()
    orphan.join()
    fill(out, 2)
    assert folder_sha256(out, "s*/*") == folder_sha256(tmp_path / "undisturbed", "s*/*")
    assert (out / "manifest.json").read_bytes() == (
        tmp_path / "undisturbed/manifest.json"
    ).read_bytes()
    assert (tmp_path / "out.old/s1").exists() is not kill


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def emptied(path):
    path.write_bytes(b"")


def shortened(path):
    path.write_bytes(path.read_bytes()[:-20])


def bit_flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = (emptied, zeros, shortened, bit_flipped, Path.unlink)
NOTICED = {
    "0.png": DAMAGE,
    "7.png": DAMAGE,
    "panorama.png": DAMAGE[:-1],  # nobody needs it
    "prompt.txt": (emptied,),
    "sample.json": (emptied, zeros, shortened, Path.unlink),
}


@pytest.mark.parametrize(("name", "damage"), [(n, d) for n in NOTICED for d in NOTICED[n]])
def test_damaged_samples_are_made_again(tmp_path, capsys, damage, name):
    """A power cut leaves empty files, or zeros, whose names are there."""
    folder = sample_folder(tmp_path / "out", "s0", "s1")
    for sample in ("s0", "s1"):
        folder.write_sample(sample, some_views(0), prompts())
    folder.write_manifest()
    whole = folder_sha256(folder.root / "s1")
    damage(folder.root / "s1" / name)
    (folder.root / "s1/notes.txt").write_text("mine")
    again = sample_folder(tmp_path / "out", "s0", "s1")
    assert not again.is_finished()
    assert f"s1/{name}: is damaged or missing; the sample is made again" in capsys.readouterr().err
    assert again.has_sample("s0")
    again.write_sample("s1", some_views(0), prompts())
    again.write_manifest()
    assert (folder.root / "s1/notes.txt").read_text() == "mine"
    (folder.root / "s1/notes.txt").unlink()
    assert folder_sha256(folder.root / "s1") == whole
    assert sample_folder(tmp_path / "out", "s0", "s1").is_finished()


def test_manifest_needs_every_sample(tmp_path):
    folder = sample_folder(tmp_path / "out", "s0", "s1")
    folder.write_sample("s0", some_views(0), prompts())
    with pytest.raises(InputError, match="s1: this sample is missing"):
        folder.write_manifest()
    assert not (tmp_path / "out/manifest.json").exists()
    with pytest.raises(InputError, match=r"manifest\.json"):
        read_manifest(tmp_path / "out")


def test_same_run_goes_on_and_another_is_refused(tmp_path):
    sample_folder(tmp_path / "out").write_sample("s0", some_views(0), prompts())
    assert sample_folder(tmp_path / "out").has_sample("s0")
    for method, stamp, named in (("ours", "y", "settings_sha256"), ("theirs", "x", "method")):
        with pytest.raises(InputError, match=rf"other settings \({named}\)"):
            sample_folder(tmp_path / "out", method=method, stamp=stamp)
    folder = sample_folder(tmp_path / "out", method="theirs", overwrite=True)
    assert not folder.has_sample("s0")
    assert len(read_views(tmp_path / "out.old/s0")) == 8


def test_folder_is_finished_with_its_last_sample(tmp_path, capsys):
    folder = sample_folder(tmp_path / "out")
    folder.write_sample("s0", some_views(0), prompts())
    assert not folder.is_finished()
    folder.write_manifest()
    assert sample_folder(tmp_path / "out").is_finished()
    assert "out: already made with these settings" in capsys.readouterr().err
    (tmp_path / "out/s0").rename(tmp_path / "elsewhere")
    assert not folder.is_finished()


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        sample_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_full_disk_leaves_no_half_sample(tmp_path, monkeypatch):
    folder = sample_folder(tmp_path / "out")
    save = samples_module.save_png

    def full(image, path):
        if path.name == "5.png":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(image, path)

    monkeypatch.setattr(samples_module, "save_png", full)
    with pytest.raises(InputError, match=r"s0: could not be written \(No space left"):
        folder.write_sample("s0", some_views(0), prompts())
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".output.json"]


def test_views_come_back(tmp_path):
    folder = sample_folder(tmp_path / "out", count=4)
    images = some_views(1, count=4)
    folder.write_sample("s0", images, None)
    assert not (tmp_path / "out/s0/prompt.txt").exists()
    torch.testing.assert_close(read_views(tmp_path / "out/s0"), images, rtol=0, atol=1 / 255)
    Image.new("RGB", (9, 9)).save(tmp_path / "out/s0/2.png")
    with pytest.raises(InputError, match=r"2\.png: \(9, 9\) pixels; expected \(16, 16\)"):
        read_views(tmp_path / "out/s0")
    with pytest.raises(InputError, match="no views"):
        read_views(tmp_path / "out")


def test_the_panorama_beside_views_is_stitched_from_their_files(tmp_path):
    """So that scores of seams are the same without it."""
    folder = sample_folder(tmp_path / "out")
    folder.write_sample("s0", some_views(2), prompts())
    folder.write_manifest()
    own = Image.open(tmp_path / "out/s0/panorama.png")
    stitch_folder(tmp_path / "out", tmp_path / "again", height=own.height)
    np.testing.assert_array_equal(own, Image.open(tmp_path / "again/s0.png"))


def test_exported_split_is_the_dataset(tmp_path):
    rooms = RoomSettings(1, {"test": 2}, face_size=32)
    ROOMS.render(tmp_path / "data", rooms, workers=1)
    dataset = Matterport3DPanoramas(tmp_path / "data", "test", image_size=16)
    export_split(dataset, Task.PANORAMA, tmp_path / "real", {"image_size": 16})
    manifest = read_manifest(tmp_path / "real")
    assert manifest.method == "real"
    assert manifest.samples == ("test-00000", "test-00001")
    for index, name in enumerate(manifest.samples):
        sample = dataset.load(index)
        found = read_views(tmp_path / "real" / name)
        torch.testing.assert_close(found, sample.views, rtol=0, atol=0.5 / 127.5 + 1e-6)
        lines = (tmp_path / "real" / name / "prompt.txt").read_text().splitlines()
        assert lines == sample.prompts


@pytest.mark.parametrize("height", [64, 512])  # smaller and larger than what the views need
def test_cut_views_are_those_of_an_independent_projection(tmp_path, height):
    panorama = smooth_panorama(height)
    Image.fromarray(panorama).save(tmp_path / "room.png")
    cut_equirectangular_files([tmp_path / "room.png"], tmp_path / "out", size=48)
    found = read_views(tmp_path / "out/room") * 127.5 + 127.5
    for view in range(8):
        yaw = (45 * view + 180) % 360 - 180
        expected = py360convert.e2p(panorama, 90, yaw, 0, (48, 48))
        assert psnr(found[view].permute(1, 2, 0).numpy(), expected) > 38


def test_cut_views_are_of_the_method_that_is_named(tmp_path):
    Image.fromarray(smooth_panorama(64)).save(tmp_path / "room.png")
    output = tmp_path / "out"
    words = ["data", "views", tmp_path / "room.png", "--output", output, "--size", 16]
    app([*map(str, words), "--method", "mine"], standalone_mode=False)
    assert read_manifest(output).method == "mine"
    with pytest.raises(InputError, match="other settings"):
        cut_equirectangular_files([tmp_path / "room.png"], output, size=16, method="yours")


def test_prompts_of_cut_views_are_of_their_panoramas(tmp_path):
    (tmp_path / "texts").mkdir()
    for name, text in {
        "a": "A hall.",
        "b": "\n".join(f"View {view}." for view in range(8)),
    }.items():
        Image.fromarray(smooth_panorama(64)).save(tmp_path / f"{name}.png")
        (tmp_path / f"texts/{name}.txt").write_text(text)
    output = tmp_path / "out"
    words = ["data", "views", tmp_path / "a.png", tmp_path / "b.png", "--output", output, "--size"]
    app([*map(str, words), "16", "--prompts", str(tmp_path / "texts")], standalone_mode=False)
    assert (output / "a/prompt.txt").read_text() == "A hall.\n" * 8
    assert (output / "b/prompt.txt").read_text().splitlines()[7] == "View 7."
    (tmp_path / "texts/b.txt").write_text("one\ntwo")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for message in (r"b\.txt: found 2 prompts; expected one prompt, or 8", r"b\.txt: could not be"):
        with pytest.raises(InputError, match=message):
            cut_equirectangular_files(files, tmp_path / "o", size=16, prompts=tmp_path / "texts")
        (tmp_path / "texts/b.txt").unlink(missing_ok=True)
    assert not (tmp_path / "o").exists()


def test_stitched_views_give_the_panorama_back(tmp_path):
    panorama = smooth_panorama(256)
    Image.fromarray(panorama).save(tmp_path / "room.png")
    cut_equirectangular_files([tmp_path / "room.png"], tmp_path / "out", size=128)
    stitch_folder(tmp_path / "out", tmp_path / "stitched", height=256)
    stitched = np.asarray(Image.open(tmp_path / "stitched/room.png"))
    band = slice(256 * 50 // 180 + 1, 256 * 130 // 180 - 1)  # ±40° of latitude
    assert psnr(stitched[band], panorama[band]) > 44


def test_finished_panoramas_of_the_same_views_are_kept(tmp_path):
    Image.fromarray(smooth_panorama(64)).save(tmp_path / "room.png")
    for _ in range(2):
        cut_equirectangular_files([tmp_path / "room.png"], tmp_path / "out", size=16)
    stitch_folder(tmp_path / "out", tmp_path / "stitched", height=64)
    time = (tmp_path / "stitched/room.png").stat().st_mtime_ns
    stitch_folder(tmp_path / "out", tmp_path / "stitched", height=64)
    assert (tmp_path / "stitched/room.png").stat().st_mtime_ns == time
    whole = (tmp_path / "stitched/room.png").read_bytes()
    for damage in (emptied, bit_flipped):
        damage(tmp_path / "stitched/room.png")
        stitch_folder(tmp_path / "out", tmp_path / "stitched", height=64)
        assert (tmp_path / "stitched/room.png").read_bytes() == whole


def test_panoramas_of_other_views_are_not_kept_for_new_ones(tmp_path):
    Image.fromarray(smooth_panorama(64)).save(tmp_path / "room.png")
    cut_equirectangular_files([tmp_path / "room.png"], tmp_path / "out", size=16)
    Image.new("RGB", (128, 64)).save(tmp_path / "room.png")
    cut_equirectangular_files([tmp_path / "room.png"], tmp_path / "black", size=16)
    panoramas = tmp_path / "stitched"
    stitch_folder(tmp_path / "out", panoramas, height=64)
    with pytest.raises(InputError, match=r"other settings \(stitched\.room\)"):
        stitch_folder(tmp_path / "black", panoramas, height=64)
    with pytest.raises(InputError, match=r"other settings \(height\)"):
        stitch_folder(tmp_path / "out", panoramas, height=32)
    assert np.asarray(Image.open(panoramas / "room.png")).mean() > 20
    stitch_folder(tmp_path / "black", panoramas, height=64, overwrite=True)
    assert np.asarray(Image.open(panoramas / "room.png"))[32].max() == 0
    assert np.asarray(Image.open(tmp_path / "stitched.old/room.png")).mean() > 20


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"room\.png: no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:90]), r"room\.png: not a readable image"),
        (
            lambda path: Image.new("RGB", (64, 64)).save(path),
            "64 x 64 pixels; expected an equirect",
        ),
    ],
)
def test_bad_equirectangular_files(tmp_path, spoil, message):
    path: Path = tmp_path / "room.png"
    Image.fromarray(smooth_panorama(64)).save(path)
    spoil(path)
    with pytest.raises(InputError, match=message):
        cut_equirectangular_files([path], tmp_path / "out", size=16)
    assert not (tmp_path / "out" / "room").exists()


def test_equally_named_equirectangular_files(tmp_path):
    with pytest.raises(InputError, match="several files are called 'a'"):
        cut_equirectangular_files([Path("x/a.png"), Path("y/a.jpg")], tmp_path / "out")
