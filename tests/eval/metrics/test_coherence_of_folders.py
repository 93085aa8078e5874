"""The protocols of coherence and of seams between cube faces, on whole folders."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import torch
import toy
from PIL import Image
from scipy import stats
from torchmetrics.functional.image.lpips import _LPIPS

import mvdiffusion_eval
import mvdiffusion_eval.extractors.lpips as lpips_module
from mvdiffusion.geometry.cameras import rotation
from mvdiffusion.records import InputError, write_json
from mvdiffusion_eval.extractors.base import FeatureExtractor, Identity, SimilarityExtractor
from mvdiffusion_eval.extractors.lpips import load_lpips
from mvdiffusion_eval.extractors.pretrained import STANDARD_EXTRACTORS
from mvdiffusion_eval.folders.crops import cube_6
from mvdiffusion_eval.folders.equirectangular import cut
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.metrics.base import Inputs
from mvdiffusion_eval.metrics.panoramas.seams import cube_seams
from mvdiffusion_eval.protocols.plan import plan, protocols
from mvdiffusion_eval.scoring.score_files import Score, pairs_of, read_score
from mvdiffusion_eval.settings import ScoreSettings

ROOMS = 10
SETTINGS = ScoreSettings(lpips="squeeze", jackknife_groups=ROOMS)
PAIRED = ("efficientnet_intra_style", "efficientnet_intra_cosine")


def colors(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean color and mean step of each image: features that can be computed by hand."""
    pixels = images.float() / 255
    features = torch.cat([pixels.mean((2, 3)), pixels.diff(dim=3).abs().mean((2, 3))], 1)
    return features, features[:, :0]


class MeanColors(torch.nn.Module):
    """Stands in for LPIPS: the squared difference of mean colors."""

    def forward(self, preds: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        difference = preds.mean((2, 3), keepdim=True) - target.mean((2, 3), keepdim=True)
        return difference.square().sum(1, keepdim=True)


@pytest.fixture(scope="module", autouse=True)
def networks() -> Iterator[None]:
    """Small networks under the names that the protocols know."""

    names = ("efficientnet-lite0", "efficientnet-lite0-style", "vgg19-style", "inception-v3")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*names, "inception-v3-clean"):
            made = FeatureExtractor(Identity(name, "c" * 64), {}, colors, has_classes=False)
            patch.setitem(STANDARD_EXTRACTORS, name, lambda made=made: made)
        clip = SimilarityExtractor(
            Identity("clip-vit-b-16", "d" * 64), {}, lambda images: colors(images)[0],
            lambda texts: torch.ones(len(texts), 6),
        )  # fmt: skip
        patch.setitem(STANDARD_EXTRACTORS, "clip-vit-b-16", lambda: clip)
        patch.setattr(lpips_module, "make_network", lambda name, spatial: MeanColors())
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Panoramas, one view of each repeated, and views of as many scenes."""
    root = tmp_path_factory.mktemp("coherence")
    real = {f"room{i:03d}": toy.views_of(i, i % 3) for i in range(ROOMS)}
    other = {f"room{i:03d}": toy.views_of(500 + i, i % 3) for i in range(ROOMS)}
    all_views = np.stack(list(other.values()))
    black = {name: views * (name != "room003") for name, views in other.items()}
    methods = {
        "real": real,
        "black": black,
        "other": other,
        "repeated": {name: np.stack([views[0]] * 8) for name, views in other.items()},
        "scenes": {
            name: np.stack([all_views[(i + view) % ROOMS, view] for view in range(8)])
            for i, name in enumerate(other)
        },
    }
    return {name: toy.write_folder(root / name, name, rooms) for name, rooms in methods.items()}


def score(folder: Path, reference: Path | None) -> dict[str, Any]:
    names = ["coherence", "syncdiffusion"]
    return mvdiffusion_eval.score(folder, reference, protocols=names, settings=SETTINGS)


@pytest.fixture(scope="module")
def results(folders: dict[str, Path]) -> dict[str, Score]:
    methods = ("other", "repeated", "scenes", "black")
    made = {name: score(folders[name], folders["real"]) for name in methods}
    return {name: Score(Path(f"{name}.json"), content) for name, content in made.items()}


@pytest.fixture(scope="module")
def scores(results: dict[str, Score]) -> dict[str, dict[str, Any]]:
    return {name: one.content["metrics"] for name, one in results.items() if name != "black"}


def by_hand(folder: Path, sample_id: str) -> tuple[list[float], list[float]]:
    """Squared and cosine distances of the six pairs of the views at 0, 90, 180 and 270 degrees."""
    paths = [folder / sample_id / f"{view}.png" for view in (0, 2, 4, 6)]
    images = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in paths])
    features = colors(images.permute(0, 3, 1, 2))[0].double().numpy()
    pairs = list(itertools.combinations(features, 2))
    squared = [float(np.square(a - b).sum()) for a, b in pairs]
    cosine = [float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs]
    return squared, cosine


def test_values_are_those_computed_by_hand_and_the_gap_is_between_means(
    folders: dict[str, Path], scores: dict[str, dict[str, Any]]
) -> None:
    found = scores["other"]
    for number, name in enumerate(PAIRED):
        made, real = (
            np.array([by_hand(folders[method], f"room{i:03d}")[number] for i in range(ROOMS)])
            for method in ("other", "real")
        )
        np.testing.assert_allclose(found[name]["values"], made.mean(1), rtol=1e-5)
        np.testing.assert_allclose(found[f"{name}_sum"]["values"], made.sum(1), rtol=1e-5)
        np.testing.assert_allclose(found[f"{name}_real"]["values"], real.mean(1), rtol=1e-5)
        gap = found[f"{name}_gap"]
        assert gap["value"] == pytest.approx(abs(made.mean() - real.mean()), rel=1e-4)
        assert gap["higher_is_better"] is False
        ways = {found[f"{name}{end}"]["higher_is_better"] for end in ("", "_sum", "_real")}
        assert ways == {None}


@pytest.mark.parametrize("name", [*PAIRED, "intra_style", "intra_lpips"])
def test_one_view_repeated_is_zero_and_no_better_than_other_scenes(
    scores: dict[str, dict[str, Any]], name: str
) -> None:
    value = {method: found[name]["value"] for method, found in scores.items()}
    gap = {method: found[f"{name}_gap"]["value"] for method, found in scores.items()}
    assert value["repeated"] == pytest.approx(0, abs=1e-6)
    assert value["repeated"] < value["other"] < value["scenes"]
    assert min(gap["repeated"], gap["scenes"]) > 2 * gap["other"]


@pytest.mark.parametrize("name", ["other", "black"])
def test_score_files_with_a_gap_are_read_again(
    results: dict[str, Score], name: str, tmp_path: Path
) -> None:
    """Also those of a method whose groups are without a sample that is left out."""
    write_json(tmp_path / "score.json", results[name].content)
    read = read_score(tmp_path / "score.json")
    gap = read.metrics["efficientnet_intra_cosine_gap"]
    assert gap.left_out == (name == "black")
    low, high = read.interval("efficientnet_intra_cosine_gap")  # type: ignore[misc]
    assert gap.se is not None
    assert (high - low) / 2 / gap.se == pytest.approx(stats.t.ppf(0.975, len(gap.values or ()) - 1))


def test_gaps_are_compared_as_they_are_printed(results: dict[str, Score]) -> None:
    """Pseudo-values, whose mean is another number, give only the error; other samples none."""
    metric = "efficientnet_intra_cosine_gap"
    ours, theirs = (results[name].metrics[metric].value for name in ("scenes", "other"))
    pairs = pairs_of(results["scenes"], results["other"], metric)
    assert pairs.of_sets
    assert pairs.difference == ours - theirs
    with pytest.raises(KeyError):
        pairs_of(results["black"], results["other"], metric)


def test_without_other_real_views_there_is_no_gap(folders: dict[str, Path]) -> None:
    found = score(folders["real"], folders["real"])["metrics"]
    names = (*PAIRED, "intra_style", "intra_lpips")
    paired = {f"{name}{end}" for name in names for end in ("", "_sum")}
    assert set(found) == {*paired, "window_clip_score"}


def test_both_protocols_have_all_of_their_columns(scores: dict[str, dict[str, Any]]) -> None:
    names, ends = (*PAIRED, "intra_style", "intra_lpips"), ("", "_sum", "_real", "_gap")
    paired = {f"{name}{end}" for name in names for end in ends}
    giqa = {"mean_giqa", "mean_giqa_real", "efficientnet_mean_giqa", "efficientnet_mean_giqa_real"}
    found = scores["other"]
    assert set(found) == paired | giqa | {"window_fid", "window_kid", "window_clip_score"}
    assert found["intra_lpips"]["protocol"] == "syncdiffusion@network=squeeze"
    assert found["intra_lpips"]["extractor"].startswith("lpips-squeeze (")
    assert found["mean_giqa_real"]["higher_is_better"] is None


def test_they_only_run_if_they_are_named(folders: dict[str, Path]) -> None:
    on_request = {"coherence", "syncdiffusion", "cube-seams"}
    assert {name for name, protocol in protocols().items() if protocol.on_request} >= on_request
    extractors = tuple(
        STANDARD_EXTRACTORS[name]() for name in ("efficientnet-lite0", "vgg19-style")
    )
    inputs = Inputs(open_folder(folders["other"]), None, extractors, SETTINGS)
    assert on_request.isdisjoint(run.protocol.name for run in plan(inputs)[0])
    asked = dataclasses.replace(SETTINGS, protocols=("coherence",))
    (run,), _ = plan(dataclasses.replace(inputs, settings=asked))
    assert run.protocol.name == "coherence"


def test_views_that_overlap_have_no_pairs(tmp_path: Path) -> None:
    folder = toy.write_folder(tmp_path / "two", "two", toy.real_samples(1))
    views = dataclasses.replace(open_folder(folder), yaw_deg=tuple(range(8)))
    settings = dataclasses.replace(SETTINGS, protocols=("coherence",))
    with pytest.raises(InputError, match="two views or more that share no pixel"):
        plan(Inputs(views, None, (), settings))


def test_lpips_of_two_images_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit vectors of each layer, squared difference, weights, mean over pixels, sum."""

    def make(name: Any, spatial: bool) -> torch.nn.Module:
        return _LPIPS(net=name, spatial=spatial, pnet_rand=True)

    monkeypatch.setattr(lpips_module, "make_network", make)
    lpips = load_lpips("squeeze", spatial=False)
    first, second = np.random.default_rng(0).random((2, 48, 64, 3)).astype(np.float32)
    network: Any = lpips.network
    shift, scale = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
    )
    expected = 0.0
    with torch.inference_mode():
        layers = [
            network.net((torch.from_numpy(2 * image - 1).permute(2, 0, 1)[None] - shift) / scale)
            for image in (first, second)
        ]
        for number, (a, b) in enumerate(zip(*layers, strict=True)):
            units = [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-8) for x in (a, b)]
            weights = dict(network.lins[number].named_parameters())["model.1.weight"]
            difference = (units[0] - units[1]).square()
            expected += float((difference * weights).sum(1).mean())
    assert lpips.between(first, second) == pytest.approx(expected, rel=1e-4)
    assert lpips.between(first, first) == 0


@pytest.mark.slow
def test_cube_seams_of_a_folder_stand_beside_those_of_real_panoramas(tmp_path: Path) -> None:
    real, made = (foreign.panoramas(tmp_path / name, 2) for name in ("real", "made"))
    for path in made.glob("*.png"):  # its right half is darker: a seam in front and at the back
        pixels = np.array(Image.open(path))
        pixels[:, pixels.shape[1] // 2 :] //= 2
        Image.fromarray(pixels).save(path)
    found = mvdiffusion_eval.score(made, real, protocols=["cube-seams"])["metrics"]
    names = ("seam_ssim", "seam_sobel", "seam_step")
    R = torch.stack([rotation(*look) for look in cube_6("")])
    expected = cube_seams(cut(np.array(Image.open(real / "room001.png")), 90.0, R, 512, 512), 5)
    assert set(found) == {f"{name}{end}" for name in names for end in ("", "_real", "_gap")}
    for name in names:
        own, theirs, gap = (found[f"{name}{end}"]["value"] for end in ("", "_real", "_gap"))
        assert gap == pytest.approx(abs(own - theirs))
        assert found[f"{name}_real"]["values"][1] == pytest.approx(expected[name])
