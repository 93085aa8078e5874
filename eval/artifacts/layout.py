"""The contents of an artifact, a zip file that hands a score on so that others can check it.

| member | content |
|---|---|
| `manifest.json` | hashes of all other members, of prompts, images, reference and weights; \
code, packages, and the command that scores again |
| `scores.json` | the score file as it was written, with its seal and its values per sample |
| `croissant.json` | Croissant metadata: what the files are, and a record of every sample |
| `images/…` | the generated images, prompts and cameras, in the layout in which they were scored; \
only if they were packed |

All names are relative, so that nothing depends on the machine or the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mvdiffusion import manifest as sample_manifest
from mvdiffusion.archives import name_flaw
from mvdiffusion.records import InputError
from mvdiffusion.settings import Text, parse, settings

from ..folders.samples import SampleFolder, SequenceFolder, file_sha256

MANIFEST, SCORES, CROISSANT = "manifest.json", "scores.json", "croissant.json"
IMAGES = "images"
MAX_JSON_BYTES = 2**28

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Hashes = dict[Text, Sha256]
"""SHA-256 by relative name."""


@settings
class FolderHashes:
    """Hashes of what was scored of a folder, by names relative to it.

    Attributes:
        images: files that views are read from.
        prompts: files of prompts.
        cameras: `manifest.json`, cameras and depth maps.
    """

    images: Hashes
    prompts: Hashes = field(default_factory=dict)
    cameras: Hashes = field(default_factory=dict)

    @property
    def files(self) -> Hashes:
        """All of them."""
        return {**self.images, **self.prompts, **self.cameras}


@settings
class Code:
    """The code that packed an artifact.

    Attributes:
        version: of the package.
        git_commit: of the checkout, if it was one.
        git_dirty: whether files of that commit were changed.
        sha256: hash of all code that decides scores (see `mvdiffusion.code_closure`).
    """

    version: Text
    git_commit: Text | None
    git_dirty: bool
    sha256: Sha256


@settings
class ArtifactManifest:
    """An artifact's `manifest.json`.

    Attributes:
        task: task of the images.
        method: what made them.
        members: hashes of all other members of the zip.
        generated: hashes of the scored folder.
        reference: hashes of the real views, if they were given when the artifact was packed.
        vae_reconstruction: hashes of their VAE reconstruction, likewise.
        prompts: prompts of each sample, one per view, or a single one for all.
        extractors: hash of the weights of each feature extractor; its first digits alone where the
            score file is of an earlier version.
        code: the code that packed.
        packages: versions of the packages that scored.
        command: command that scores the images again.
        arguments: the same as arguments of `mvdiffusion_eval.score`.
        format: of the file.
    """

    task: Text
    method: Text
    members: Hashes
    generated: FolderHashes
    reference: FolderHashes | None
    vae_reconstruction: FolderHashes | None
    prompts: dict[Text, tuple[str, ...]]
    extractors: dict[Text, Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")]]
    code: Code
    packages: dict[Text, Text | None]
    command: Text
    arguments: dict[Text, Any]
    format: Literal[1] = 1


def read_artifact_manifest(path: Path) -> ArtifactManifest:
    """Read an artifact's manifest.

    Raises:
        InputError: it is missing or is not JSON, a key is unknown, missing or wrong, or a name
            leads out of the folder that it is relative to.
    """
    manifest = parse(ArtifactManifest, read_strict_json(path), file=Path(path.name))
    folders = (manifest.generated, manifest.reference, manifest.vae_reconstruction)
    for hashes in (manifest.members, *(folder.files for folder in folders if folder)):
        for name in hashes:
            if flaw := name_flaw(name):
                raise InputError(f"{path.name}: names the file {name!r}, which {flaw}.")
    return manifest


def read_strict_json(path: Path) -> dict[str, Any]:
    """Read a member that somebody else wrote: one JSON mapping of moderate size.

    Raises:
        InputError: it is missing, too large or no mapping, or it holds a key twice or a number that
            is not finite.
    """
    if not path.is_file():
        raise InputError(
            f"{path.name}: is missing; expected an artifact of `mvdiffusion-eval pack`."
        )
    if (size := path.stat().st_size) > MAX_JSON_BYTES:
        raise InputError(f"{path.name}: has {size:,} bytes; expected at most {MAX_JSON_BYTES:,}.")
    try:
        value = json.loads(
            path.read_bytes(), object_pairs_hook=_each_key_once, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path.name}: not valid JSON ({error}); ask for the artifact again."
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{path.name}: is no mapping; expected an artifact's file.")
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def hashes_of(folder: SampleFolder, generated: bool = True) -> FolderHashes:
    """Hash all files that scores of a folder are made of.

    Args:
        folder: generated images, real ones, or their reconstruction.
        generated: whether its prompts and its `manifest.json` count. Those of real views decide no
            number, and their manifest may list more samples than were scored.

    Raises:
        InputError: a file lies outside the folder.
    """
    ids, own = folder.sample_ids, folder.root / sample_manifest.MANIFEST
    views = [path for i in ids for path in folder.view_paths(i)]
    prompts = [folder.prompt_path(i) for i in ids if generated and folder.has_prompts(i)]
    cameras = [*([own] if generated and own.is_file() else []), *_camera_paths(folder)]
    kinds = (views, prompts, cameras)
    return FolderHashes(*({_name(folder, p): file_sha256(p) for p in paths} for paths in kinds))


def prompts_of(folder: SampleFolder) -> dict[str, tuple[str, ...]]:
    """Read the prompts of the samples that have any: one per view, or a single one for all."""
    found = {i: folder.prompts(i) for i in folder.sample_ids if folder.has_prompts(i)}
    return {i: tuple(own[:1] if len(set(own)) == 1 else own) for i, own in found.items()}


def _camera_paths(folder: SampleFolder) -> Iterator[Path]:
    """Cameras and depth maps of sequences."""
    if not isinstance(folder, SequenceFolder):
        return
    for sample_id in folder.sample_ids:
        sample = folder.root / sample_id
        if (cameras := sample / sample_manifest.CAMERAS).is_file():
            yield cameras
        else:  # as the authors' released code writes them
            yield sample / "K.txt"
            yield from (sample / f"{n}_poses.txt" for n in folder.trajectories[sample_id].frames)
        yield from folder.depth_paths(sample_id)


def _name(folder: SampleFolder, path: Path) -> str:
    if not path.is_relative_to(folder.root):
        raise InputError(f"{path}: lies outside {folder.root}; only whole folders can be packed.")
    return path.relative_to(folder.root).as_posix()
