"""Artifacts as somebody would change them: members exchanged, hashes and seals made again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mvdiffusion_eval.artifacts.croissant import records
from mvdiffusion_eval.scoring.verification import sealed


def members(artifact: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(artifact) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    return path


def with_members(artifact: Path, output: Path, changed: Mapping[str, bytes | None]) -> Path:
    """Exchange, add or leave out members, and nothing else."""
    files = {**members(artifact), **changed}
    return write(output, {name: text for name, text in files.items() if text is not None})


def with_hashes(artifact: Path, output: Path, changed: Mapping[str, bytes | None]) -> Path:
    """The same by somebody who writes all of the manifest's hashes again."""
    manifest = json.loads(members(artifact)["manifest.json"])
    for name, text in changed.items():
        inside = name.removeprefix("images/")
        own = [manifest["generated"][kind] for kind in ("images", "prompts", "cameras")]
        for hashes, key in [(manifest["members"], name), *((each, inside) for each in own)]:
            if text is None:
                hashes.pop(key, None)
            elif hashes is manifest["members"] or key in hashes:
                hashes[key] = hashlib.sha256(text).hexdigest()
    return with_members(artifact, output, {**changed, "manifest.json": dumped(manifest)})


def with_score(artifact: Path, output: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Edit the score file, with its seal, the metadata that repeat it, and all hashes anew."""
    files = members(artifact)
    content, prompts = (json.loads(files[name]) for name in ("scores.json", "manifest.json"))
    edit(content)
    content, croissant = sealed(content), json.loads(files["croissant.json"])
    croissant["recordSet"][0]["data"] = records(content, prompts["prompts"])
    changed = {"scores.json": dumped(content), "croissant.json": dumped(croissant)}
    return with_hashes(artifact, output, changed)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()
