"""Outpainting: is the given view kept? Its pairs with generated views are `panorama`'s to measure.

The given view passes through the autoencoder like any other, so it cannot come out better than
the real view does through the codec; `given_view_kept` leaves that loss out.
"""

from __future__ import annotations

import numpy as np

from eval.metrics.psnr import image_psnr
from eval.panorama import as_panoramas
from eval.protocols import Inputs, Outcome, Protocol, per_sample, register
from eval.samples import SampleFolder


def _run_given_view(inputs: Inputs, protocol: Protocol) -> Outcome:
    found = {}
    if inputs.reference is not None and inputs.has_other_reference:
        psnr = _given_psnr(inputs, inputs.reference)
        found["given_view_psnr"] = per_sample(psnr, "dB", True, protocol)
    if inputs.codec is not None:
        psnr = _given_psnr(inputs, inputs.codec)
        found["given_view_kept"] = per_sample(psnr, "dB", True, protocol)
    return Outcome(found)


def _given_psnr(inputs: Inputs, target: SampleFolder) -> np.ndarray:
    """PSNR [S] of the given views against another folder's, pooled over them."""
    folder = as_panoramas(inputs.generated)

    def given(source: SampleFolder, sample_id: str) -> np.ndarray:
        return source.views(sample_id, folder.given_views) / 255

    ids = inputs.samples(f"given view against {target.method}")
    return np.array([image_psnr(given(folder, i), given(target, i)) for i in ids])


register(
    Protocol(
        "given-view",
        1,
        ("outpaint",),
        "PSNR of the given view against the real one, and against the real one through the codec",
        lambda inputs: "" if inputs.reference or inputs.codec else "--reference or --codec",
        _run_given_view,
    )
)
