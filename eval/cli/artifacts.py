"""Commands that hand scores on and check those of others: `pack` and `verify`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from mvdiffusion.settings import parse

from .. import console
from .options import DeviceOption, Json

Reference = Annotated[
    Path | None,
    typer.Option(help="Folder with the real views with which the images were scored."),
]
Reconstruction = Annotated[
    Path | None,
    typer.Option(help="Folder of their VAE reconstruction, if outpainting was scored with it."),
]


def pack(
    score: Annotated[Path, typer.Argument(metavar="SCORE.json", help="Score file to hand on.")],
    generated: Annotated[Path, typer.Option(help="Folder of images that was scored.")],
    output: Annotated[Path, typer.Option(help="Artifact to write (zip).")],
    reference: Reference = None,
    vae_reconstruction: Reconstruction = None,
    images: Annotated[
        bool,
        typer.Option("--images", help="Pack the generated images, their prompts and cameras, too."),
    ] = False,
    license: Annotated[
        str | None,
        typer.Option(help="License of the images, best as a URL of spdx.org/licenses."),
    ] = None,
    creator: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Person or group that made them. May be repeated."),
    ] = None,
    cite_as: Annotated[
        str | None, typer.Option(help="Citation of the method, best as BibTeX.")
    ] = None,
    date_published: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Day of publication.")
    ] = None,
) -> None:
    """Pack a score file with the hashes of everything behind it, for others to verify.

    The artifact holds the score file, a manifest with the SHA-256 of every image, prompt, real view
    and network, and Croissant metadata. The folders must be those that were scored.
    """
    from ..artifacts.croissant import About
    from ..artifacts.packing import pack as pack_score

    stated = {"license": license, "creators": creator or (), "cite_as": cite_as}
    packed = pack_score(
        score,
        generated,
        output,
        reference,
        vae_reconstruction=vae_reconstruction,
        images=images,
        about=parse(About, stated | {"date_published": date_published}),
    )
    console.print_warnings(packed.warnings)


def verify(
    artifact: Annotated[
        Path, typer.Argument(metavar="ARTIFACT.zip", help="Artifact written by `pack`.")
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the generated images. By default those in the artifact, if any."
        ),
    ] = None,
    reference: Reference = None,
    vae_reconstruction: Reconstruction = None,
    extractors: Annotated[
        list[str] | None,
        typer.Option(
            "--extractor",
            metavar="FOLDER",
            help="Folder of a trained feature extractor with which the images were scored; "
            "pretrained ones are loaded by their names. May be repeated.",
        ),
    ] = None,
    rescore: Annotated[
        bool, typer.Option(help="Score the images again and compare every number.")
    ] = True,
    device: DeviceOption = "auto",
    as_json: Json = False,
) -> None:
    """Verify an artifact: hashes of all files, the seal of the score file, and every number.

    Exit code 0 means that everything that could be checked agrees; what could not be checked is
    listed as unverified. Exit code 1 means that something differs, and 2 that the file is no
    artifact.
    """
    from ..artifacts.verifying import verify as verify_artifact

    found = verify_artifact(
        artifact,
        images,
        reference,
        vae_reconstruction=vae_reconstruction,
        extractors=extractors or (),
        rescored=rescore,
        device=device,
    )
    if as_json:
        findings = [dataclasses.asdict(finding) for finding in found.findings]
        console.print_json(
            {"agrees": found.agrees, "complete": found.is_complete, "findings": findings}
        )
    else:
        console.print_verification(artifact.name, found)
    if not found.agrees:
        raise typer.Exit(1)
