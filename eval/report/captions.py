"""What the page says about its pictures: sentences for readers, and for those who cannot see."""

from __future__ import annotations

from collections.abc import Mapping

from ..folders.methods import display_name, rank
from ..folders.samples import SampleFolder

LEADS = {
    "panorama": "The views of a room are generated from its captions.",
    "outpaint": "View 0 is a real image; the other views are generated to match it.",
    "depth": "Images are generated for the depth maps of a walk through a room: first the key "
    "frames, then the frames between them.",
}
BARS = {
    "panorama": "Cross-view PSNR: pixels that two neighboring views share, mean over all pairs.",
    "outpaint": "Cross-view PSNR: pixels that two neighboring views share, mean over all pairs.",
    "depth": "Cross-view PSNR: pixels that two consecutive key frames share.",
}
MOVING = {
    "panorama": "The views of each method are stitched into one panorama. Choose a room and two "
    "methods; they turn together, by dragging or by the arrow keys. Edges show where two views "
    "disagree.",
    "outpaint": "The views of each method are stitched into one panorama, with the given view in "
    "the middle. Choose a room and two methods; they turn together.",
    "depth": "Surfaces should keep their colors and patterns while the camera moves. Bars on the "
    "time line, and a frame around the pictures, mark key frames.",
}
OVERLAPS = {
    "panorama": "A view with its neighbor laid over it: where they agree the picture is sharp. "
    "Point at a method, or move to it by keyboard, to see both and their difference.",
    "outpaint": "View 0 is given. A view with its neighbor laid over it: where they agree the "
    "picture is sharp. Point at a method, or move to it by keyboard, to see both and their "
    "difference.",
    "depth": "A key frame with the next one warped over it by depth and cameras; gray pixels are "
    "not in both. Point at a method, or move to it by keyboard, to see both and their difference.",
}
SHEETS = {
    "panorama": "The same rooms by every method, the views side by side. What neighbors share "
    "should look the same: of eight views, the right half of one and the left half of the next.",
    "outpaint": "The same rooms by every method. View 0, on the left, is given; its neighbors are "
    "view 1 and, across the closing of the circle, the last one.",
    "depth": "The same walks by every method. Left: consecutive key frames. Right: the first two "
    "key frames and frames between them.",
}
PAIRS = {
    "panorama": "PSNR of the overlap, pair by pair. The last pair closes the loop: a method that "
    "generates one view after another has no reason to match its first view.",
    "outpaint": "PSNR of the overlap, pair by pair. The first and the last one show how well a "
    "method continues the given view.",
    "depth": "PSNR of consecutive key frames, pair by pair.",
}
OVERVIEW = (
    "All methods and metrics with 95 % intervals, without ablations and controls. Gray lines mark "
    "real views and (dashed) their VAE reconstruction."
)
RING = (
    "One room by each method, unrolled and cut in the middle of the overlaps: an edge shows that "
    "two views disagree. At the red marks the loop closes. Nobody chose the room: its closing pair "
    "has the median PSNR by the method that the title names."
)
STEPS = (
    "Consistency and quality of each view against its distance from view 0, with which an "
    "autoregressive method starts. Hollow markers: the pair that closes the loop."
)
STEPS_ALT = (
    "Lines against the angle from view 0, one per method: PSNR, gradient energy, FID, CLIP score"
)
CURVES = "Training losses, raw and smoothed."
CURVES_ALT = "Lines: the loss of every training against its step, falling and then level"


def alternatives(task: str, folders: Mapping[str, SampleFolder]) -> dict[str, str]:
    """Say what is seen in the pictures of a task, for those who cannot see them.

    Args:
        task: the task.
        folders: its methods.
    """
    names = ", ".join(display_name(method) for method in sorted(folders, key=rank))
    rows = f"Rows of pictures of the same {'walks' if task == 'depth' else 'rooms'}, one per method"
    pair = "consecutive key frames" if task == "depth" else "neighboring views"
    return {
        "sheet": f"{rows}: {names}" if names else rows,
        "overview": "Dots with intervals: the value of every method, a panel per metric",
        "pairs": f"Lines: PSNR of every pair of {pair}, one line per method",
        "ring": "Unrolled panoramas of one room, a row per method, with the seam that closes the "
        "loop",
    }
