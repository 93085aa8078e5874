"""Captions on disk: one text file each, whose first line counts."""

from __future__ import annotations

from pathlib import Path

from mvdiffusion.records import InputError

PROMPT_PREFIX = "This is one view of a scene. "
"""Put before every caption of a panorama in training and sampling, as the authors' code does.

Their code puts nothing before the captions of recordings.
"""


def read_caption(path: Path) -> str:
    """Read the first line of a caption file, without a byte order mark and spaces around it.

    Raises:
        InputError: the file is missing, no text, or its first line is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; expected a caption there, in the first line."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); write it again.") from None
    if not lines or not lines[0].strip():
        raise InputError(f"{path}: the first line is empty; expected a caption in it.")
    return lines[0].strip()
