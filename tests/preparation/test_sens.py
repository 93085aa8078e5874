"""Recordings are read as the tests' own decoder reads them; what is broken is named."""

import io
import pickle
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from sens_files import decode_sens, sens_bytes

from mvdiffusion.preparation import sens
from mvdiffusion.preparation.sens import FrameError, SensReader
from mvdiffusion.records import InputError

HEIGHT, WIDTH, DEPTH_HEIGHT, DEPTH_WIDTH = 48, 64, 30, 40
K = np.array([[50.0, 0, 19.5], [0, 51, 14.5], [0, 0, 1]])
K_COLOR = np.array([[80.0, 0, 31.5], [0, 81.6, 23.5], [0, 0, 1]])
NAME = b"StructureSensor"
FIELDS_AT = 12 + len(NAME) + 256  # of the compression codes
FIRST_FRAME = FIELDS_AT + 36
BAD_POSE = np.full((4, 4), -np.inf)


def frame(number, height=HEIGHT, width=WIDTH):
    random = np.random.default_rng(number)
    y, x = np.mgrid[:height, :width]
    color = np.stack([4 * x + number, 5 * y, 128 + 0 * x], -1) + random.integers(0, 9, (1, 1, 3))
    depth = random.integers(0, 65536, (DEPTH_HEIGHT, DEPTH_WIDTH), dtype=np.uint16)
    pose = np.eye(4)
    pose[:3, 3] = random.normal(size=3)
    return color.clip(0, 255).astype(np.uint8), depth, pose


def recording(frames=3, **fields):
    frames = [frame(number) for number in range(frames)] if isinstance(frames, int) else frames
    return sens_bytes(frames, **{"intrinsic_depth": K, **fields})


def opened(tmp_path, data):
    path = tmp_path / "scene0000_00.sens"
    path.write_bytes(data)
    return SensReader(path)


def patched(data, position, kind, value):
    data = bytearray(data)
    struct.pack_into(kind, data, position, value)
    return bytes(data)


@pytest.mark.parametrize("depth", ["zlib", "raw"])
@pytest.mark.parametrize("color", ["jpeg", "png", "raw"])
def test_every_byte_is_as_the_independent_decoder_reads_it(tmp_path, color, depth):
    frames = [frame(0), (*frame(1)[:2], BAD_POSE), frame(2)]
    data = recording(
        frames,
        intrinsic_color=K_COLOR,
        color_compression=color,
        depth_compression=depth,
        depth_shift=4000.0,
        sensor_name="Sensör",
    )
    header, expected = decode_sens(data)
    assert header.pop("version") == 4
    with opened(tmp_path, data) as reader:
        assert len(reader) == 3
        for name, value in header.items():
            np.testing.assert_array_equal(getattr(reader.header, name), value, name)
        for number in (2, 0, 1):  # in any order
            found = reader.read(number)
            assert found.number == number
            parts = zip((found.color, found.depth, found.pose), expected[number], strict=True)
            for part, value in parts:
                assert part.dtype == value.dtype
                assert part.shape == value.shape
                assert part.tobytes() == value.tobytes()


def test_lossless_recordings_come_back_as_they_were_made(tmp_path):
    data = recording(color_compression="png")
    with opened(tmp_path, data) as reader:
        for number in range(3):
            color, depth, pose = frame(number)
            found = reader.read(number)
            assert (found.color == color).all()
            assert (found.depth == depth).all()
            assert (found.pose == pose.astype(np.float32)).all()


@pytest.mark.parametrize("records", [None, 0, 1, 5])
def test_imu_records_after_the_frames_are_passed_over(tmp_path, records):
    with opened(tmp_path, recording(imu_frames=records)) as reader:
        assert (reader.read(2).depth == frame(2)[1]).all()


def test_a_file_that_is_no_recording_is_refused(tmp_path):
    page = b"<html><body>404: no such scene, and some more words</body></html>"
    for data in (page, page * 20):
        with pytest.raises(InputError, match=r"version 1836345404 .* expected version 4"):
            opened(tmp_path, data)
    for path in (tmp_path / "missing.sens", tmp_path):
        with pytest.raises(InputError, match=r"no such file; expected a \.sens recording"):
            SensReader(path)
    with pytest.raises(InputError, match=r"ends at byte 0, where 12 more were expected"):
        opened(tmp_path, b"")


BAD_HEADERS = {
    "an old version": (0, "<I", 3, "version 3"),
    "no version": (0, "<I", 0, "version 0"),
    "a huge name": (4, "<Q", 2**63, "name of 9223372036854775808 bytes"),
    "a long name": (4, "<Q", 1025, "name of 1025 bytes"),
    "unknown color": (FIELDS_AT, "<i", -1, r"color compression is -1; expected 0 \(raw\) or 1"),
    "unknown depth": (FIELDS_AT + 4, "<i", -1, r"depth compression is -1; expected 0 \(raw\)"),
    "occi depth": (FIELDS_AT + 4, "<i", 2, "depth compression is 2"),
    "no color width": (FIELDS_AT + 8, "<I", 0, "color width is 0; expected 1 to 8192"),
    "no color height": (FIELDS_AT + 12, "<I", 0, "color height is 0"),
    "a huge color width": (FIELDS_AT + 8, "<I", 2**31, "color width is 2147483648"),
    "no depth width": (FIELDS_AT + 16, "<I", 0, "depth width is 0"),
    "a huge depth height": (FIELDS_AT + 20, "<I", 2**32 - 1, "depth height is 4294967295"),
    "no depth unit": (FIELDS_AT + 24, "<f", 0.0, r"depth_shift is 0\.0; .* above 0"),
    "a negative unit": (FIELDS_AT + 24, "<f", -1000.0, "depth_shift is -1000"),
    "a unit that is no number": (FIELDS_AT + 24, "<f", np.nan, "depth_shift is nan"),
    "an infinite unit": (FIELDS_AT + 24, "<f", np.inf, "depth_shift is inf"),
    "no frames": (FIELDS_AT + 28, "<Q", 0, "number of frames is 0"),
    "absurdly many frames": (FIELDS_AT + 28, "<Q", 2**63, "frames is 9223372036854775808"),
    "a frame too many": (FIELDS_AT + 28, "<Q", 4, "inside frame 3, .* 3 of 4 frames are whole"),
    "a frame too few": (FIELDS_AT + 28, "<Q", 2, r"bytes follow its 2 frames but are not"),
    "absurd color bytes": (FIRST_FRAME + 80, "<Q", 2**63, "inside frame 0, .* 0 of 3 frames"),
    "absurd depth bytes": (FIRST_FRAME + 88, "<Q", 2**64 - 1, "inside frame 0, .* 0 of 3 frames"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_headers_that_make_no_sense_give_one_clear_error(tmp_path, case):
    position, kind, value, message = BAD_HEADERS[case]
    with pytest.raises(InputError, match=message) as caught:
        opened(tmp_path, patched(recording(), position, kind, value))
    assert "scene0000_00.sens" in str(caught.value)
    assert not isinstance(caught.value, FrameError)


def test_a_file_cut_off_anywhere_is_named_with_its_whole_frames(tmp_path):
    data = recording(imu_frames=None)
    sizes = [len(recording(count, imu_frames=None)) for count in (1, 2, 3)]
    for length in range(0, len(data), 7):
        with pytest.raises(InputError) as caught:
            opened(tmp_path, data[:length])
        if length < FIRST_FRAME:
            assert "fetch it again" in str(caught.value)
        else:
            whole = sum(size <= length for size in sizes)
            assert f"only {whole} of 3 frames are whole. Fetch it again." in str(caught.value)


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 16, b"\1" + b"\0" * 7, b"\xff" * 136])
def test_an_over_long_file_is_refused(tmp_path, extra):
    with pytest.raises(InputError, match=f"{len(extra)} bytes follow its 3 frames"):
        opened(tmp_path, recording(imu_frames=None) + extra)
    with pytest.raises(InputError, match=f"{8 + 256 + len(extra)} bytes follow its 3 frames"):
        opened(tmp_path, recording(imu_frames=2) + extra)


def jpeg(height=HEIGHT, width=WIDTH, mode="RGB", kind="JPEG"):
    file = io.BytesIO()
    Image.fromarray(frame(1, height, width)[0]).convert(mode).save(file, kind)
    return file.getvalue()


BAD_COLOR = {
    "nothing": (b"", "color is empty"),
    "no image": (b"not an image at all", "not a whole JPEG"),
    "truncated": (jpeg()[:-40], "not a whole JPEG .*truncated"),
    "only its start": (jpeg()[:20], "not a whole JPEG"),
    "a PNG": (jpeg(kind="PNG"), "not a whole JPEG"),
    "another size": (jpeg(24, 32), r"JPEG of 24 x 32 .* not 48 x 64"),
    "turned": (jpeg(WIDTH, HEIGHT), r"JPEG of 64 x 48 .* not 48 x 64"),
    "gray": (jpeg(mode="L"), "in mode L, not 48 x 64 in RGB"),
    "far too long": (jpeg() + bytes(100_000), "too many for 48 x 64 pixels"),
}
RAW_DEPTH = frame(1)[1].tobytes()
BAD_DEPTH = {
    "nothing": (b"", "depth is empty"),
    "no stream": (b"not a stream", "not a zlib stream"),
    "truncated": (zlib.compress(RAW_DEPTH)[:-1], "truncated"),
    "damaged": (zlib.compress(RAW_DEPTH)[:-4] + b"\0\0\0\0", "not a zlib stream .*incorrect data"),
    "too short": (zlib.compress(RAW_DEPTH[:-2]), "decompresses to 2398 bytes, not 2400"),
    "too long": (zlib.compress(RAW_DEPTH + b"\0"), "decompresses to more bytes, not 2400"),
    "empty": (zlib.compress(b""), "decompresses to 0 bytes"),
    "far too long": (zlib.compress(RAW_DEPTH) + bytes(100_000), "too many for 30 x 40 pixels"),
}


def check_second_frame_is_left_out(tmp_path, data, message):
    with opened(tmp_path, data) as reader:
        first, third = reader.read(0), reader.read(2)
        with pytest.raises(FrameError, match=f"scene0000_00.sens: frame 1: .*{message}") as caught:
            reader.read(1)
    assert (first.number, caught.value.number, third.number) == (0, 1, 2)
    assert (third.depth == frame(2)[1]).all()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("case", BAD_COLOR)
def test_a_frame_with_bad_color_is_left_out(tmp_path, case):
    payload, message = BAD_COLOR[case]
    data = recording([frame(0), (payload, *frame(1)[1:]), frame(2)])
    check_second_frame_is_left_out(tmp_path, data, message)


@pytest.mark.parametrize("case", BAD_DEPTH)
def test_a_frame_with_bad_depth_is_left_out(tmp_path, case):
    payload, message = BAD_DEPTH[case]
    color, _, pose = frame(1)
    data = recording([frame(0), (color, payload, pose), frame(2)])
    check_second_frame_is_left_out(tmp_path, data, message)


@pytest.mark.parametrize("part", ["color", "depth"])
@pytest.mark.parametrize("payload", [b"", b"\0", bytes(HEIGHT * WIDTH * 3 + 1)])
def test_raw_payloads_have_exactly_the_bytes_of_their_size(tmp_path, part, payload):
    color, depth, pose = frame(1)
    second = (payload, depth, pose) if part == "color" else (color, payload, pose)
    data = recording([frame(0), second, frame(2)], color_compression="raw", depth_compression="raw")
    check_second_frame_is_left_out(tmp_path, data, f"{part} has {len(payload)} bytes, not")


def png_claiming(height, width):
    data = bytearray(jpeg(kind="PNG"))
    struct.pack_into(">II", data, 16, width, height)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def test_bombs_take_no_memory(tmp_path):
    """A stream of 64 MiB in 64 KiB, and images that claim 2³¹ pixels a side."""
    color, depth, pose = frame(1)
    bomb = zlib.compress(bytes(1 << 26), 9)
    for width in (WIDTH, 2**15, 2**31 - 1):
        broken = [(png_claiming(2 * width, width), depth, pose), (color, bomb, pose)]
        data = recording([frame(0), *broken], color_compression="png")
        with opened(tmp_path, data) as reader:
            reader.read(0)
            tracemalloc.start()
            for number in (1, 2):
                with pytest.raises(FrameError):
                    reader.read(number)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 1 << 20


def test_a_sparse_file_of_absurd_length_is_not_read_into_memory(tmp_path):
    """A frame that claims 1 TiB of color in a file that really is so long."""
    data = recording(1, imu_frames=None)
    path = tmp_path / "sparse.sens"
    for position, message in ((80, "color has 1099511627776 bytes, too many"), (88, "depth has")):
        old = struct.unpack_from("<Q", data, FIRST_FRAME + position)[0]
        path.write_bytes(patched(data, FIRST_FRAME + position, "<Q", 1 << 40))
        with open(path, "r+b") as file:
            try:
                file.truncate(len(data) + (1 << 40) - old)
            except OSError:
                pytest.skip("no sparse files here")
        with SensReader(path) as reader, pytest.raises(FrameError, match=message):
            reader.read(0)


def test_opening_reads_no_payload(tmp_path, monkeypatch):
    """The bytes read while opening are the header's and 96 per frame."""
    taken = []
    pread = sens.os.pread

    def counting(file, size, position):
        taken.append(size)
        return pread(file, size, position)

    monkeypatch.setattr(sens.os, "pread", counting)
    opened(tmp_path, recording(20)).close()
    assert sum(taken) == FIRST_FRAME - len(NAME) + 20 * 96 + 8


def test_threads_read_one_recording_together(tmp_path):
    numbers = [5, 0, 3, 3, 11, 1]
    with (
        opened(tmp_path, recording(12, color_compression="png")) as reader,
        ThreadPoolExecutor(3) as pool,
    ):
        found = list(pool.map(reader.read, numbers))
    assert [part.number for part in found] == numbers
    for part in found:
        assert (part.color == frame(part.number)[0]).all()


def test_frames_that_are_not_there_are_refused(tmp_path):
    reader = opened(tmp_path, recording())
    for number in (-1, 3):
        with pytest.raises(InputError, match=f"no frame {number}; expected 0 to 2"):
            reader.read(number)
    (tmp_path / "scene0000_00.sens").write_bytes(recording(1)[:-20])  # while it is being read
    with pytest.raises(InputError, match="fetch it again") as caught:
        reader.read(2)
    assert not isinstance(caught.value, FrameError)  # the recording can't go on
    reader.close()
    with pytest.raises(ValueError, match="closed file"):
        reader.read(0)
