"""EfficientNet-Lite0 as a judge: what it sees, by what name its numbers go, and when it is used."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from PIL import Image, ImageFilter

import mvdiffusion_eval
from mvdiffusion import efficientnet_lite
from mvdiffusion.preparation.rooms.design import design_room
from mvdiffusion.preparation.rooms.furniture import Dice
from mvdiffusion.preparation.rooms.render import render_faces
from mvdiffusion.records import InputError, write_json
from mvdiffusion_eval.claims.claims import decide
from mvdiffusion_eval.extractors import pretrained
from mvdiffusion_eval.extractors.base import FeatureExtractor, Identity
from mvdiffusion_eval.extractors.pretrained import (
    STANDARD_EXTRACTORS,
    default_extractors,
    load_extractor,
)
from mvdiffusion_eval.functional.fid import Moments, frechet_distance
from mvdiffusion_eval.protocols.protocol import protocols
from mvdiffusion_eval.scoring.score_files import read_scores
from mvdiffusion_eval.settings import ClaimSettings, ScoreSettings
from mvdiffusion_eval.tables.results import headline_of, make_tables, numbers_of

BICUBIC = Image.Resampling.BICUBIC
NAMES = {f"efficientnet_{name}" for name in ("fid", "kid", "class_score", "precision", "recall")}
SETTINGS = ScoreSettings(consistency_resolution=toy.SIZE, inception_splits=2, jackknife_groups=2)


@pytest.fixture(scope="module")
def extractor() -> Any:
    return load_extractor("efficientnet-lite0")


def test_few_images_at_once_have_the_features_of_all_at_once(
    extractor: Any,
) -> None:
    images = torch.from_numpy(np.concatenate([furnished(0), furnished(1)])).permute(0, 3, 1, 2)
    network, seen = efficientnet_lite.load_efficientnet_lite0(), []
    pixels = efficientnet_lite.normalize(pretrained.clean_resize(images, 224))
    whole = network.forward_head(network.forward_features(pixels), pre_logits=True)

    def counting(self: Any, inputs: Any) -> None:
        seen.append(len(inputs[0]))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(counting)
    with torch.inference_mode():
        features, logits = extractor.extract(images[:5])
    handle.remove()
    # Layers of one image fit into a processor's cache, those of a batch do not.
    assert sorted(set(seen[:-1])) == [1, 2]
    torch.testing.assert_close(features, whole[:5], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, network.classifier(whole)[:5], rtol=1e-4, atol=1e-4)


def blurred(radius: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius))


def compressed(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream, formats=["JPEG"]).convert("RGB")


def damaged(views: np.ndarray, damage: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(damage(Image.fromarray(view))) for view in views])


def furnished(seed: int) -> np.ndarray:
    """Views [3, 64, 64, 3] of walls and floors with frames, as the miniature's rooms have them."""
    random = np.random.default_rng(seed)
    views = np.empty((3, 64, 64, 3), np.uint8)
    for view in views:
        view[:], view[random.integers(36, 48) :] = random.integers(60, 240, (2, 3))
        for _ in range(6):
            top, left = random.integers(0, 44, 2)
            height, width = random.integers(8, 20, 2)
            view[top : top + height, left : left + width] = random.integers(0, 256, 3)
            inside = slice(top + 2, top + height - 2), slice(left + 2, left + width - 2)
            view[inside] = random.integers(0, 256, 3)
    return views


def test_features_and_logits_are_the_networks_of_pillows_bicubic_pixels(extractor: Any) -> None:
    views = furnished(0)[:2]
    channels = [
        [np.asarray(Image.fromarray(c).resize((224, 224), BICUBIC)).clip(0, 255) for c in view]
        for view in views.transpose(0, 3, 1, 2).astype(np.float32)
    ]
    pixels = (torch.from_numpy(np.asarray(channels)) - 127) / 128
    network: Any = efficientnet_lite.load_efficientnet_lite0()
    with torch.inference_mode():
        features, logits = network.forward_features(pixels).mean((2, 3)), network(pixels)
    found = extractor.outputs(views)
    torch.testing.assert_close(found["features"], features, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found["logits"], logits, rtol=1e-3, atol=1e-3)
    assert extractor.description["packages"].keys() == {"clean-fid", "pillow", "timm"}
    assert len(extractor.identity.weights_sha256) == 64


def test_it_sees_blur_and_compression(extractor: Any) -> None:
    """More with more of it, and in every case more than it sees in other views of the same kind."""
    views, others = (
        np.concatenate([furnished(seed) for seed in range(first, first + 4)]) for first in (0, 4)
    )
    damages = (blurred(0.7), blurred(1.5), compressed)
    sets = (views, others, *(damaged(views, damage) for damage in damages))
    real, *rest = (Moments.of([toy.features_of(extractor, images)]) for images in sets)
    other, little, much, jpeg = (frechet_distance(one, real) for one in rest)
    assert 0 < little < much
    assert little < jpeg
    assert other < much


@pytest.mark.slow
def test_damage_of_other_rooms_is_farther_than_other_rooms(extractor: Any) -> None:
    """As in tables: views of some rooms, damaged or not, against those of others."""
    sides = [render_faces(design_room(Dice(77, 1, scene)), 64)[0][1:5] for scene in range(48)]
    made, real = np.concatenate(sides[:24]), np.concatenate(sides[24:])
    sets = (real, made, *(damaged(made, d) for d in (blurred(0.7), blurred(1.5), compressed)))
    target, *rest = (Moments.of([toy.features_of(extractor, images)]) for images in sets)
    clean, little, much, jpeg = (frechet_distance(one, target) for one in rest)
    assert clean < little < much
    assert much > 1.5 * clean
    assert jpeg > 1.5 * clean


@pytest.fixture
def small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean colors under its name, where it does not matter what it sees."""

    def extract(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        colors = images.float().mean((2, 3)) / 255
        return colors, colors

    small = FeatureExtractor(Identity("efficientnet-lite0", "e" * 64), {}, extract)
    monkeypatch.setitem(STANDARD_EXTRACTORS, "efficientnet-lite0", lambda: small)


@pytest.mark.usefixtures("small_one")
def test_its_numbers_have_names_of_their_own(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for method in ("real", "vae_reconstruction"):
        result = mvdiffusion_eval.score(
            world / method, world / "real", protocols=["offline", "controls"], settings=SETTINGS
        )
        by_it = {k: m for k, m in result["metrics"].items() if m["extractor"]}
        assert set(by_it) == (NAMES if method != "real" else {"efficientnet_class_score"})
        for measured in by_it.values():
            assert measured["protocol"] in ("offline", "offline@splits=2")
            assert measured["extractor"] == "efficientnet-lite0 (eeeeeeee)"
        paths.append(tmp_path / f"{method}.json")
        write_json(paths[-1], result)
    toy.run("compare", *map(str, paths), "--output", str(tmp_path / "compared"))
    assert "not by Inception-v3" in " ".join(capsys.readouterr().out.split())
    by_task = read_scores(paths)
    claims = decide(by_task, ClaimSettings())
    tables = {table.name: table for table in make_tables(by_task, claims, ())}
    assert "FID (EfficientNet-Lite0) ↓" in tables["panorama_main"].shown
    assert {"KID (EfficientNet-Lite0) ↓", "class score (EfficientNet-Lite0) ↑"} <= set(
        tables["panorama_distances"].shown
    )
    published = tables["panorama_published"]
    assert not any("efficientnet" in str(name).lower() for name in published.data)
    assert not any("efficientnet" in text.lower() for text in (*published.shown, *published.notes))
    numbers = numbers_of(by_task, claims)
    numbers["panorama"]["mvdiffusion"] = numbers["panorama"].pop("vae_reconstruction")
    assert headline_of(numbers)["panorama"]["mvdiffusion"].keys() == {"efficientnet_fid"}


@pytest.mark.usefixtures("small_one")
def test_no_other_protocol_takes_it(world: Path) -> None:
    result = mvdiffusion_eval.score(
        world / "vae_reconstruction",
        world / "real",
        extractors=["efficientnet-lite0"],
        settings=ScoreSettings(consistency_resolution=32, jackknife_groups=2),
    )
    by_it = {name for name, one in result["metrics"].items() if one["extractor"]}
    assert by_it == NAMES
    using = {name for name, p in protocols().items() if "efficientnet-lite0" in p.extractors}
    # Of these, `coherence` and `offline-crops` run only if they are named.
    assert using == {"offline", "offline-panoramas", "offline-crops", "coherence"}


@pytest.fixture
def by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvdiffusion_eval.api.default_extractors", default_extractors)


@pytest.mark.long
@pytest.mark.usefixtures("by_default")
def test_it_scores_where_nothing_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {f"room{number}": toy.views_of(number, number) for number in range(2)}
    folder = toy.write_folder(tmp_path / "made", "made", made)
    arguments = ["score", "--generated", str(folder), "--output", str(tmp_path / "score.json")]
    toy.run(*arguments, "--settings", toy.SCORE_SETTINGS)
    printed = capsys.readouterr().out
    assert "efficientnet_class_score" in printed
    assert "not by Inception-v3" in " ".join(printed.split())
    toy.run(*arguments, "--protocol", "controls")
    assert "efficientnet" not in capsys.readouterr().out


@pytest.mark.usefixtures("by_default")
def test_without_its_package_there_is_no_default_and_the_protocol_says_how_to_get_it(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no-such-package")
    result = mvdiffusion_eval.score(
        world / "real", settings=ScoreSettings(consistency_resolution=32)
    )
    assert result["extractors"] == {}
    with pytest.raises(InputError, match=r"no-such-package.*\.\[offline\]"):
        mvdiffusion_eval.score(world / "real", protocols=["offline"])
