"""Features once: the cache on disk, batches, and pretrained networks through small ones."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from processes import PROCESSES, run_benchmark, start
from set_metrics import frechet_distance, inception_score, kernel_distance

import mvdiffusion.code_closure as code_closure
import mvdiffusion_eval.extractors.shards
import mvdiffusion_eval.extractors.store
import mvdiffusion_eval.metrics.quality
from mvdiffusion_eval.extractors.base import (
    FeatureExtractor,
    Identity,
    extractor_sha256,
    load_trained,
)
from mvdiffusion_eval.extractors.shards import Shards
from mvdiffusion_eval.extractors.store import BATCH, FeatureStore
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.functional import fid
from mvdiffusion_eval.functional.clip_score import clip_score
from mvdiffusion_eval.functional.fid import Moments
from mvdiffusion_eval.functional.inception_score import assign_splits
from mvdiffusion_eval.metrics.base import Inputs
from mvdiffusion_eval.metrics.quality import frechet_statistic
from mvdiffusion_eval.settings import ScoreSettings
from mvdiffusion_eval.statistics import jackknife


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy.write_folder(tmp_path / "views", "x", toy.real_samples(5))


class Means:
    """An extractor that can be checked by hand, and counts what it is shown."""

    def __init__(self, name: str = "means", **about: object) -> None:
        self.calls = 0
        identity = Identity(name, "0" * 64)
        self.extractor = FeatureExtractor(identity, {"kind": "test", **about}, self.extract)

    def extract(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        assert len(images) == BATCH
        return images.float().mean((2, 3)), images.float().amax((2, 3))


def by_hand(folder: Path) -> np.ndarray:
    paths = [folder / f"room{i:03d}" / f"{view}.png" for i in range(5) for view in range(8)]
    return np.stack([np.asarray(Image.open(path)).mean((0, 1)) for path in paths])


def test_features_come_in_the_order_of_samples_and_views(folder: Path) -> None:
    means = Means()
    found = FeatureStore().features(open_folder(folder), means.extractor)
    assert means.calls == 2  # 40 images
    everything = torch.cat(list(found.blocks()))
    np.testing.assert_allclose(everything, by_hand(folder), rtol=1e-6)
    assert found.sample_of.tolist() == [i for i in range(5) for _ in range(8)]
    some = np.array([39, 3, 4, 5, 0])
    np.testing.assert_allclose(found.rows(some), by_hand(folder)[some], rtol=1e-6)
    of_samples = torch.cat(list(found.blocks(np.array([1, 3]))))
    np.testing.assert_array_equal(of_samples, everything[[*range(8, 16), *range(24, 32)]])
    assert found.rows(np.array([0]), "logits").shape == (1, 3)


def test_images_are_decoded_once_for_all_extractors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, store = open_folder(folder), FeatureStore()
    read: list[tuple[str, int]] = []
    original = type(opened).views

    def counted(self: object, sample_id: str, which: list[int]) -> np.ndarray:
        read.extend((sample_id, view) for view in which)
        return original(self, sample_id, which)  # type: ignore[arg-type]

    monkeypatch.setattr(type(opened), "views", counted)
    both = [Means("one"), Means("two")]
    store.add(opened, [each.extractor for each in both])
    for each in both:
        store.features(opened, each.extractor)
    assert len(read) == len(set(read)) == 40
    assert [each.calls for each in both] == [2, 2]


def test_a_second_run_computes_nothing_and_a_changed_image_alone(folder: Path) -> None:
    cache, means = folder.parent / "cache", Means()
    first = FeatureStore(cache).features(open_folder(folder), means.extractor)
    second = FeatureStore(cache).features(open_folder(folder), means.extractor)
    assert means.calls == 2
    np.testing.assert_array_equal(torch.cat(list(first.blocks())), torch.cat(list(second.blocks())))
    Image.new("RGB", (toy.SIZE, toy.SIZE), (1, 2, 3)).save(folder / "room002" / "5.png")
    third = FeatureStore(cache).features(open_folder(folder), means.extractor)
    assert means.calls == 3
    assert third.rows(np.array([21])).tolist() == [[1, 2, 3]]
    np.testing.assert_allclose(torch.cat(list(third.blocks())), by_hand(folder), rtol=1e-6)
    shards = [path for path in cache.rglob("*") if path.is_file()]
    assert [path.suffix for path in shards] == [".safetensors"] * 2


def test_another_extractor_or_preprocessing_is_computed_anew(folder: Path) -> None:
    cache, means = folder.parent / "cache", Means()
    FeatureStore(cache).features(open_folder(folder), means.extractor)
    weights = dataclasses.replace(means.extractor, identity=Identity("means", "1" * 64))
    resized = dataclasses.replace(means.extractor, description={"kind": "test", "image_size": 8})
    for number, other in enumerate((weights, resized), 1):
        FeatureStore(cache).features(open_folder(folder), other)
        assert means.calls == 2 + 2 * number
    hashes = {extractor_sha256(each) for each in (means.extractor, weights, resized)}
    assert len(hashes) == 3


def test_an_edit_of_the_preprocessing_is_computed_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the code that reads, cuts and resizes: kept features would not be those of the code."""
    cache, means = tmp_path / "cache", Means()
    own = code_closure._code_of
    for number, name in enumerate(("networks.py", "inception.py", "sampling.py", "images.py")):
        FeatureStore(cache).features(open_folder(folder), means.extractor)
        assert means.calls == 2 * (number + 1)

        def edited(file: Path, name: str = name) -> str:
            return own(file) + (" + 1" if file.name == name else "")

        monkeypatch.setattr(code_closure, "_code_of", edited)
        code_closure.code_sha256.cache_clear()
    monkeypatch.setattr(code_closure, "_code_of", own)
    code_closure.code_sha256.cache_clear()
    FeatureStore(cache).features(open_folder(folder), means.extractor)
    assert means.calls == 8  # the first code again


@pytest.mark.parametrize("package", ["pillow", "torch", "numpy", "opencv-python-headless"])
def test_another_version_of_a_package_is_computed_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    cache, means = tmp_path / "cache", Means()
    FeatureStore(cache).features(open_folder(folder), means.extractor)
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda n: "0" if n == package else installed(n))
    FeatureStore(cache).features(open_folder(folder), means.extractor)
    assert means.calls == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_cache_file_is_passed_over(folder: Path, damage: str) -> None:
    cache, means = folder.parent / "cache", Means()
    before = FeatureStore(cache).features(open_folder(folder), means.extractor)
    expected = torch.cat(list(before.blocks()))
    (shard,) = cache.rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    damaged = {"cut": content[:100], "flipped": content, "empty": b"", "other": b"{}" * 50}
    shard.write_bytes(damaged[damage])
    (shard.parent / ".x.safetensors.1-2.tmp").write_bytes(b"left by a killed process")
    after = FeatureStore(cache).features(open_folder(folder), means.extractor)
    assert means.calls == 4
    np.testing.assert_array_equal(torch.cat(list(after.blocks())), expected)
    FeatureStore(cache).features(open_folder(folder), means.extractor)
    assert means.calls == 4


def test_equal_images_are_computed_once(tmp_path: Path) -> None:
    views = toy.real_samples(1)["room000"]
    samples = {f"room{i:03d}": views for i in range(20)}
    means = Means()
    found = FeatureStore().features(
        open_folder(toy.write_folder(tmp_path / "same", "x", samples)), means.extractor
    )
    assert (len(found), means.calls) == (160, 1)


def test_features_do_not_depend_on_what_else_is_computed(
    folder: Path, extractors: list[Path], tmp_path: Path
) -> None:
    """One sample alone, and as one of five, through real networks."""
    one = toy.write_folder(tmp_path / "one", "x", {"room003": toy.real_samples(4)["room003"]})
    for extractor in map(load_trained, extractors):
        alone = FeatureStore().features(open_folder(one), extractor).rows(np.arange(8))
        together = FeatureStore().features(open_folder(folder), extractor).rows(np.arange(24, 32))
        torch.testing.assert_close(alone, together, rtol=1e-6, atol=1e-6 * alone.abs().max().item())


def _fill(cache: Path, offset: int, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    shelf = Shards(cache)
    for part in range(20):
        keys = [f"{(offset + 10 * part + i) % 250:064x}" for i in range(10)]
        values = torch.tensor([[float(int(key, 16))] for key in keys])
        shelf.put(keys, {"features": values})


def test_two_processes_fill_one_shelf(tmp_path: Path) -> None:
    barrier = PROCESSES.Barrier(2)
    both = [start(_fill, tmp_path, offset, barrier) for offset in (0, 50)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    keys = [f"{i:064x}" for i in range(250)]
    shelf = Shards(tmp_path)
    assert all(key in shelf for key in keys)
    assert shelf.rows(keys, "features")[:, 0].tolist() == list(range(250))
    assert not list(tmp_path.glob(".*"))


def words_of_score(
    world: Path, extractors: list[Path], output: Path, method: str = "vae_reconstruction"
) -> list[str]:
    words = ["score", "--generated", world / method, "--reference", world / "real"]
    words += [*toy.repeated("--extractor", extractors), "--settings", toy.SCORE_SETTINGS]
    return [*map(str, words), "--cache", str(output.parent / "cache"), "--output", str(output)]


@pytest.mark.long
def test_a_cache_changes_no_number(
    world: Path, extractors: list[Path], scores: Path, tmp_path: Path
) -> None:
    toy.run(*words_of_score(world, extractors, tmp_path / "0.json"))
    files = sorted((tmp_path / "cache").rglob("*.*"))
    assert len(files) == 5  # one per extractor and side, and the prompts
    toy.run(*words_of_score(world, extractors, tmp_path / "1.json"))
    assert sorted((tmp_path / "cache").rglob("*.*")) == files
    expected = (scores / "vae_reconstruction.json").read_bytes()
    assert [(tmp_path / f"{i}.json").read_bytes() for i in range(2)] == [expected] * 2


@pytest.mark.slow
def test_two_methods_at_once_share_a_cache(
    world: Path, extractors: list[Path], scores: Path, tmp_path: Path
) -> None:
    """Two processes that begin with an empty cache; their real views are the same."""
    methods = ("vae_reconstruction", "independent")
    commands = [
        words_of_score(world, extractors, tmp_path / f"{method}.json", method) for method in methods
    ]
    ran = [subprocess.Popen([sys.executable, "-m", "eval", *words]) for words in commands]
    assert [process.wait() for process in ran] == [0, 0]
    for method in methods:
        found = (tmp_path / f"{method}.json").read_bytes()
        assert found == (scores / f"{method}.json").read_bytes()
    assert not list((tmp_path / "cache").rglob(".*"))


def _compute(cache: Path, folder: Path, stops: str) -> None:
    """Compute features, a file per batch; stop for good in the third batch."""
    torch.set_num_threads(1)
    means, write = Means(), mvdiffusion_eval.extractors.shards.atomic_output

    def extract(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = means.extract(images)
        if means.calls == 3 and stops == "computing":
            time.sleep(600)
        return found

    @contextmanager
    def stopping(path: Path) -> Iterator[Path]:
        with write(path) as temporary:
            yield temporary
            if means.calls == 3:  # all is written, and not yet under its name
                time.sleep(600)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mvdiffusion_eval.extractors.store, "SHARD", BATCH)
        patch.setattr(mvdiffusion_eval.extractors.shards, "atomic_output", stopping)
        extractor = dataclasses.replace(means.extractor, extract=extract)
        FeatureStore(cache).features(open_folder(folder), extractor)


def _stopped(cache: Path, stops: str) -> bool:
    files = [path.name for path in cache.rglob("*") if path.is_file()]
    left = [name for name in files if name.startswith(".")]
    return len(files) - len(left) == 2 and (stops == "computing" or len(left) == 1)


@pytest.mark.parametrize("stops", ["computing", "writing"])
def test_a_killed_process_loses_nothing_that_was_written(tmp_path: Path, stops: str) -> None:
    folder = toy.write_folder(tmp_path / "views", "x", toy.real_samples(20))  # five batches
    process = start(_compute, tmp_path / "cache", folder, stops)
    while process.is_alive() and not _stopped(tmp_path / "cache", stops):
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert _stopped(tmp_path / "cache", stops)
    means = Means()
    found = FeatureStore(tmp_path / "cache").features(open_folder(folder), means.extractor)
    assert means.calls == 3
    whole = FeatureStore().features(open_folder(folder), Means().extractor)
    np.testing.assert_array_equal(torch.cat(list(found.blocks())), torch.cat(list(whole.blocks())))


def test_a_cache_that_is_no_folder_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mvdiffusion_eval.cli import main

    (tmp_path / "file").write_text("")
    words = ["score", "--generated", world / "real", "--output", tmp_path / "s.json"]
    with pytest.raises(SystemExit) as end:
        main([*map(str, words), "--cache", str(tmp_path / "file")])
    assert end.value.code == 2
    assert "--cache" in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()


def read_all(folder: Path) -> np.ndarray:
    return np.concatenate([open_folder(folder).views(i) for i in open_folder(folder).sample_ids])


def test_scores_are_those_of_the_features_by_hand(
    world: Path, scores: Path, extractors: list[Path]
) -> None:
    content = json.loads((scores / "independent.json").read_text())
    found = content["metrics"]
    classify, compare = map(load_trained, extractors)
    ours, real = (read_all(world / name) for name in ("independent", "real"))
    preds, target = (toy.features_of(classify, views) for views in (ours, real))
    logits = classify.outputs(ours)["logits"].double()
    groups = torch.arange(8).repeat_interleave(8) % 4
    splits = assign_splits(64, 2, seed=0)
    expected = {
        "fid": frechet_distance(preds, target),
        "kid": kernel_distance(preds, target),
        "inception_score": inception_score(logits, splits),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-5), name
    _, pseudo = jackknife(
        lambda kept: inception_score(
            *(x[torch.from_numpy(np.isin(np.arange(64) // 8, kept))] for x in (logits, splits))
        ),
        8,
        4,
    )
    np.testing.assert_allclose(found["inception_score"]["values"], pseudo, rtol=1e-3)
    assert found["inception_score"]["curvatures"] == [0.0] * 4

    def fid_of(weights: torch.Tensor) -> float:
        return fid.frechet_distance(*(Moments.of([x], [weights[groups]]) for x in (preds, target)))

    for group, value in enumerate(found["fid"]["values"]):
        step = 1e-4 * torch.eye(4, dtype=torch.float64)[group]
        slope = (fid_of(1 + step) - fid_of(1 - step)) / 2e-4
        assert value == pytest.approx(found["fid"]["value"] + 4 * slope, rel=1e-3)
    prompts = [p for i in range(8) for p in open_folder(world / "real").prompts(f"room{i:03d}")]
    pairs = compare.encode_images(torch.from_numpy(ours).permute(0, 3, 1, 2))
    by_hand = clip_score(pairs, compare.encode_texts(prompts)).view(8, 8).mean(1)
    np.testing.assert_allclose(found["clip_score"]["values"], by_hand, rtol=1e-4)
    assert found["cmmd"]["protocol"] == "modern@miniature-clip"
    assert content["protocols"]["modern"]["version"] == 2


def test_the_modern_protocol_is_for_all_tasks(scores: Path) -> None:
    for task in ("panorama", "outpaint", "depth"):
        for method in ("real", "independent"):
            metrics = json.loads((scores.parent / task / f"{method}.json").read_text())["metrics"]
            assert ("kid" in metrics) == ("cmmd" in metrics) == (method != "real")


def test_a_distance_is_that_of_the_features_bit_by_bit(world: Path) -> None:
    folders = [open_folder(world / name) for name in ("independent", "real")]
    inputs = Inputs(*folders, (), ScoreSettings())
    sides = [inputs.store.features(folder, Means().extractor) for folder in folders]
    statistic = frechet_statistic(*sides, np.arange(8) % 4)
    whole = [torch.cat(list(side.blocks())) for side in sides]
    assert statistic(torch.ones(4)).item() == frechet_distance(*whole)
    weights = torch.tensor([1.5, 0.5, 1.0, 2.0], dtype=torch.float64)
    own = weights[torch.arange(64) // 8 % 4]
    expected = fid.frechet_distance(*(Moments.of([rows], [own]) for rows in whole))
    assert statistic(weights).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_the_benchmark_compares_equal_numbers(tmp_path: Path) -> None:
    words = ["--images", "32", "--size", "64", "--network-size", "32", "--repeats", "1"]
    words += ["--rows", "16:64:4", "16:256:4", "24:256:2", "--threads", "1"]
    report = run_benchmark("evaluation.py", tmp_path / "a.json", *words)
    ours, theirs = (report["libraries"]["values"][way] for way in ("ours", "libraries"))
    assert ours["fid"] == pytest.approx(theirs["torchmetrics_fid"], rel=1e-3)
    assert ours["fid"] == pytest.approx(theirs["cleanfid_fid"], rel=1e-3)
    seconds = report["libraries"]["seconds"]
    faster = report["libraries"]["ours_is_faster"]["ours"]
    assert faster == pytest.approx(seconds["libraries"] / seconds["ours"])
    assert set(report["cache"]["seconds"]) == {"first", "one_more", "again", "alone"}
    few, many, wide = report["memory"]
    assert [(row["features"], row["images"], row["groups"]) for row in (few, many, wide)] == [
        (16, 64, 4),
        (16, 256, 4),
        (24, 256, 2),
    ]
    assert many["values"]["fid"] < few["values"]["fid"]
    memory = wide["memory_mib"]
    assert memory["above"] == pytest.approx(memory["peak"] - memory["before"], abs=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
