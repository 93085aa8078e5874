"""`pack`: puts a score file, the hashes of all behind it and, if wanted, the images into a zip."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mvdiffusion import __version__
from mvdiffusion.archives import name_flaw
from mvdiffusion.code_closure import code_sha256
from mvdiffusion.outputs import check_file
from mvdiffusion.records import InputError, atomic_output, listed, provenance

from ..folders.samples import SampleFolder
from ..scoring.score_files import read_score
from ..settings import ScoreSettings
from .croissant import About, metadata
from .layout import (
    CROISSANT,
    IMAGES,
    MANIFEST,
    SCORES,
    ArtifactManifest,
    Code,
    FolderHashes,
    hashes_of,
    prompts_of,
)
from .opening import (
    ROLES,
    Opened,
    disagreements,
    open_scored,
    opening_options,
    reference_options,
)
from .rescoring import extractor_names

CODE = "mvdiffusion_eval.api"
"""The module whose code, with all that it imports, decides scores."""

FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""Time of every member, the first that a zip can state: packing again gives the same bytes."""

SCORED_AGAIN = "scored_again.json"
"""What the recorded command writes, beside the score file of an extracted artifact."""

MACHINE_PATH = re.compile(r"(?<![\w.:/~-])(?:/[\w.-]+){2,}|\b[A-Za-z]:\\")


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        manifest: of the artifact.
        warnings: what its owner should know before handing it on.
    """

    manifest: ArtifactManifest
    warnings: tuple[str, ...]


def pack(
    score: str | Path,
    generated: str | Path,
    output: str | Path,
    reference: str | Path | None = None,
    *,
    vae_reconstruction: str | Path | None = None,
    images: bool = False,
    about: About | None = None,
) -> Packed:
    """Pack a score file for others to verify, as `mvdiffusion-eval pack` does.

    Args:
        score: score file.
        generated: the folder that was scored.
        output: zip file to write; the same input gives the same bytes.
        reference: the real views that it was scored with.
        vae_reconstruction: their VAE reconstruction, likewise.
        images: whether to put the images of `generated`, their prompts and cameras into the zip.
        about: license, creators and citation for the Croissant metadata.

    Returns:
        The manifest, and warnings.

    Raises:
        InputError: the score file was changed, or a folder is not the one that was scored.
    """
    path, output = Path(score), Path(output)
    check_file(output, ".zip")
    score_file, text = read_score(path), path.read_bytes()
    content = score_file.content
    if score_file.limited:
        raise InputError(
            f"{path}: only {score_file.limited} were scored (--limit); score all of them to hand "
            "the numbers on."
        )
    given = dict(zip(ROLES, (generated, reference, vae_reconstruction), strict=True))
    folders = {role: Path(folder) for role, folder in given.items() if folder is not None}
    for role in folders.keys() - {"generated"}:
        if content[role] is None:
            raise InputError(
                f"--{role.replace('_', '-')}: {path} was scored without; leave it out."
            )
    opened = open_scored(content, folders)
    for problem in disagreements(content, opened):
        raise InputError(f"{path}: {problem}; give the folders that were scored.")
    hashes = _hashes(opened)
    files = _image_files(opened["generated"].whole, hashes["generated"]) if images else {}
    prompts = prompts_of(opened["generated"].scored)
    part = _part(opened["generated"])
    types = sorted({Path(n).suffix for n in hashes["generated"].images}) if images else ()
    sha256 = hashlib.sha256(text).hexdigest()
    croissant = _as_json(metadata(content, prompts, sha256, types, about or About()))
    manifest = ArtifactManifest(
        task=content["task"],
        method=content["method"],
        members={
            SCORES: sha256,
            CROISSANT: hashlib.sha256(croissant).hexdigest(),
            **{name: digest for name, (_, digest) in files.items()},
        },
        **{role: hashes.get(role) for role in ROLES},  # type: ignore[arg-type]
        prompts=prompts,
        extractors=weights_of(content),
        code=_code(),
        packages=content["provenance"]["packages"],
        command=command_of(content, part),
        arguments=arguments_of(content, part),
    )
    texts = {MANIFEST: _as_json(dataclasses.asdict(manifest)), SCORES: text, CROISSANT: croissant}
    _write(output, texts, files)
    return Packed(manifest, tuple(_warnings(content, opened, bool(images))))


def _hashes(opened: Mapping[str, Opened]) -> dict[str, FolderHashes]:
    """All that lies in the generated folder; of the others, what was compared with it."""
    return {
        role: hashes_of(folder.whole) if role == "generated" else hashes_of(folder.scored, False)
        for role, folder in opened.items()
    }


def _image_files(folder: SampleFolder, hashes: FolderHashes) -> dict[str, tuple[Path, str]]:
    """Path and hash of each file to pack, by the name of its member."""
    for name in hashes.files:
        if flaw := name_flaw(name):
            raise InputError(f"{folder.root / name}: {flaw}; rename it and score again.")
    return {f"{IMAGES}/{n}": (folder.root / n, digest) for n, digest in hashes.files.items()}


def weights_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of weights by extractor, of a score file; of older ones, the digits in the name."""
    return {
        name: about.get("weights_sha256") or name.rpartition("(")[2].rstrip(")")
        for name, about in content["extractors"].items()
    }


def _code() -> Code:
    made = provenance()
    return Code(__version__, made["git_commit"], made["git_dirty"], code_sha256(CODE))


def _settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a score that are not the default ones, without protocols and extractors."""
    default = json.loads(_as_json(dataclasses.asdict(ScoreSettings())))
    named = {"protocols", "extractors"}
    found = content["settings"].items()
    return {k: v for k, v in found if k not in named and v != default.get(k, v)}


def _part(folder: Opened) -> list[str]:
    """The scored samples if the folder has more; else none need to be named."""
    scored = folder.scored.sample_ids
    return list(scored) if len(scored) < len(folder.whole.sample_ids) else []


def arguments_of(content: Mapping[str, Any], samples: Sequence[str]) -> dict[str, Any]:
    """Arguments of `mvdiffusion_eval.score` that score the images again.

    Args:
        content: of the score file.
        samples: ids to choose from the folder; empty for all of them.
    """
    return {
        "generated": IMAGES,
        **{role: role for role in ROLES[1:] if content[role]},
        "method": content["method"],
        "protocols": sorted(content["protocols"]),
        "extractors": sorted(extractor_names(content)),
        "settings": _settings(content),
        **opening_options(content["images"]),
        **reference_options(content),
        **({"samples": list(samples)} if samples else {}),
    }


def command_of(content: Mapping[str, Any], samples: Sequence[str]) -> str:
    """The same as a command; folders go by what they hold, and the score file is kept."""
    return shlex.join(_words(content, samples))


def _words(content: Mapping[str, Any], samples: Sequence[str]) -> Iterator[str]:
    yield from ("mvdiffusion-eval", "score", "--generated", IMAGES)
    for role in ROLES[1:]:
        if content[role]:
            yield from (f"--{role.replace('_', '-')}", role)
    yield from ("--method", content["method"])
    for name in sorted(content["protocols"]):
        yield from ("--protocol", name)
    for name in sorted(extractor_names(content)):
        yield from ("--extractor", name)
    if settings := _settings(content):
        yield from ("--settings", json.dumps(settings, sort_keys=True))
    options = {**opening_options(content["images"]), **reference_options(content)}
    for option, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            yield from (
                "--yaw" if option == "yaw_deg" else f"--{option.replace('_', '-')}",
                f"{each}",
            )
    for sample in samples:
        yield from ("--samples", sample)
    yield from ("--output", SCORED_AGAIN)


def _warnings(
    content: Mapping[str, Any], opened: Mapping[str, Opened], with_images: bool
) -> Iterator[str]:
    for role in ROLES[1:]:
        if content[role] and role not in opened:
            option = f"--{role.replace('_', '-')}"
            yield f"the hashes of the {role} are not recorded; pass {option} to record them."
    texts = {SCORES: content}
    own = opened["generated"].whole.root / MANIFEST
    if with_images and own.is_file():
        texts[f"{IMAGES}/{MANIFEST}"] = json.loads(own.read_text(encoding="utf-8-sig"))
    for member, value in texts.items():
        found = dict.fromkeys(MACHINE_PATH.findall(json.dumps(value, ensure_ascii=False)))
        if found:
            yield (
                f"{member} names paths of this machine ({listed(found)}), and is packed as it is; "
                "to avoid that, score again with relative paths."
            )


def _as_json(value: Any) -> bytes:
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def _write(output: Path, texts: Mapping[str, bytes], files: Mapping[str, tuple[Path, str]]) -> None:
    """Write the zip: uncompressed, as compressed bytes differ between versions of zlib.

    Raises:
        InputError: a file was changed since it was hashed, or writing failed.
    """
    with atomic_output(output) as temporary, zipfile.ZipFile(temporary, "w") as packed:
        for name, text in texts.items():
            _add(packed, name, io.BytesIO(text))
        for name, (path, expected) in sorted(files.items()):
            with open(path, "rb") as file:
                if _add(packed, name, file) != expected:
                    raise InputError(f"{path}: was changed while it was packed; score again.")


def _add(packed: zipfile.ZipFile, name: str, source: IO[bytes]) -> str:
    """Add a member, and return its hash."""
    member = zipfile.ZipInfo(name, FIRST_DAY)
    member.create_system, member.external_attr = 3, 0o100644 << 16
    digest = hashlib.sha256()
    with packed.open(member, "w") as target:
        while part := source.read(2**20):
            digest.update(part)
            target.write(part)
    return digest.hexdigest()
