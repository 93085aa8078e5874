"""Procedural rooms in the archives that owners and authors hand out, and a stand-in for a script.

matterport_skybox_images.zip   <house>/matterport_skybox_images/<id>_skybox{0..5}_sami.jpg
mp3d_skybox.tar                mp3d_skybox/{train,test}.npy,
                               mp3d_skybox/<house>/blip3/<id>_<degrees>.txt
"""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from mvdiffusion.images import jpeg_bytes
from mvdiffusion.preparation.rooms.captions import caption_views
from mvdiffusion.preparation.rooms.design import design_room
from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.render import render_faces

HOUSES = ("17DRP5sb8fy", "1LXtFkjw3qL", "1pXnuDYAj8r", "29hnd4uzFmX")
FOLDER = "matterport_skybox_images"
DEGREES = tuple(range(0, 360, 45))


def panorama_id(house: str, number: int) -> str:
    """32 hexadecimal digits, as the owners' ids have."""
    return hashlib.md5(f"{house}/{number}".encode()).hexdigest()


@cache
def room(house: str, number: int, size: int) -> tuple[tuple[bytes, ...], dict[int, str]]:
    """Six JPEG faces of a room and its captions by degrees."""
    design = design_room(Dice(HOUSES.index(house), 0, number))
    faces, shown = render_faces(design, size)
    return tuple(jpeg_bytes(face, 92) for face in faces), caption_views(design, shown)


def house_files(house: str, panoramas: int = 2, size: int = 16) -> dict[str, bytes]:
    """What is in a house's archive, by name."""
    return {
        f"{house}/{FOLDER}/{panorama_id(house, number)}_skybox{face}_sami.jpg": content
        for number in range(panoramas)
        for face, content in enumerate(room(house, number, size)[0])
    }


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an archive with folder entries, as the owners' have; equal files give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folders = sorted({f"{Path(name).parent.as_posix()}/" for name in files if "/" in name})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in [*folders, *files]:
            archive.writestr(zipfile.ZipInfo(name), files.get(name, b""))
    return path


def write_house(downloads: Path, house: str, panoramas: int = 2, size: int = 16) -> Path:
    """Write a house where the owners' script puts it."""
    path = downloads / "v1" / "scans" / house / f"{FOLDER}.zip"
    return write_zip(path, house_files(house, panoramas, size))


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a .tar, or a .tar.gz if it is called so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def npy(rows: Iterable[Sequence[str]]) -> bytes:
    """Bytes of an array of text."""
    buffer = io.BytesIO()
    np.save(buffer, np.array(list(rows)))
    return buffer.getvalue()


def row(house: str, number: int, before: str = "") -> list[str]:
    """The six faces of a panorama, as a split lists them."""
    name = panorama_id(house, number)
    return [f"{before}{house}/{FOLDER}/{name}_skybox{face}_sami.jpg" for face in range(6)]


def authors_files(
    train: Sequence[tuple[str, int]], test: Sequence[tuple[str, int]], before: str = ""
) -> dict[str, bytes]:
    """What is in the authors' archive, by name, for some panoramas."""
    files = {
        f"mp3d_skybox/{split}.npy": npy(row(house, number, before) for house, number in rows)
        for split, rows in (("train", train), ("test", test))
    }
    for house, number in (*train, *test):
        for degrees, caption in room(house, number, 16)[1].items():
            name = f"{panorama_id(house, number)}_{degrees}.txt"
            files[f"mp3d_skybox/{house}/blip3/{name}"] = f"{caption}\n".encode()
    return files


# Behaves as the owners' scripts do, but for where the bytes come from: ARCHIVE is copied. What
# happens at the first, second, … start is in PLAN; the last entry stays.
SCRIPT = """
import argparse, os, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("-o", "--out_dir", required=True)
parser.add_argument("--id", required=True)
parser.add_argument("--type", required=True)
arguments = parser.parse_args()
print("Press any key to continue, or CTRL-C to exit.", flush=True)
for _ in range({questions}):
    input("")
started = pathlib.Path({log!r})
count = len(started.read_text().splitlines()) if started.exists() else 0
secret = os.environ.get("SECRET_TOKEN", "")
with open(started, "a") as log:
    print(arguments.id, arguments.type, secret, file=log)
plan = {plan!r}
step = plan[min(count, len(plan) - 1)]
if step == "fail":
    sys.exit("the server does not answer")
if step == "nothing":
    print("ERROR: Invalid scan id: " + arguments.id)
    sys.exit(0)
target = pathlib.Path(arguments.out_dir) / {place!r}.format(id=arguments.id)
target.parent.mkdir(parents=True)
content = pathlib.Path({archive!r}.format(id=arguments.id)).read_bytes()
target.write_bytes(content[: len(content) // 2] if step == "half" else content)
"""


def write_script(
    path: Path,
    archive: Path | str,
    plan: Sequence[str] = ("whole",),
    place: str = "v1/scans/{id}/matterport_skybox_images.zip",
    questions: int = 1,
) -> Path:
    """Write a stand-in for an owner's script; its starts are listed in <path>.log.

    Args:
        path: of the script.
        archive: what it delivers; "{id}" stands for the unit.
        plan: "fail", "nothing", "half" or "whole" at each start.
        place: where it puts the file.
        questions: how often it waits for a key.
    """
    path.write_text(
        SCRIPT.format(
            archive=str(archive),
            plan=list(plan),
            place=place,
            questions=questions,
            log=f"{path}.log",
        )
    )
    return path
