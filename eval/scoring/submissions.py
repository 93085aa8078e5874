"""Score files in the artifacts of strangers: read from a zip without unpacking it, and distrusted.

An artifact is a zip whose member `scores.json` is a score file. Nothing of it is written to disk.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mvdiffusion.records import InputError

from .score_files import Score, checked_score

MEMBER = "scores.json"
MOST_BYTES = 64 * 2**20
"""Of a score file, unpacked: those of 10,000 samples have a sixth of it."""
MOST_LETTERS = 200
"""Of a method's name."""

PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of these alone zipfile unpacks no more than it is asked for."""
UNREADABLE = (
    *(OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error),
    *(ValueError, RecursionError),
)
"""What reading raises for zips that are damaged, encrypted or packed in another way, and for JSON
that is none."""
AGAIN = "expected an artifact as `mvdiffusion-eval pack` writes it"


def read_submission(path: str | Path) -> Score:
    """Read the score file in an artifact.

    Its seal shows that it was not damaged. It does not show that its numbers are true: only scoring
    the images again does.

    Args:
        path: the zip.

    Raises:
        InputError: it is no zip, has no score file or several, one that is too large, or one that
            the suite has not written.
    """
    path = Path(path)
    try:
        content = _member(path)
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(f"{path}: cannot be read ({error}); {AGAIN}.") from None
    try:
        score = checked_score(path, content)
        problem = next(_oddities(content), "")
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        problem = f"parts that do not fit together ({error!r})"
    if problem:
        raise InputError(f"{path}: its {MEMBER} has {problem}; {AGAIN}.")
    return score


def _member(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        found = [each for each in archive.infolist() if each.filename == MEMBER]
        if len(found) != 1:
            raise InputError(f"{path}: has {len(found)} members named {MEMBER}; {AGAIN}.")
        if found[0].compress_type not in PACKED:
            raise InputError(f"{path}: its {MEMBER} is packed in another way; {AGAIN}.")
        with archive.open(found[0]) as member:
            text = member.read(MOST_BYTES + 1)  # whatever size the zip itself states
    if len(text) > MOST_BYTES:
        raise InputError(f"{path}: its {MEMBER} has more than {MOST_BYTES} bytes; {AGAIN}.")
    return json.loads(text)


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
