"""ScanNet's recordings, .sens version 4 (paper, section 5.2; ScanNet, SensReader).

Little-endian, without padding:

    uint32 version, uint64 length and bytes of the sensor's name
    float32 [4, 4] x 4       intrinsic and extrinsic of color, then of depth, row by row
    int32, int32             compression of color (raw, PNG, JPEG) and of depth (raw, zlib)
    uint32 x 4               width and height of color, then of depth
    float32, uint64          depth_shift (depth units per meter), number of frames
    per frame: float32 [4, 4] camera-to-world, uint64 time of color and of depth,
               uint64 bytes of color and of depth, then both payloads
    uint64 number of IMU records, 128 bytes each (may be missing)

No memory is allocated because a file claims so: sizes are first checked against their limits.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvdiffusion.records import InputError

VERSION = 4
COLOR_COMPRESSIONS = {0: "raw", 1: "png", 2: "jpeg"}
DEPTH_COMPRESSIONS = {0: "raw", 1: "zlib"}

_START = struct.Struct("<IQ")
_FIELDS = struct.Struct("<256s2i4IfQ")
_FRAME = struct.Struct("<64s4Q")
_IMU_RECORD = 15 * 8 + 8  # five float64 vectors and a time

# Far above any recording (1296 x 968, some 10,000 frames), far below what would fill a memory.
_MAX_NAME, _MAX_SIDE, _MAX_FRAMES = 1024, 8192, 1_000_000
_METADATA = 1 << 16  # bytes that a compressed payload may need beside its pixels


@dataclass(frozen=True)
class SensHeader:
    """What a recording says of all its frames.

    Attributes:
        intrinsic_color: float32 [4, 4], in pixels of the color images.
        intrinsic_depth: float32 [4, 4], in pixels of the depth images.
        color_compression: one of `COLOR_COMPRESSIONS`.
        depth_compression: one of `DEPTH_COMPRESSIONS`.
        color_size: height and width.
        depth_size: height and width.
        depth_shift: stored depth per meter.
        num_frames: at least one.
    """

    intrinsic_color: NDArray[np.float32]
    intrinsic_depth: NDArray[np.float32]
    color_compression: str
    depth_compression: str
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    depth_shift: float
    num_frames: int


@dataclass(frozen=True)
class SensFrame:
    """One frame; its arrays may be read-only.

    Attributes:
        number: in the recording, from 0.
        pose: camera-to-world as stored, float32 [4, 4] in meters; not finite where tracking failed.
        color: uint8 [H, W, 3] RGB.
        depth: uint16 [h, w] as stored (1 / depth_shift meters), 0 = none.
    """

    number: int
    pose: NDArray[np.float32]
    color: NDArray[np.uint8]
    depth: NDArray[np.uint16]


class FrameError(InputError):
    """One frame can't be used, for a `reason`; the others of its recording can."""

    def __init__(self, path: Path, number: int, reason: str) -> None:
        super().__init__(path, number, reason)
        self.path, self.number, self.reason = path, number, reason

    def __str__(self) -> str:
        return (
            f"{self.path}: frame {self.number}: {self.reason}; leave the frame out, or fetch the "
            "file again."
        )


class SensReader:
    """An open recording; frames are read when they are asked for, in any number of threads."""

    def __init__(self, path: str | Path) -> None:
        """Read the header and find the place of every frame, without reading payloads.

        Raises:
            InputError: the file is missing, is no .sens of version 4, is cut off or too long, or
                its header makes no sense.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file; expected a .sens recording there.")
        try:
            self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise InputError(f"{self.path}: could not be opened ({error.strerror}).") from None
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self.header, first = self._read_header()
            self._starts = self._find_frames(first)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return self.header.num_frames

    def __enter__(self) -> SensReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; frames can't be read any more."""
        self._file.close()

    def read(self, number: int) -> SensFrame:
        """Read and decode frame `number`.

        Raises:
            FrameError: color or depth is missing, broken or not of the header's size.
            InputError: there is no such frame, or the file can't be read any more.
        """
        if not 0 <= number < len(self):
            raise InputError(f"{self.path}: no frame {number}; expected 0 to {len(self) - 1}.")
        start = self._starts[number]
        pose, _, _, color_bytes, depth_bytes = _FRAME.unpack(self._take(start, _FRAME.size))
        header, place = self.header, start + _FRAME.size
        try:
            _check_length("color", color_bytes, header.color_compression, header.color_size, 3)
            _check_length("depth", depth_bytes, header.depth_compression, header.depth_size, 2)
            color = _decode_color(self._take(place, color_bytes), header)
            depth = _decode_depth(self._take(place + color_bytes, depth_bytes), header)
        except _PayloadError as error:
            raise FrameError(self.path, number, str(error)) from None
        return SensFrame(number, np.frombuffer(pose, "<f4").reshape(4, 4), color, depth)

    def _take(self, position: int, size: int) -> bytes:
        """Bytes at a place in the file; `size` is bounded by the caller."""
        try:
            data = os.pread(self._file.fileno(), size, position)
        except OSError as error:
            raise InputError(f"{self.path}: could not be read ({error.strerror}).") from None
        if len(data) != size:
            raise InputError(
                f"{self.path}: ends at byte {position + len(data)}, where {size - len(data)} more "
                "were expected; fetch it again."
            )
        return data

    def _read_header(self) -> tuple[SensHeader, int]:
        """The header and the place of the first frame."""
        version, length = _START.unpack(self._take(0, _START.size))
        if version != VERSION or length > _MAX_NAME:
            raise InputError(
                f"{self.path}: starts with version {version} and a sensor's name of {length} "
                f"bytes; expected version {VERSION} and at most {_MAX_NAME} bytes. It is not a "
                ".sens recording, or has another version; fetch it again."
            )
        place = _START.size + length
        fields = _FIELDS.unpack(self._take(place, _FIELDS.size))
        return _parse_header(self.path, fields), place + _FIELDS.size

    def _find_frames(self, position: int) -> array[int]:
        starts = array("Q")
        for number in range(self.header.num_frames):
            starts.append(position)
            end = position + _FRAME.size
            if end <= self._size:
                end += sum(_FRAME.unpack(self._take(position, _FRAME.size))[3:])
            if end > self._size:
                raise InputError(
                    f"{self.path}: ends at byte {self._size}, inside frame {number}, which needs "
                    f"{end} bytes; only {number} of {self.header.num_frames} frames are whole. "
                    "Fetch it again."
                )
            position = end
        self._check_rest(position)
        return starts

    def _check_rest(self, position: int) -> None:
        """After the last frame there is nothing, or a count and so many IMU records."""
        rest = self._size - position
        if rest == 0:
            return
        count = int.from_bytes(self._take(position, 8), "little") if rest >= 8 else -1
        if rest != 8 + count * _IMU_RECORD:
            raise InputError(
                f"{self.path}: {rest} bytes follow its {self.header.num_frames} frames but are not "
                "IMU records, which may follow them; fetch it again."
            )


def _parse_header(path: Path, fields: tuple) -> SensHeader:
    matrices = np.frombuffer(fields[0], "<f4").reshape(4, 4, 4)
    color_code, depth_code, *sizes, depth_shift, num_frames = fields[1:]
    _check_field(path, "color compression", color_code, COLOR_COMPRESSIONS)
    _check_field(path, "depth compression", depth_code, DEPTH_COMPRESSIONS)
    sides = ("color width", "color height", "depth width", "depth height")
    for side, size in zip(sides, sizes, strict=True):
        _check_field(path, side, size, range(1, _MAX_SIDE + 1))
    _check_field(path, "number of frames", num_frames, range(1, _MAX_FRAMES + 1))
    if not (math.isfinite(depth_shift) and depth_shift > 0):
        raise InputError(
            f"{path}: its depth_shift is {depth_shift}; expected depth units per meter, above 0 "
            "(ScanNet: 1000). Fetch it again."
        )
    return SensHeader(
        intrinsic_color=matrices[0],
        intrinsic_depth=matrices[2],
        color_compression=COLOR_COMPRESSIONS[color_code],
        depth_compression=DEPTH_COMPRESSIONS[depth_code],
        color_size=(sizes[1], sizes[0]),
        depth_size=(sizes[3], sizes[2]),
        depth_shift=depth_shift,
        num_frames=num_frames,
    )


def _check_field(path: Path, what: str, found: int, allowed: range | dict[int, str]) -> None:
    if found in allowed:
        return
    if isinstance(allowed, range):
        expected = f"{allowed[0]} to {allowed[-1]}"
        fix = "Fetch it again."
    else:
        expected = " or ".join(f"{code} ({name})" for code, name in allowed.items())
        fix = "Write the recording with one of these, or fetch it again."
    raise InputError(f"{path}: its {what} is {found}; expected {expected}. {fix}")


class _PayloadError(Exception):
    """What is wrong with one payload."""


def _check_length(
    what: str, found: int, compression: str, size: tuple[int, int], pixel_bytes: int
) -> None:
    """Hold a payload's claimed bytes against what the header's size can need."""
    height, width = size
    raw = height * width * pixel_bytes
    if compression == "raw" and found != raw:
        raise _PayloadError(f"{what} has {found} bytes, not {raw} ({height} x {width}, raw)")
    if found == 0:
        raise _PayloadError(f"{what} is empty")
    if found > 2 * raw + _METADATA:
        raise _PayloadError(f"{what} has {found} bytes, too many for {height} x {width} pixels")


def _decode_color(data: bytes, header: SensHeader) -> NDArray[np.uint8]:
    height, width = header.color_size
    if header.color_compression == "raw":
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)
    kind = header.color_compression.upper()
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
        if image.size != (width, height) or image.mode != "RGB":  # known before any pixel is
            raise _PayloadError(
                f"color is a {kind} of {image.height} x {image.width} in mode {image.mode}, "
                f"not {height} x {width} in RGB"
            )
        return np.asarray(image)
    except (MemoryError, _PayloadError):
        raise
    except Exception as error:  # Pillow has no common class for what broken images raise
        raise _PayloadError(f"color is not a whole {kind} ({error})") from None


def _decode_depth(data: bytes, header: SensHeader) -> NDArray[np.uint16]:
    height, width = header.depth_size
    expected = 2 * height * width
    if header.depth_compression == "zlib":
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(data, expected + 1)  # so a bomb inflates no further
        except zlib.error as error:
            raise _PayloadError(f"depth is not a zlib stream ({error})") from None
        if len(data) != expected or not inflater.eof:
            found = "more" if len(data) > expected else str(len(data))
            raise _PayloadError(
                f"depth decompresses to {found} bytes, not {expected}, or is truncated"
            )
    return np.frombuffer(data, "<u2").reshape(height, width)
