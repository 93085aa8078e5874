"""Sanity checks: common mistakes that make numbers look better or worse than they are.

The checks change no number. Each returns a warning of one sentence, or an empty string. Pixels are
compared in a few samples, spread over the folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mvdiffusion.geometry.depth import MAX_DEPTH_DIFFERENCE
from mvdiffusion.records import InputError

from ..extractors.base import SimilarityExtractor
from ..extractors.networks import num_tokens
from ..folders.faults import FLAT, find_faults, pixel_digests, variation
from ..folders.images import is_lossy
from ..folders.samples import PanoramaFolder, SampleFolder, SequenceFolder
from ..functional.cross_view_psnr import overlap_of, warp
from ..functional.depth_psnr import sample_shared, shared_pixels
from ..functional.gradient_energy import gradient_energy
from ..metrics.base import Inputs
from ..metrics.depth_consistency import cameras_of
from .camera_checks import (
    examined,
    odd_spacing,
    ring,
    swapped_faces,
    turned_faces,
    wrong_field_of_view,
    wrong_order,
)

COPIED_SHARE, HALF_A_LEVEL = 0.98, 0.51
"""Values of an overlap that are their neighbor's, warped and rounded to bytes: nearly all if they
were copied. Of views cut out of one panorama, however smooth, far fewer are; neither noise nor
PSNR, which grows with smoothness, tells the two apart so well."""

LITTLE_DETAIL = 0.2
"""Share of the real views' gradient energy below which consistency means little; a VAE keeps most
of it."""

BLOCKING = 0.05
"""Excess of the steps across borders of 8×8 blocks, as JPEG and VAEs of such patches leave."""


def warnings_of(inputs: Inputs, reference: SampleFolder | None) -> list[str]:
    """Run every sanity check.

    Args:
        inputs: what was scored; its reference is restricted to the generated samples.
        reference: the reference as it was given.

    Returns:
        One sentence per check that found something.
    """
    warnings = [check(inputs) for check in CHECKS]
    return [warning for warning in (*warnings, _fewer_samples(inputs, reference)) if warning]


def _fewer_samples(inputs: Inputs, reference: SampleFolder | None) -> str:
    """Find fewer samples than in the reference: FID is biased by the number of images."""
    count = len(inputs.generated.sample_ids)
    if reference is None or len(reference.sample_ids) == count:
        return ""
    return (
        f"{count} samples were scored, but {reference.root} has {len(reference.sample_ids)}; FID "
        "depends on the number of images, so compare it only with methods scored on the same "
        "number."
    )


def constant_images(inputs: Inputs) -> str:
    """Find constant images, whose neighbors agree with them without showing anything."""
    folder, faults = inputs.generated, inputs.faults
    if not faults.flat:
        return ""
    found = (
        f"{faults.flat} of {faults.num_images} images in {folder.root} are constant or nearly so "
        f"(first: {faults.first_flat}), as non-finite weights or overflowing float16 make them"
    )
    if not faults.undefined:
        return f"{found}."
    count = len(faults.undefined)
    return (
        f"{found}; in {count} of {len(folder.sample_ids)} samples neighboring views are: these "
        "have no consistency and are left out of its means, so the method is incomplete."
    )


def constant_real_images(inputs: Inputs) -> str:
    """Find constant images among the real ones, in a few samples."""
    real = inputs.reference
    if real is None or not inputs.has_other_reference:
        return ""
    faults = find_faults(real, examined(real))
    if not faults.flat:
        return ""
    return (
        f"{faults.flat} of {faults.num_images} images looked at in the reference {real.root} are "
        f"constant or nearly so (first: {faults.first_flat}); give real views."
    )


def repeated_images(inputs: Inputs) -> str:
    """Find images that are other images of the folder, pixel for pixel."""
    folder, faults = inputs.generated, inputs.faults
    if not faults.repeated:
        return ""
    count = len(folder.sample_ids)
    alike = f", and {faults.repeated_samples} of {count} samples an earlier sample"
    return (
        f"{faults.repeated} of {faults.num_images} images in {folder.root} repeat an earlier image "
        f"pixel for pixel (first: {faults.first_repeated}){alike * bool(faults.repeated_samples)}; "
        "errors and tests take them for independent, so they are too small."
    )


def real_as_generated(inputs: Inputs) -> str:
    """Find images of the reference among the generated ones."""
    folder, real = inputs.generated, inputs.reference
    first = folder.sample_ids[0]
    if real is None or [path.resolve() for path in folder.view_paths(first)] == [
        path.resolve() for path in real.view_paths(first)
    ]:
        return ""  # real views are scored on purpose, as the upper bound
    ways: tuple[tuple[str, str, DigestsOf, Sequence[str]], ...] = (
        ("images", "byte-for-byte copies", _of_files, folder.sample_ids),
        ("images looked at", "pixel-for-pixel copies", _of_pixels, examined(folder)),
    )
    for what, copied, digests_of, ids in ways:
        known = {digest for i in ids for digest in digests_of(real, i)}
        made = [np.array(digests_of(folder, i))[folder.evaluated_views(i)] for i in ids]
        evaluated = np.concatenate(made)
        if copies := sum(digest in known for digest in evaluated):
            return (
                f"{copies} of {len(evaluated)} {what} in {folder.root} are {copied} of images in "
                f"the reference {real.root}: real images were scored as generated."
            )
    return ""


DigestsOf = Callable[[SampleFolder, str], list[str]]
"""Hashes the views of a sample."""


def _of_files(folder: SampleFolder, sample_id: str) -> list[str]:
    return folder.view_digests(sample_id)


def _of_pixels(folder: SampleFolder, sample_id: str) -> list[str]:
    return pixel_digests(folder.views(sample_id))


def little_detail(inputs: Inputs) -> str:
    """Find views with far less gradient energy than the real ones: neighbors agree too easily."""
    folder, real = inputs.generated, inputs.reference
    if real is None or not inputs.has_other_reference:
        return ""
    ours, theirs = (_energy(each, folder) for each in (folder, real))
    if ours >= LITTLE_DETAIL * theirs:
        return ""
    return (
        f"the views in {folder.root} have {ours / theirs:.1%} of the gradient energy of the real "
        f"ones in {real.root}: they are blurred or nearly empty, which raises the PSNR of overlaps."
    )


def _energy(folder: SampleFolder, generated: SampleFolder) -> float:
    """Mean gradient energy of the evaluated views of a few samples."""
    views = (folder.views(i, generated.evaluated_views(i)) for i in examined(generated))
    return float(np.mean([gradient_energy(v.astype(np.float32) / 255) for v in views]))


def swapped_channels(inputs: Inputs) -> str:
    """Find red and blue swapped on one side: the color casts would agree after swapping back."""
    folder, real = inputs.generated, inputs.reference
    if real is None or not inputs.has_other_reference:
        return ""
    ours, theirs = _casts(inputs, folder), _casts(inputs, real)
    as_it_is, swapped = np.abs(ours - theirs), np.abs(-ours - theirs)
    gain = as_it_is - swapped
    error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else np.inf
    if swapped.mean() >= 0.5 * as_it_is.mean() or gain.mean() < 3 * error:
        return ""
    return (
        f"red and blue seem to be swapped in {folder.root} or in the reference {real.root}: the "
        f"mean of red minus blue is {ours.mean():+.1f} gray levels in one and {theirs.mean():+.1f} "
        "in the other, and the views agree better after swapping; store both as RGB."
    )


def _casts(inputs: Inputs, folder: SampleFolder) -> np.ndarray:
    """Mean of red minus blue of each evaluated view, in gray levels."""
    views = [folder.views(i, inputs.generated.evaluated_views(i)) for i in examined(folder)]
    means = np.concatenate([v.mean((1, 2)) for v in views])
    return means[:, 0] - means[:, 2]


def copied_pixels(inputs: Inputs) -> str:
    """Find overlaps whose pixels were warped from the neighboring view and pasted."""
    folder = inputs.generated
    shares = np.concatenate([_copied_shares(folder, i) for i in examined(folder)])
    copies = int((shares >= COPIED_SHARE).sum())
    if not copies:
        return ""
    return (
        f"{copies} of {len(shares)} overlaps compared in {folder.root} contain the warped pixels "
        "of the neighboring view: pixels were copied from view to view, so consistency only "
        "measures the copying."
    )


def _copied_shares(folder: SampleFolder, sample_id: str) -> np.ndarray:
    """Share of each overlap that may be a copy, in the likelier direction; no flat views."""
    views = folder.views(sample_id)
    flat = variation(views) < FLAT  # agrees with anything
    differences = _sequence_differences if isinstance(folder, SequenceFolder) else _ring_differences
    shares = [
        max((np.abs(d) <= HALF_A_LEVEL).mean() if d.size else 0.0 for d in both)
        for (i, j), both in differences(folder, sample_id, views)
        if not (flat[i] or flat[j])
    ]
    return np.array(shares)


Differences = Iterator[tuple[tuple[int, int], tuple[np.ndarray, np.ndarray]]]
"""Pairs of views, with what differs in gray levels if either is warped into the other."""


def _ring_differences(folder: SampleFolder, sample_id: str, views: np.ndarray) -> Differences:
    assert isinstance(folder, PanoramaFolder)
    images, size = views.astype(np.float32), (folder.height, folder.width)
    for there in ring(folder, *size):
        back = overlap_of(there.target, there.query, folder.fov_deg, folder.yaw_deg, *size)
        both = [(images[o.query] - warp(images[o.target], o))[o.mask] for o in (there, back)]
        yield (there.query, there.target), (both[0], both[1])


def _sequence_differences(folder: SampleFolder, sample_id: str, views: np.ndarray) -> Differences:
    assert isinstance(folder, SequenceFolder)
    frames = cameras_of(folder, sample_id)
    for i, j in folder.trajectories[sample_id].key_pairs:
        both = []
        for query, target in ((i, j), (j, i)):
            shared = shared_pixels(frames[query], frames[target], MAX_DEPTH_DIFFERENCE)
            sampled = sample_shared(views[target].astype(np.float64), shared)
            both.append(views[query][shared.mask] - sampled)
        yield (i, j), (both[0], both[1])


def one_sided_loss(inputs: Inputs) -> str:
    """Find losses of compression on one side only, to which FID is sensitive."""
    folder, real = inputs.generated, inputs.reference
    if real is None or not inputs.has_other_reference:
        return ""
    lossy = [f for f in (folder, real) if _is_lossy(f)]
    if len(lossy) != 1:
        return ""
    return (
        f"the images in {lossy[0].root} are JPEG or lossy WebP, or show the borders of 8-pixel "
        f"blocks as these or some VAEs leave them, but those in "
        f"{(real if lossy[0] is folder else folder).root} do not; FID and consistency are "
        "sensitive to this difference: if the cause is compression, store both sets without loss."
    )


def _is_lossy(folder: SampleFolder) -> bool:
    ids = examined(folder)
    if any(is_lossy(path) for i in ids for path in folder.view_paths(i)):
        return True
    views = [folder.views(i) for i in ids]
    return all(_has_blocks([v.swapaxes(1, axis) for v in views]) for axis in (1, 2))


def _has_blocks(views: Sequence[np.ndarray]) -> bool:
    """Whether rows differ more at every eighth line than elsewhere."""
    # Mean absolute difference of each line from the next, over views, columns and channels.
    steps = np.mean(
        [np.abs(np.diff(v.astype(np.float32), axis=1)).mean((0, 2, 3)) for v in views], 0
    )
    if len(steps) < 8 * 8 - 1:
        return False  # too few blocks to distinguish them from the image content
    by_phase = np.array([steps[phase::8].mean() for phase in range(8)])
    usual = np.median(by_phase[:7])
    excess, spread = by_phase[7] - usual, by_phase[:7].max() - usual
    return bool(usual > 0 and excess > max(BLOCKING * usual, 2.5 * spread))


def other_prompts(inputs: Inputs) -> str:
    """Find prompts that differ from the reference's for the same sample."""
    folder, real = inputs.generated, inputs.reference
    if real is None:
        return ""
    prompts = ((i, _prompts(folder, i), _prompts(real, i)) for i in folder.sample_ids)
    both = [(i, *pair) for i, *pair in prompts if all(pair)]
    differ = [i for i, ours, theirs in both if ours != theirs]
    if not differ:
        return ""
    return (
        f"the prompts of {len(differ)} of {len(both)} samples in {folder.root} (first: "
        f"{differ[0]}) differ from those in {real.root}, so their CLIP scores are not comparable."
    )


def unreadable_prompts(inputs: Inputs) -> str:
    """Find wrong prompts that no metric asked for, and which are therefore not refused."""
    found = []
    for folder in filter(None, (inputs.generated, inputs.reference)):
        for sample_id in folder.sample_ids:
            try:
                if folder.has_prompts(sample_id):
                    folder.prompts(sample_id)
            except InputError as error:
                found.append(str(error))
    if not found:
        return ""
    return f"the prompts of {len(found)} samples are wrong, though no metric reads them: {found[0]}"


def _prompts(folder: SampleFolder, sample_id: str) -> list[str]:
    """Prompts of a sample; none if they are missing or wrong."""
    try:
        return folder.prompts(sample_id) if folder.has_prompts(sample_id) else []
    except InputError:
        return []


def long_prompts(inputs: Inputs) -> str:
    """Find prompts of which a CLIP sees only the beginning."""
    folder = inputs.generated
    texts = {text for i in folder.sample_ids for text in _prompts(folder, i)}
    clips = [each for each in inputs.extractors if isinstance(each, SimilarityExtractor)]
    least = min(clips, key=lambda clip: clip.context or math.inf, default=None)
    if least is None or least.context is None:
        return ""
    cut = sorted(text for text in texts if num_tokens(text) > least.context)
    if not cut:
        return ""
    return (
        f"{len(cut)} of {len(texts)} different prompts in {folder.root} have more than the "
        f"{least.context} tokens that {least.identity.name} reads (first: '{cut[0][:40]}…'): CLIP "
        "scores are of their beginnings."
    )


CHECKS: tuple[Callable[[Inputs], str], ...] = (
    constant_images,
    repeated_images,
    constant_real_images,
    little_detail,
    real_as_generated,
    swapped_channels,
    one_sided_loss,
    copied_pixels,
    wrong_order,
    wrong_field_of_view,
    odd_spacing,
    turned_faces,
    swapped_faces,
    other_prompts,
    unreadable_prompts,
    long_prompts,
)
