"""Given views, depth and cameras: what methods of the other tasks get, and what they write."""

import json
from pathlib import Path

import numpy as np
import pytest
from noise_data import HEIGHT, WIDTH, write_rooms, write_scene
from PIL import Image

from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import PanoramaFolder, SequenceFolder

VIEWS = json.dumps({"data": {"image_size": 16, "num_views": 8, "fov_deg": 90.0}, "num_samples": 1})
SIZES = {"height": HEIGHT, "width": WIDTH, "num_views": 3, "num_between": 0}
FRAMES = json.dumps({"data": SIZES})


def test_a_given_view(run, tmp_path: Path) -> None:
    """The file of requests has all prompts; beside it lies the real view that is given."""
    write_rooms(tmp_path / "rooms", "test", ["a", "b"], 0)
    words = ("--task", "outpaint", "--data", tmp_path / "rooms", "--settings", VIEWS)
    output = tmp_path / "raw"
    code, said = run("run", "opencubediff", *words, "--output", output, "--only-requests")
    assert code == 0, said
    requests = json.loads((output / "requests.json").read_text())
    assert (requests["task"], requests["given_views"]) == ("outpaint", [0])
    assert [sample["id"] for sample in requests["samples"]] == ["a"]
    given = np.asarray(Image.open(output / ".inputs/a/0.png")).astype(float)
    face = Image.open(tmp_path / "rooms/a/matterport_skybox_images/a_skybox2_sami.jpg")
    front = np.asarray(face.resize((16, 16), Image.Resampling.BOX)).astype(float)
    assert np.abs(given - front).mean() < 3
    for number, name in enumerate(("top", "left", "front", "right", "back", "bottom")):
        (output / "a").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (40 * number, 0, 0)).save(output / "a" / f"{name}.png")
    code, said = run("import", "opencubediff", output, "--task", "outpaint", "--output",
                     tmp_path / "ours")  # fmt: skip
    assert code == 0, said
    made = open_folder(tmp_path / "ours")
    assert isinstance(made, PanoramaFolder)
    assert (made.task, made.given_views, made.method) == (
        *("outpaint", (0,), "external/opencubediff"),
    )
    assert [int(view[8, 8, 0]) // 40 for view in made.views("a", [0, 2, 4, 6])] == [2, 3, 4, 1]


@pytest.fixture
def walks(tmp_path: Path) -> Path:
    write_scene(tmp_path / "walks/test/walk", [0, 2, 4], 6, 0)
    return tmp_path / "walks"


def test_frames_made_elsewhere(run, walks: Path, tmp_path: Path) -> None:
    """The data give cameras and depth; without them frames can't be scored."""
    theirs, frames = tmp_path / "theirs/walk-0000", (0, 2, 4)
    theirs.mkdir(parents=True)
    for frame in frames:
        Image.new("RGB", (2 * WIDTH, 2 * HEIGHT), (10 * frame, 90, 0)).save(
            theirs / f"{frame}_pred.png"
        )
    words = ("import", "mvdiffusion-released", tmp_path / "theirs", "--task", "depth")
    code, said = run(*words, "--output", tmp_path / "ours")
    assert code == 2
    assert "theirs: frames need the data's cameras and depth; give --data." in said
    words = (*words, "--data", walks, "--settings", FRAMES)
    code, said = run(*words, "--output", tmp_path / "ours")
    assert code == 0, said
    made = open_folder(tmp_path / "ours")
    assert isinstance(made, SequenceFolder)
    cameras = json.loads((tmp_path / "ours/walk-0000/cameras.json").read_text())
    assert tuple(cameras["frames"]) == frames
    views = made.views("walk-0000")
    assert views.shape == (3, HEIGHT, WIDTH, 3)
    assert [int(view[0, 0, 0]) for view in views] == [0, 20, 40]
    assert made.prompts("walk-0000") == [f"a room, no. {frame}" for frame in frames]
    depth = Image.open(tmp_path / "ours/walk-0000/depth/1.png")
    recorded = Image.open(walks / "test/walk/depth/2.png")
    assert np.array_equal(np.asarray(depth), np.asarray(recorded))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_depth_and_cameras_that_a_method_is_handed(run, walks: Path, tmp_path: Path) -> None:
    output = tmp_path / "raw"
    code, said = run("run", "mvdiffusion-released", "--task", "depth", "--data", walks,
                     "--settings", FRAMES, "--output", output, "--only-requests")  # fmt: skip
    assert code == 0, said
    cameras = json.loads((output / ".inputs/walk-0000/cameras.json").read_text())
    assert cameras["frames"] == [0, 2, 4]
    pose = np.loadtxt(walks / "test/walk/pose/4.txt")
    assert np.allclose(cameras["pose"][2], pose, atol=1e-6)
    assert len(list((output / ".inputs/walk-0000/depth").glob("*.png"))) == 3
