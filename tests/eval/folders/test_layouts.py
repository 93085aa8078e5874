"""Folders as others lay them out, and the calls that score them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import foreign
import numpy as np
import pytest
import toy
import walks
from PIL import Image

import mvdiffusion_eval
from mvdiffusion.geometry.cameras import level_rotations
from mvdiffusion.records import InputError
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.folders.crops import panoramas
from mvdiffusion_eval.folders.equirectangular import EquirectangularFolder, cut
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import SampleFolder, SequenceFolder
from mvdiffusion_eval.protocols.plan import protocols
from mvdiffusion_eval.settings import ScoreSettings

SETTINGS = ScoreSettings(**(json.loads(toy.SCORE_SETTINGS)))


def values(result: dict) -> dict[str, float]:
    return {name: metric["value"] for name, metric in result["metrics"].items()}


def test_released_panoramas_hold_the_generated_and_the_real(tmp_path: Path) -> None:
    real = {f"scene_{i}": views for i, views in enumerate(toy.real_samples(3).values())}
    made = toy.noisy(real, 3)
    root = foreign.released_panoramas(tmp_path / "images", made, real)
    ours, theirs = open_folder(root), open_folder(root, real=True)
    assert ours.sample_ids == ("scene_0", "scene_1", "scene_2")
    assert (ours.method, theirs.method) == ("images", "real")
    assert (ours.views("scene_1") == made["scene_1"]).all()
    assert (theirs.views("scene_1") == real["scene_1"]).all()
    assert ours.prompts("scene_2")[7].endswith("side 7.")
    assert len((root / "scene_2" / "prompt.txt").read_text().splitlines()) == 16
    usual = [toy.write_folder(tmp_path / name, name, s) for name, s in (("m", made), ("r", real))]
    assert values(mvdiffusion_eval.score(root, root, settings=SETTINGS)) == values(
        mvdiffusion_eval.score(*usual, settings=SETTINGS)
    )


def test_the_released_demos_folder_has_one_prompt_for_all_views(tmp_path: Path) -> None:
    folder = tmp_path / "output" / "run"
    folder.mkdir(parents=True)
    for view, image in enumerate(toy.real_samples(1)["room000"]):
        Image.fromarray(image).save(folder / f"{view}.png")
    (folder / "prompt.txt").write_text("A kitchen with a window")
    with pytest.raises(InputError, match=r"run: contains views itself.*<folder>/run/0\.png"):
        open_folder(folder)  # what the demo wrote, which does not know of other samples
    opened = open_folder(tmp_path / "output")
    assert opened.prompts("run") == ["A kitchen with a window"] * 8
    assert mvdiffusion_eval.score(tmp_path / "output", settings=SETTINGS)["warnings"] == []


def test_released_sequences_have_their_cameras_as_text(tmp_path: Path) -> None:
    real = {f"scene_{i}": views for i, views in enumerate(walks.real_samples(2).values())}
    made = toy.noisy(real, 3)
    root = foreign.released_sequences(tmp_path / "images", made, real)
    ours, theirs = open_folder(root), open_folder(root, real=True)
    assert isinstance(ours, SequenceFolder)
    assert (ours.views("scene_1") == made["scene_1"]).all()
    assert (theirs.views("scene_0") == real["scene_0"]).all()
    cameras = ours.trajectories["scene_0"]
    assert cameras.frames == walks.FRAMES
    assert cameras.key_frames == tuple(range(7))  # the folder does not say which are
    np.testing.assert_allclose(cameras.pose, walks.poses(), atol=1e-6)
    np.testing.assert_allclose(cameras.K[6], walks.K, atol=1e-6)
    np.testing.assert_allclose(
        ours.depth("scene_0")[2], walks.wall_points(walks.poses()[2])[1], atol=6e-4
    )
    found = values(mvdiffusion_eval.score(root, root, settings=SETTINGS))
    usual = toy.score(walks.write_folder(tmp_path / "m", "m", made), tmp_path / "score.json")
    consecutive = usual["metrics"]["consecutive_psnr"]["value"]
    assert found["cross_view_psnr"] == pytest.approx(consecutive, abs=0.01)


def test_views_of_a_panorama_look_where_they_say() -> None:
    """Colors are the direction itself, so that every pixel of a view is known."""
    panorama = (127.5 + 120 * foreign.directions(256)).round().byte().numpy()
    yaws = [0.0, 45.0, 90.0, 200.0]
    views = cut(panorama, 90, level_rotations(yaws), 48, 64)
    assert (views.shape, views.dtype) == ((4, 48, 64, 3), np.uint8)
    x, y = np.meshgrid((np.arange(64) - 31.5) / 32, (np.arange(48) - 23.5) / 32)
    for view, yaw in zip(views, np.deg2rad(yaws), strict=True):
        ahead = np.stack([x * np.cos(yaw) + np.sin(yaw), y, np.cos(yaw) - x * np.sin(yaw)], -1)
        expected = 127.5 + 120 * ahead / np.linalg.norm(ahead, axis=-1, keepdims=True)
        assert np.abs(view - expected).max() < 1.1


def test_views_of_a_finer_panorama_do_not_alias() -> None:
    stripes = np.zeros((512, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    middle = cut(stripes, 90, level_rotations([0]), 32, 32)[0, 12:20]
    assert abs(middle.mean() - 127.5) < 2
    assert middle.std() < 20  # 127.5 for those who pick pixels


@pytest.mark.parametrize("layout", [foreign.panfusion, foreign.panoramas])
def test_panoramas_are_scored_as_their_views(layout, tmp_path: Path) -> None:
    root = layout(tmp_path / "theirs", 3)
    folder = open_folder(root, view_size=32)
    assert isinstance(folder, EquirectangularFolder)
    assert folder.sample_ids == ("room000", "room001", "room002")
    assert folder.prompts("room001") == ["A whole room"] * 8
    cut = {name: folder.views(name) for name in folder.sample_ids}
    assert (folder.views("room002", [5, 2]) == cut["room002"][[5, 2]]).all()
    assert len({digest for name in cut for digest in folder.view_digests(name)}) == 24
    # The toy's own views sample the same panorama, without averaging.
    assert np.abs(cut["room001"].astype(int) - toy.views_of(1, 1)).mean() < 3
    usual = toy.write_folder(tmp_path / "usual", "usual", cut, manifest=False)
    real = toy.write_folder(tmp_path / "real", "real", toy.real_samples(4))
    names = ["paper-consistency-pano", "controls"]
    result = mvdiffusion_eval.score(root, real, protocols=names, settings=SETTINGS, view_size=32)
    assert values(result) == values(
        mvdiffusion_eval.score(usual, real, protocols=names, settings=SETTINGS)
    )
    assert result["images"]["cut_from"] == [256, 128]


def test_panoramas_are_resized_as_in_panfusions_evaluation(tmp_path: Path) -> None:
    """Real ones by means of areas; generated ones by one sample, between the middle four of 16."""
    root, noise = tmp_path / "noise", np.random.default_rng(0).integers(0, 256, (64, 128, 3))
    root.mkdir()
    Image.fromarray(noise.astype(np.uint8)).save(root / "a.png")
    blocks = noise.reshape(16, 4, 32, 4, 3)
    expected = {True: blocks.mean((1, 3)), False: blocks[:, 1:3, :, 1:3].mean((1, 3))}
    digests = []
    for real, pixels in expected.items():
        folder = open_folder(root, panorama_height=16, real=real)
        assert isinstance(folder, EquirectangularFolder)
        np.testing.assert_allclose(folder.panorama("a"), pixels, atol=0.51)
        np.testing.assert_array_equal(panoramas(folder).views("a")[0], folder.panorama("a"))
        digests += [panoramas(folder).view_digests("a")[0], *folder.view_digests("a")]
        assert folder.arrangement()["cut_from"] == [32, 16]
        assert folder.arrangement()["resized_from"] == [128, 64]
    whole = open_folder(root)
    digests += whole.view_digests("a")
    assert len(set(digests)) == len(digests)
    same = open_folder(root, panorama_height=64)
    assert same.view_digests("a") == whole.view_digests("a")
    assert same.arrangement() == whole.arrangement()


@pytest.mark.long
def test_panoramas_feed_the_image_metrics(
    tmp_path: Path, world: Path, extractors: list[Path]
) -> None:
    root = foreign.panfusion(tmp_path / "theirs", 8)
    result = mvdiffusion_eval.score(
        root, world / "real", extractors=extractors, settings=SETTINGS, view_size=32
    )
    assert {"fid", "inception_score", "clip_score"} <= set(result["metrics"])


def test_a_panorama_may_be_a_jpeg_and_have_a_prompt_per_view(tmp_path: Path) -> None:
    root = foreign.panfusion(tmp_path / "theirs", 2, "jpg")
    prompts = [f"side {view}" for view in range(8)]
    (root / "room001" / "prompt.txt").write_text("\n".join(prompts))
    folder = open_folder(root)
    assert folder.prompts("room001") == prompts
    assert folder.views("room000", [0]).shape == (1, 512, 512, 3)


def test_views_that_a_method_made_itself_go_before_its_panorama(tmp_path: Path) -> None:
    root = toy.write_folder(tmp_path / "both", "x", toy.real_samples(1), manifest=False)
    Image.fromarray(foreign.panorama(5)).save(root / "room000" / "pano.png")
    assert not isinstance(open_folder(root), EquirectangularFolder)


def test_a_folder_must_say_how_its_samples_are_counted() -> None:
    with pytest.raises(TypeError, match="abstract"):
        SampleFolder(Path(), "panorama", "x", (), 1, 1, None)


def test_protocols_are_listed_with_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    main_ends_well("protocols", "--json")
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(protocols())
    assert rows["paper-pano"]["needs"].startswith("a feature extractor")
    assert rows["paper-pano"]["tasks"] == ["panorama"]
    assert rows["paper-consistency-depth"]["needs"] == "at least two key frames in every sample"
    by_task = rows["controls"]["needs"]
    assert by_task.startswith("panorama, outpaint: at least three views per sample; ")
    assert ". depth: at least two key frames in every sample; " in by_task
    assert all(row["version"] >= 1 and row["measures"] for row in rows.values())
    main_ends_well("protocols")
    assert "paper-consistency-pano v1" in capsys.readouterr().out


def main_ends_well(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code


def test_the_call_and_the_command_agree(tmp_path: Path) -> None:
    made = toy.write_folder(tmp_path / "made", "made", toy.noisy(toy.real_samples(2), 3))
    real = toy.write_folder(tmp_path / "real", "real", toy.real_samples(2))
    names = ["paper-consistency-pano", "controls"]
    arguments = ["--generated", str(made), "--reference", str(real), "--protocol", names[0]]
    output = tmp_path / "score.json"
    main_ends_well(
        *("score", *arguments, "--output", str(output), "--settings", toy.SCORE_SETTINGS)
    )
    result = mvdiffusion_eval.score(made, real, protocols=names[:1], settings=SETTINGS)
    assert json.loads(output.read_text()) == json.loads(json.dumps(result))
    assert list(result["protocols"]) == names[:1]
    main_ends_well(
        *("score", *arguments, "--protocol", names[1], "--output", str(output)),
        *("--settings", toy.SCORE_SETTINGS),
    )
    assert set(json.loads(output.read_text())["protocols"]) == set(names)
    with pytest.raises(InputError, match="did you mean 'controls'"):
        mvdiffusion_eval.score(made, protocols=["control"])


def test_importing_eval_is_cheap() -> None:
    code = "import eval, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    with pytest.raises(AttributeError, match="no attribute 'scores_of'"):
        _ = eval.scores_of
