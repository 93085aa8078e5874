"""`verify`: checks an artifact on any machine, from its members to its numbers.

An artifact is somebody else's file. It is extracted into a temporary folder alone, after its names
and sizes were checked (see `mvdiffusion.archives`), its JSON is read strictly, and nothing of it is
ever run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvdiffusion import __version__
from mvdiffusion.archives import extract
from mvdiffusion.code_closure import code_sha256
from mvdiffusion.records import InputError, listed, package_versions
from mvdiffusion.settings import Device

from ..extractors.networks import compute_on
from ..folders.samples import file_sha256
from ..scoring.score_files import NUMERIC_PACKAGES
from ..scoring.verification import check_content
from .croissant import SAMPLES, records
from .findings import Finding, Verification
from .layout import (
    CROISSANT,
    IMAGES,
    MANIFEST,
    SCORES,
    ArtifactManifest,
    FolderHashes,
    hashes_of,
    prompts_of,
    read_artifact_manifest,
    read_strict_json,
)
from .opening import ROLES, Opened, disagreements, open_scored
from .packing import CODE, arguments_of, command_of, weights_of
from .rescoring import load_weights, numeric_differences, rescore

LEAST_BYTES, MOST_GROWTH = 2**28, 16
"""An artifact may hold this many bytes, or this many times its own: `pack` does not compress."""


def verify(
    artifact: str | Path,
    images: str | Path | None = None,
    reference: str | Path | None = None,
    *,
    vae_reconstruction: str | Path | None = None,
    extractors: Sequence[str | Path] = (),
    rescored: bool = True,
    device: Device = "auto",
) -> Verification:
    """Verify an artifact, as `mvdiffusion-eval verify` does.

    Args:
        artifact: zip file that `pack` wrote.
        images: folder of the generated images; by default those in the artifact, if it has any.
        reference: the real views, for the numbers that compare with them.
        vae_reconstruction: their VAE reconstruction, likewise.
        extractors: folders of trained feature extractors; pretrained ones are loaded by name.
        rescored: whether to score the images again.
        device: where feature extractors compute.

    Returns:
        What agrees, what differs and what could not be checked.

    Raises:
        InputError: the file is missing, is not whole, is hostile or is no artifact.
    """
    compute_on(device)
    path = Path(artifact)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "artifact"
        size = path.stat().st_size if path.is_file() else 0
        extract(path, root, max_bytes=max(LEAST_BYTES, MOST_GROWTH * size))
        try:
            manifest = read_artifact_manifest(root / MANIFEST)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        given = dict(zip(ROLES, (images, reference, vae_reconstruction), strict=True))
        folders = {role: Path(folder) for role, folder in given.items() if folder is not None}
        return _Verifier(root, manifest, folders, tuple(extractors), rescored).run()


@dataclass(frozen=True)
class _Verifier:
    """An extracted artifact and what it is checked with."""

    root: Path
    manifest: ArtifactManifest
    folders: Mapping[str, Path]
    extractors: Sequence[str | Path]
    rescored: bool

    def run(self) -> Verification:
        findings = self._members()
        inside = self.root / IMAGES
        folders = {**({"generated": inside} if inside.is_dir() else {}), **self.folders}
        for role in ROLES:
            findings += self._files(role, folders.get(role))
        findings += self._code()
        try:
            content = read_strict_json(self.root / SCORES)
            check_content(Path(SCORES), content)
            findings.append(Finding("scores", "agrees", f"the seal of {SCORES}"))
            findings += self._of_score(content, folders, findings)
        except InputError as error:
            findings.append(Finding("scores", "differs", str(error)))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            said = (
                f"{SCORES}: has parts that `mvdiffusion-eval score` does not write ({error!r:.80})"
            )
            findings.append(Finding("scores", "differs", said))
        inner = f"{self.root}/"  # a temporary folder, of which findings should not speak
        return Verification(tuple(replace(f, what=f.what.replace(inner, "")) for f in findings))

    def _members(self) -> list[Finding]:
        """Compare the members of the zip with the manifest."""
        expected = self.manifest.members
        there = {p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()}
        extra = sorted(there - expected.keys() - {MANIFEST})
        findings = _changes("members", expected, self.root)
        if extra:
            said = f"{extra[0]}: is not in the manifest ({len(extra)} such members)"
            findings.append(Finding("members", "differs", said))
        files = {n.removeprefix(f"{IMAGES}/"): d for n, d in expected.items() if "/" in n}
        own = self.manifest.generated.files
        for name in sorted(n for n in {*files, *own} if files and files.get(n) != own.get(n))[:1]:
            said = f"{IMAGES}/{name}: the manifest contradicts itself about this file"
            findings.append(Finding("members", "differs", said))
        said = f"{len(expected)} members with the hashes of {MANIFEST}"
        return findings or [Finding("members", "agrees", said)]

    def _files(self, role: str, folder: Path | None) -> list[Finding]:
        """Compare the files of a folder with the manifest, one by one."""
        recorded: FolderHashes | None = getattr(self.manifest, role)
        if recorded is None:
            return []
        kinds = {kind: getattr(recorded, kind) for kind in ("images", "prompts", "cameras")}
        prefix = "" if role == "generated" else f"{role} "
        option = "--images" if role == "generated" else f"--{role.replace('_', '-')}"
        findings = []
        for kind, hashes in kinds.items():
            if folder is None and hashes:
                said = (
                    f"{len(hashes)} files, whose hashes are recorded; give their folder ({option})"
                )
                findings.append(Finding(f"{prefix}{kind}", "unverified", said))
            elif folder is not None and hashes:
                same = Finding(f"{prefix}{kind}", "agrees", f"{len(hashes)} files")
                findings += _changes(f"{prefix}{kind}", hashes, folder) or [same]
        return findings

    def _code(self) -> list[Finding]:
        """Tell which code and packages are others; numbers show whether that matters."""
        notes, code = [], self.manifest.code
        if code.sha256 != code_sha256(CODE):
            commit = f", commit {code.git_commit[:12]}" if code.git_commit else ""
            notes.append(
                f"packed by other code (version {code.version}{commit}) than that installed here "
                f"(version {__version__})"
            )
        installed = package_versions(NUMERIC_PACKAGES)
        others = [
            f"{name} {self.manifest.packages[name]} (here {version})"
            for name, version in installed.items()
            if self.manifest.packages.get(name) not in (None, version)
        ]
        if others:
            notes.append(f"scored with other versions of packages: {listed(others, 20)}")
        return [Finding("code", "note", note) for note in notes]

    def _of_score(
        self, content: dict[str, Any], folders: Mapping[str, Path], findings: Sequence[Finding]
    ) -> list[Finding]:
        """Check all that a score file says: the metadata that repeat it, folders and numbers."""
        found = self._metadata(content)
        spoilt = any(f.verdict == "differs" and f.part not in ("members", "code") for f in findings)
        if "generated" not in folders or spoilt:
            why = "files that differ are not scored" if spoilt else "without the generated images"
            return [*found, Finding("numbers", "unverified", f"were not scored again: {why}")]
        used = ("generated", *(role for role in ROLES[1:] if content[role] is not None))
        asked = {role: path for role, path in folders.items() if role in used}
        try:
            opened = open_scored(content, asked)
            others = self._folders(content, opened)
        except InputError as error:  # a view too many, or cameras that the score was not made with
            others = [Finding("images", "differs", str(error))]
        if others:
            return [*found, *others]
        if not self.rescored:
            return [
                *found,
                Finding("numbers", "unverified", "were not scored again (--no-rescore)"),
            ]
        loaded, about = load_weights(content, self.manifest.extractors, self.extractors)
        return [*found, *about, *rescore(content, opened, loaded)]

    def _metadata(self, content: Mapping[str, Any]) -> list[Finding]:
        """Compare what manifest and Croissant metadata repeat of the score file."""
        findings = []
        for key in ("task", "method"):
            one, other = getattr(self.manifest, key), content[key]
            if one != other:
                said = f"the {key} is {one!r} in {MANIFEST}, but {other!r} in {SCORES}"
                findings.append(Finding("manifest", "differs", said))
        if self.manifest.extractors != weights_of(content):
            said = f"{MANIFEST} names other weights of extractors than {SCORES}"
            findings.append(Finding("manifest", "differs", said))
        findings += self._command(content)
        try:
            sets = read_strict_json(self.root / CROISSANT)["recordSet"]
            stated = next(one["data"] for one in sets if one["@id"] == SAMPLES)
        except (InputError, KeyError, StopIteration, TypeError):
            said = f"{CROISSANT}: has no records of samples as `mvdiffusion-eval pack` writes them"
            return [*findings, Finding("croissant", "differs", said)]
        own = records(content, self.manifest.prompts)
        for name, one, other in list(numeric_differences(stated, own, SAMPLES))[:1]:
            said = (
                f"{CROISSANT}: {name} is {one!r:.60}, but {other!r:.60} in {SCORES} and {MANIFEST}"
            )
            findings.append(Finding("croissant", "differs", said))
        return findings

    def _command(self, content: Mapping[str, Any]) -> list[Finding]:
        """Compare the command, which somebody may run, with the one that the score file implies."""
        samples = self.manifest.arguments.get("samples", [])
        if samples in ([], content["images"]["samples"]):
            own = (command_of(content, samples), arguments_of(content, samples))
            if own == (self.manifest.command, self.manifest.arguments):
                return []
        if self.manifest.code.sha256 != code_sha256(CODE):  # whose default settings may be others
            said = f"packed by other code, which says {self.manifest.command!r}"
            return [Finding("command", "unverified", said)]
        said = f"{MANIFEST} says {self.manifest.command!r}, which is not how {SCORES} was made"
        return [Finding("command", "differs", said)]

    def _folders(self, content: dict[str, Any], opened: Mapping[str, Opened]) -> list[Finding]:
        """Check that the folders are those that were scored, with no file more."""
        findings = [Finding("images", "differs", said) for said in disagreements(content, opened)]
        folder = opened["generated"]
        extra = hashes_of(folder.whole).files.keys() - self.manifest.generated.files.keys()
        if extra:
            said = f"{min(extra)}: is not in the manifest ({len(extra)} such files)"
            findings.append(Finding("images", "differs", said))
        stated, own = self.manifest.prompts, prompts_of(folder.scored)
        for name in sorted(n for n in {*stated, *own} if stated.get(n) != own.get(n))[:1]:
            said = f"{name}: the prompts in {MANIFEST} are not those of the folder"
            findings.append(Finding("prompts", "differs", said))
        return findings


def _changes(part: str, expected: Mapping[str, str], folder: Path) -> list[Finding]:
    """Name the first missing and the first changed of some files, and how many there are."""
    missing, changed = [], []
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            missing.append(name)
        elif file_sha256(path) != digest:
            changed.append(name)
    return [
        Finding(part, "differs", f"{names[0]}: {what} ({len(names)} of {len(expected)} files)")
        for names, what in ((missing, "is missing"), (changed, "was changed"))
        if names
    ]
