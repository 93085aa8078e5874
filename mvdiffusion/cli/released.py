"""`mvdiffusion fetch-released`: the authors' checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.records import InputError


def fetch_released(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Checkpoints: panorama, outpaint, depth, single_view_depth."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to put the checkpoints into.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FOLDER_OR_URL",
            help="Folder or address of a copy, with files of the same names; default: the links of "
            "the authors' README.",
        ),
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=HASH", help="SHA-256 that a file must have. May be repeated."),
    ] = None,
) -> None:
    """Fetch checkpoints that the paper's authors released, for `convert`.

    An interrupted download continues where it stopped. Beside each file stands a .json file with
    its size, SHA-256 and origin; a later call compares with it.
    """
    from mvdiffusion.external import released

    hashes = {}
    for word in sha256 or ():
        name, separator, value = word.partition("=")
        if not (separator and len(value) == 64 and set(value.lower()) <= set("0123456789abcdef")):
            raise InputError(f"--sha256: expected NAME=HASH with 64 hex digits, got '{word}'.")
        hashes[name] = value
    for sentence in released.fetch_released(names, output, source, hashes):
        print(sentence)
