"""What scoring costs: against the libraries one after the other, with a cache, and its memory.

Images, prompts and networks (random weights) are made here; what is compared runs in turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from metric_libraries import score_with_libraries, tokens
from parts import parse_parts
from PIL import Image
from stopwatch import PeakMemory

import mvdiffusion_eval.folders.samples
from mvdiffusion.records import provenance, write_json
from mvdiffusion_eval.extractors.base import (
    Extractor,
    FeatureExtractor,
    Identity,
    SimilarityExtractor,
    state_sha256,
)
from mvdiffusion_eval.extractors.networks import Classifier, make_clip, prepare
from mvdiffusion_eval.extractors.shards import Shards
from mvdiffusion_eval.extractors.store import BLOCK, FeatureSet, FeatureStore
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.functional.kid import draw_subsets, polynomial_sums
from mvdiffusion_eval.metrics.base import Inputs
from mvdiffusion_eval.metrics.quality import frechet_statistic
from mvdiffusion_eval.protocols.plan import collect_features, merge, plan
from mvdiffusion_eval.settings import ScoreSettings
from mvdiffusion_eval.statistics import linearize

PARTS = ("libraries", "cache", "memory")
VIEWS = 8
TOWER = {"layers": 2, "width": 64}


def write_images(root: Path, count: int, size: int, seed: int) -> Path:
    """Write samples of eight smooth random pictures with a little noise, and their prompts."""
    random = np.random.default_rng(seed)
    for sample in range(count // VIEWS):
        folder = root / f"{sample:06d}"
        folder.mkdir(parents=True)
        for view in range(VIEWS):
            coarse = random.uniform(0, 255, (8, 8, 3)).astype(np.float32)
            picture = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
            noisy = picture + random.normal(0, 4, picture.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{view}.png")
        lines = [f"room {sample}, side {view}" for view in range(VIEWS)]
        (folder / "prompt.txt").write_text("\n".join(lines) + "\n")
    return root


def make_extractors(image_size: int) -> tuple[FeatureExtractor, SimilarityExtractor]:
    """A small classifier and a small CLIP with random weights."""
    torch.manual_seed(0)
    classifier = Classifier([16, 32, 64, 128], 100).eval()
    clip: Any = make_clip(
        {
            "embed_dim": 64,
            "vision": {**TOWER, "image_size": image_size, "patch_size": 16, "head_width": 32},
            "text": {**TOWER, "context_length": 32, "vocab_size": 49408, "heads": 2},
        }
    ).eval()
    about = {"image_size": image_size}
    return (
        FeatureExtractor(
            Identity("small-classifier", state_sha256(classifier)),
            {**about, "kind": "classifier"},
            lambda images: classifier(prepare(images, image_size)),
        ),
        SimilarityExtractor(
            Identity("small-clip", state_sha256(clip)),
            {**about, "kind": "clip"},
            lambda images: clip.encode_image(prepare(images, image_size)),
            lambda prompts: clip.encode_text(tokens(prompts)),
        ),
    )


def score(
    generated: Path,
    real: Path | None,
    extractors: tuple[Extractor, ...],
    protocols: tuple[str, ...],
    cache: Path | None = None,
) -> dict[str, float]:
    """Run protocols as `mvdiffusion-eval score` does, without writing a score file."""
    # A new process would not know the hashes.
    mvdiffusion_eval.folders.samples._sha256_of_version.cache_clear()
    settings = ScoreSettings(protocols=protocols)
    reference = open_folder(real) if real else None
    store = FeatureStore(cache)
    inputs = Inputs(open_folder(generated), reference, extractors, settings, None, store)
    runs, _ = plan(inputs)
    collect_features(runs, store)
    found = merge([run.measure() for run in runs])
    return {name: measured.value for name, measured in found.measurements.items()}


def measure_libraries(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Ours against torchmetrics and clean-fid on the same images."""
    made, real = (
        write_images(folder / name, arguments.images, arguments.size, seed)
        for seed, name in enumerate(("made", "real"))
    )
    extractors = make_extractors(arguments.network_size)
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "ours": lambda: score(made, real, extractors, ("paper-pano",)),
        "ours_with_kid_and_cmmd": lambda: score(made, real, extractors, ("paper-pano", "modern")),
        "libraries": lambda: score_with_libraries(made, real, *extractors),
    }
    seconds, values = _alternate(ways, arguments.repeats)
    return {
        "seconds": seconds,
        "ours_is_faster": {
            way: seconds["libraries"] / seconds[way] for way in ways if way != "libraries"
        },
        "values": values,
    }


def measure_cache(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One more method after a first, against that method with no real views to compare with."""
    first, second, real = (
        write_images(folder / name, arguments.images, arguments.size, seed)
        for seed, name in enumerate(("first", "second", "real"), 10)
    )
    extractors, both = make_extractors(arguments.network_size), ("paper-pano", "modern")
    found: dict[str, list[float]] = {"first": [], "one_more": [], "again": [], "alone": []}
    for run in range(arguments.repeats + 1):
        cache = folder / f"cache-{run}"
        for name, generated, reference, kept, protocols in (
            ("first", first, real, cache, both),
            ("one_more", second, real, cache, both),
            ("again", second, real, cache, both),
            ("alone", second, None, None, ("paper-pano",)),
        ):
            before = time.perf_counter()
            score(generated, reference, extractors, protocols, kept)
            found[name].append(time.perf_counter() - before)
    seconds = {name: statistics.median(times[1:]) for name, times in found.items()}
    return {"seconds": seconds, "one_more_to_alone": seconds["one_more"] / seconds["alone"]}


@dataclass(frozen=True)
class MemoryRow:
    """How much there is to be scored: numbers per image, images per side, groups of samples."""

    features: int
    images: int
    groups: int

    @classmethod
    def parse(cls, text: str) -> MemoryRow:
        """Read FEATURES:IMAGES:GROUPS; images a multiple of eight.

        Raises:
            ValueError: it is something else.
        """
        features, images, groups = map(int, text.split(":"))
        if min(features, images, groups) < 1 or images % VIEWS:
            raise ValueError(f"Expected FEATURES:IMAGES:GROUPS, images in eights, got {text!r}.")
        return cls(features, images, groups)


ROWS = tuple(
    MemoryRow(features, images, groups)
    for features, groups, counts in (
        (512, 32, (1000, 10_000, 100_000)),
        (2048, 4, (1000, 10_000)),
    )
    for images in counts
)


def measure_memory(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Fréchet distance with its error and KID from features on disk, row by row."""
    found = []
    for number, row in enumerate(arguments.rows):
        sides = [
            write_features(folder / f"{number}-{seed}", row.images, row.features, seed)
            for seed in range(2)
        ]
        before = time.perf_counter()
        with PeakMemory(torch.device("cpu")).measure() as memory:
            group_of = np.arange(row.images // VIEWS) % row.groups
            whole = linearize(frechet_statistic(*sides, group_of), row.groups).value.item()
            drawn = draw_subsets(row.images, row.images, 1000, 100, seed=0)
            kid = [_kernel_distance(sides[0].rows(i), sides[1].rows(j)) for i, j in drawn]
        seconds = time.perf_counter() - before
        memory["above"] = round(memory["peak"] - memory["before"], 1)
        values = {"fid": whole, "kid": float(np.mean(kid))}
        about = {"memory_mib": memory, "seconds": seconds, "values": values}
        found.append({**dataclasses.asdict(row), **about})
        shutil.rmtree(folder)
        folder.mkdir()
    return found


def _kernel_distance(preds: torch.Tensor, target: torch.Tensor) -> float:
    ours, theirs = ((x, torch.zeros(len(x), dtype=torch.long)) for x in (preds, target))
    return polynomial_sums(ours, theirs, 1).mmd2(torch.ones(1), unbiased=True).item()


def write_features(folder: Path, count: int, size: int, seed: int) -> FeatureSet:
    """Put synthetic features (not negative, like a network's) on disk."""
    random, shelf = torch.Generator().manual_seed(seed), Shards(folder)
    keys = [hashlib.sha256(f"{seed}/{image}".encode()).hexdigest() for image in range(count)]
    for start in range(0, count, BLOCK):
        own = keys[start : start + BLOCK]
        shelf.put(own, {"features": torch.randn(len(own), size, generator=random).relu()})
    return FeatureSet(shelf, tuple(keys), np.arange(count) // VIEWS)


def _alternate(
    ways: dict[str, Callable[[], dict[str, float]]], repeats: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Medians of runs in turns, after one that does not count, and what each way found."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    values: dict[str, dict[str, float]] = {}
    for _ in range(repeats + 1):
        for way, run in ways.items():
            before = time.perf_counter()
            values[way] = run()
            found[way].append(time.perf_counter() - before)
    return {way: statistics.median(times[1:]) for way, times in found.items()}, values


MEASURES: dict[str, Callable[[Path, argparse.Namespace], Any]] = {
    "libraries": measure_libraries,
    "cache": measure_cache,
    "memory": measure_memory,
}


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="per folder, a multiple of 8")
    parser.add_argument("--size", type=int, default=512, help="of an image in pixels")
    parser.add_argument("--network-size", type=int, default=128, help="pixels the networks see")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--rows",
        type=MemoryRow.parse,
        nargs="+",
        default=list(ROWS),
        metavar="FEATURES:IMAGES:GROUPS",
        help="of the memory part (default: 512 features of 10^3 … 10^5 images, 2048 of 10^3, 10^4)",
    )
    return parse_parts(parser, PARTS, words)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {}
    for part in arguments.parts:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            report[part] = MEASURES[part](Path(name), arguments)
    print(json.dumps(report, indent=2))
    left_out = ("output", "folder", "rows")  # rows are in the report
    settings = {k: v for k, v in vars(arguments).items() if k not in left_out}
    if arguments.output is not None:
        content = {"format": 1, "settings": settings, **report, "provenance": provenance()}
        write_json(arguments.output, content)


if __name__ == "__main__":
    main()
