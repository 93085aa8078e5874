"""Image quality without a reference: BRISQUE and NIQE, whose parameters come with the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mvdiffusion.records import package_versions, sha256_file

from ..functional.natural_scenes.brisque import PARAMETERS as REGRESSION
from ..functional.natural_scenes.brisque import Regression, brisque
from ..functional.natural_scenes.niqe import PARAMETERS as PRISTINE
from ..functional.natural_scenes.niqe import Pristine, niqe
from .base import Identity, QualityExtractor

BRISQUE, NIQE = "brisque", "niqe"
"""Names of the extractors."""


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
