"""Generated views as files for people: panorama with its viewer, film, contact sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torchvision.utils import make_grid

from mvdiffusion.geometry.cameras import intrinsics, rotation
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion.geometry.panoramas import stitch
from mvdiffusion.images import to_pixels
from mvdiffusion.records import InputError
from mvdiffusion.viewer.pages import write_viewer
from mvdiffusion.viewer.panoramas import covered_rows, panorama_of

# VP9 first: browsers play it in MP4; builds of OpenCV without it know MPEG-4 part 2.
VIDEO_CODES = ("vp09", "mp4v")
JPEG_QUALITY = 95

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"{fields}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def photo_sphere_xmp(full: tuple[int, int], crop: tuple[int, int, int, int]) -> bytes:
    """Say in Google's photo sphere schema which part of the sphere an image shows.

    Args:
        full: width and height in pixels of the whole sphere, width = 2 height.
        crop: left, top, width and height in pixels of the image in it.

    Returns:
        An XMP packet; the middle of the whole sphere is heading 0.
    """
    fields = {
        "UsePanoramaViewer": "True",
        "ProjectionType": "equirectangular",
        "PoseHeadingDegrees": "0.0",
        "InitialViewHeadingDegrees": "0",
        "CroppedAreaLeftPixels": crop[0],
        "CroppedAreaTopPixels": crop[1],
        "CroppedAreaImageWidthPixels": crop[2],
        "CroppedAreaImageHeightPixels": crop[3],
        "FullPanoWidthPixels": full[0],
        "FullPanoHeightPixels": full[1],
    }
    text = "".join(f'\n    GPano:{name}="{value}"' for name, value in fields.items())
    return XMP.format(fields=text).encode()


def write_photo_spheres(panorama: Tensor, covered: Tensor, folder: Path) -> None:
    """Write the covered band as panorama.png and panorama.jpg that viewers open as a panorama.

    With gaps between the views they are plain images.

    Args:
        panorama: whole sphere [3, H, 2 H] in −1 … 1.
        covered: mask [H, 2 H] of what the views show.
        folder: an existing folder.
    """
    height, width = covered.shape
    top, rows = covered_rows(covered)
    image = Image.fromarray(to_pixels(panorama[:, top : top + rows]))
    jpeg: dict[str, Any] = {"quality": JPEG_QUALITY, "subsampling": 0}
    if not covered.all(1).any():  # gaps are no part of a sphere, which the schema cannot tell
        image.save(folder / "panorama.png")
        image.save(folder / "panorama.jpg", **jpeg)
        return
    xmp = photo_sphere_xmp((width, height), (0, top, width, rows))
    chunk = PngInfo()
    chunk.add_itxt("XML:com.adobe.xmp", xmp.decode())
    image.save(folder / "panorama.png", pnginfo=chunk)
    image.save(folder / "panorama.jpg", xmp=xmp, **jpeg)


def turning_frames(
    panorama: Tensor, covered: Tensor, fov_deg: float, width: int, count: int
) -> Iterator[np.ndarray]:
    """Look around once: perspective frames that stay inside the covered band.

    Args:
        panorama: whole sphere [3, H, 2 H] in −1 … 1.
        covered: mask [H, 2 H] of what the views show.
        fov_deg: horizontal field of view in degrees.
        width: width of the frames in pixels; the height is at most three quarters of it, less where
            the band is narrow.
        count: frames of one turn to the right, beginning at yaw 0.

    Yields:
        RGB frames [h, w, 3] uint8, sizes even as films need them.
    """
    top, rows = covered_rows(covered)
    half_band = math.pi * min(len(covered) / 2 - top, top + rows - len(covered) / 2) / len(covered)
    focal = 0.5 * width / math.tan(math.radians(fov_deg) / 2)
    height = min(0.75 * width, 2 * focal * math.tan(max(half_band, 0.02)))
    width, height = 2 * max(width // 2, 1), 2 * max(int(height) // 2, 1)
    K = intrinsics(fov_deg, height, width)[None]
    for frame in range(count):
        R = rotation(360.0 * frame / count)[None]
        yield to_pixels(equirectangular_to_views(panorama, K, R, height, width)[0])


def write_film(frames: Iterable[np.ndarray], path: Path, frames_per_second: float) -> None:
    """Write RGB frames [h, w, 3] uint8 of even size as an MP4.

    Raises:
        InputError: OpenCV here can write no film, or there is no frame.
    """
    film = None
    for frame in frames:
        film = film or _open_film(path, frames_per_second, frame.shape[1], frame.shape[0])
        film.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    if film is None:
        raise InputError(f"{path}: no frames; expected at least one.")
    film.release()


def _open_film(path: Path, frames_per_second: float, width: int, height: int) -> cv2.VideoWriter:
    for code in VIDEO_CODES:
        code_number = cv2.VideoWriter.fourcc(*code)
        film = cv2.VideoWriter(str(path), code_number, frames_per_second, (width, height))
        if film.isOpened():
            return film
    raise InputError(
        f"{path}: OpenCV could not open a film of {width} x {height} pixels in any of the formats "
        f"{', '.join(VIDEO_CODES)}; free space there or install opencv-python-headless."
    )


def contact_sheet(views: Tensor, columns: int = 4, margin: int = 4) -> Image.Image:
    """Lay views [V, 3, H, W] in −1 … 1 out in rows, left to right, on white.

    Args:
        views: images of one size.
        columns: most images of a row.
        margin: white pixels around each image.
    """
    grid = make_grid(views, columns, margin, pad_value=1.0)
    return Image.fromarray(to_pixels(grid))


def write_panorama(
    views: Tensor, fov_deg: float, folder: Path, seconds: float = 8.0, frames_per_second: int = 24
) -> None:
    """Write what shows a panorama to people: photo spheres, a viewer, a film, a contact sheet.

    Args:
        views: evenly spaced views [V, 3, H, W] in −1 … 1.
        fov_deg: their horizontal field of view in degrees.
        folder: an existing folder.
        seconds: duration of the film's one turn.
        frames_per_second: frame rate of the film.
    """
    views = views.float().cpu()
    panorama, covered = stitch(views, fov_deg)
    panorama = panorama.clamp(-1, 1)
    write_photo_spheres(panorama, covered, folder)
    shown = panorama_of(to_pixels(panorama), covered)
    write_viewer(shown, folder / "viewer.html", "Panorama")
    count = round(seconds * frames_per_second)
    frames = turning_frames(panorama, covered, fov_deg, views.shape[-1], count)
    write_film(frames, folder / "turning.mp4", frames_per_second)
    contact_sheet(views).save(folder / "contact_sheet.png")


def write_sequence(views: Tensor, folder: Path, frames_per_second: int = 8) -> None:
    """Write what shows a sequence to people: a film, a contact sheet.

    Args:
        views: frames in order [V, 3, H, W] in −1 … 1.
        folder: an existing folder.
        frames_per_second: frame rate of the film.
    """
    even = views[..., : views.shape[-2] // 2 * 2, : views.shape[-1] // 2 * 2]
    write_film(map(to_pixels, even), folder / "sequence.mp4", frames_per_second)
    contact_sheet(views, columns=6).save(folder / "contact_sheet.png")
