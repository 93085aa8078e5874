"""The authors' labels: splits and captions of Matterport3D, key frames and captions of ScanNet.

They come as mp3d_skybox.tar, scannet_train.tar and scannet_test.tar; what folders lead to their
files is left open. Extracted, they stand as

<labels>/<archive>/train.npy, test.npy        faces of the panoramas of a split
<labels>/<archive>/<house>/blip3/<id>_<degrees>.txt
<labels>/<archive>/<scene>/prompt/N.txt, key_frame_0.6.txt, valid_frames.npy
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mvdiffusion.archives import extract
from mvdiffusion.outputs import begin, end
from mvdiffusion.records import InputError, sha256_file

_LABELS = {
    "matterport3d": re.compile(
        r"(?:.*/)?((?:train|test)\.npy|[^/]+/blip3/[^/]+_(?:0|45|90|135|180|225|270|315)\.txt)"
    ),
    "scannet": re.compile(
        r"(?:.*/)?(scene\d{4}_\d\d/(?:prompt/\d+\.txt|key_frame_0\.6\.txt|valid_frames\.npy))"
    ),
}
_DEPTH = 3  # folders that may lead to what a user extracted by hand


def extract_labels(
    dataset: str, archives: Sequence[Path], output: Path, overwrite: bool = False
) -> int:
    """Extract the authors' labels, each archive into a folder of its name.

    Returns:
        How many files were written; none of an archive that was extracted before.

    Raises:
        InputError: an archive is missing, broken, hostile, holds no labels, or two have one name;
            or `output` holds labels of other archives.
    """
    names = [archive.name.split(".")[0] for archive in archives]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(f"--archive: two archives are called {min(repeated)!r}; rename one.")
    if missing := [archive for archive in archives if not archive.is_file()]:
        raise InputError(f"{missing[0]}: no such file; expected an archive of labels there.")
    hashes = {archive.name: sha256_file(archive) for archive in archives}
    begin(output, {"dataset": dataset, "archives": hashes}, overwrite=overwrite)
    written = sum(
        extract(archive, output / name, _LABELS[dataset])
        for archive, name in zip(archives, names, strict=True)
        if not (output / name).is_dir()
    )
    end(output)
    return written


def find_labels(labels: Path, name: str) -> Path | None:
    """Return a file or folder of labels, the least deep one if there are several.

    Args:
        name: "train.npy" or "test.npy", "<house>/blip3", or a scene's id.
    """
    for depth in range(_DEPTH + 1):
        if found := sorted(labels.glob("*/" * depth + name)):
            return found[0]
    return None
