"""The owners' archives, made of procedural rooms, from fetching to scores."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archives_of_rooms import HOUSES, authors_files, write_house, write_script, write_tar
from PIL import Image
from sens_files import write_sens
from tiny_training import settings

from mvdiffusion.cli import main
from mvdiffusion.preparation.rooms import WALKS, WalkSettings
from mvdiffusion.settings import parse
from mvdiffusion_eval.cli import main as evaluate

pytestmark = pytest.mark.long

Run = Callable[..., str]
VIEWS = {"image_size": 16, "num_views": 8, "fov_deg": 90.0}
FRAMES = {"height": 24, "width": 32, "num_views": 3, "num_between": 1}
SCANS = {"train": "scene0000_00", "validation": "scene0001_00", "test": "scene0707_00"}
WALK = {"num_frames": 16, "height": 48, "width": 64, "overlap": 0.6}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `mvdiffusion …` in this process; it must succeed."""
    monkeypatch.setattr("mvdiffusion.preparation.fetch.time.sleep", lambda seconds: None)

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["mvdiffusion", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return said.out

    return run


def run_stages(run: Run, task: str, data: Path, base: Path, root: Path, form: dict) -> Path:
    """One step of each stage, then generation; returns the folder of images."""
    for stage in ("stage1", "stage2"):
        chosen = json.dumps(settings(training__steps=1) | {"data": form})
        run(
            *("train", stage, "--task", task, "--settings", chosen),
            *("--data", data, "--validation", data, "--base", base, "--output", root / stage),
            *("--checkpoints", root / f"{stage}_checkpoints", "--log-dir", root / f"{stage}_log"),
        )
        base = root / stage
    sampling = {"data": form, "num_inference_steps": 1, "seed": 1, "device": "cpu"}
    shared = ("--task", task, "--split", "test")
    run(
        *("generate", "split", "--method", "mvdiffusion", "--model", base, "--data", data),
        *(*shared, "--settings", json.dumps(sampling), "--output", root / "made"),
    )
    real = json.dumps({"data": form})
    run("data", "export", "--data", data, *shared, "--settings", real, "--output", root / "real")
    return root / "made"


def score(root: Path) -> dict[str, dict]:
    """Metrics of the generated and of the real images."""
    found = {}
    for name in ("made", "real"):
        path = root / f"{name}.json"
        options = ("--generated", root / name, "--reference", root / "real", "--output", path)
        options += ("--settings", '{"consistency_resolution": 64}')
        with pytest.raises(SystemExit) as ended:
            evaluate(["score", *map(str, options)])
        assert not ended.value.code
        found[name] = json.loads(path.read_text())["metrics"]
    return found


def test_panoramas(run: Run, base_folder: Path, tmp_path: Path) -> None:
    for house in HOUSES[:3]:
        write_house(tmp_path / "owner", house, panoramas=2, size=32)
    archive = tmp_path / "owner/v1/scans/{id}/matterport_skybox_images.zip"
    script = write_script(tmp_path / "download_mp.py", archive, plan=["half", "whole"])
    downloads, prepared = tmp_path / "downloads", tmp_path / "prepared"
    for house in HOUSES[:3]:
        where = ("--unit", house, "--downloads", downloads, "--script", script, "--accept-terms")
        run("data", "fetch", "matterport3d", *where)
        source = downloads / f"v1/scans/{house}/matterport_skybox_images.zip"
        what = ("--unit", house, "--source", source, "--output", prepared / house)
        run("data", "prepare", "matterport3d", *what)
    lists = [[(house, n) for house in part for n in (0, 1)] for part in (HOUSES[:2], HOUSES[2:3])]
    tar = write_tar(tmp_path / "mp3d_skybox.tar", authors_files(*lists))
    labels = tmp_path / "labels"
    run("data", "labels", "matterport3d", "--archive", tar, "--output", labels)
    said = run("data", "splits", "matterport3d", "--prepared", prepared, "--labels", labels)
    assert "train panoramas 4" in said
    assert "test panoramas 2" in said
    run_stages(run, "panorama", prepared, base_folder, tmp_path, VIEWS)
    metrics = score(tmp_path)
    assert metrics["made"]["cross_view_psnr"]["value"] < metrics["real"]["cross_view_psnr"]["value"]


def record_walks(owner: Path, rendered: Path) -> dict[str, bytes]:
    """Write each walk as the owners' recording; returns the authors' captions, by name."""
    captions = {}
    for number, scan in enumerate(SCANS.values()):
        walk = rendered / "train" / f"train-walk-{number:05d}"
        frames = [
            (
                np.asarray(Image.open(walk / f"color/{frame}.jpg")),
                np.asarray(Image.open(walk / f"depth/{frame}.png")).astype(np.uint16),
                np.loadtxt(walk / f"pose/{frame}.txt"),
            )
            for frame in range(WALK["num_frames"])
        ]
        frames[2] = (frames[2][0], frames[2][1], np.full((4, 4), -np.inf))  # as ScanNet marks it
        K = np.loadtxt(walk / "intrinsic/intrinsic_depth.txt")
        (owner / scan).mkdir(parents=True)
        write_sens(owner / scan / f"{scan}.sens", frames, intrinsic_depth=K)
        for path in walk.glob("prompt/*.txt"):
            captions[f"scannet/{scan}/prompt/{path.name}"] = path.read_bytes()
        for name, content in lists_of(len(frames)).items():
            captions[f"scannet/{scan}/{name}"] = content
    return captions


def lists_of(count: int) -> dict[str, bytes]:
    """The authors' lists of a scan: all but frame 2 are valid, every third is a key frame."""
    valid = [frame for frame in range(count) if frame != 2]
    buffer = io.BytesIO()
    np.save(buffer, np.array(valid))
    keys = "".join(f"{frame}\n" for frame in range(0, count, 3))
    return {"valid_frames.npy": buffer.getvalue(), "key_frame_0.6.txt": keys.encode()}


def test_scans(run: Run, base_folder: Path, tmp_path: Path) -> None:
    walks = parse(WalkSettings, {"seed": 3, "num_scenes": {"train": 3}, **WALK})
    WALKS.render(tmp_path / "walks", walks)
    captions = record_walks(tmp_path / "owner", tmp_path / "walks")
    archive, place = tmp_path / "owner/{id}/{id}.sens", "scans/{id}/{id}.sens"
    script = write_script(tmp_path / "s.py", archive, ["fail", "whole"], place, questions=2)
    tar, labels = write_tar(tmp_path / "scannet_train.tar", captions), tmp_path / "labels"
    run("data", "labels", "scannet", "--archive", tar, "--output", labels)
    downloads, prepared = tmp_path / "downloads", tmp_path / "prepared"
    for split, scan in SCANS.items():
        where = ("--unit", scan, "--downloads", downloads, "--script", script, "--accept-terms")
        run("data", "fetch", "scannet", *where)
        source = next(downloads.glob(f"scans*/{scan}/{scan}.sens"))
        what = ("--unit", scan, "--source", source, "--output", prepared / split / scan)
        size = json.dumps({"height": 24, "width": 32})
        run("data", "prepare", "scannet", *what, "--settings", size, "--labels", labels)
    run("data", "splits", "scannet", "--prepared", prepared, "--labels", labels)
    record = json.loads((prepared / "test" / SCANS["test"] / "prepared.json").read_text())
    assert [skipped["frame"] for skipped in record["skipped"]] == [2]
    run_stages(run, "depth", prepared, base_folder, tmp_path, FRAMES)
    metrics = score(tmp_path)
    assert metrics["made"]["cross_view_psnr"]["value"] < metrics["real"]["cross_view_psnr"]["value"]
