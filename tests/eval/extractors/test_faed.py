"""FAED: its features by hand, its training, and what it says of damaged panoramas."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from cleanfid.fid import frechet_distance as cleanfid_distance
from PIL import Image
from scipy.ndimage import gaussian_filter
from set_metrics import frechet_distance

import mvdiffusion_eval
from mvdiffusion.records import InputError, sealed_output, sha256_file
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.extractors import train_faed as faed_training
from mvdiffusion_eval.extractors.base import FeatureExtractor, load_trained
from mvdiffusion_eval.extractors.faed import (
    PanoramaAutoencoder,
    encode,
    faed_features,
    prepare_panoramas,
)
from mvdiffusion_eval.extractors.store import FeatureStore
from mvdiffusion_eval.extractors.train import train_extractor
from mvdiffusion_eval.extractors.train_faed import FaedSettings
from mvdiffusion_eval.folders.crops import panoramas
from mvdiffusion_eval.folders.equirectangular import EquirectangularFolder
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.metrics.quality import frechet_statistic

pytestmark = pytest.mark.long

HEIGHT, WIDTHS = 32, (16, 16)
STRIDE = 4
SMALL: dict[str, Any] = {"height": HEIGHT, "widths": WIDTHS, "batch_size": 8, "held_out": 0.25}


@cache
def room(seed: int) -> np.ndarray:
    """A panorama uint8 [64, 128, 3]: light above, dark below, a few walls, all round."""
    rng = np.random.default_rng(seed)
    smooth = toy.panorama(seed, seed % 3).permute(1, 2, 0).numpy()[::2, ::2]
    fall = np.linspace(1.0, 0.3, 64)[:, None, None]
    walls = np.repeat(rng.uniform(0.6, 1.0, (1, 16, 1)), 8, 1)
    band = (np.abs(np.linspace(-1, 1, 64)) < 0.5)[:, None, None]
    return (255 * smooth * fall * np.where(band, walls, 1)).round().astype(np.uint8)


def write(
    root: Path, seeds: range, change: Callable[[np.ndarray], np.ndarray] | None = None
) -> EquirectangularFolder:
    root.mkdir()
    for seed in seeds:
        pixels = room(seed) if change is None else change(room(seed).astype(float))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"room{seed:04d}.png")
    folder = open_folder(root)
    assert isinstance(folder, EquirectangularFolder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder trained for a moment, by the command."""
    root = tmp_path_factory.mktemp("faed")
    write(root / "rooms", range(5000, 5032))
    settings = json.dumps({**SMALL, "epochs": 30, "learning_rate": 5e-3})
    given = ["--views", str(root / "rooms"), "--output", str(root / "faed")]
    toy.run("train-extractor", "--kind", "faed", *given, "--settings", settings)
    return root / "faed"


@pytest.fixture(scope="module")
def extractor(trained: Path) -> FeatureExtractor:
    found = load_trained(trained)
    assert isinstance(found, FeatureExtractor)
    return found


def network() -> PanoramaAutoencoder:
    """An untrained one whose normalization has seen images."""
    torch.manual_seed(0)
    made = PanoramaAutoencoder(WIDTHS)
    made(torch.rand(8, 3, HEIGHT, 2 * HEIGHT) * 2 - 1)
    return made.eval().requires_grad_(False)


def batch(count: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.stack([room(seed) for seed in range(count)])).permute(0, 3, 1, 2)


def test_rows_weigh_as_the_cosine_of_their_latitude() -> None:
    found = faed_features(torch.tensor([2.0, -3.0])[None, :, None, None].expand(1, 2, 3, 8))
    cosines = np.cos(np.radians([60, 0, -60]))
    np.testing.assert_allclose(found[0], np.concatenate([2 * cosines, -3 * cosines]), rtol=1e-6)


def test_features_are_means_of_columns_channel_by_channel() -> None:
    code = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(1))
    latitude = np.radians([67.5, 22.5, -22.5, -67.5])
    expected = np.einsum("nchw,h->nch", code.numpy(), np.cos(latitude)) / 8
    np.testing.assert_allclose(faed_features(code), expected.reshape(2, 12), atol=1e-6)


def test_the_usual_size_has_2048_features() -> None:
    settings = FaedSettings()
    code = torch.zeros(1, settings.widths[-1], settings.height // 32, settings.height // 16)
    assert faed_features(code).shape == (1, 2048)
    assert PanoramaAutoencoder(settings.widths).encoder(torch.rand(1, 3, 64, 128)).shape == (
        (1, 128, 2, 4)
    )


@pytest.mark.parametrize("columns", [1, 5, 16])
def test_a_turn_by_whole_columns_of_the_code_changes_nothing(columns: int) -> None:
    images = torch.randint(256, (2, 3, HEIGHT, 2 * HEIGHT), generator=torch.Generator())
    before = encode(network(), images.byte(), HEIGHT)
    after = encode(network(), images.byte().roll(columns * STRIDE, -1), HEIGHT)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    upset = encode(network(), images.byte().roll(4, -2), HEIGHT)
    assert (upset - before).abs().max() > 1e-3


def test_the_reconstruction_turns_with_the_panorama() -> None:
    values = torch.rand(1, 3, HEIGHT, 2 * HEIGHT, generator=torch.Generator().manual_seed(2))
    net = network()
    torch.testing.assert_close(net(values.roll(12, -1)), net(values).roll(12, -1))


def test_resized_panoramas_still_close() -> None:
    """Turned by whole pixels of the result, the resized panorama is turned, at its edges too."""
    images = batch()
    small = prepare_panoramas(images, HEIGHT)
    assert small.shape == (3, 3, HEIGHT, 2 * HEIGHT)
    turned = prepare_panoramas(images.roll(2 * 7, -1), HEIGHT)
    torch.testing.assert_close(turned, small.roll(7, -1))
    # inside, an ordinary resize
    inside = images[..., 32:96].float() / 127.5 - 1
    usual = torch.nn.functional.interpolate(
        inside, (HEIGHT, HEIGHT), mode="bilinear", antialias=True
    )
    torch.testing.assert_close(small[..., 17:47], usual[..., 1:-1])
    torch.testing.assert_close(prepare_panoramas(images, 64), images.float() / 127.5 - 1)
    with pytest.raises(ValueError, match="W = 2 H, got 64 x 64"):
        prepare_panoramas(images[..., :64], HEIGHT)


def test_training_reconstructs_better_than_the_mean_color(trained: Path) -> None:
    record = json.loads((trained / "extractor.json").read_text())
    held_out = record["validation"]
    assert held_out["num_images"] == 8
    plain = np.mean([np.abs(r - r.mean((0, 1))).mean() for r in map(room, range(5024, 5032))])
    assert held_out["reconstruction_error_of_mean_color"] == pytest.approx(plain / 255, rel=0.03)
    assert held_out["reconstruction_error"] < 0.7 * held_out["reconstruction_error_of_mean_color"]
    about = {key: record[key] for key in ("kind", "name", "image_size", "architecture")}
    assert about == {
        "kind": "faed",
        "name": "miniature-faed",
        "image_size": [32, 64],
        "architecture": {"widths": [16, 16]},
    }
    assert record["weights_sha256"] == sha256_file(trained / "weights.safetensors")


def test_equal_seeds_give_equal_weights(tmp_path: Path) -> None:
    folder = write(tmp_path / "rooms", range(12))
    changes: list[dict[str, Any]] = [{"seed": 0}, {"seed": 0}, {"seed": 1}]
    records = [
        train_extractor(folder, FaedSettings(**SMALL, epochs=2, **change), tmp_path / str(number))
        for number, change in enumerate(changes)
    ]
    hashes = [record["weights_sha256"] for record in records]
    assert hashes[0] == hashes[1] != hashes[2]


def test_broken_off_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = write(tmp_path / "rooms", range(24)), FaedSettings(**SMALL, epochs=4)
    whole = train_extractor(folder, settings, tmp_path / "whole")
    steps: list[int] = []
    step = faed_training._step

    def counted(*given: Any) -> float:
        steps.append(1)
        if len(steps) == 6:  # of 4 epochs of 2 steps, in the third
            raise KeyboardInterrupt
        return step(*given)

    monkeypatch.setattr(faed_training, "_step", counted)
    with pytest.raises(KeyboardInterrupt):
        train_extractor(folder, settings, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    other = train_extractor(folder, FaedSettings(**SMALL, epochs=1), tmp_path / "other")
    assert other["weights_sha256"] != whole["weights_sha256"]
    again = train_extractor(folder, settings, tmp_path / "broken")
    assert len(steps) == 6 + 2 + 4
    assert again["weights_sha256"] == whole["weights_sha256"]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["broken", "other", "rooms", "whole"]


@pytest.mark.parametrize("content", ["settings", "bytes", "cut", "bit"])
def test_what_another_training_left_is_not_taken_up(tmp_path: Path, content: str) -> None:
    folder, settings = write(tmp_path / "rooms", range(12)), FaedSettings(**SMALL, epochs=1)
    expected = train_extractor(folder, settings, tmp_path / "a")["weights_sha256"]
    left = tmp_path / "b.training"
    with sealed_output(left) as file:
        torch.save({"made_of": {"settings": "another"}, "epochs": 1}, file)
    if content == "settings":
        with pytest.raises(InputError, match=r"b\.training: was made with other settings"):
            train_extractor(folder, settings, tmp_path / "b")
    else:
        whole = left.read_bytes()
        flipped = whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]
        left.write_bytes({"bytes": b"no state", "cut": whole[:100], "bit": flipped}[content])
    before, anew = left.read_bytes(), content == "settings"
    record = train_extractor(folder, settings, tmp_path / "b", overwrite=anew)
    assert record["weights_sha256"] == expected
    assert not left.exists()
    assert (tmp_path / "b.training.old").read_bytes() == before


def test_the_extractor_says_what_it_is(extractor: FeatureExtractor) -> None:
    assert not extractor.has_classes
    assert extractor.identity.name == "miniature-faed"
    assert extractor.description["kind"] == "faed"
    rooms = np.stack([room(seed) for seed in range(6)])
    features = toy.features_of(extractor, rooms)
    assert features.shape == (6, 4 * HEIGHT)
    assert set(extractor.outputs(rooms)) == {"features"}
    # one by one, and of panoramas of the size that it was trained on, they are the same
    single = toy.features_of(extractor, rooms[4:5])
    torch.testing.assert_close(single, features[4:5], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="W = 2 H"):
        extractor.outputs(rooms[:, :, :64])


def test_faed_is_the_frechet_distance_of_whole_panoramas(
    tmp_path: Path, extractor: FeatureExtractor
) -> None:
    folders = [write(tmp_path / "a", range(150)), write(tmp_path / "b", range(150, 300))]
    store = FeatureStore()
    preds, target = (store.features(panoramas(folder), extractor) for folder in folders)
    group_of = np.arange(150) % 2
    found = frechet_statistic(preds, target, group_of)(torch.ones(2)).item()
    one, two = (
        toy.features_of(extractor, np.stack([room(seed) for seed in seeds])).numpy()
        for seeds in (range(150), range(150, 300))
    )
    moments = [value for side in (one, two) for value in (side.mean(0), np.cov(side.T))]
    assert found == pytest.approx(cleanfid_distance(*moments), rel=1e-3)
    assert frechet_statistic(preds, preds, group_of)(torch.ones(2)).item() == pytest.approx(
        0, abs=1e-6
    )


def test_a_score_has_faed_of_panoramas_and_nothing_else_by_its_extractor(
    tmp_path: Path, trained: Path, extractor: FeatureExtractor
) -> None:
    write(tmp_path / "a", range(6)), write(tmp_path / "b", range(6), lambda p: p[::-1])
    result = mvdiffusion_eval.score(
        tmp_path / "b",
        tmp_path / "a",
        extractors=[trained],
        view_size=16,
        protocols=["equirect", "paper-consistency-pano"],
    )
    by = [name for name, found in result["metrics"].items() if found["extractor"]]
    assert by == ["faed"]
    assert result["metrics"]["faed"]["protocol"] == "equirect@miniature-faed"
    sides = [np.stack([room(seed)[::way] for seed in range(6)]) for way in (1, -1)]
    expected = frechet_distance(*(toy.features_of(extractor, side) for side in sides))
    assert result["metrics"]["faed"]["value"] == pytest.approx(expected, rel=1e-3)


def test_faed_rises_with_damage(extractor: FeatureExtractor) -> None:
    rng = np.random.default_rng(0)
    rooms = np.stack([room(seed) for seed in range(150)]).astype(float)
    target = toy.features_of(extractor, np.stack([room(seed) for seed in range(150, 300)]))

    def faed(changed: np.ndarray) -> float:
        preds = toy.features_of(extractor, changed.round().clip(0, 255).astype(np.uint8))
        return frechet_distance(preds, target)

    noise = rng.normal(0, 1, rooms.shape)
    series = {
        "noise": [rooms + level * noise for level in (0, 30, 60)],
        "blur": [gaussian_filter(rooms, (0, level, level, 0)) for level in (0, 3, 8)],
        "shift": [np.roll(rooms, rows, 1) for rows in (0, 6, 20)],
    }
    for name, changed in series.items():
        found = [faed(level) for level in changed]
        assert found == sorted(found), (name, found)
        assert found[-1] > 1.5 * found[0], (name, found)
    assert faed(np.roll(rooms, 40, 2)) == pytest.approx(faed(rooms), rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (16, 17)}, r"'widths' is \[16, 17\]; expected 16 at the end of 2 stages"),
        ({"widths": ()}, r"'widths' is \(\); expected a list of values"),
        ({"widths": ("a", 16)}, r"'widths\.0' is 'a'; expected a whole number, at least 1"),
        ({"height": 30}, "'height' is 30; expected a multiple of 4"),
        ({"epochs": 0}, "'epochs' is 0; expected a whole number, at least 1"),
        (
            {"batch_size": 40},
            "'batch_size' is 40; expected at most 6, the number of panoramas",
        ),
        ({"held_out": 0.01}, "give more samples"),
    ],
)
def test_bad_settings_are_one_sentence_and_no_file(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = write(tmp_path / "rooms", range(8))
    with pytest.raises(InputError, match=message):
        train_extractor(folder, FaedSettings(**{**SMALL, **changes}), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["rooms"]


def test_views_are_no_panoramas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    views = toy.write_folder(tmp_path / "views", "x", toy.real_samples(4))
    given = ["--views", str(views), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main(["train-extractor", "--kind", "faed", *given, "--settings", '{"held_out": 0.25}'])
    assert end.value.code == 2
    assert "contains views; expected whole equirectangular panoramas" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
