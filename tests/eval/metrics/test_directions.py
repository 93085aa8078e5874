"""Which way every metric moves when images are damaged: one table for each kind of folder.

Blur makes neighbors agree better, and loses gradients: consistency alone would reward it. Channels
in another order leave alone whatever treats them alike, views in another order whatever does not
know their order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import toy
import walks
from PIL import Image

import mvdiffusion_eval
from mvdiffusion.geometry.cameras import panorama_cameras, rotation
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion_eval.extractors.base import (
    Extractor,
    FeatureExtractor,
    Identity,
    SimilarityExtractor,
)
from mvdiffusion_eval.extractors.pretrained import STANDARD_EXTRACTORS
from mvdiffusion_eval.settings import ScoreSettings

SIZE, ROOMS = 64, 8
GRAIN = 8.0  # of all images, in gray levels; in a good method's it is the only disagreement
DIRECTIONS = {"+": 1, "-": -1, "0": 0}  # "?": either way is right

DAMAGES = ("blur", "noise", "shuffled", "yaw", "swapped")
PANORAMA = {
    "fid": "++0?+",
    "kid": "++0?+",
    "cmmd": "++0?+",
    "inception_precision": "?-0?-",
    "inception_recall": "?-0?-",
    "clip_score": "?-0?-",
    "inception_score": "?-000",
    "cross_view_psnr": "+---0",
    "cross_view_ssim": "+---0",
    "gradient_energy": "-+000",
}
SEQUENCES = {
    "cross_view_psnr": "+---0",
    "cross_view_ssim": "+---0",
    "consecutive_psnr": "+---0",
    "gradient_energy": "-+000",
}
WHOLE = {  # of panoramas that close; turned ones still do, at another place
    "discontinuity_score": "??+??",
    "edge_step": "??+?0",
    "worst_step": "??+00",
}


def cells(table: dict[str, str]) -> list[tuple[str, str, str]]:
    """Metric, damage and direction of every entry that says something."""
    rows = ((name, zip(DAMAGES, row, strict=True)) for name, row in table.items())
    return [(name, damage, way) for name, row in rows for damage, way in row if way != "?"]


def blurred(views: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(view, (0, 0), 1.5) for view in views])


def noisy(views: np.ndarray, sigma: float = 40, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(views + rng.normal(0, sigma, views.shape), 0, 255).astype(np.uint8)


def shuffled(views: np.ndarray) -> np.ndarray:
    return views[[3, 6, 1, 4, 7, 2, 0, 5]] if len(views) == 8 else views[[3, 6, 1, 4, 2, 0, 5]]


def swapped(views: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(views[..., ::-1])


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "nothing": lambda views: views,
    "blur": blurred,
    "noise": noisy,
    "shuffled": shuffled,
    "swapped": swapped,
}


EXTRACTORS = ("inception-v3", "clip-vit-l-14", "clip-vit-l-14-336")


def _votes(images: torch.Tensor) -> torch.Tensor:
    """Share of pixels whose largest channel is each [N, 3]; the toy rooms differ in it."""
    largest = images.argmax(1)
    return torch.stack([(largest == channel).float().mean((1, 2)) for channel in range(3)], 1)


def _look(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean colors and mean steps between pixels; sure of the room by the votes."""
    pixels = images.float() / 255
    steps = pixels.diff(dim=2).abs().mean((2, 3))
    return torch.cat([pixels.mean((2, 3)), steps], 1), 8 * _votes(images)


def _text(prompts: Sequence[str]) -> torch.Tensor:
    kinds = [next(i for i, kind in enumerate(toy.KINDS) if kind in text) for text in prompts]
    return torch.nn.functional.pad(torch.eye(3)[kinds] - 1 / 3, (0, 1))


def _picture(images: torch.Tensor) -> torch.Tensor:
    """In the texts' space; the less of one color there is, the less it says (last number)."""
    return torch.nn.functional.pad(_votes(images) - 1 / 3, (0, 1), value=0.2)


@pytest.fixture(scope="module", autouse=True)
def extractors() -> Iterator[None]:
    """A classifier and CLIPs that can be read, under the names that the protocols know."""
    kinds: dict[str, Extractor] = {
        "inception-v3": FeatureExtractor(Identity("inception-v3", "c" * 64), {}, _look)
    }
    for name in EXTRACTORS[1:]:
        kinds[name] = SimilarityExtractor(Identity(name, "d" * 64), {}, _picture, _text)
    with pytest.MonkeyPatch.context() as patch:
        for name, extractor in kinds.items():
            patch.setitem(STANDARD_EXTRACTORS, name, lambda made=extractor: made)
        yield


def turned_views(seed: int) -> np.ndarray:
    """Views that are not where they are said to be."""
    K, _ = panorama_cameras(SIZE, SIZE)
    off = (0, 12, -9, 15, -12, 9, -15, 12)
    R = torch.stack([rotation(45.0 * view + by) for view, by in enumerate(off)]).to(K)
    views = equirectangular_to_views(toy.panorama(seed, seed % 3), K, R, SIZE, SIZE)
    return (views.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def values(content: dict) -> dict[str, float]:
    return {name: metric["value"] for name, metric in content["metrics"].items()}


@pytest.fixture(scope="module")
def panoramas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    root = tmp_path_factory.mktemp("directions")
    rooms = {f"room{i:03d}": toy.views_of(i, i % 3, SIZE) for i in range(ROOMS)}
    turned = {f"room{i:03d}": turned_views(i) for i in range(ROOMS)}
    real = toy.write_folder(root / "real", "real", toy.noisy(rooms, GRAIN, seed=9))
    protocols = ("paper-pano", "modern", "prc")
    protocols += ("paper-consistency-pano", "consistency-images", "controls")
    settings = ScoreSettings(protocols, EXTRACTORS, SIZE, inception_splits=1, jackknife_groups=2)
    found = {}
    for damage in ("nothing", *DAMAGES):
        good = toy.noisy(turned if damage == "yaw" else rooms, GRAIN)
        change = CHANGES.get(damage, CHANGES["nothing"])
        made = {name: change(views) for name, views in good.items()}
        folder = toy.write_folder(root / damage, damage, made)
        found[damage] = values(mvdiffusion_eval.score(folder, real, settings=settings))
    return found


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    root = tmp_path_factory.mktemp("directions")
    good = toy.noisy(walks.real_samples(2), GRAIN)
    protocols = ("paper-consistency-depth", "interpolation", "consistency-images", "controls")
    found = {}
    for damage in ("nothing", *DAMAGES):
        change = CHANGES.get(damage, CHANGES["nothing"])
        made = {name: change(views) for name, views in good.items()}
        folder = walks.write_folder(root / damage, damage, made)
        if damage == "yaw":
            for path in folder.glob("*/cameras.json"):
                _turn_cameras(path)
        found[damage] = values(mvdiffusion_eval.score(folder, settings=ScoreSettings(protocols)))
    return found


def _turn_cameras(path: Path) -> None:
    """Say of every second frame that it was taken 8° further to the right."""
    cameras = json.loads(path.read_text())
    for number, pose in enumerate(cameras["pose"]):
        if number % 2:
            cameras["pose"][number] = (np.array(pose) @ walks.pose(0, 8)).tolist()
    path.write_text(json.dumps(cameras))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    root = tmp_path_factory.mktemp("directions")
    found = {}
    for damage in ("nothing", "shuffled", "yaw", "swapped"):
        folder = root / damage
        folder.mkdir()
        for seed in range(4):
            pixels = (toy.panorama(seed, seed % 3) * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(_rearranged(pixels, damage)).save(folder / f"{seed}.png")
        found[damage] = values(mvdiffusion_eval.score(folder, protocols=["equirect"], view_size=32))
    return found


def _rearranged(panorama: np.ndarray, damage: str) -> np.ndarray:
    if damage == "shuffled":  # eight upright strips
        strips = np.stack(np.split(panorama, 8, axis=1))
        return np.concatenate(list(shuffled(strips)), axis=1)
    if damage == "yaw":
        return np.roll(panorama, 37, axis=1)
    return CHANGES[damage](panorama)


@pytest.mark.parametrize(("metric", "damage", "way"), cells(PANORAMA))
def test_panoramas(metric: str, damage: str, way: str, panoramas: dict) -> None:
    check(panoramas, metric, damage, way)


@pytest.mark.parametrize(("metric", "damage", "way"), cells(SEQUENCES))
def test_sequences(metric: str, damage: str, way: str, sequences: dict) -> None:
    check(sequences, metric, damage, way)


@pytest.mark.parametrize(("metric", "damage", "way"), cells(WHOLE))
def test_whole_panoramas(metric: str, damage: str, way: str, whole: dict) -> None:
    check(whole, metric, damage, way)


def check(found: dict[str, dict[str, float]], metric: str, damage: str, way: str) -> None:
    before, after = found["nothing"][metric], found[damage][metric]
    size = max(abs(before), abs(after))
    if way == "0":
        assert abs(after - before) <= 0.05 * size, (before, after)
    else:
        assert DIRECTIONS[way] * (after - before) > 0.05 * size, (before, after)
