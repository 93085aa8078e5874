"""Image files: what is read is what was written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvdiffusion.geometry.depth import normalized_inverse_depth
from mvdiffusion.images import (
    FORMATS,
    read_depth,
    read_face,
    read_image,
    read_rgb,
    save_depth,
    save_png,
    to_pixels,
)
from mvdiffusion.records import InputError


def test_depth_is_millimeters_to_the_last_bit(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(every).save(tmp_path / "depth.png")
    depth = read_depth(tmp_path / "depth.png")
    assert depth.dtype == np.float64
    every[-1, -1] = 0  # 65535 means that there is no depth
    assert (depth == every / 1000).all()
    # Training and sampling take float32: rounded once or twice, it is the same number.
    assert (depth.astype(np.float32) == every.astype(np.float32) / np.float32(1000)).all()


def test_depth_that_16_bits_cannot_hold_is_none(tmp_path: Path) -> None:
    written = np.array([[0.0, 1.2345, 65.534, 65.535, 70.0, np.inf, np.nan, -1.0]])
    save_depth(written, tmp_path / "depth.png")
    assert np.asarray(Image.open(tmp_path / "depth.png")).tolist() == [
        [0, 1235, 65534, 0, 0, 0, 0, 0]
    ]
    assert read_depth(tmp_path / "depth.png").tolist() == [[0, 1.235, 65.534, 0, 0, 0, 0, 0]]


def test_one_saturated_pixel_does_not_move_the_depth_channel(tmp_path: Path) -> None:
    """The channel is inverse depth between the nearest and the farthest of an image."""
    counts = np.random.default_rng(0).integers(800, 4000, (24, 32)).astype(np.uint16)
    channels = []
    for nothing in (0, 65535):
        counts[0, 0] = nothing
        Image.fromarray(counts).save(tmp_path / "depth.png")
        depth = torch.from_numpy(read_depth(tmp_path / "depth.png"))
        channels.append(normalized_inverse_depth(depth[None, None], 24, 32))
    assert torch.equal(*channels)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_depth_is_no_picture(kind: type, tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 8), 1500, kind)).save(tmp_path / "depth.tif")
    with pytest.raises(InputError, match=r"depth.tif: one channel of more than 8 bits"):
        read_rgb(tmp_path / "depth.tif")


@pytest.mark.long
def test_large_pictures_do_not_warn(tmp_path: Path) -> None:
    """In a process of its own, as pytest sets the filters of warnings itself."""
    Image.new("RGB", (40, 30)).save(tmp_path / "image.png")
    code = """
from pathlib import Path
from PIL import Image
from mvdiffusion.images import read_rgb
Image.MAX_IMAGE_PIXELS = 1000
print(read_rgb(Path("image.png")).shape)
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(30, 40, 3)\n", "")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_any_mode_is_read_as_rgb(mode: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "image.png")
    expected = np.asarray(image.convert("RGB"))
    assert (read_rgb(tmp_path / "image.png") == expected).all()
    assert (to_pixels(read_image(tmp_path / "image.png")) == expected).all()


def test_pixels_are_rounded_and_clipped(tmp_path: Path) -> None:
    save_png(torch.tensor([-2.0, -1, -0.005, 0.005, 1, 2]).expand(3, 1, 6), tmp_path / "image.png")
    assert read_rgb(tmp_path / "image.png")[0, :, 0].tolist() == [0, 0, 127, 128, 255, 255]


def test_faces_are_square_and_depth_has_16_bits(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "image.png")
    with pytest.raises(InputError, match=r"image.png: 4 x 3 pixels; expected a square"):
        read_face(tmp_path / "image.png")
    with pytest.raises(InputError, match=r"image.png: an image of mode RGB; expected a 16-bit"):
        read_depth(tmp_path / "image.png")
    with pytest.raises(InputError, match=r"nothing.png: no such file"):
        read_rgb(tmp_path / "nothing.png")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


def test_eps_never_reaches_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named .png it was drawn by the program `gs`, here one that leaves a mark."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "0.png").write_bytes(EPS)
    with pytest.raises(InputError, match="not a readable image"):
        read_rgb(tmp_path / "0.png")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(kind: str, tmp_path: Path) -> None:
    with open(tmp_path / "image", "wb") as file:
        Image.new("RGB", (8, 8), (10, 120, 30)).save(file, kind)
    assert np.abs(read_rgb(tmp_path / "image").astype(int) - (10, 120, 30)).max() <= 4
