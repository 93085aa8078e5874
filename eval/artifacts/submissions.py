"""Score files in the artifacts of strangers: read without verifying them, and distrusted."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mvdiffusion.archives import extract
from mvdiffusion.records import InputError

from ..scoring.score_files import Score, checked_score
from .layout import MAX_JSON_BYTES, SCORES, read_strict_json

MOST_LETTERS = 200
"""Of a method's name."""
AGAIN = "expected an artifact as `mvdiffusion-eval pack` writes it"


def read_submission(path: str | Path) -> Score:
    """Read the score file in an artifact; no other member is unpacked.

    Its seal shows that it was not damaged. It does not show that its numbers are true: only scoring
    the images again does (`verifying.verify`).

    Args:
        path: the zip.

    Raises:
        InputError: it is not whole, is hostile, has no score file or several, one that is too
            large, or one that the suite has not written.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "artifact"
        extract(path, root, re.compile(f"({re.escape(SCORES)})"), MAX_JSON_BYTES)
        try:
            content = read_strict_json(root / SCORES)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    try:
        score = checked_score(path, content)
        problem = next(_oddities(content), "")
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        problem = f"parts that do not fit together ({error!r})"
    if problem:
        raise InputError(f"{path}: its {SCORES} has {problem}; {AGAIN}.")
    return score


def _oddities(content: Mapping[str, Any]) -> Iterator[str]:
    """What a score file of the suite never has, although its seal and its numbers agree."""
    method, images = content["method"], content["images"]
    if not isinstance(method, str) or not 0 < len(method) <= MOST_LETTERS:
        yield f"a method that is no name of at most {MOST_LETTERS} letters"
    for key in ("num_samples", "num_images", "num_evaluated", "height", "width"):
        if type(images.get(key)) is not int:
            yield f"no whole number of images.{key}"
    if not all(isinstance(sample, str) for sample in images["samples"]):
        yield "samples without names"
    reference = content.get("reference")
    if reference is not None and not isinstance(reference.get("sha256", ""), str):
        yield "a reference without a hash"
    for metric, one in content["metrics"].items():
        if not all(isinstance(one[key], str) for key in ("unit", "protocol")):
            yield f"no unit or protocol of '{metric}'"
        if one["higher_is_better"] not in (True, False, None) or type(one["version"]) is not int:
            yield f"no version or direction of '{metric}'"
        extractor = one["extractor"]
        if extractor is not None and not isinstance(content["extractors"].get(extractor), dict):
            yield f"no record of the extractor of '{metric}'"
