"""MEt3R (Asim et al., arXiv 2501.06336), if its package is installed and its protocol named.

MASt3R guesses the geometry of two views, one view is warped into the other by it, and features of
the two are compared. It needs no cameras and asks for none: it sees consistency in noise and in
repeated and unrelated views (arXiv 2605.18754). `correspondence` does not.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import numpy as np
import torch
from torch import nn

from mvdiffusion.records import InputError, package_versions

from ..extractors.base import Identity, state_sha256
from ..extractors.networks import best_device
from ..folders.images import resize_views
from .base import Inputs, Metric, Outcome, Step, per_sample, register
from .controls import needs_neighbors
from .depth_consistency import as_sequences

PACKAGE = "met3r"
"""Name of its package, and of the protocol that must be named: nothing else runs it."""
SIZE = 256
"""Height and width in pixels to which its authors resize views."""


def _run(inputs: Inputs, step: Step) -> Outcome:
    folder, network = inputs.generated, _load()
    values = []
    for sample_id in inputs.samples("MEt3R"):
        views = 2 * resize_views(folder.views(sample_id), SIZE, SIZE) - 1
        pairs = folder.neighbors(sample_id)
        if folder.task == "depth":
            pairs = as_sequences(folder).trajectories[sample_id].key_pairs
        values.append(np.mean([_distance(network, views[list(pair)]) for pair in pairs]))
    by = str(Identity(PACKAGE, state_sha256(network)))
    measured = dataclasses.replace(per_sample(np.array(values), "", False, step), extractor=by)
    about = {"kind": PACKAGE, "packages": package_versions((PACKAGE,))}
    return Outcome({step.key: measured}, extractors={by: about})


def _load() -> nn.Module:
    """Make the network with its authors' defaults; it fetches its weights itself.

    Raises:
        InputError: its package, or what that needs, cannot be imported or loaded.
    """
    try:
        from met3r import MEt3R

        return MEt3R(img_size=SIZE).to(best_device()).eval()
    except Exception as error:  # it brings CUDA extensions and downloads of its own
        raise InputError(
            f"met3r: its package could not be loaded ({type(error).__name__}: {error}); see its "
            "own installation notes, or leave the protocol 'met3r' out."
        ) from error


def _distance(network: nn.Module, pair: np.ndarray) -> float:
    """Distance of two views [2, H, W, 3] in -1 … 1: 0 if they agree, at most 2."""
    images = torch.from_numpy(pair).float().permute(0, 3, 1, 2)[None].to(best_device())
    with torch.inference_mode():
        score, *_ = network(
            images=images,
            return_overlap_mask=False,
            return_score_map=False,
            return_projections=False,
        )
    return float(score.double().mean())


def _missing(inputs: Inputs) -> str:
    named = PACKAGE in inputs.settings.protocols
    needs = [
        needs_neighbors(inputs),
        "" if find_spec(PACKAGE) else "the package met3r (github.com/mohammadasim98/met3r)",
        "" if named else "to be asked for (--protocol met3r)",
    ]
    return " and ".join(filter(None, needs))


register(Metric("met3r", _run, missing=_missing, agreement=True))
