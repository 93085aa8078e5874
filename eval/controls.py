"""Controls: a gain in consistency must be neither blur nor a palette shared by all scenes."""

from __future__ import annotations

import numpy as np

import eval.depth
import eval.panorama
from eval.metrics.gradient_energy import gradient_energy
from eval.protocols import Inputs, Outcome, Protocol, per_sample, ratio_to_real, register
from eval.samples import SampleFolder


def _run_controls(inputs: Inputs, protocol: Protocol) -> Outcome:
    energy = _energies(inputs, inputs.generated)
    found = {"gradient_energy": per_sample(energy, "", None, protocol)}
    if inputs.reference is not None:
        real = _energies(inputs, inputs.reference)
        found["gradient_energy_ratio"] = ratio_to_real(energy, real, None, protocol)
    if len(inputs.generated.sample_ids) > 1:
        psnr, at = _other_scene_psnr(inputs)
        found["other_scene_psnr"] = per_sample(psnr, "dB", None, protocol, at)
    return Outcome(found)


def _energies(inputs: Inputs, folder: SampleFolder) -> np.ndarray:
    ids = inputs.samples(f"gradient energy of {folder.method}")
    return np.array([gradient_energy(folder.views(i).astype(np.float32) / 255) for i in ids])


def _other_scene_psnr(inputs: Inputs) -> tuple[np.ndarray, str]:
    if inputs.generated.task == "depth":
        return eval.depth.other_scene_psnr(inputs), eval.depth.size_note(inputs)
    psnr = eval.panorama.neighbour_psnr(inputs, inputs.generated, other=True)
    return psnr.mean(1), eval.panorama.resolution_note(inputs)


def needs_neighbours(inputs: Inputs) -> str:
    """Say what is missing for neighbouring views, or consecutive key frames, to be compared."""
    if inputs.generated.task == "depth":
        return eval.depth.needs_pairs(inputs)
    return eval.panorama.needs_a_ring(inputs)


register(
    Protocol(
        "controls",
        1,
        ("panorama", "outpaint", "depth"),
        "Gradient energy, and PSNR against the neighbouring view of another scene",
        needs_neighbours,
        _run_controls,
    )
)
