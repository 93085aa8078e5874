"""Training of the miniature's extractors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import toy
from torch.nn.functional import cross_entropy

from mvdiffusion.records import InputError, sha256_file
from mvdiffusion_eval.extractors.train import (
    ClassifierSettings,
    contrastive_loss,
    label_of,
    train_extractor,
)
from mvdiffusion_eval.folders.opening import open_folder


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = {f"room{i:03d}": toy.views_of(3000 + i, i % 3) for i in range(24)}
    return toy.write_folder(tmp_path_factory.mktemp("rooms") / "rooms", "real", samples)


def settings(**changes: object) -> ClassifierSettings:
    common = {"classes": toy.KINDS, "channels": (8, 16), "image_size": toy.SIZE, "epochs": 1}
    return ClassifierSettings(**{**common, "batch_size": 24, "held_out": 0.25, **changes})


def test_equal_seeds_give_equal_weights(rooms: Path, tmp_path: Path) -> None:
    folder = open_folder(rooms)
    records = [
        train_extractor(folder, settings(seed=seed), tmp_path / name)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    hashes = [record["weights_sha256"] for record in records]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0] == sha256_file(tmp_path / "a" / "weights.safetensors")
    written = json.loads((tmp_path / "a" / "extractor.json").read_text())
    assert written == json.loads(json.dumps(records[0]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("capability", "dtype"), [("AVX512", torch.bfloat16), ("AVX2", torch.float32)]
)
def test_training_computes_in_the_precision_that_is_fast(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: str, dtype: object
) -> None:
    seen = set()

    def loss(logits: torch.Tensor, labels: torch.Tensor, **options: float) -> torch.Tensor:
        seen.add(torch.mm(torch.eye(2), torch.eye(2)).dtype)  # as autocast says
        return cross_entropy(logits, labels, **options)

    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    monkeypatch.setattr("mvdiffusion_eval.extractors.train.cross_entropy", loss)
    train_extractor(open_folder(rooms), settings(), tmp_path / "c")
    assert seen == {dtype}


def test_a_trained_extractor_is_kept(rooms: Path, tmp_path: Path) -> None:
    folder, output = open_folder(rooms), tmp_path / "c"
    first = train_extractor(folder, settings(), output)
    weights = (output / "weights.safetensors").read_bytes()
    assert train_extractor(folder, settings(), output) == json.loads(json.dumps(first))
    time = (output / "weights.safetensors").stat().st_mtime_ns
    (output / "extractor.json").unlink()  # by Snakemake, which has not seen its job's end
    assert train_extractor(folder, settings(), output) == json.loads(json.dumps(first))
    assert (output / "weights.safetensors").stat().st_mtime_ns == time
    with pytest.raises(InputError, match=r"c: was made with other settings \(settings\.seed\)"):
        train_extractor(folder, settings(seed=1), output)
    assert (output / "weights.safetensors").read_bytes() == weights
    train_extractor(folder, settings(seed=1), output, overwrite=True)
    assert (output / "weights.safetensors").read_bytes() != weights
    assert (tmp_path / "c.old/weights.safetensors").read_bytes() == weights


def test_the_classifier_learns_what_the_prompts_name(rooms: Path, tmp_path: Path) -> None:
    chosen = settings(epochs=12, channels=(16, 32), learning_rate=5e-3)
    record = train_extractor(open_folder(rooms), chosen, tmp_path / "c")
    assert record["validation"]["accuracy"] > 0.6
    assert record["validation"]["accuracy_of_commonest_class"] == pytest.approx(1 / 3)


def test_labels_are_whole_phrases() -> None:
    kinds = ("living room", "bath", "bathroom")
    assert label_of("A bathroom with a blue wall", kinds) == 2
    for prompt in ("An attic.", "A bath in a living room."):
        with pytest.raises(InputError, match="expected exactly one"):
            label_of(prompt, kinds)


def test_too_few_samples_are_refused(rooms: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give more samples"):
        train_extractor(open_folder(rooms), settings(held_out=0.01), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_contrastive_loss_is_the_usual_one_for_different_captions() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    own = torch.arange(5)
    usual = torch.nn.functional.cross_entropy
    expected = (usual(logits, own) + usual(logits.T, own)) / 2
    torch.testing.assert_close(contrastive_loss(logits, own), expected)


def test_contrastive_loss_rewards_every_image_of_a_caption() -> None:
    """Equal captions are positives: pushing them apart must cost more than treating them alike."""
    captions = torch.tensor([0, 0, 1])
    alike = torch.tensor([[9.0, 9, 0], [9, 9, 0], [0, 0, 9]])
    apart = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]])
    assert contrastive_loss(alike, captions) < contrastive_loss(apart, captions)
