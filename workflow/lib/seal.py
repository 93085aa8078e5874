"""Seals of what DVC and people bring back: which recipe made files, and what is in them.

`dvc checkout` puts the tables of another commit in the place of the current ones, and any editor
changes them; Snakemake sees only times. So the steps whose files DVC tracks end with a seal beside
them, `recipe-<digest>.json`: files of another recipe lack the current one, which makes Snakemake
run the step, and a file that is not the one that was sealed is refused before it is shown.

A job runs this as `python -m workflow.lib.seal FILE MADE...`, and with `--check` to compare, in
whatever environment it has, so only the standard library is imported.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path


def seal(file: Path, made: Iterable[Path]) -> None:
    """Write the hashes of what a step has made, by their places below the folder of results.

    Args:
        file: the seal; those of other recipes beside it go, as what they sealed has gone.
        made: the files.
    """
    root = file.parent.parent
    for other in file.parent.glob("recipe-*.json"):
        other.unlink()
    hashes = {str(path.relative_to(root)): _sha256(path) for path in made}
    file.write_text(json.dumps(hashes, indent=2, sort_keys=True) + "\n")


def broken(file: Path) -> list[Path]:
    """List what is not as it was sealed."""
    root = file.parent.parent
    hashes = json.loads(file.read_text())
    return [root / name for name, sha256 in hashes.items() if _sha256(root / name) != sha256]


def complaint(files: Iterable[Path], missing: bool = True) -> str:
    """Say what is not as it was sealed and what to do; nothing if all is.

    Args:
        files: the seals.
        missing: whether to complain of files that are not there.
    """
    for file in files:
        if paths := [path for path in broken(file) if missing or path.exists()]:
            return (
                f"{paths[0]}: is not what the workflow has written there ({len(paths)} such files;"
                f" an older commit's, or edited); delete {file} and run the workflow again"
            )
    return ""


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:] if word != "--check"]
    if "--check" not in sys.argv:
        seal(given[0], given[1:])
    elif found := complaint(given):
        sys.exit(found)
