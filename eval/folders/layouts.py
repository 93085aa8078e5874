"""Sample folders without a manifest: recognizing the layout, and what it does not state.

| layout | sample | files |
|---|---|---|
| plain views | `<id>/` | `0.png` …; with `cameras.json` and `depth/0.png` …, sequences |
| the released MVDiffusion, panoramas | `<scene>_<id>/` | `0.png` …, real `0_natural.png` … |
| the same, depth | `<scene>_<frame>/` | `<frame>_pred.png`, real `<frame>_gt.png`, and cameras: \
`<frame>_depth.png`, `<frame>_poses.txt`, `K.txt` |
| PanFusion | `<scene>_<id>/` | `pano.png` or `pano.jpg` |
| six cube faces | `<id>/` | `front.png` …, `F.png` … or `skybox0_sami.jpg` …; see `cubes` |
| equirectangular images | `<id>.png`, `.jpg`, `.jpeg` or `.webp` | prompts in `<id>.txt` |

In all but the last, prompts are in `prompt.txt` beside the views; depth of the released code has
no prompts. The released code writes generated and real images into one folder, which is therefore
opened twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.geometry.matrix_files import read_intrinsics, read_pose
from mvdiffusion.manifest import CAMERAS, RIGID, Trajectory, read_trajectory
from mvdiffusion.records import InputError

from .cubes import FRONT, CubeFolder, find_faces
from .equirectangular import EquirectangularFolder
from .images import image_header
from .samples import PanoramaFolder, SampleFolder, SequenceFolder, numbered_files

PANORAMA_NAMES = ("pano.png", "pano.jpg")
PANORAMA_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
LOOKED_AT = 16
"""Number of samples whose size decides which of two sizes is the odd one."""
EXPECTED = (
    "expected <sample>/0.png …, <sample>/<frame>_pred.png …, <sample>/pano.png, the faces "
    "<sample>/front.png … of cubes, or equirectangular images"
)


@dataclass(frozen=True)
class Assumptions:
    """What a folder without a manifest does not state.

    Attributes:
        fov_deg: horizontal field of view of every view.
        yaw_deg: direction of each view; None for even spacing.
        view_size: height and width of views that are cut out of panoramas, in pixels.
        panorama_height: height to which panoramas are resized first, in pixels; None for their own.
        real: open the real pictures of a folder that holds them beside the generated ones.
    """

    fov_deg: float = 90.0
    yaw_deg: tuple[float, ...] | None = None
    view_size: int = 512
    panorama_height: int | None = None
    real: bool = False


def _usual_size(paths: Sequence[Path]) -> tuple[int, int]:
    """Width and height that most of these images have; the first one's where they are equal."""
    step = max(1, len(paths) // LOOKED_AT)
    sizes = Counter(image_header(path)[0] for path in paths[::step])
    return sizes.most_common(1)[0][0]


def recognize(root: Path, found: Sequence[str], assumed: Assumptions) -> SampleFolder:
    """Open a folder by the layout of its first sample; its files are not checked yet.

    Raises:
        InputError: the layout is unknown.
    """
    if not found:
        _refuse_single_sample(root)
        return equirectangular_folder(root, _loose_panoramas(root), assumed)
    first = root / found[0]
    if (first / CAMERAS).is_file():
        cameras = {name: read_trajectory(root / name) for name in found}
        return SequenceFolder(
            *common_values(root, "depth", found, [f"{name}/0.png" for name in found]), cameras
        )
    if numbered_files(first, "{frame}_pred.png"):
        return _released_sequences(root, found, assumed)
    if not numbered_files(first, "{view}.png"):
        if not any((first / name).exists() for name in PANORAMA_NAMES) and find_faces(first):
            return _cubes(root, found, assumed)
        return equirectangular_folder(root, _panoramas_in(root, found), assumed)
    is_released = bool(numbered_files(first, "{view}_natural.png"))
    return _panoramas(root, found, assumed, is_released and assumed.real)


def _refuse_single_sample(root: Path) -> None:
    """Refuse a folder with the views of one sample, as the released code's demo writes it."""
    first = root / "0.png"
    if first.is_file():
        width, height = image_header(first)[0]
        if width != 2 * height:
            raise InputError(
                f"{root}: contains views itself, like a sample; expected one folder per sample. "
                f"Move it into a new folder, and give that one: <folder>/{root.name}/0.png."
            )


def _panoramas(
    root: Path, found: Sequence[str], assumed: Assumptions, real: bool
) -> PanoramaFolder:
    name = "{view}_natural.png" if real else "{view}.png"
    count = max(numbered_files(root / found[0], name)) + 1
    yaw_deg = assumed.yaw_deg or even_yaws(count)
    folder = PanoramaFolder(
        *common_values(
            root, "panorama", found, [f"{i}/{name.format(view=0)}" for i in found], real
        ),
        assumed.fov_deg,
        yaw_deg,
        view_name=name,
    )
    if assumed.yaw_deg is None:
        check_numbers(folder)
    return folder


def common_values(
    root: Path, task: str, found: Sequence[str], firsts: Sequence[str], real: bool = False
) -> tuple[Path, str, str, tuple[str, ...], int, int, None]:
    """What every folder without a manifest begins with, in the order of `SampleFolder`.

    Args:
        root: the folder.
        task: that of the images.
        found: names of the samples.
        firsts: a view of each sample, below the folder; most of them have the size.
        real: whether they are real views.
    """
    width, height = _usual_size([root / name for name in firsts])
    method = "real" if real else root.name or root.resolve().name
    return root, task, method, tuple(found), height, width, None


def check_numbers(folder: SampleFolder) -> None:
    """Refuse more views than the manifest states or the first sample has.

    Raises:
        InputError: a sample has views beyond the last.
    """
    for sample_id in folder.sample_ids:
        count = folder.count(sample_id)
        extra = [n for n in numbered_files(folder.root / sample_id, folder.view_name) if n >= count]
        if extra:
            raise InputError(
                f"{folder.root / sample_id / folder.view_name.format(view=extra[0])}: is one view "
                f"more than the {count} views of the manifest or of the other samples; all samples "
                "need the same views."
            )


def _released_sequences(root: Path, found: Sequence[str], assumed: Assumptions) -> SequenceFolder:
    cameras = {}
    for name in found:
        frames = numbered_files(root / name, "{frame}_pred.png")
        if not frames:
            raise InputError(f"{root / name}: contains no views; expected <frame>_pred.png …")
        cameras[name] = read_text_trajectory(root / name, frames)
    view_name = "{frame}_gt.png" if assumed.real else "{frame}_pred.png"
    firsts = [f"{name}/{view_name.format(frame=cameras[name].frames[0])}" for name in found]
    common = common_values(root, "depth", found, firsts, assumed.real)
    return SequenceFolder(*common, cameras, "{frame}_depth.png", view_name=view_name)


def read_text_trajectory(folder: Path, frames: Sequence[int]) -> Trajectory:
    """Read the cameras that the authors' released code writes beside its frames.

    `K.txt` holds one intrinsic matrix for all frames, 3×3 or 4×4, in pixels of the views, and
    `<frame>_poses.txt` a camera-to-world matrix. Which frames are key frames it does not write:
    all are taken for such.

    Raises:
        InputError: a file is missing or no matrix, or a camera is impossible.
    """
    K = read_intrinsics(folder / "K.txt").numpy()
    pose = np.stack([_read_pose(folder / f"{frame}_poses.txt") for frame in frames])
    return Trajectory(tuple(frames), tuple(range(len(frames))), np.stack([K] * len(frames)), pose)


def _read_pose(path: Path) -> np.ndarray:
    pose = read_pose(path)
    if pose is None:
        raise InputError(f"{path}: the pose is not rigid; expected {RIGID}.")
    return pose.numpy()


def _panoramas_in(root: Path, found: Sequence[str]) -> dict[str, Path]:
    """The panorama of each sample directory."""
    panoramas = {}
    for name in found:
        files = [root / name / file for file in PANORAMA_NAMES]
        there = [file for file in files if file.exists() or file.is_symlink()]
        if len(there) != 1:
            found_here = "contains no views" if not there else "contains two panoramas"
            raise InputError(f"{root / name}: {found_here}; {EXPECTED}.")
        panoramas[name] = there[0]
    return panoramas


def _loose_panoramas(root: Path) -> dict[str, Path]:
    """The panoramas that lie in a folder itself."""
    panoramas: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in PANORAMA_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in panoramas:
            raise InputError(
                f"{path}: another image also has the name '{path.stem}'; every sample needs its "
                "own name."
            )
        panoramas[path.stem] = path
    if not panoramas:
        raise InputError(f"{root}: contains neither sample folders nor images; {EXPECTED}.")
    return panoramas


def _cubes(root: Path, found: Sequence[str], assumed: Assumptions) -> CubeFolder:
    """Open cubes; their panoramas are twice as high as a face, unless stated otherwise."""
    named = {name: find_faces(root / name) for name in found}
    if missing := next((name for name, faces in named.items() if faces is None), None):
        raise InputError(f"{root / missing}: contains no face 'front' of a cube; {EXPECTED}.")
    turns = {name: own[0] for name, own in named.items() if own}
    if odd := next((name for name in found if turns[name] != turns[found[0]]), None):
        raise InputError(
            f"{root / odd}: its faces are named as if up and down were {turns[odd]}, those of "
            f"{found[0]} as if they were {turns[found[0]]}; name all of them in one way."
        )
    faces = {name: own[1] for name, own in named.items() if own}
    size = _usual_size([faces[name][0] for name in found])[0]
    fronts = {name: own[FRONT] for name, own in faces.items()}
    seen = equirectangular_folder(root, fronts, assumed, (4 * size, 2 * size))
    return CubeFolder(**vars(seen), faces=faces, face_size=size, turn=turns[found[0]])


def equirectangular_folder(
    root: Path,
    files: dict[str, Path],
    assumed: Assumptions,
    made: tuple[int, int] | None = None,
) -> EquirectangularFolder:
    """Open panoramas.

    Args:
        root: the folder.
        files: the panorama of each sample.
        assumed: what the folder does not state.
        made: width and height of panoramas that are made of the files.

    Raises:
        InputError: they would have to be enlarged.
    """
    ids, size = tuple(sorted(files)), assumed.view_size
    own = made or _usual_size([files[name] for name in ids])
    wanted = (
        own
        if assumed.panorama_height is None
        else (2 * assumed.panorama_height, assumed.panorama_height)
    )
    if wanted[1] > own[1]:
        raise InputError(
            f"{root}: its panoramas have {own[1]} rows, which --panorama-height {wanted[1]} would "
            f"enlarge, and enlarged ones are smoother; give {own[1]} or less for every method."
        )
    return EquirectangularFolder(
        *(root, "panorama", (root.name or root.resolve().name), ids, size, size, None),
        assumed.fov_deg,
        assumed.yaw_deg or even_yaws(8),
        files=files,
        panorama_size=wanted,
        resized_from=None if wanted == own else own,
        real=assumed.real,
    )
