"""Image files: what is read is what was written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvdiffusion.images import read_depth, read_face, read_image, read_rgb, save_png, to_pixels
from mvdiffusion.records import InputError


def test_depth_is_millimeters_to_the_last_bit(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(every).save(tmp_path / "depth.png")
    depth = read_depth(tmp_path / "depth.png")
    assert depth.dtype == np.float64
    assert (depth == every / 1000).all()
    # Training and sampling take float32: rounded once or twice, it is the same number.
    assert (depth.astype(np.float32) == every.astype(np.float32) / np.float32(1000)).all()


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
