"""Outpainting: is the given view kept? `panorama_consistency` measures its overlaps.

The given view passes through the autoencoder like any other view, so it cannot be better than the
VAE reconstruction of the real view; `given_view_kept` leaves this loss out.
"""

from __future__ import annotations

import numpy as np

from ..folders.samples import SampleFolder
from ..functional.psnr import image_psnr
from .base import Inputs, Metric, Outcome, Step, per_sample, register
from .panorama_consistency import as_panoramas


def _run_given_view(inputs: Inputs, step: Step) -> Outcome:
    return Outcome({step.key: per_sample(_given_psnr(inputs, inputs.real), "dB", True, step)})


def _run_kept(inputs: Inputs, step: Step) -> Outcome:
    assert inputs.vae_reconstruction is not None
    psnr = _given_psnr(inputs, inputs.vae_reconstruction)
    return Outcome({step.key: per_sample(psnr, "dB", True, step)})


def _given_psnr(inputs: Inputs, target: SampleFolder) -> np.ndarray:
    """PSNR [S] of the given views against another folder's, pooled over them."""
    folder = as_panoramas(inputs.generated)

    def given(source: SampleFolder, sample_id: str) -> np.ndarray:
        return source.views(sample_id, folder.given_views) / 255

    ids = inputs.samples(f"given view against {target.method}")
    return np.array([image_psnr(given(folder, i), given(target, i)) for i in ids])


def _needs_vae_reconstruction(inputs: Inputs) -> str:
    missing = "real views after VAE reconstruction (--vae-reconstruction)"
    return "" if inputs.vae_reconstruction else missing


register(Metric("given_view_psnr", _run_given_view, compares=True))
register(Metric("given_view_kept", _run_kept, missing=_needs_vae_reconstruction))
