"""OmniFID (arXiv 2407.18207): Fréchet distances of what is above, below and around.

Whole panoramas are cut into cube faces; OmniFID is the mean of the distances of the upper face, of
the lower face and of the four faces around. There are two readings of the last: one distance of
all four faces as one set, as published, or the mean of four distances, as the benchmark of the
survey of text-driven panoramas computes it (arXiv 2502.14799).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from eval.equirectangular import EquirectangularFolder
from eval.feature_store import FeatureSet
from eval.images import read_rgb
from eval.protocols import Inputs, Outcome, Protocol, register
from eval.quality import frechet_statistic, metric_key, per_group
from eval.samples import file_sha256
from mvdiffusion.geometry.cameras import intrinsics
from mvdiffusion.geometry.cubemap import face_rotations
from mvdiffusion.geometry.equirectangular import equirectangular_to_views

UP, AROUND, DOWN = 0, (1, 2, 3, 4), 5
"""Faces in the order of `face_rotations`."""
NUM_FACES = 6
LEAST_SAMPLES = 4
"""So that two images per face are left when the jackknife takes half of them away."""
Statistic = Callable[[np.ndarray], float]


class CubeFolder(EquirectangularFolder):
    """Equirectangular samples whose views are the six cube faces, half as high as the panorama."""

    def views(self, sample_id: str, which: Sequence[int] | None = None) -> np.ndarray:
        """Cut the faces of a sample, or some of them: uint8 RGB [faces, H, W, 3]."""
        faces = cut_faces(read_rgb(self.files[sample_id]), self.height)
        return faces if which is None else faces[list(which)]

    def view_digests(self, sample_id: str) -> list[str]:
        """Hash the panorama of a sample with each face (64 hex digits each)."""
        panorama = file_sha256(self.files[sample_id])
        names = [f"{panorama} face {face} at {self.height}" for face in range(NUM_FACES)]
        return [hashlib.sha256(name.encode()).hexdigest() for name in names]


def as_cubes(folder: EquirectangularFolder) -> CubeFolder:
    """See the same panoramas as cubes."""
    values = {f.name: getattr(folder, f.name) for f in dataclasses.fields(folder)}
    size = max(1, folder.panorama_size[1] // 2)
    cube = {"height": size, "width": size, "yaw_deg": (0.0,) * NUM_FACES, "given_views": ()}
    return CubeFolder(**values | cube)


def cut_faces(panorama: np.ndarray, size: int) -> np.ndarray:
    """Cut the faces up, left, front, right, back, down out of a panorama, without aliasing.

    Args:
        panorama: uint8 RGB [H, 2 H, 3].
        size: of a face in pixels.

    Returns:
        Faces uint8 RGB [6, size, size, 3].
    """
    factor = math.ceil(panorama.shape[1] / math.pi / size)  # samples per pixel and axis
    fine = size * factor
    K = intrinsics(90.0, fine, fine)[None].expand(NUM_FACES, -1, -1)
    pixels = torch.tensor(panorama).permute(2, 0, 1).float()
    faces = equirectangular_to_views(pixels, K, face_rotations(), fine, fine)
    return F.avg_pool2d(faces, factor).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def omnifid(preds: FeatureSet, target: FeatureSet, per_face: bool) -> Statistic:
    """OmniFID of the samples kept, for a jackknife.

    Args:
        preds, target: features of the six faces of every sample, in order.
        per_face: mean of four distances around instead of the distance of one set.
    """

    def distance(faces: Sequence[int]) -> Statistic:
        return frechet_statistic(*(_faces(features, faces) for features in (preds, target)))

    around = [distance([face]) for face in AROUND] if per_face else [distance(AROUND)]
    poles = [distance([UP]), distance([DOWN])]

    def statistic(kept: np.ndarray) -> float:
        mean_around = sum(part(kept) for part in around) / len(around)
        return (sum(part(kept) for part in poles) + mean_around) / 3

    return statistic


def _faces(features: FeatureSet, faces: Sequence[int]) -> FeatureSet:
    """Some faces of every sample."""
    chosen = np.flatnonzero(np.isin(np.arange(len(features)) % NUM_FACES, faces))
    keys = tuple(features.keys[image] for image in chosen)
    return dataclasses.replace(features, keys=keys, sample_of=features.sample_of[chosen])


def _run(inputs: Inputs, protocol: Protocol) -> Outcome:
    generated, reference = inputs.generated, inputs.reference
    assert isinstance(generated, EquirectangularFolder)
    assert isinstance(reference, EquirectangularFolder)
    cubes = [as_cubes(folder) for folder in (generated, reference)]
    found = {}
    classifiers = [e for e in inputs.feature_extractors if e.has_classes]
    for folder in cubes:
        inputs.store.add(folder, classifiers)  # every face is cut once for all of them
    for number, extractor in enumerate(classifiers):
        sides = [inputs.store.features(folder, extractor) for folder in cubes]
        for name, per_face in (("omnifid", False), ("omnifid_per_face", True)):
            key = metric_key(name, extractor, number)
            statistic = omnifid(sides[0], sides[1], per_face)
            found[key] = per_group(inputs, statistic, False, protocol, extractor)
    return Outcome(found)


def _missing(inputs: Inputs) -> str:
    whole = [isinstance(f, EquirectangularFolder) for f in (inputs.generated, inputs.reference)]
    if not all(whole) or not inputs.has_other_reference:
        return "whole equirectangular panoramas, generated and as --reference"
    if not any(extractor.has_classes for extractor in inputs.feature_extractors):
        return "an extractor (--evaluators, 'extractors')"
    enough = len(inputs.generated.sample_ids) >= LEAST_SAMPLES
    return "" if enough else f"at least {LEAST_SAMPLES} samples"


register(
    Protocol(
        "omnifid",
        1,
        ("panorama",),
        "OmniFID of cube faces half as high as the panorama: the faces around as one set, and as "
        "the mean of four distances",
        _missing,
        _run,
    )
)
