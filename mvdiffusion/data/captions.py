"""Captions on disk: one text file each, whose first line counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def join_captions(prompts: Sequence[str], prefix: str, tokenizer: Any) -> str:
    """Join the captions of all views to one prompt of their panorama, or of as many as fit.

    A tokenizer cuts off what is too long, which would be all that the last views show. So if not
    all captions fit, whole ones are left out, evenly around. Captions are named once, in the order
    of the views, without their prefix, which tells of a single view.

    Args:
        prompts: of the views, in their order.
        prefix: stands before each caption.
        tokenizer: its `model_max_length`, 77 in Stable Diffusion, is what fits.
    """
    captions = [prompt.removeprefix(prefix) for prompt in prompts]
    for count in range(len(captions), 0, -1):
        kept = [captions[len(captions) * place // count] for place in range(count)]
        text = ". ".join(dict.fromkeys(kept))
        if len(tokenizer(text, verbose=False).input_ids) <= tokenizer.model_max_length:
            break
    return text
