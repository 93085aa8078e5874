"""Protocols as data: which extractors they load, what they look at, how changes are marked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import torch
import toy
from PIL import Image
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

import mvdiffusion_eval
from mvdiffusion.geometry.cameras import panorama_cameras
from mvdiffusion.geometry.equirectangular import equirectangular_to_views
from mvdiffusion.records import InputError
from mvdiffusion_eval.extractors.base import Extractor, Identity, load_trained
from mvdiffusion_eval.metrics.base import Measurement, Outcome
from mvdiffusion_eval.protocols.listing import protocol_rows
from mvdiffusion_eval.protocols.plan import merge, protocols
from mvdiffusion_eval.settings import ScoreSettings

SETTINGS = ScoreSettings(consistency_resolution=toy.SIZE, inception_splits=2, jackknife_groups=4)
CLIPS = ("clip-vit-l-14", "clip-vit-b-16", "clip-vit-l-14-336")


@pytest.fixture
def loaded(
    monkeypatch: pytest.MonkeyPatch, extractors: list[Path]
) -> tuple[list[str], Callable[[str], Extractor]]:
    """Small networks under the names of the pretrained ones, and which of them were loaded."""
    names: list[str] = []

    def load(name: str | Path) -> Extractor:
        if isinstance(name, Path):
            return load_trained(name)
        names.append(name)
        small = load_trained(extractors[name in CLIPS])
        return dataclasses.replace(small, identity=Identity(name, "1" * 64))

    for module in ("protocols.plan", "api"):
        monkeypatch.setattr(f"mvdiffusion_eval.{module}.load_extractor", load)
    return names, load


def test_a_protocol_loads_the_extractors_that_it_is_defined_with(
    world: Path, loaded: tuple[list[str], Any]
) -> None:
    result = mvdiffusion_eval.score(
        world / "vae_reconstruction", world / "real", protocols=["paper-pano"]
    )
    assert loaded[0] == ["inception-v3", "clip-vit-l-14", "clip-vit-b-16"]
    metrics = result["metrics"]
    assert set(metrics) == {"fid", "inception_score", "clip_score", "clip_score_clip-vit-b-16"}
    assert {m["protocol"] for m in metrics.values()} == {"paper-pano"}
    assert metrics["clip_score_clip-vit-b-16"]["extractor"] == "clip-vit-b-16 (11111111)"
    assert any("use 8736 images, these use 64" in warning for warning in result["warnings"])
    assert result["protocols"]["paper-pano"]["metrics"]["inception_score"]["splits"] == 10


def test_only_what_can_be_used_is_loaded(world: Path, loaded: tuple[list[str], Any]) -> None:
    result = mvdiffusion_eval.score(
        world / "vae_reconstruction", protocols=["equirect", "paper-pano"]
    )
    assert loaded[0] == ["inception-v3", "clip-vit-l-14", "clip-vit-b-16"]
    assert "fid" not in result["metrics"]
    assert any(
        "'fid' was not measured because it needs real views" in warning
        for warning in result["warnings"]
    )
    loaded[0].clear()
    mvdiffusion_eval.score(world / "vae_reconstruction", protocols=["equirect"])
    assert not loaded[0]


def test_extractors_stand_in_only_where_a_protocol_lets_them(
    world: Path, extractors: list[Path], loaded: tuple[list[str], Any]
) -> None:
    names = ["paper-pano", "modern"]
    result = mvdiffusion_eval.score(
        world / "vae_reconstruction",
        world / "real",
        extractors=extractors,
        protocols=names,
        settings=SETTINGS,
    )
    assert not loaded[0]
    found = {name: m["protocol"] for name, m in result["metrics"].items()}
    assert found == {
        "fid": "paper-pano@miniature-classifier",
        "inception_score": "paper-pano@splits=2@miniature-classifier",
        "clip_score": "paper-pano@miniature-clip",
        "kid": "modern@miniature-classifier",
        "cmmd": "modern@miniature-clip",
    }
    with pytest.raises(InputError, match="'clean' needs a feature extractor"):
        mvdiffusion_eval.score(
            world / "vae_reconstruction", world / "real", extractors=extractors, protocols=["clean"]
        )


def test_the_resize_filter_has_a_protocol_of_its_own(
    world: Path, loaded: tuple[list[str], Any]
) -> None:
    both = ["inception-v3", "inception-v3-clean"]
    result = mvdiffusion_eval.score(
        world / "vae_reconstruction",
        world / "real",
        protocols=["paper-pano", "clean"],
        extractors=both,
    )
    found = {name: (m["protocol"], m["extractor"][:-11]) for name, m in result["metrics"].items()}
    assert found["fid"] == ("paper-pano", "inception-v3")
    assert found["clean_fid"] == found["clean_kid"] == ("clean", "inception-v3-clean")


@pytest.mark.slow
def test_eight_views_are_cut_at_299_pixels(tmp_path: Path, extractors: list[Path]) -> None:
    """Against crops cut by the geometry, and torch-fidelity's distance of their features."""
    made = foreign.panoramas(tmp_path / "made", 3)
    real = foreign.panoramas(tmp_path / "real", 6)
    for number in range(3):  # the samples of one name are other rooms
        (real / f"room{number:03d}.png").unlink()
        (real / f"room{number + 3:03d}.png").rename(real / f"room{number:03d}.png")
    names = ["panfusion-8", "views-8"]
    result = mvdiffusion_eval.score(made, real, extractors=extractors, protocols=names)
    theirs_too, found = (result["metrics"][f"{name}_8_fid"] for name in ("panfusion", "views"))
    assert theirs_too["protocol"] == "panfusion-8@miniature-classifier"
    assert theirs_too["value"] != pytest.approx(found["value"], rel=1e-3)
    assert found["protocol"] == "views-8@miniature-classifier"
    classify: Any = load_trained(extractors[0])
    K, R = panorama_cameras(299, 299)
    statistics = []
    for first in (0, 3):
        views = []
        for number in range(first, first + 3):
            source = torch.from_numpy(foreign.panorama(number)).permute(2, 0, 1).float()
            cut = equirectangular_to_views(source, K, R, 299, 299)
            views.append(cut.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
        features = torch.cat([toy.features_of(classify, crops) for crops in views])
        statistics.append(fid_features_to_statistics(features))
    expected = fid_statistics_to_metric(*statistics, verbose=False)
    (theirs,) = expected.values()
    assert found["value"] == pytest.approx(theirs, rel=1e-3)
    for name in ("panfusion", "views"):
        described = result["protocols"][f"{name}-8"]["metrics"][f"{name}_8_fid"]
        assert described["size"] == [299, 299]
        assert described["images"]["directions"] == "level_8"
        assert described["images"].get("sampling") == {"panfusion": "panfusion"}.get(name)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No weights can be had; the names that were asked for."""
    asked: list[str] = []

    def refuse(name: str) -> None:
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr("mvdiffusion_eval.extractors.weights.fetch_known", refuse)
    return asked


def test_without_a_network_a_protocol_runs_what_needs_none(
    tmp_path: Path, offline: list[str]
) -> None:
    made = foreign.panoramas(tmp_path / "made", 4)
    real = foreign.panoramas(tmp_path / "real", 4)
    Image.fromarray(255 - foreign.panorama(0)).save(real / "room000.png")
    options: Any = {"protocols": ["equirect"], "view_size": 32}
    result = mvdiffusion_eval.score(made, real, **options)
    assert set(result["metrics"]) == {"discontinuity_score", "edge_step", "worst_step"}
    assert result["metrics"] == mvdiffusion_eval.score(made, **options)["metrics"]
    told = [one for one in result["warnings"] if "'omnifid'" in one]
    assert len(told) == 1
    assert told[0].startswith("equirect: 'omnifid' was not measured because it needs a feature ex")
    assert "'inception-v3': its pretrained weights could not be loaded (no network)" in told[0]
    assert offline == ["inception-v3"]


def test_without_a_network_extractors_that_need_none_are_run(
    tmp_path: Path, offline: list[str]
) -> None:
    """What the columns of DiT360 need networks for is named once, and does not stop the rest."""
    rng = np.random.default_rng(0)
    for name in (f"{side}/{sample}" for side in ("made", "real") for sample in "abcd"):
        file = tmp_path / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (192, 384, 3), np.uint8)).save(file)
    made, real = tmp_path / "made", tmp_path / "real"
    result = mvdiffusion_eval.score(made, real, protocols=["dit360"], view_size=32)
    assert set(result["metrics"]) == {"dit360_brisque", "dit360_niqe"}
    fids = ", ".join(f"'dit360_{name}'" for name in ("fid", "fid_clip", "fid_pole", "fid_equ"))
    (told,) = (one for one in result["warnings"] if one.startswith(f"dit360: {fids} were not me"))
    assert "weights-inception-2015-12-05-6726825d.pth" in told
    faed = "dit360: 'dit360_faed' was not measured because it needs a feature extractor of the kind"
    assert f"{faed} 'faed' (--extractor)." in result["warnings"]


def test_without_a_network_a_protocol_of_extractors_alone_is_refused(
    world: Path, offline: list[str]
) -> None:
    with pytest.raises(InputError, match="'inception-v3': its pretrained weights could not be"):
        mvdiffusion_eval.score(
            world / "vae_reconstruction", world / "real", protocols=["paper-pano", "equirect"]
        )


def test_numbers_older_than_july_2025_are_not_antialiased() -> None:
    """Only the protocol that says so has torchmetrics' newer resize."""
    using = {name for name, p in protocols().items() if "inception-v3-antialiased" in p.extractors}
    assert using == {"antialiased"}


def test_every_new_version_says_what_has_changed() -> None:
    for protocol in protocols().values():
        assert protocol.version == 1 + len(protocol.changelog), protocol.name
    assert protocols()["paper-pano"].version == 2
    changes = {row["name"]: row["changelog"] for row in protocol_rows()}
    assert "TensorFlow 1" in changes["paper-pano"][0]
    assert changes["clean"] == []


def test_protocols_of_crops_say_which_images_they_take() -> None:
    needs = {row["name"]: row["needs"] for row in protocol_rows()}
    whole = "whole equirectangular panoramas"
    rest = "; a feature extractor (--extractor); real views (--reference)"
    for name in ("panfusion-8", "panfusion-20", "views-20"):
        assert needs[name] == f"{whole}{rest}", name
    assert needs["views-8"] == f"{whole}, or views in the same directions of 299 px or more{rest}"


def test_every_protocol_says_where_it_comes_from() -> None:
    for protocol in protocols().values():
        assert protocol.source
        assert protocol.steps
        assert {step.protocol for step in protocol.steps} == {protocol.name}
    keys = [(task, s.key) for p in protocols().values() for s in p.steps for task in p.tasks]
    assert len(keys) == len(set(keys))  # one name, one protocol: numbers never mix


def test_two_numbers_of_one_name_are_refused() -> None:
    one = Outcome({"fid": Measurement(1.0, None, "", False, "mine", 1)})
    two = Outcome({"fid": Measurement(2.0, None, "", False, "paper-pano", 1)})
    with pytest.raises(InputError, match="'fid' is measured twice, by mine and paper-pano"):
        merge([one, two])


def test_a_changed_option_shows_in_the_name(tmp_path: Path) -> None:
    folder = toy.write_folder(tmp_path / "x", "x", toy.real_samples(1))

    def found(resolution: int | None) -> dict[str, Any]:
        settings = ScoreSettings(consistency_resolution=resolution)
        result = mvdiffusion_eval.score(
            folder, protocols=["paper-consistency-pano"], settings=settings
        )
        return result["metrics"]["cross_view_psnr"]

    plain, changed = found(None), found(toy.SIZE)
    assert plain["protocol"] == "paper-consistency-pano"
    assert changed["protocol"] == "paper-consistency-pano@32"
    assert abs(plain["value"] - changed["value"]) > 1e-6
    assert found(1024) == plain
