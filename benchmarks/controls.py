"""Which damages each metric of consistency tells apart from the images as they are.

Every sample of a folder is damaged in the ways of `damages.py` and scored as any method is. A
damage is told apart by a metric if the mean of the paired differences from the undamaged samples is
beyond its 95 % interval; a metric that then calls it better than them can be fooled by it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from damages import CONTROLS, REAL, Scene
from PIL import Image
from real_frames import OVERLAP, key_frames, registered

import mvdiffusion_eval
from mvdiffusion.generation.export import cut_equirectangular_files
from mvdiffusion.geometry.cameras import intrinsics
from mvdiffusion.manifest import Trajectory, write_geometry
from mvdiffusion.records import InputError, atomic_output, provenance, write_json
from mvdiffusion_eval.extractors.lpips import NETWORKS
from mvdiffusion_eval.folders.equirectangular import EquirectangularFolder
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.folders.samples import PanoramaFolder, SampleFolder, SequenceFolder
from mvdiffusion_eval.metrics.correspondence import SMALLEST
from mvdiffusion_eval.settings import ScoreSettings
from mvdiffusion_eval.statistics import mean_and_se, student_interval

METRICS = {
    "cross_view_psnr": ("PSNR (dB)", ".1f"),
    "cross_view_ssim": ("SSIM", ".3f"),
    "cross_view_lpips": ("LPIPS", ".3f"),
    "match_share": ("match share", ".2f"),
    "match_inliers": ("correct matches per pair", ".1f"),
    "match_error": ("match error (px)", ".2f"),
}
"""Printed names and formats of the metrics."""
PROTOCOLS = {
    "panorama": ("paper-consistency-pano", "consistency-images"),
    "depth": ("paper-consistency-depth", "consistency-images"),
}
"""Protocols of a task, beside `correspondence`."""
MOVED = {"panorama": 1 / 128, "depth": 1 / 48}
"""Shares of the height by which views are moved: 4 px of the paper's 512 and 192."""
MARKS = {"worse": "↓", "better": "**↑**", "same": "="}
FRAMES, COLOR_FOCAL = 3, 0.9
"""Key frames of a sample out of a recording; focal length of its color camera, see real_frames.py.
"""


def measure(folder: SampleFolder, scratch: Path, lpips: str) -> dict[str, Any]:
    """Score a folder under every damage.

    Args:
        folder: panoramas or sequences as they are.
        scratch: an empty folder for what is made.
        lpips: network of LPIPS, empty for none.
    """
    task = "depth" if isinstance(folder, SequenceFolder) else "panorama"
    resolution = {} if task == "depth" else {"consistency_resolution": folder.height}
    large = min(folder.height, folder.width) >= SMALLEST
    protocols = PROTOCOLS[task] + (("correspondence",) if large else ())
    settings = ScoreSettings(protocols, lpips=lpips, **resolution)
    rows: dict[str, Any] = {}
    real: dict[str, Any] = {}
    for control in CONTROLS:
        damaged = scratch / control.replace(" ", "-")
        _write(folder, control, damaged)
        try:
            found = _scores(damaged, folder, settings)
        except InputError as error:
            rows[control] = {"refused": str(error).removeprefix(f"{damaged}: ")}
        else:
            real = real or found
            rows[control] = {name: _held_against(found[name], real[name]) for name in found}
        shutil.rmtree(damaged)
    return {
        "task": task,
        "samples": len(folder.sample_ids),
        "size": [folder.width, folder.height],
        "protocols": protocols,
        "controls": rows,
    }


def _scores(damaged: Path, folder: SampleFolder, settings: ScoreSettings) -> dict[str, Any]:
    """What the suite measures, by metric."""
    cameras = {}
    if isinstance(folder, PanoramaFolder):
        cameras = {"fov_deg": folder.fov_deg, "yaw_deg": folder.yaw_deg}
    metrics = mvdiffusion_eval.score(damaged, settings=settings, **cameras)["metrics"]
    return {name: metrics[name] for name in METRICS if name in metrics}


def _held_against(found: Mapping[str, Any], real: Mapping[str, Any]) -> dict[str, Any]:
    """A number, and its difference from that of the undamaged samples, sample by sample."""
    values, others = (np.array(one["values"], np.float64) for one in (found, real))
    defined = np.isfinite(values)
    difference, se = mean_and_se((values - others)[defined])
    interval = student_interval(difference, se, int(defined.sum()))
    verdict = "same"
    if interval and (interval[0] > 0 or interval[1] < 0):
        verdict = "better" if (difference > 0) == found.get("higher_is_better", True) else "worse"
    return {
        "value": found["value"],
        "se": found["se"],
        "difference": difference,
        "interval": interval,
        "verdict": verdict,
        "left_out": int((~defined).sum()),
    }


def _write(folder: SampleFolder, control: str, target: Path) -> None:
    """Write a folder's samples under a damage."""
    ids, sequences = folder.sample_ids, isinstance(folder, SequenceFolder)
    step = max(1, len(ids) // 2) if sequences else 1  # neighbors may show the same place
    moved = max(1, round(folder.height * MOVED["depth" if sequences else "panorama"]))
    for number, sample_id in enumerate(ids):
        views = folder.views(sample_id)
        others = folder.views(ids[(number + step) % len(ids)])
        others = others[np.arange(len(views)) % len(others)]
        rng = np.random.default_rng(number)
        scene = Scene(views, others, _focal(folder, sample_id), moved, rng)
        sample = target / sample_id
        _write_views(sample, CONTROLS[control](scene))
        if isinstance(folder, SequenceFolder):
            depth = torch.from_numpy(folder.depth(sample_id))
            write_geometry(sample, folder.trajectories[sample_id], depth)


def _write_views(sample: Path, views: np.ndarray) -> None:
    sample.mkdir(parents=True)
    for view, image in enumerate(views):
        Image.fromarray(image).save(sample / f"{view}.png", compress_level=1)


def _focal(folder: SampleFolder, sample_id: str) -> float:
    if isinstance(folder, SequenceFolder):
        return float(folder.trajectories[sample_id].K[0][0, 0])
    assert isinstance(folder, PanoramaFolder)
    return float(intrinsics(folder.fov_deg, folder.height, folder.width)[0, 0])


def only_key_frames(folder: SequenceFolder, target: Path, count: int | None = None) -> Path:
    """Write a folder's key frames alone.

    Args:
        folder: sequences.
        target: the folder to write.
        count: make samples of so many key frames, the last of one being the first of the next;
            by default one of each sequence.
    """
    for sample_id in folder.sample_ids:
        keys = folder.evaluated_views(sample_id)
        length = count or len(keys)
        for start in range(0, len(keys) - length + 1, max(1, length - 1)):
            chosen = keys[start : start + length]
            sample, cameras = target / f"{sample_id}-{start:03d}", folder.trajectories[sample_id]
            _write_views(sample, folder.views(sample_id, chosen))
            part = Trajectory(
                tuple(cameras.frames[view] for view in chosen),
                tuple(range(length)),
                cameras.K[chosen],
                cameras.pose[chosen],
            )
            write_geometry(sample, part, torch.from_numpy(folder.depth(sample_id)[chosen]))
    return target


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every folder, and return the report."""
    cv2.setNumThreads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        scratch = Path(name)
        for title, folder in _folders(arguments, scratch / "given"):
            if title in found:
                raise InputError(f"two folders are called '{title}'; rename one.")
            found[title] = measure(folder, scratch / "damaged", arguments.lpips)
    lpips = arguments.lpips or "not measured: no network was named (--lpips)"
    return {"format": 1, "lpips": lpips, "folders": found, "provenance": provenance()}


def _folders(arguments: argparse.Namespace, scratch: Path) -> Iterator[tuple[str, SampleFolder]]:
    """Name and open what is to be damaged."""
    for source in arguments.images:
        name, opened = source.absolute().name, open_folder(source)
        if isinstance(opened, SequenceFolder):
            yield name, open_folder(only_key_frames(opened, scratch / name))
        elif isinstance(opened, EquirectangularFolder):
            for size in arguments.size:
                cut = scratch / f"{name}-{size}"  # once for all damages
                cut_equirectangular_files(list(opened.files.values()), cut, size)
                yield f"{name}, {size} px", open_folder(cut)
        else:
            yield name, opened
    for source in arguments.rgbd:
        name = source.absolute().name
        recorded = key_frames(source, scratch / f"{name}-recorded", "test", OVERLAP)[0]
        aligned = registered(recorded, scratch / f"{name}-aligned", COLOR_FOCAL)
        for title, folder in ((name, recorded), (f"{name}, colors registered", aligned)):
            sequences = open_folder(folder)
            assert isinstance(sequences, SequenceFolder)
            parts = only_key_frames(sequences, scratch / title, FRAMES)
            yield title, open_folder(parts)


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown: a table for each folder."""
    for title, found in report["folders"].items():
        columns = [
            name for name in METRICS if any(name in row for row in found["controls"].values())
        ]
        width, height = found["size"]
        yield f"**{title}**: {found['samples']} samples of {width} × {height} px"
        yield ""
        yield "| | " + " | ".join(METRICS[name][0] for name in columns) + " |"
        yield "|---" * (len(columns) + 1) + "|"
        for control, row in found["controls"].items():
            cells = [_cell(row, name, control == REAL) for name in columns]
            yield f"| {control} | " + " | ".join(cells) + " |"
        yield ""


def _cell(row: Mapping[str, Any], name: str, real: bool) -> str:
    if name not in row:
        return "refused"
    one = row[name]
    number = format(one["value"], METRICS[name][1])
    if real:
        error = "" if one["se"] is None else f" ± {one['se']:{METRICS[name][1]}}"
        return f"{number}{error}"
    return f"{number} {MARKS[one['verdict']]}"


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", type=Path, nargs="*", default=[],
        help="folders of real images, in any layout that `mvdiffusion-eval score` reads",
    )  # fmt: skip
    recordings = "folders of RGB-D recordings, as `mvdiffusion data import` reads them"
    parser.add_argument("--rgbd", type=Path, nargs="*", default=[], help=recordings)
    sizes = "of the views cut from panoramas, in pixels"
    parser.add_argument("--size", type=int, nargs="*", default=[256, 512], help=sizes)
    parser.add_argument("--lpips", default="", choices=("", *NETWORKS), help="network of LPIPS")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch and OpenCV")
    parser.add_argument("--scratch", type=Path, default=None, help="for what is made (some GB)")
    parser.add_argument("--output", type=Path, default=None, help="JSON file")
    parser.add_argument("--markdown", type=Path, default=None, help="file for the tables")
    arguments = parser.parse_args(words)
    if not arguments.images and not arguments.rgbd:
        parser.error("no folder given; name some with --images or --rgbd")
    return arguments


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    try:
        report = benchmark(arguments)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    lines = "\n".join(table(report))
    print(lines)
    if arguments.output is not None:
        write_json(arguments.output, report)
    if arguments.markdown is not None:
        with atomic_output(arguments.markdown) as temporary:
            temporary.write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
