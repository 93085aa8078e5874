"""Importing what an external method wrote, here or elsewhere, as a sample folder to be scored."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mvdiffusion.external.layouts import read_views
from mvdiffusion.external.outputs import find_files, samples_in
from mvdiffusion.external.requests import (
    INPUTS,
    REQUESTS,
    Request,
    Requests,
    read_inputs,
    read_requests,
)
from mvdiffusion.generation.sample_folder import SampleFolder
from mvdiffusion.geometry.cameras import even_yaws
from mvdiffusion.manifest import Manifest, Trajectory, read_trajectory
from mvdiffusion.methods.specification import Output, Specification
from mvdiffusion.outputs import RECORD
from mvdiffusion.records import InputError, listed, read_json, sha256_file
from mvdiffusion.tasks import GIVEN_VIEWS, Task

ELSEWHERE = "elsewhere"


def import_folder(
    specification: Specification,
    folder: Path,
    output: Path,
    requests: Requests | None = None,
    layout: Output | None = None,
    inputs: Path | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Make a sample folder of what a method wrote.

    Args:
        specification: the method.
        folder: what it wrote.
        output: the sample folder to write.
        requests: what it was asked for (default: what `run` left in the folder).
        layout: how the files lie, if not as the specification says.
        inputs: folder of the depth and cameras of sequences (default: what `run` left).
        overwrite: move samples of other files or settings aside instead of refusing.

    Returns:
        Number of samples.

    Raises:
        InputError: files are missing, broken, or in another layout.
    """
    requests = requests or read_requests(folder / REQUESTS)
    manifest = requests.manifest
    if manifest.method != specification.method:
        raise InputError(
            f"{folder / REQUESTS}: was made for {manifest.method}; expected {specification.method}."
        )
    layout = layout or specification.generation(manifest.task).output
    inputs = inputs or folder / INPUTS
    frames = {name: _frames(manifest, inputs / name) for name in manifest.samples}
    files = {s: _files(folder, layout, manifest, s, frames[s]) for s in manifest.samples}
    made_of = _origin(specification, folder, layout, files)
    target = SampleFolder(output, manifest, made_of, overwrite=overwrite)
    if target.is_finished():
        return len(manifest.samples)
    for sample in tqdm(requests.samples, desc=f"importing {specification.name}"):
        if not target.has_sample(sample.id):
            views = read_views(files[sample.id], layout, manifest)
            sources = [str(file.relative_to(folder)) for file in files[sample.id]]
            record = {"seed": sample.seed, "files": sources}
            geometry = _geometry(manifest, inputs / sample.id)
            target.write_sample(sample.id, views, sample.prompts or None, record, geometry)
    target.write_manifest()
    return len(manifest.samples)


def requests_of(
    specification: Specification, task: Task, folder: Path, layout: Output, size: int
) -> Requests:
    """Describe a folder that somebody made without requests: its samples have no prompts.

    Args:
        specification: the method.
        task: what the pictures were made for.
        folder: the folder.
        layout: how its files lie.
        size: height and width of the views that are wanted, in pixels.

    Raises:
        InputError: no file fits the layout, or the task needs cameras that nobody has.
    """
    if task == Task.DEPTH:
        raise InputError(f"{folder}: frames need the data's cameras and depth; give --data.")
    if not (names := samples_in(folder, layout)):
        raise InputError(f"{folder}: no file is called {layout.files}; expected such files.")
    given = GIVEN_VIEWS if task == Task.OUTPAINT else ()
    yaws, method = even_yaws(8), specification.method
    manifest = Manifest(task, method, size, size, tuple(names), None, 90.0, yaws, given)
    return Requests(manifest, tuple(Request(name, 0, (), "") for name in names))


def _frames(manifest: Manifest, inputs: Path) -> tuple[int, ...]:
    return read_trajectory(inputs).frames if manifest.task == Task.DEPTH else ()


def _geometry(manifest: Manifest, inputs: Path) -> tuple[Trajectory, Tensor] | None:
    if manifest.task != Task.DEPTH:
        return None
    trajectory, depth = read_inputs(inputs)
    return trajectory, torch.stack([torch.from_numpy(plane) for plane in depth])


def _files(
    folder: Path, layout: Output, manifest: Manifest, sample: str, frames: tuple[int, ...]
) -> list[Path]:
    files = find_files(folder, layout, sample, len(manifest.yaw_deg), frames)
    if missing := [name for name, file in files.items() if file is None]:
        raise InputError(
            f"{folder}: the sample '{sample}' lacks {listed(missing)}; let the method make it, or "
            "state --files if its files have other names."
        )
    return [file for file in files.values() if file]


def _origin(
    specification: Specification, folder: Path, layout: Output, files: dict[str, list[Path]]
) -> dict[str, Any]:
    """Say what the samples were made of and by what, for the manifest and for the next import."""
    digest = hashlib.sha256()
    for paths in files.values():
        for path in paths:
            digest.update(f"{path.relative_to(folder)}\0{sha256_file(path)}\n".encode())
    record = folder / RECORD
    ran = read_json(record) if record.is_file() else {}
    repository = specification.repository
    return {
        "external": specification.name,
        "repository": repository.url,
        "commit": ran.get("commit", ELSEWHERE) if isinstance(ran, dict) else ELSEWHERE,
        "license": repository.license,
        "layout": layout.layout,
        "yaw_deg": layout.yaw_deg,
        "files": digest.hexdigest(),
    }
