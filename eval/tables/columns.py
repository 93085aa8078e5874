"""Which measurements stand in which table, under which heading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..scoring.score_files import Score

QUALITY = {
    "fid": "FID ↓",
    "efficientnet_fid": "FID (EfficientNet-Lite0) ↓",
    "inception_score": "Inception score ↑",
    "clip_score": "CLIP score (0-100) ↑",
}
UNPUBLISHED = ("efficientnet_fid",)
"""Metrics of a main table that never stand beside published numbers, which are Inception's."""
DISTANCES = {
    "kid": "KID ↓",
    "efficientnet_kid": "KID (EfficientNet-Lite0) ↓",
    "efficientnet_class_score": "class score (EfficientNet-Lite0) ↑",
    "efficientnet_precision": "precision (EfficientNet-Lite0) ↑",
    "efficientnet_recall": "recall (EfficientNet-Lite0) ↑",
    "efficientnet_panorama_fid": "FID, whole panoramas (EfficientNet-Lite0) ↓",
    "efficientnet_fid_clip": "FIDclip (EfficientNet-Lite0) ↓",
    "efficientnet_fid_pole": "FIDpole (EfficientNet-Lite0) ↓",
    "efficientnet_fid_equ": "FIDequ (EfficientNet-Lite0) ↓",
    "efficientnet_views_8_fid": "FID, 8 views (EfficientNet-Lite0) ↓",
    "efficientnet_random_8_fid": "FID, 8 random azimuths (EfficientNet-Lite0) ↓",
    "efficientnet_tangent_fid": "TangentFID (EfficientNet-Lite0) ↓",
    "efficientnet_tangent_fid_mean": "TangentFID, mean over planes (EfficientNet-Lite0) ↓",
    "efficientnet_tangent_class_score": "tangent class score (EfficientNet-Lite0) ↑",
    "efficientnet_tangent_class_score_mean": (
        "tangent class score, mean over planes (EfficientNet-Lite0) ↑"
    ),
    "inception_precision": "precision ↑",
    "inception_recall": "recall ↑",
    "fid_pole": "FIDpole ↓",
    "fid_equ": "FIDequ ↓",
    "tangent_fid": "TangentFID ↓",
    "tangent_fid_mean": "TangentFID, mean over planes ↓",
    "tangent_inception_score": "TangentIS ↑",
    "tangent_inception_score_mean": "TangentIS, mean over planes ↑",
    "random_8_fid": "FID, 8 random azimuths ↓",
    "random_8_kid": "KID, 8 random azimuths ↓",
    "random_8_clip_fid": "CLIP-FID, 8 random azimuths ↓",
    "dit360_fid": "FID, as DiT360 ↓",
    "dit360_fid_clip": "FIDclip, as DiT360 ↓",
    "dit360_fid_pole": "FIDpole, as DiT360 ↓",
    "dit360_fid_equ": "FIDequ, as DiT360 ↓",
    "dit360_faed": "FAED, as DiT360 ↓",
    "dit360_inception_score": "Inception score of Places365, as DiT360 ↑",
    "dit360_clip_score": "CLIP score, as DiT360 (0-100) ↑",
    "dit360_q_align_quality": "Q-Align quality, as DiT360 ↑",
    "dit360_q_align_aesthetics": "Q-Align aesthetics, as DiT360 ↑",
    "dit360_brisque": "BRISQUE, as DiT360 ↓",
    "dit360_niqe": "NIQE, as DiT360 ↓",
    "cmmd": "CMMD ↓",
    "fd_dinov2": "FD-DINOv2 ↓",
    "clip_fid": "CLIP-FID ↓",
    "clean_fid": "FID, clean-fid's resizing ↓",
    "clean_kid": "KID, clean-fid's resizing ↓",
    "faed": "FAED ↓",
    "antialiased_fid": "FID, antialiased resizing ↓",
    "antialiased_inception_score": "Inception score, antialiased resizing ↑",
    "panorama_fid": "FID, whole panoramas ↓",
    "panorama_inception_score": "Inception score, whole panoramas ↑",
    "panorama_clip_score": "CLIP score, whole panoramas (0-100) ↑",
    "panfusion_8_fid": "FID, PanFusion's 8 views ↓",
    "panfusion_8_inception_score": "Inception score, PanFusion's 8 views ↑",
    "panfusion_20_fid": "FID, PanFusion's 20 views ↓",
    "panfusion_20_inception_score": "Inception score, PanFusion's 20 views ↑",
    "views_8_fid": "FID, 8 views ↓",
    "views_8_inception_score": "Inception score, 8 views ↑",
    "views_20_fid": "FID, 20 views ↓",
    "views_20_inception_score": "Inception score, 20 views ↑",
    "window_fid": "FID, one window per panorama ↓",
    "window_kid": "KID, one window per panorama ↓",
    "window_clip_score": "CLIP score, one window per panorama (0-100) ↑",
    "mean_giqa": "Mean-GIQA ↑",
    "mean_giqa_real": "Mean-GIQA, real panoramas",
    "efficientnet_mean_giqa": "Mean-GIQA (EfficientNet-Lite0) ↑",
    "efficientnet_mean_giqa_real": "Mean-GIQA (EfficientNet-Lite0), real panoramas",
    "brisque": "BRISQUE ↓",
    "niqe": "NIQE ↓",
    "q_align_quality": "Q-Align quality ↑",
    "q_align_aesthetics": "Q-Align aesthetics ↑",
    "clip_i": "CLIP-I (0-100) ↑",
    "hunyuanworld_brisque": "BRISQUE, HunyuanWorld's 6 views ↓",
    "hunyuanworld_niqe": "NIQE, HunyuanWorld's 6 views ↓",
    "hunyuanworld_q_align_quality": "Q-Align quality, HunyuanWorld's 6 views ↑",
    "hunyuanworld_clip_score": "CLIP score, HunyuanWorld's 6 views (0-100) ↑",
}
"""Measures of image quality that the paper does not use."""
OMNIFID = {
    "omnifid": "OmniFID ↓",
    "omnifid_per_face": "OmniFID, mean over faces ↓",
}
RING = {
    "cross_view_psnr": "all pairs (dB) ↑",
    "cross_view_psnr_non_closing": "non-closing pairs (dB) ↑",
    "cross_view_psnr_closing": "closing pair (dB) ↑",
    "cross_view_psnr_worst": "worst pair of each sample (dB) ↑",
    "cross_view_psnr_ratio": "all pairs / real ↑",
}
STRUCTURE = {
    "cross_view_ssim": "SSIM ↑",
    "cross_view_lpips": "LPIPS ↓",
}
MATCHES = {
    "match_share": "matches in place ↑",
    "match_share_closing": "matches in place, closing pair ↑",
    "match_inliers": "matches in place, per pair ↑",
    "match_ratio": "matches in place / real ↑",
    "match_error": "error of matches (px) ↓",
}
"""Keypoint matches that lie where the cameras say; in main tables, their share and `/ real`."""
STEPS = {
    "per_step_psnr": "PSNR per step from view 0 (dB) ↑",
    "per_step_fid": "FID per step, relative to its mean ↓",
}
SEAMS = {
    "discontinuity_score": "discontinuity score ↓",
    "edge_step": "color step at the edges ↓",
    "worst_step": "color step at the worst column",
}
"""Seams of single panoramas."""
COHERENCE = {
    "intra_lpips": "Intra-LPIPS",
    "intra_lpips_sum": "Intra-LPIPS, sum over pairs",
    "intra_lpips_real": "Intra-LPIPS, real panoramas",
    "intra_lpips_gap": "Intra-LPIPS, gap to real ↓",
    "intra_style": "Intra-Style-L",
    "intra_style_sum": "Intra-Style-L, sum over pairs",
    "intra_style_real": "Intra-Style-L, real panoramas",
    "intra_style_gap": "Intra-Style-L, gap to real ↓",
    "efficientnet_intra_style": "style distance (EfficientNet-Lite0)",
    "efficientnet_intra_style_sum": "style distance (EfficientNet-Lite0), sum over pairs",
    "efficientnet_intra_style_real": "style distance (EfficientNet-Lite0), real panoramas",
    "efficientnet_intra_style_gap": "style distance (EfficientNet-Lite0), gap to real ↓",
    "efficientnet_intra_cosine": "cosine distance (EfficientNet-Lite0)",
    "efficientnet_intra_cosine_sum": "cosine distance (EfficientNet-Lite0), sum over pairs",
    "efficientnet_intra_cosine_real": "cosine distance (EfficientNet-Lite0), real panoramas",
    "efficientnet_intra_cosine_gap": "cosine distance (EfficientNet-Lite0), gap to real ↓",
}
"""Coherence within one panorama. One view repeated gives zero: the gap to real ones counts."""
CUBE_SEAMS = {
    "seam_ssim": "Seam-SSIM",
    "seam_ssim_real": "Seam-SSIM, real panoramas",
    "seam_ssim_gap": "Seam-SSIM, gap to real ↓",
    "seam_sobel": "Seam-Sobel",
    "seam_sobel_real": "Seam-Sobel, real panoramas",
    "seam_sobel_gap": "Seam-Sobel, gap to real ↓",
    "seam_step": "step across cube edges",
    "seam_step_real": "step across cube edges, real panoramas",
    "seam_step_gap": "step across cube edges, gap to real ↓",
}
"""Seams between cube faces."""
CONTROL_VALUES = {
    "gradient_energy": "gradient energy (1e-3)",
    "other_scene_psnr": "PSNR against another scene (dB)",
}
"""What a gain of consistency must not come from: blur lowers the first, a palette that all scenes
share raises the second."""
MAIN_MATCHES = {name: MATCHES[name] for name in ("match_share", "match_ratio")}
MAIN = {
    "panorama": {
        **QUALITY,
        **OMNIFID,
        "cross_view_psnr": "cross-view PSNR (dB) ↑",
        "cross_view_psnr_ratio": "ratio to real ↑",
        **MAIN_MATCHES,
        **CONTROL_VALUES,
    },
    "outpaint": {
        **QUALITY,
        "cross_view_psnr": "cross-view PSNR (dB) ↑",
        "cross_view_psnr_ratio": "ratio to real ↑",
        **MAIN_MATCHES,
        "given_view_kept": "given view kept (dB) ↑",
        **CONTROL_VALUES,
    },
    "depth": {
        **QUALITY,
        "cross_view_psnr": "consecutive key frames (dB) ↑",
        "cross_view_psnr_ratio": "ratio to real ↑",
        **MAIN_MATCHES,
        **CONTROL_VALUES,
    },
}
CONSISTENCY = {
    "panorama": {**RING, **STRUCTURE, **MATCHES, **STEPS, **SEAMS, **COHERENCE, **CUBE_SEAMS},
    "outpaint": {
        **{metric: title for metric, title in RING.items() if metric != "cross_view_psnr_ratio"},
        "given_pairs_psnr": "pairs of the given view (dB) ↑",
        "given_view_psnr": "given view against real (dB) ↑",
        **STRUCTURE,
        **MATCHES,
        **SEAMS,
        **COHERENCE,
    },
    "depth": {
        "cross_view_psnr": "key frames (dB) ↑",
        "cross_view_psnr_worst": "worst pair (dB) ↑",
        "cross_view_psnr_ratio": "key frames / real ↑",
        "consecutive_psnr": "all frames (dB) ↑",
        "between_to_key_psnr": "in-between with key frames (dB) ↑",
        "between_to_worse_key_psnr": "in-between with the worse key frame (dB) ↑",
        "between_minus_key_psnr": "in-between minus key frames (dB) ↑",
        **STRUCTURE,
        **MATCHES,
    },
}
CONTROLS = {"cross_view_psnr": "cross-view PSNR (dB) ↑", **CONTROL_VALUES}
ABLATIONS = {
    "cross_view_psnr": "all pairs (dB) ↑",
    "cross_view_psnr_closing": "closing pair (dB) ↑",
    "fid": "FID ↓",
    "efficientnet_fid": "FID (EfficientNet-Lite0) ↓",
}
ABLATION_COSTS = {
    "trained_parameters": "trained parameters (1e6)",
    "seconds_per_step": "seconds per training step",
}
SCALE = {"gradient_energy": 1e3, "trained_parameters": 1e-6}


FAULTS = {
    "constant_images": "constant images",
    "repeated_images": "repeated images",
    "left_out_samples": "samples without consistency",
}
"""Degenerate images, which can only make a method look better; shown wherever there are any."""


def fault_counts(score: Score) -> dict[str, int]:
    """Number of degenerate images of a method, by the keys of `FAULTS`."""
    faults = score.faults
    return dict(zip(FAULTS, (faults.flat, faults.repeated, len(faults.undefined)), strict=True))


def shown_faults(scores: Sequence[Score]) -> dict[str, str]:
    """Titles of the kinds of degenerate images that any method has, by key."""
    counts = [fault_counts(score) for score in scores]
    return {key: title for key, title in FAULTS.items() if any(own[key] for own in counts)}


def measured_columns(columns: Mapping[str, str], scores: Sequence[Score]) -> dict[str, str]:
    """Pick the columns that were measured, each followed by those of further extractors.

    Args:
        columns: titles by metric.
        scores: of all methods.

    Returns:
        Titles by metric.
    """
    first = {name: one.repeats for score in scores for name, one in score.metrics.items()}
    measured = {}
    for known, title in columns.items():
        if known in first:
            measured[known] = title
        for metric in sorted(name for name, repeats in first.items() if repeats == known):
            measured[metric] = f"{title}, {metric.removeprefix(f'{known}_')}"
    return measured
