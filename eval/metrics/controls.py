"""Controls: a gain in consistency must be neither blur nor a palette shared by all scenes."""

from __future__ import annotations

import numpy as np

from ..folders.samples import SampleFolder
from ..functional.gradient_energy import gradient_energy
from . import depth_consistency, panorama_consistency
from .base import Inputs, Metric, Outcome, Step, per_sample, ratio_to_real, register


def _run_energy(inputs: Inputs, step: Step) -> Outcome:
    energy = _energies(inputs, inputs.generated)
    measurements = {step.key: per_sample(energy, "", None, step)}
    if inputs.reference is not None:
        real = _energies(inputs, inputs.reference)
        measurements[f"{step.key}_ratio"] = ratio_to_real(energy, real, None, step)
    return Outcome(measurements)


def _energies(inputs: Inputs, folder: SampleFolder) -> np.ndarray:
    ids = inputs.samples(f"gradient energy of {folder.method}")
    return np.array([gradient_energy(folder.views(i).astype(np.float32) / 255) for i in ids])


def _run_other_scene(inputs: Inputs, step: Step) -> Outcome:
    if inputs.generated.task == "depth":
        psnr = depth_consistency.other_scene_psnr(inputs, step)
    else:
        resolution = step.options["resolution"]
        psnr = panorama_consistency.neighbor_psnr(
            inputs, inputs.generated, resolution, other=True
        ).mean(1)
    at = size_note(inputs, step)
    return Outcome({step.key: per_sample(psnr, "dB", None, step, at)})


def size_note(inputs: Inputs, step: Step) -> str:
    """Mark frames of another size than the protocol's; views of panoramas are resized."""
    return depth_consistency.size_note(inputs, step) if inputs.generated.task == "depth" else ""


def needs_neighbors(inputs: Inputs) -> str:
    """Say what is missing for neighboring views, or consecutive key frames, to be compared."""
    if inputs.generated.task == "depth":
        return depth_consistency.needs_pairs(inputs)
    return panorama_consistency.needs_a_ring(inputs)


def _needs_others(inputs: Inputs) -> str:
    alone = len(inputs.generated.sample_ids) < 2
    return "at least two samples" if alone else needs_neighbors(inputs)


PAIR_OPTIONS = ("resolution", *depth_consistency.OPTIONS)
"""What it takes to compare the pairs of any task."""

register(Metric("gradient_energy", _run_energy, missing=needs_neighbors))
register(
    Metric(
        "other_scene_psnr", _run_other_scene, PAIR_OPTIONS, missing=_needs_others, agreement=True
    )
)
