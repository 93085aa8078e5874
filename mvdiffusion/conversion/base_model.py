"""Pretrained base models: Stable Diffusion 1.5, 2 and XL, and their variants for other tasks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from mvdiffusion.outputs import already_made, is_begun, whole_output
from mvdiffusion.pipelines.loading import check_architecture, check_files, record_files
from mvdiffusion.records import (
    InputError,
    listed,
    model_sha256,
    read_json,
    sha256_file,
    write_json,
)

TABLE = Path(__file__).with_name("base_models.yaml")
PROVENANCE = "base_model.json"
PARTS = {
    "scheduler": ("scheduler_config.json",),
    "text_encoder": ("config.json", "model.safetensors"),
    "tokenizer": ("tokenizer_config.json",),
    "unet": ("config.json", "diffusion_pytorch_model.safetensors"),
    "vae": ("config.json", "diffusion_pytorch_model.safetensors"),
}
"""What is used of a model, in float32, and the files that each part cannot do without."""
FILES = [f"{part}/{name}" for part, names in PARTS.items() for name in names]
CONFIGURATION = ["model_index.json", *(name for name in FILES if name.endswith(".json"))]
SECOND = [
    "text_encoder_2/config.json",
    "text_encoder_2/model.safetensors",
    "tokenizer_2/tokenizer_config.json",
]
"""Files that only SDXL has, and cannot do without."""
WANTED = ["model_index.json", *FILES, "tokenizer/*", *SECOND, "tokenizer_2/*"]


@dataclass(frozen=True)
class Copy:
    """A copy of a model on the Hugging Face hub.

    Attributes:
        id: its name there, `owner/name`.
        revision: the commit to take; None for its newest.
        sha256: hashes that files of it must have, by name; None where none is on record.
    """

    id: str
    revision: str | None = None
    sha256: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where a model was found: a folder, and the copy on the hub that it is of, if it is."""

    folder: Path
    copy: Copy | None = None

    @property
    def provenance(self) -> dict[str, Any]:
        """What is recorded of it."""
        if self.copy is None:
            earlier = self.folder / PROVENANCE
            known = read_json(earlier) if earlier.is_file() else {}
            return {**known, "folder": self.folder.name}
        verified = {name for name, value in self.copy.sha256.items() if value}
        return {
            "id": self.copy.id,
            "revision": self.folder.name,  # the hub's client names it by the commit
            "verified": sorted(verified),
            "unverified": sorted(set(self.copy.sha256) - verified),
        }


@cache
def known_copies() -> list[list[Copy]]:
    """Read the table of base models: the copies of each, in the order in which they are tried."""
    models = yaml.safe_load(TABLE.read_text(encoding="utf-8")).values()
    return [[Copy(**copy, sha256=model["sha256"]) for copy in model["copies"]] for model in models]


def copies(model: str) -> list[Copy]:
    """List the copies of a model, the named one first.

    Args:
        model: id on the hub, `owner/name` or `owner/name@revision`. The table of base models knows
            revision and fallbacks of some; a revision that is named holds, without fallbacks.
    """
    name, _, revision = model.partition("@")
    known = next((all for all in known_copies() if name in {copy.id for copy in all}), None)
    if revision or known is None:
        return [Copy(name, revision or None)]
    return sorted(known, key=lambda copy: copy.id != name)


def fetch_base(model: str, output: Path, overwrite: bool = False) -> None:
    """Put the parts of a pretrained model that are used into a folder of its own.

    Args:
        model: folder in the format of diffusers, or id of a model on the Hugging Face hub, of
            which base_models.yaml may know revision, hashes and other copies. What was downloaded
            before is not downloaded again; an interrupted download resumes.
        output: the folder to write, whole or not at all; files are linked where that is possible.

    Raises:
        InputError: no such folder, the hub could not be reached or has no such model, a part is
            missing or another than it should be, or `output` is of another model.
    """
    local = model_sha256(Path(model)) if Path(model).is_dir() else None
    revision = None if local else copies(model)[0].revision
    made_of = {"model": model, "revision": revision, "sha256": local}
    if is_begun(output, made_of, overwrite=overwrite) and (output / "model_index.json").is_file():
        return already_made(output)
    source = find_base(model)
    check_architecture(source.folder)
    with whole_output(output, made_of) as folder:
        for path in sorted({path for name in WANTED for path in source.folder.glob(name)}):
            _place(path.resolve(), folder / path.relative_to(source.folder))
        write_json(folder / PROVENANCE, {"format": 1, **source.provenance})
        record_files(folder)


def find_base(model: str, wanted: Iterable[str] = WANTED) -> Source:
    """Find a folder, or the first copy on the hub that can be had, and check its files.

    Args:
        model: folder, or id as in `copies`.
        wanted: names and patterns of files; a copy that lacks one of the names is passed over.

    Raises:
        InputError: there is none, or a file has another hash.
    """
    names = [name for name in wanted if "*" not in name and name not in SECOND]
    if (folder := Path(model)).is_dir():
        _check_names(folder, names)
        check_files(folder)
        return Source(folder)
    reasons: list[str] = []
    for copy in copies(model):
        try:
            folder = _download(copy, [*wanted])
            _check_names(folder, names)
        except InputError as error:
            reasons.append(f"{copy.id}: {error}")
            continue
        if reasons:
            print(f"{'; '.join(reasons)}; {copy.id} is taken instead", file=sys.stderr)
        if copy.revision is None:
            found = f"{copy.id}@{folder.name}"
            print(f"{copy.id}: no revision is on record; this is {found}", file=sys.stderr)
        _check_hashes(folder, copy)
        return Source(folder, copy)
    raise InputError(
        f"base model '{model}': could not be downloaded from the Hugging Face hub "
        f"({'; '.join(reasons)}). Connect and run the same command again; or download the model "
        f"elsewhere, such as by `hf download {copies(model)[0].id}`, and set base.pretrained (or "
        "--model, --base) to its folder, or to the id of a copy."
    )


def _download(copy: Copy, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(copy.id, revision=copy.revision, allow_patterns=wanted))
    except HFValidationError:
        raise InputError("no such folder, and no id of a model on the hub") from None
    except Exception as error:  # the hub's client passes on whatever its network library raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(reason.rstrip(".")) from None


def has_two_text_encoders(folder: Path) -> bool:
    """Whether a model folder is one of SDXL, by its index."""
    index = folder / "model_index.json"
    return index.is_file() and "text_encoder_2" in read_json(index)


def _check_names(folder: Path, names: Iterable[str]) -> None:
    names = [*names]
    if {*FILES} <= {*names} and has_two_text_encoders(folder):
        names += SECOND
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise InputError(
            f"{folder} has no {listed(missing)}; expected a Stable Diffusion model in the format "
            "of diffusers with float32 weights in safetensors files"
        )
    for name in names:
        if name.endswith(".safetensors"):
            _check_header(folder / name)
    index = folder / "model_index.json"
    if index.is_file() and "unet" not in read_json(index):
        raise InputError(f"{index}: names no unet; expected a Stable Diffusion model")


def _check_header(path: Path) -> None:
    """Refuse what is cut off, or no such file at all, such as a pointer of Git LFS."""
    try:
        with safe_open(path, "pt"):
            pass
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); download it again, or run `git lfs "
            "pull` in a clone"
        ) from None


def _check_hashes(folder: Path, copy: Copy) -> None:
    """Refuse a file that is not the one on record."""
    for name, expected in copy.sha256.items():
        if expected and (folder / name).is_file() and sha256_file(folder / name) != expected:
            raise InputError(
                f"{folder / name}: has another SHA-256 than the file of {copy.id} on record "
                f"({expected} in mvdiffusion/conversion/{TABLE.name}); delete it and run the same "
                "command again to download it."
            )


def _place(source: Path, target: Path) -> None:
    """Link a file of gigabytes; copy it only to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
