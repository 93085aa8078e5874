"""Whatever bytes a recording holds, reading it ends in arrays of its sizes or in an InputError."""

import resource
import struct
import warnings
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sens_files import decode_sens, sens_bytes

from mvdiffusion.preparation.sens import FrameError, SensFrame, SensReader
from mvdiffusion.records import InputError

FAST, LONG = 400, 100_000
MEMORY = 1 << 30  # a frame of the largest sizes that a header may claim is below it
VARIANTS = [(color, depth) for color in ("jpeg", "png", "raw") for depth in ("zlib", "raw")]
NAME = b"StructureSensor"
FIELDS_AT = 12 + len(NAME) + 256
FIRST_FRAME = FIELDS_AT + 36
# Every integer or float of the header and of the first frame: place and kind.
FIELDS = [(0, "<I"), (4, "<Q"), (FIELDS_AT, "<i"), (FIELDS_AT + 4, "<i")]
FIELDS += [(FIELDS_AT + at, "<I") for at in (8, 12, 16, 20, 24)] + [(FIELDS_AT + 28, "<Q")]
FIELDS += [(FIRST_FRAME + at, "<Q") for at in (64, 72, 80, 88)]


def _frames():
    random = np.random.default_rng(0)
    for _ in range(2):
        color = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        yield color, random.integers(0, 9000, (3, 4), dtype=np.uint16), np.eye(4)


def _recording(color, depth, frames=None):
    frames = _frames() if frames is None else frames
    return sens_bytes(
        frames, intrinsic_depth=np.eye(3), color_compression=color, depth_compression=depth
    )


def _second_payloads(data):
    start = FIRST_FRAME + 96 + sum(struct.unpack_from("<QQ", data, FIRST_FRAME + 80))
    color_size, depth_size = struct.unpack_from("<QQ", data, start + 80)
    color, rest = data[start + 96 :][:color_size], data[start + 96 + color_size :]
    return color, rest[:depth_size]


RECORDINGS = {variant: _recording(*variant) for variant in VARIANTS}
PAYLOADS = {variant: _second_payloads(data) for variant, data in RECORDINGS.items()}

extremes = st.sampled_from([0, 1, 2, 3, 4, 8, 255, 8192, 1 << 16, 1 << 31, (1 << 63) - 1, 1 << 63])
integers = extremes | extremes.map(lambda value: (1 << 64) - 1 - value) | st.integers(0, 1 << 64)
places = st.integers(0, 1 << 12)  # taken modulo the length
edits = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(1, 255)),
    st.tuples(st.just("put"), places, st.binary(max_size=8)),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("drop"), places, st.integers(1, 64)),
    st.tuples(st.just("cut"), places, st.just(0)),
)
edit_lists = st.lists(edits, min_size=1, max_size=4)
fields = st.tuples(st.sampled_from(FIELDS), integers)


def _edited(data, edits):
    data = bytearray(data)
    for kind, place, value in edits:
        place %= max(1, len(data))
        if kind == "flip" and data:
            data[place] ^= value
        elif kind == "put":
            data[place : place + len(value)] = value
        elif kind == "insert":
            data[place:place] = value
        elif kind == "drop":
            del data[place : place + value]
        elif kind == "cut":
            del data[place:]
    return bytes(data)


def _with_fields(data, fields):
    data = bytearray(data)
    for (place, kind), value in fields:
        size = struct.calcsize(kind)
        data[place : place + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(data)


def _with_payloads(variant, color_edits, depth_edits):
    """A well-formed file whose second frame has damaged payloads of any length."""
    color, depth = PAYLOADS[variant]
    first, (_, _, pose) = _frames()
    second = _edited(color, color_edits), _edited(depth, depth_edits), pose
    return _recording(*variant, [first, second])


variants = st.sampled_from(VARIANTS)
recordings = st.one_of(
    st.builds(lambda variant, edits: _edited(RECORDINGS[variant], edits), variants, edit_lists),
    st.builds(
        lambda variant, values: _with_fields(RECORDINGS[variant], values),
        variants,
        st.lists(fields, min_size=1, max_size=3),
    ),
    st.builds(_with_payloads, variants, st.lists(edits, max_size=3), st.lists(edits, max_size=3)),
    st.binary(max_size=400),
)


def _read(reader, number):
    try:
        return reader.read(number)
    except FrameError as error:
        return error


def outcome(path, data):
    """Read all of a recording; say what came of it. Anything but an InputError escapes."""
    path.write_bytes(data)
    try:
        with SensReader(path) as reader:
            frames = [_read(reader, number) for number in range(len(reader))]
            header = reader.header
    except InputError:
        return "refused"
    for number, frame in enumerate(frames):
        assert frame.number == number
        if isinstance(frame, SensFrame):
            assert frame.color.shape == (*header.color_size, 3)
            assert frame.color.dtype == np.uint8
            assert frame.depth.shape == header.depth_size
            assert frame.depth.dtype == np.uint16
            assert frame.pose.shape == (4, 4)
    whole = sum(isinstance(frame, SensFrame) for frame in frames)
    return "whole" if whole == len(frames) else "frames left out"


def test_the_unharmed_recordings_are_whole(tmp_path):
    for variant, data in RECORDINGS.items():
        assert outcome(tmp_path / "a.sens", data) == "whole"
        assert outcome(tmp_path / "a.sens", _with_payloads(variant, [], [])) == "whole"
        assert decode_sens(data)[0]["num_frames"] == 2


def _fuzz(path, examples):
    """Count outcomes of damaged recordings, and hold the process to a bound of memory."""
    counts = {"refused": 0, "frames left out": 0, "whole": 0}

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=timedelta(seconds=10),
        suppress_health_check=list(HealthCheck),
    )
    @given(recordings)
    def read(data):
        counts[outcome(path, data)] += 1

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of images it then refuses
        read()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB on Linux
    assert grown * 1024 < MEMORY
    return counts


def test_no_damaged_recording_escapes(tmp_path):
    counts = _fuzz(tmp_path / "a.sens", FAST)
    assert sum(counts.values()) >= FAST
    assert min(counts.values()) > FAST // 50  # each kind of end was met


@pytest.mark.slow
def test_none_of_a_hundred_thousand_damaged_recordings_escapes(tmp_path):
    counts = _fuzz(tmp_path / "a.sens", LONG)
    assert sum(counts.values()) >= LONG
    print(counts)
