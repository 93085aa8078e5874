"""Opening the folders behind a score file as they were opened when it was scored."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mvdiffusion.geometry.cameras import even_yaws

from ..api import restricted
from ..folders.layouts import check_numbers
from ..folders.opening import open_folder
from ..folders.samples import PanoramaFolder, SampleFolder
from ..scoring.score import describe_images, matching_reference

ROLES = ("generated", "reference", "vae_reconstruction")
"""Folders that a score is made of, by their names in score files and manifests."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A folder as it lies there, and the part of it that was scored.

    Attributes:
        whole: the folder with all of its samples.
        scored: the same with the samples of the score file.
    """

    whole: SampleFolder
    scored: SampleFolder


def opening_options(images: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `mvdiffusion_eval.score` with which a folder was opened.

    Args:
        images: how a score file describes the images.
    """
    cut, yaws = images.get("cut_from"), images.get("yaw_deg")
    # Even directions are what a folder of plain views has by itself; stated ones would hide views
    # beyond the last.
    given = yaws if cut or (yaws and tuple(yaws) != even_yaws(len(yaws))) else None
    size = {"view_size": images["height"]} if cut else {}
    resized = {"panorama_height": cut[1]} if cut and "resized_from" in images else {}
    named = images.get("named_by", {})
    # Names that state the directions leave nothing to be stated.
    given = None if "{yaw}" in named.get("views", "") else given
    known = {"fov_deg": images.get("fov_deg"), "yaw_deg": given, **named}
    return {key: value for key, value in known.items() if value is not None} | size | resized


def reference_options(content: Mapping[str, Any]) -> dict[str, str]:
    """Options with which the real views of a score file were opened beside those of all folders."""
    views = (content["reference"] or {}).get("named_by", {}).get("views")
    return {"reference_views": views} if views else {}


def open_scored(content: Mapping[str, Any], folders: Mapping[str, Path]) -> dict[str, Opened]:
    """Open the folders behind a score file.

    Args:
        content: of the score file.
        folders: where they are, by role; the generated images at least.

    Returns:
        The opened folders by role.

    Raises:
        InputError: one cannot be read, or does not fit the others or the score file.
    """
    options = opening_options(content["images"])
    opened: dict[str, Opened] = {}
    for role, path in folders.items():
        named = (content["images" if role == "generated" else role] or {}).get("named_by", {})
        own = {key: value for key, value in options.items() if key not in ("views", "prompts")}
        whole = open_folder(path, **own, **named, real=role == "reference")
        if role == "generated":
            if type(whole) is PanoramaFolder:
                check_numbers(whole)
            scored = restricted(whole, content["images"]["samples"])
        else:
            scored = matching_reference(opened["generated"].scored, whole)
        opened[role] = Opened(whole, scored)
    return opened


def disagreements(content: Mapping[str, Any], opened: Mapping[str, Opened]) -> Iterator[str]:
    """Say what of the folders is not as a score file describes it.

    Args:
        content: of the score file.
        opened: the folders by role.
    """
    for role, folder in opened.items():
        stated = content["images" if role == "generated" else role]
        found = json.loads(json.dumps(describe_images(folder.scored)))
        for key in sorted({*stated, *found} - {"method"}):  # which may be named differently
            if stated.get(key) != found.get(key):
                one, other = (f"{json.dumps(each.get(key)):.60}" for each in (stated, found))
                yield f"{role}: the {key} of the images is {other}, but {one} in the score file"
    for key in ("task", "settings_sha256"):
        found = getattr(opened["generated"].whole, key)
        if content[key] != found:
            yield f"generated: the {key} is {found}, but {content[key]} in the score file"
