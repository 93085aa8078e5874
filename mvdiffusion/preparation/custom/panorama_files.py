"""A user's panoramas: equirectangular images, or six cube faces each.

Cube faces are named in one of these ways:

<id>_skybox{0..5}_sami.jpg                      as Matterport3D has them: its order and orientation
<id>_{up,left,front,right,back,down}.<suffix>   also u l f r b d, py nx pz px nz ny, top, bottom,
<id>/{up,left,front,right,back,down}.<suffix>   up lf ft rt bk dn; in any case; id_ may be left out

In the last two, up and down are as seen when one looks at the front face and tilts the head: the
lower edge of up and the upper edge of down touch the front face.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvdiffusion.data.splits import FACE
from mvdiffusion.data.splits import FACES as FACES_FOLDER
from mvdiffusion.images import open_image
from mvdiffusion.preparation.custom.image_checks import (
    Look,
    distinct,
    in_parallel,
    list_images,
    look_at,
    repeated,
    scene_name,
)
from mvdiffusion.preparation.custom.problems import Problem, note

FACES = ("up", "left", "front", "right", "back", "down")
FACE_NAMES = (
    "<id>_up.png, <id>_left.png, <id>_front.png, <id>_right.png, <id>_back.png, <id>_down.png (or "
    "u l f r b d; py nx pz px nz ny; up lf ft rt bk dn; or Matterport3D's names)"
)
_WORDS = {
    **{word: face for face, word in enumerate(FACES)},
    **{word: face for face, word in enumerate("ulfrbd")},
    **{word: face for face, word in enumerate(("py", "nx", "pz", "px", "nz", "ny"))},
    **{word: face for face, word in enumerate(("up", "lf", "ft", "rt", "bk", "dn"))},
    **{"top": 0, "bottom": 5},
}
"""Places in Matterport3D's order of the names of faces."""
_NAME = re.compile(rf"(?:(?P<id>.*)[_-])?(?P<face>{'|'.join(_WORDS)})", re.IGNORECASE)
_ALMOST = (1.8, 2.2)  # width over height of what may have been a panorama
_EDGE, _MEETS = 64, 8.0  # pixels of edges compared; levels of 255 that neighbors may differ by
_SMALLEST = 64  # pixels, height of a panorama


@dataclass(frozen=True)
class Panorama:
    """One panorama of the user's.

    Attributes:
        scene: folder it belongs to in the layout.
        id: its name there.
        images: one equirectangular image, or six faces in Matterport3D's order.
        tilted: up and down are as seen when tilting the head, not as Matterport3D turns them.
    """

    scene: str
    id: str
    images: tuple[Look, ...]
    tilted: bool = False

    @property
    def face_size(self) -> int:
        """Pixels of a face: as given, or a quarter of the panorama's width, rounded to even."""
        width = self.images[0].width
        return width if len(self.images) == 6 else max(2, 2 * round(width / 8))


@dataclass(frozen=True)
class _Face:
    scene: str
    place: tuple[str, ...]  # the folders of its panorama, and the panorama's name
    face: int
    tilted: bool
    path: Path


def find_equirectangular(folder: Path) -> tuple[list[Panorama], list[Problem]]:
    """Find equirectangular images below a folder; a panorama's scene is the folder it lies in."""
    paths, problems = list_images(folder)
    looks = list(in_parallel(look_at, paths, "checking panoramas"))
    for look in looks:
        problems += [*look.problems, *_proportions(look)]
    ids = distinct([(*path.relative_to(folder).parts[:-1], path.stem) for path in paths])
    problems += repeated(zip(ids, paths, strict=True), folder)
    problems += _mixed([look for look in looks if look.width])
    return [
        Panorama(_scene(look.path.parent, folder), name, (look,))
        for name, look in zip(ids, looks, strict=True)
    ], problems


def _proportions(look: Look) -> Iterator[Problem]:
    name, problem = look.path, f"{look.size} pixels"
    if not look.width:
        return
    if _is_unfolded(look):
        fix = f"Cut it into six square files, named {FACE_NAMES}."
        yield Problem(name, f"{problem}: six faces of a cube in one image", fix)
    elif look.width != 2 * look.height:
        fix = "Give the full sphere, 360° x 180°, twice as wide as high (crop or resize)."
        if not _ALMOST[0] < look.width / look.height < _ALMOST[1]:
            fix = (
                "Give panoramas of the full sphere, 360° x 180°. Frames of a camera can be "
                "imported as a recording, with depth and poses."
            )
        yield Problem(name, f"{problem}, not twice as wide as high", fix)
    elif look.height < _SMALLEST:
        yield Problem(name, f"{problem}: too small", f"Give at least {_SMALLEST} pixels of height.")
    elif look.width % 8:
        fix = "Nothing to do, or resize it to a multiple of 8."
        yield note(name, f"{problem}: a quarter of the width is not even and is rounded", fix)


def _is_unfolded(look: Look) -> bool:
    """Tell whether an image is a strip of six faces, or a cross of them with empty corners."""
    width, height = look.width, look.height
    if width == 6 * height or height == 6 * width:
        return True
    if 3 * width != 4 * height and 4 * width != 3 * height:
        return False
    tile = max(width, height) // 4
    with open_image(look.path) as image:
        pixels = image.convert("RGB")
    corners = [(0, 0), (width - tile, 0), (0, height - tile), (width - tile, height - tile)]
    boxes = [(x, y, x + tile, y + tile) for x, y in corners]
    return all(len(pixels.crop(box).getcolors(2) or ()) == 1 for box in boxes)


def _mixed(looks: list[Look]) -> Iterator[Problem]:
    sizes = sorted({(look.width, look.height) for look in looks})
    if len(sizes) > 1:
        listed = ", ".join(f"{width} x {height}" for width, height in sizes[:5])
        fix = "Nothing to do: each keeps faces of a quarter of its width."
        yield note(".", f"panoramas of {len(sizes)} sizes: {listed}", fix)


def looks_like_faces(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Return those image files that belong to a cube: at least three faces of one id are there.

    Args:
        folder: that they were found below.
    """
    cubes = _cubes(paths, folder)
    return [face.path for cube in cubes.values() if len(cube) > 2 for face in cube]


def find_faces(folder: Path) -> tuple[list[Panorama], list[Problem]]:
    """Find cube faces below a folder."""
    paths, problems = list_images(folder)
    cubes = list(_cubes(paths, folder).values())
    faces = [face.path for cube in cubes for face in cube]
    for path in filterfalse(set(faces).__contains__, paths):
        fix = f"Nothing to do, or name faces {FACE_NAMES}."
        problems.append(note(path, "not named as a cube face; left out", fix))
    seen = {look.path: look for look in in_parallel(look_at, faces, "checking faces")}
    problems += [problem for look in seen.values() for problem in look.problems]
    ids = distinct([cube[0].place for cube in cubes])
    problems += repeated(zip(ids, (cube[0].path for cube in cubes), strict=True), folder)
    panoramas = []
    for name, cube in zip(ids, cubes, strict=True):
        problems += (wrong := list(_incomplete(cube)))
        if not wrong:
            images = tuple(seen[face.path] for face in sorted(cube, key=lambda face: face.face))
            problems += (wrong := list(cube_problems(images)))
            if cube[0].tilted and not wrong and all(face.width for face in images):
                problems += seam_notes(images)
            panoramas.append(Panorama(cube[0].scene, name, images, cube[0].tilted))
    return panoramas, problems


def seam_notes(faces: Sequence[Look]) -> Iterator[Problem]:
    """Note faces that do not meet their neighbors, but would if they were turned or swapped.

    Args:
        faces: six of one size, up and down as seen when tilting the head.
    """
    up, left, front, right, back, down = (_small(face.path) for face in faces)
    ring, other = ([front, one, back, two] for one, two in ((right, left), (left, right)))
    differences = [
        sum(_gap(a[:, -1], b[:, 0]) for a, b in zip(each, each[1:] + each[:1], strict=True)) / 4
        for each in (ring, other)
    ]
    if _is_clear(differences):
        fix = "Compare them with the front face, and exchange their names."
        yield note(faces[1].path, "left and right look exchanged: the edges do not meet", fix)
    for look, face, mine, fronts in ((faces[0], up, -1, 0), (faces[5], down, 0, -1)):
        differences = [_gap(np.rot90(face, turns)[mine], front[fronts]) for turns in range(4)]
        if _is_clear(differences):
            angle = 90 * int(np.argmin(differences))
            fix = f"Turn it by {angle}° anticlockwise, so that it continues the front face."
            yield note(look.path, "looks turned: its edge does not meet the front face", fix)


def _small(path: Path) -> NDArray[np.float64]:
    with open_image(path) as image:
        return np.asarray(image.convert("RGB").resize((_EDGE, _EDGE), Image.Resampling.BOX), float)


def _gap(edge: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(edge - other).mean())


def _is_clear(differences: Sequence[float]) -> bool:
    """Tell whether edges do not meet as they are, the first, but would in another way."""
    return differences[0] > _MEETS and min(differences) < differences[0] / 2


def cube_problems(faces: Sequence[Look]) -> Iterator[Problem]:
    """Report faces that are not square, or not of one size."""
    decoded = [face for face in faces if face.width]
    for face in decoded:
        if face.width != face.height:
            yield Problem(
                face.path, f"{face.size} pixels: not square", "Export square faces of 90°."
            )
        elif face.width != decoded[0].width:
            problem = f"{face.size} pixels, but {decoded[0].path.name} has {decoded[0].size}"
            yield Problem(face.path, problem, "Export the six faces at one size.")


def _incomplete(cube: list[_Face]) -> Iterator[Problem]:
    first: dict[int, _Face] = {}
    for found in cube:
        other = first.setdefault(found.face, found)
        if other is not found:
            problem = f"the same face of '{found.place[-1]}' as {other.path.name}"
            yield Problem(found.path, problem, "Remove one of them.")
    if missing := [name for face, name in enumerate(FACES) if face not in first]:
        problem = f"'{cube[0].place[-1]}' lacks {', '.join(missing)}"
        yield Problem(cube[0].path, problem, "Add the missing faces, or remove the others.")


def _cubes(paths: Sequence[Path], folder: Path) -> dict[tuple[Path, str, bool], list[_Face]]:
    """Faces by folder, name and naming."""
    cubes: dict[tuple[Path, str, bool], list[_Face]] = defaultdict(list)
    for path in paths:
        if face := _face(path, folder):
            cubes[path.parent, face.place[-1], face.tilted].append(face)
    return dict(cubes)


def _face(path: Path, folder: Path) -> _Face | None:
    inside, parts = path.parent, path.relative_to(folder).parts[:-1]
    if match := FACE.fullmatch(path.name):
        house = inside.parent if inside.name == FACES_FOLDER and inside != folder else inside
        return _Face(_scene(house, folder), (*parts, match["id"]), int(match["face"]), False, path)
    match = _NAME.fullmatch(path.stem)
    if not match:
        return None
    face = _WORDS[match["face"].lower()]
    if match["id"]:
        return _Face(_scene(inside, folder), (*parts, match["id"]), face, True, path)
    outside = inside.parent if inside != folder else inside
    return _Face(_scene(outside, folder), parts or (inside.name,), face, True, path)


def _scene(place: Path, folder: Path) -> str:
    return scene_name(place if place.is_relative_to(folder) else folder)
