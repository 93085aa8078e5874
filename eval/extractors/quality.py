"""Extractors that rate single images: BRISQUE, NIQE, and models that rate as Q-Align does.

The parameters of BRISQUE and NIQE come with the package. Of Q-Align (Wu et al., 2024) there are the
scores of quality and aesthetics by any model of images and texts: it completes "The quality of the
image is" by one of five words; the score is the mean of their values under the probabilities that
it gives them. The published weights (q-future/one-align, an mPLUG-Owl2) need Python code that comes
with them, and transformers 4.36; no downloaded code is run here. A folder with a model of a class
that transformers has, trained in the same way, is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvdiffusion.records import InputError, package_versions, settings_sha256, sha256_file

from ..functional.natural_scenes.brisque import PARAMETERS as REGRESSION
from ..functional.natural_scenes.brisque import Regression, brisque
from ..functional.natural_scenes.niqe import PARAMETERS as PRISTINE
from ..functional.natural_scenes.niqe import Pristine, niqe
from .base import Identity, QualityExtractor
from .networks import ready

BRISQUE, NIQE = "brisque", "niqe"
"""Names of the extractors."""
CONFIG = "config.json"
"""What a folder with a model holds."""

LEVELS = {"excellent": 5.0, "good": 4.0, "fair": 3.0, "poor": 2.0, "bad": 1.0}
PROMPT = (
    "USER: How would you rate the {task} of this image?\n{image}\n"
    "ASSISTANT: The {task} of the image is"
)
TASKS = ("quality", "aesthetics")
PADDING = (122, 116, 104)
"""Mean color of CLIP's images, with which images are padded to squares."""


def load_brisque() -> QualityExtractor:
    """Load BRISQUE with the regression of the original release."""
    regression = Regression.released()
    return _loaded(BRISQUE, REGRESSION, lambda image: [brisque(image, regression)])


def load_niqe() -> QualityExtractor:
    """Load NIQE with the pristine model of the original release."""
    pristine = Pristine.released()
    return _loaded(NIQE, PRISTINE, lambda image: [niqe(image, pristine)])


def _loaded(
    name: str, parameters: Path, score: Callable[[np.ndarray], Sequence[float]]
) -> QualityExtractor:
    about = {"kind": "quality", "packages": package_versions(("numpy", "scipy"))}
    return QualityExtractor(Identity(name, sha256_file(parameters)), about, score)


def level_score(logits: Tensor) -> Tensor:
    """Mean value of the five levels.

    Args:
        logits: of the words of `LEVELS`, in this order [..., 5].

    Returns:
        Scores [...], 1 (bad) to 5 (excellent).

    >>> level_score(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0])).item()
    3.0
    """
    values = torch.tensor(list(LEVELS.values()), dtype=torch.float64, device=logits.device)
    return logits.double().softmax(-1) @ values


def load_rater(folder: str | Path) -> QualityExtractor:
    """Load a model of images and texts that rates as Q-Align does.

    Args:
        folder: config.json, weights (safetensors), and what its processor reads, as transformers'
            `save_pretrained` writes them.

    Raises:
        InputError: transformers has no class for the model, a file is missing or damaged, or its
            tokenizer does not know the five words.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = Path(folder)
    try:
        # Without the first, transformers would ask on the terminal whether to run code.
        safe = {"trust_remote_code": False, "local_files_only": True}
        processor: Any = AutoProcessor.from_pretrained(folder, use_safetensors=True, **safe)
        network: Any = AutoModelForImageTextToText.from_pretrained(
            folder, use_safetensors=True, dtype="auto", **safe
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{folder}: could not be read as a model of images and texts ({reason}); expected a "
            "folder with config.json, safetensors and a processor, of a class that transformers "
            "itself has: no code of a model's own is run."
        ) from error
    words = _word_ids(processor.tokenizer, folder)
    rate = _rater(ready(network), processor, words)
    files = {p.name: sha256_file(p) for p in sorted(folder.iterdir()) if p.is_file()}
    about = {
        "kind": "q-align",
        "model": network.config.model_type,
        "packages": package_versions(("pillow", "tokenizers", "transformers")),
    }
    identity = Identity(folder.resolve().name, settings_sha256(files))
    return QualityExtractor(identity, about, rate, "1-5", better=True, scores=TASKS)


def _rater(network: Any, processor: Any, words: list[int]) -> Callable[[np.ndarray], list[float]]:
    """Make what scores an image uint8 [H, W, 3]: one score per task."""

    def rate(image: np.ndarray) -> list[float]:
        logits = []
        for task in TASKS:
            text = PROMPT.format(task=task, image=processor.image_token)
            inputs = processor(images=padded(image), text=text, return_tensors="pt")
            inputs = inputs.to(network.device, dtype=network.dtype)
            with torch.inference_mode():
                logits.append(network(**inputs).logits[0, -1, words])
        return level_score(torch.stack(logits)).tolist()

    return rate


def padded(image: np.ndarray) -> np.ndarray:
    """Pad an image to a square in the middle.

    Args:
        image: uint8 RGB [H, W, 3].

    Returns:
        uint8 RGB [side, side, 3], side the larger of H and W.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), PADDING, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def _word_ids(tokenizer: Any, folder: Path) -> list[int]:
    """Numbers of the five words, by their last token, as Q-Align takes them.

    Raises:
        InputError: two of them share it, so the tokenizer cannot tell them apart.
    """
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"][-1] for word in LEVELS]
    if len(set(ids)) < len(ids) or tokenizer.unk_token_id in ids:
        raise InputError(
            f"{folder}: its tokenizer does not tell the words {', '.join(LEVELS)} apart by their "
            "last token; expected a model that rates by them."
        )
    return ids
