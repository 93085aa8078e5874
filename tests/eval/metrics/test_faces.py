"""FIDpole, FIDequ, FIDclip and TangentFID against formulas written out with scipy's matrix root."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import py360convert
import pytest
import torch
import toy
from PIL import Image
from scipy.linalg import sqrtm
from torchvision.transforms import Resize

import mvdiffusion_eval
from mvdiffusion_eval.extractors.base import Identity, load_trained
from mvdiffusion_eval.extractors.weights import MissingWeights
from mvdiffusion_eval.folders.crops import crop, select_images, tangent_18
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.metrics.base import Inputs
from mvdiffusion_eval.metrics.panoramas.faces import bound_of_planes
from mvdiffusion_eval.protocols.plan import plan
from mvdiffusion_eval.protocols.protocol import protocols
from mvdiffusion_eval.settings import ScoreSettings

COUNT = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Generated and real panoramas: the former upside down and of another color."""
    root = tmp_path_factory.mktemp("panoramas")
    real = foreign.panoramas(root / "real", COUNT)
    (root / "made").mkdir()
    for path in real.glob("*.png"):
        pixels = np.asarray(Image.open(path))[::-1] * [0.9, 1, 0.7]
        Image.fromarray(pixels.astype(np.uint8)).save(root / "made" / path.name)
        (root / "made" / f"{path.stem}.txt").write_text("A room")
    return root / "made", real


def distance(preds: np.ndarray, target: np.ndarray) -> float:
    """The Fréchet distance by its formula: the trace of the root of a product of covariances."""
    means = [side.mean(0) for side in (preds, target)]
    covariances = [np.cov(side, rowvar=False) for side in (preds, target)]
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    apart = np.square(means[0] - means[1]).sum()
    return float(apart + np.trace(covariances[0] + covariances[1] - 2 * root))


def pixels_of(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


def scored(*given: Any, **settings: Any) -> Any:
    return result_of(*given, **settings)["metrics"]


def result_of(
    folders: tuple[Path, Path], extractors: list[Path], *names: str, **settings: Any
) -> dict[str, Any]:
    chosen = ScoreSettings(jackknife_groups=2, inception_splits=2, **settings)
    return mvdiffusion_eval.score(
        *folders, extractors=extractors[:1], protocols=names, settings=chosen, view_size=32
    )


def test_fid_pole_and_fid_equ_pool_the_faces_of_py360convert(
    folders: tuple[Path, Path], extractors: list[Path]
) -> None:
    classifier, features = load_trained(extractors[0]), {}
    for folder in folders:
        for pixels in pixels_of(folder):
            on_request = py360convert.e2c(pixels, 256, "bilinear", "dict")
            for name, face in on_request.items():
                seen = Resize((299, 299))(torch.from_numpy(face.copy()).permute(2, 0, 1)[None])
                found = toy.features_of(classifier, seen.permute(0, 2, 3, 1).numpy()).numpy()
                features.setdefault((folder, name), []).append(found)

    def expected(names: str) -> float:
        sets = [np.concatenate([f for n in names for f in features[x, n]]) for x in folders]
        return distance(*sets)

    metrics = scored(folders, extractors, "smgd", "equirect")
    assert metrics["fid_pole"]["value"] == pytest.approx(expected("UD"), rel=0.01)
    assert metrics["fid_equ"]["value"] == pytest.approx(expected("FRBL"), rel=0.01)
    assert expected("UD") != pytest.approx(expected("FRBL"), rel=0.02)
    assert metrics["fid_pole"]["protocol"] == "smgd@miniature-classifier"


def test_all_protocols_of_cube_faces_share_them(folders: tuple[Path, Path]) -> None:
    steps = {(p.name, step.key): step for p in protocols().values() for step in p.steps}
    folder = open_folder(folders[0])
    keys = set()
    for name in (
        *(("smgd", "fid_pole"), ("smgd", "fid_equ"), ("dit360", "dit360_fid_pole")),
        *(("equirect", "omnifid"), ("offline-panoramas", "efficientnet_fid_equ")),
    ):
        faces = select_images(folder, steps[name].images)
        assert faces is not None
        keys.add(tuple(faces.view_digests("room000")))
    assert len(keys) == 1


@pytest.mark.parametrize(("share", "mark"), [(None, ""), (0.25, "@without_poles=0.25")])
def test_fid_clip_leaves_the_poles_out(
    folders: tuple[Path, Path], extractors: list[Path], share: float | None, mark: str
) -> None:
    metrics = scored(folders, extractors, "dit360", without_poles=share)
    classifier = load_trained(extractors[0])
    out = round(128 * (share or 0.125))
    sets = [
        np.concatenate(
            [
                toy.features_of(classifier, pixels[None, out:-out].copy()).numpy()
                for pixels in pixels_of(f)
            ]
        )
        for f in folders
    ]
    assert metrics["dit360_fid_clip"]["value"] == pytest.approx(distance(*sets), rel=1e-4)
    assert metrics["dit360_fid_clip"]["protocol"] == f"dit360{mark}@miniature-classifier"
    assert metrics["dit360_fid"]["protocol"] == "dit360@miniature-classifier"


def test_tangent_planes_are_four_rows_that_cover_the_sphere() -> None:
    looks = np.array(tangent_18("a"))
    rows = {67.5: [-120, 0, 120], 22.5: [-150, -90, -30, 30, 90, 150]}
    expected = [(yaw, 67.5) for yaw in rows[67.5]] + [(yaw, 22.5) for yaw in rows[22.5]]
    expected += [(yaw, -22.5) for yaw in rows[22.5]] + [(yaw, -67.5) for yaw in rows[67.5]]
    np.testing.assert_allclose(looks, expected)
    rays = np.random.default_rng(0).normal(size=(20_000, 3))  # x right, y up, z ahead
    yaw, pitch = np.radians(looks).T
    seen = np.zeros(len(rays), bool)
    for a, b in zip(yaw, pitch, strict=True):
        forward = np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
        right, up = np.array([np.cos(a), 0, -np.sin(a)]), None
        up = np.cross(forward, right)
        depth = rays @ forward
        across, along = rays @ right / depth, rays @ up / depth
        edge = np.tan(np.radians(40))
        seen |= (depth > 0) & (np.abs(across) < edge) & (np.abs(along) < edge)
    assert seen.all()


@pytest.mark.long
def test_tangent_fid_is_its_formula(folders: tuple[Path, Path], extractors: list[Path]) -> None:
    """Weights, bound and planes written out; the score of the classes from their softmax."""
    result = result_of(folders, extractors, "tandit")
    metrics = result["metrics"]
    capped = "tangent_inception_score: its 2 splits have at most 2 images"  # of a plane, not 36
    assert any(one.startswith(capped) for one in result["warnings"])
    classifier: Any = load_trained(extractors[0])
    sides, logits = [], []
    for root in folders:
        folder: Any = open_folder(root)
        crops = [crop(folder, tangent_18, 80.0, 192).views(i) for i in folder.sample_ids]
        outputs = [classifier.outputs(views) for views in crops]
        sides.append(np.stack([one["features"].double().numpy() for one in outputs], 1))
        logits.append(torch.stack([one["logits"].double() for one in outputs], 1))
    fids = np.array([distance(*pair) for pair in zip(*sides, strict=True)])
    weights = np.array([0.5] * 3 + [1.0] * 12 + [0.5] * 3)
    mean = (weights * fids).sum() / 15
    sd = np.sqrt((weights * (fids - mean) ** 2).sum() / 15)
    assert metrics["tangent_fid_mean"]["value"] == pytest.approx(mean, rel=1e-4)
    found = metrics["tangent_fid"]
    assert found["value"] == pytest.approx(mean + 1.96 * sd / 18**0.5, rel=1e-4)
    assert (found["values_per"], found["higher_is_better"]) == ("group", False)
    assert found["value"] > metrics["tangent_fid_mean"]["value"]
    score = metrics["tangent_inception_score"]
    assert score["higher_is_better"]
    assert 1 <= score["value"] < metrics["tangent_inception_score_mean"]["value"]
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0)).chunk(2)
    p = logits[0].softmax(-1)

    def of_plane(part: torch.Tensor) -> float:
        return float((part * (part / part.mean(0)).log()).sum(1).mean().exp())

    scores = [np.mean([of_plane(plane[split]) for split in order]) for plane in p]
    expected = np.average(scores, weights=weights)
    assert metrics["tangent_inception_score_mean"]["value"] == pytest.approx(expected, rel=1e-6)


def test_planes_that_are_all_alike_have_an_error() -> None:
    """As those of copies of the real panoramas are; the standard error follows from slopes."""
    values = torch.zeros(18, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(bound_of_planes(values, 1), values)
    assert slopes.isfinite().all()
    assert slopes.sum().item() == pytest.approx(1)


def test_noise_at_the_poles_is_seen_by_those_who_look_there(
    folders: tuple[Path, Path], extractors: list[Path], tmp_path: Path
) -> None:
    """Rows beyond 67.5 degrees are in no face around the horizon, and FIDclip leaves them out."""
    for path in folders[1].glob("*.png"):
        pixels = np.asarray(Image.open(path)).copy()
        pixels[:16] = np.random.default_rng(0).integers(0, 256, pixels[:16].shape)
        Image.fromarray(pixels).save(tmp_path / path.name)
    metrics = scored((tmp_path, folders[1]), extractors, "dit360")
    found = {name: one["value"] for name, one in metrics.items()}
    assert found["dit360_fid_pole"] > 1e-5
    assert found["dit360_fid"] > 1e-5
    assert found["dit360_fid_clip"] < 1e-9
    assert found["dit360_fid_equ"] < 1e-9


def test_dit360s_columns_are_measured_at_once_and_one_network_may_be_missing(
    folders: tuple[Path, Path], extractors: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Any:
        if "places365" in name:
            raise MissingWeights("no weights")
        small = load_trained(extractors["clip" in name])
        return dataclasses.replace(small, identity=Identity(name, "1" * 64))

    monkeypatch.setattr("mvdiffusion_eval.protocols.plan.load_extractor", load)
    result = mvdiffusion_eval.score(*folders, protocols=["dit360"], view_size=32)
    names = ("fid", "fid_clip", "fid_pole", "fid_equ", "clip_score")  # images too small for NIQE
    assert set(result["metrics"]) == {f"dit360_{name}" for name in names}
    told = [one for one in result["warnings"] if one.startswith("dit360: ")]
    assert any("'dit360_inception_score' was not measured" in one for one in told)
    assert any("'dit360_faed' was not measured" in one for one in told)


def test_costly_crops_run_only_where_they_are_named(folders: tuple[Path, Path]) -> None:
    on_request = {name for name, one in protocols().items() if one.on_request}
    assert {"tandit", "cubediff", "dit360", "offline-crops"} <= on_request
    inputs = Inputs(open_folder(folders[0]), None, (), ScoreSettings())
    assert {run.protocol.name for run in plan(inputs)[0]} == {
        *("paper-consistency-pano", "consistency-images", "controls", "equirect", "correspondence"),
        "error-accumulation",
    }
    crops = ScoreSettings(protocols=("offline-crops",))
    (run,), _ = plan(dataclasses.replace(inputs, settings=crops))
    assert [step.key for step, _ in run.steps] == ["efficientnet_tangent_class_score"]
