"""Frames are in the order of their names' numbers, times by their whole value."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvdiffusion.preparation.custom.check import CheckSettings, survey
from mvdiffusion.preparation.custom.layouts.frame_order import name_key, numbered


def order(*names: str) -> list[tuple[int, str]]:
    return [(number, names[place]) for number, place in numbered([Path(name) for name in names])]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # TUM: the fraction of a second falls when the second rises.
        (
            ["1305031454.100000.png", "1305031453.900000.png", "1305031453.359684.png"],
            [2, 1, 0],
        ),
        # The same times, printed without the zeros at their ends.
        (["1305031453.9.png", "1305031453.359684.png", "1305031454.png"], [1, 0, 2]),
        (["0.25.png", "0.1.png", "10.5.png", "9.75.png"], [1, 0, 3, 2]),
        (["rgb_2.5.png", "rgb_2.25.png"], [1, 0]),
        # Dates: the last number alone would put 12:31:02 before 12:30:45.
        (["2023-01-05_12.31.02.jpg", "2023-01-05_12.30.45.jpg"], [1, 0]),
        (["1341846313.5922", "1341846313.6"], [0, 1]),
    ],
)
def test_times_are_ordered_and_numbered_by_place(names, expected):
    if not Path(names[0]).suffix[1:].isalpha():
        names = [f"{name}.png" for name in names]
    assert order(*names) == [(place, names[index]) for place, index in enumerate(expected)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10.jpg", "9.jpg", "0.jpg"], [(0, "0.jpg"), (9, "9.jpg"), (10, "10.jpg")]),
        (["frame-000007.color.jpg", "frame-000003.color.jpg"], [3, 7]),
        (["cam0.12.jpg", "cam0.2.jpg"], [2, 12]),
        (["IMG_20230105_000300.jpg", "IMG_20230105_000200.jpg"], [200, 300]),
        (["1403636579763555584.png", "1403636579813555456.png"], None),
    ],
)
def test_whole_numbers_stay(names, expected):
    found = order(*names)
    if expected is None:
        assert [number for number, _ in found] == [int(Path(name).stem) for name in names]
    elif isinstance(expected[0], tuple):
        assert found == expected
    else:
        assert [number for number, _ in found] == expected


def test_names_that_do_not_tell_frames_apart_keep_their_order():
    assert order("b/left.jpg", "a/left.jpg") == [(0, "b/left.jpg"), (1, "a/left.jpg")]
    assert order("b/5.jpg", "a/5.jpg") == [(0, "b/5.jpg"), (1, "a/5.jpg")]
    assert name_key(Path("left.jpg")) == ()


def test_a_recording_named_by_time(tmp_path):
    """Color, depth and pose of one time go together, however its zeros are printed."""
    times = [1305031453.359684 + 0.0333 * place for place in range(30)]
    for part in ("color", "depth", "pose", "intrinsic"):
        (tmp_path / part).mkdir()
    K = [[32, 0, 15.5], [0, 32, 11.5], [0, 0, 1]]
    np.savetxt(tmp_path / "intrinsic/intrinsic_depth.txt", K)
    for place, time in enumerate(times):
        Image.new("RGB", (32, 24), (place, 0, 0)).save(tmp_path / f"color/{time:.6f}.png")
        counts = np.full((24, 32), 2000, np.uint16)
        Image.fromarray(counts).save(tmp_path / f"depth/{round(time, 6)!r}.png")
        pose = np.eye(4)
        pose[0, 3] = 0.05 * place
        np.savetxt(tmp_path / f"pose/{time:.6f}.txt", pose)
    found = survey(tmp_path, CheckSettings(caption="x"))
    assert found.stopping == []
    assert "frames named by time" in found.problems[0].problem
    recording, _, keys = found.recordings[0]
    assert [frame.number for frame in recording.frames] == list(range(30))
    assert [frame.color.name for frame in recording.frames] == [f"{t:.6f}.png" for t in times]
    positions = [float(frame.pose[0, 3]) for frame in recording.frames]
    assert positions == pytest.approx([0.05 * place for place in range(30)])
    # A frame further, the wall moves by 0.8 of 32 pixels; 65 % are shared 12 or 13 frames on.
    assert keys in (3, 4)
