"""Pretrained networks, through small ones of the same classes and the same code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from PIL import Image

from eval.features import extractor_sha256
from eval.pretrained import (
    clean_resize,
    load_clean_inception,
    load_dinov2,
    load_open_clip,
    load_open_clip_features,
    load_standard,
)
from mvdiffusion.records import InputError

VIEWS = np.concatenate([toy.views_of(seed, seed, 40) for seed in range(3)])


def test_dinov2_gives_its_class_token(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    network = Dinov2Model(config).eval()
    network.save_pretrained(tmp_path)
    extractor = load_dinov2("dinov2-small", str(tmp_path), image_size=28)
    found = extractor.outputs(VIEWS)
    assert list(found) == ["features"]
    resized = [
        [
            np.asarray(Image.fromarray(v[..., c].astype(np.float32)).resize((28, 28), 3))
            for c in range(3)
        ]
        for v in VIEWS
    ]
    pixels = torch.from_numpy(np.stack(resized).clip(0, 255)) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        expected = network(pixels).last_hidden_state[:, 0]
    torch.testing.assert_close(found["features"], expected, rtol=1e-4, atol=1e-5)
    assert not extractor.has_classes


@pytest.fixture
def small_clip(tmp_path: Path) -> tuple[str, Path, torch.nn.Module]:
    import open_clip

    settings = {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 16,
            "head_width": 8,
            "patch_size": 16,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    (tmp_path / "ViT-test.json").write_text(json.dumps(settings))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    network = open_clip.create_model("ViT-test").eval()
    torch.save(network.state_dict(), tmp_path / "clip.pt")
    return "ViT-test", tmp_path / "clip.pt", network


def test_open_clip_serves_similarity_and_features(
    small_clip: tuple[str, Path, torch.nn.Module],
) -> None:
    import open_clip

    model, weights, network = small_clip
    clip = load_open_clip("clip-small", model, str(weights))
    features = load_open_clip_features("clip-features", model, str(weights))
    preprocess = open_clip.image_transform(32, is_train=False)
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.fromarray(view)) for view in VIEWS])
        expected = network.encode_image(pixels)
        prompts = network.encode_text(open_clip.tokenize(["a kitchen", "an attic"]))
    for extractor in (clip, features):
        torch.testing.assert_close(
            extractor.outputs(VIEWS)["features"], expected, rtol=1e-4, atol=1e-5
        )
    found = clip.outputs_of_texts(["a kitchen", "an attic"])
    torch.testing.assert_close(found, prompts, rtol=1e-4, atol=1e-5)
    assert clip.identity.weights_sha256 == features.identity.weights_sha256
    assert extractor_sha256(clip) != extractor_sha256(features)
    assert clip.description["preprocessing"]["size"] in (32, (32, 32))


class _Layers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 2048)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.mean(dim=(2, 3)))


class _Inception(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = _Layers()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_clean_inception_resizes_as_clean_fid_does(tmp_path: Path) -> None:
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    torch.manual_seed(0)
    file = tmp_path / "inception-2015-12-05.pt"
    torch.jit.script(_Inception()).save(str(file))
    extractor = load_clean_inception(file)
    resize = build_resizer("clean")
    pixels = torch.from_numpy(np.stack([resize(view) for view in VIEWS[:3]])).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = InceptionV3W(str(tmp_path), download=False)(pixels)
    torch.testing.assert_close(
        extractor.outputs(VIEWS[:3])["features"], expected, rtol=1e-5, atol=1e-5
    )
    batch = torch.from_numpy(VIEWS[:3]).permute(0, 3, 1, 2)
    torch.testing.assert_close(clean_resize(batch, 299), pixels)


@pytest.mark.parametrize(
    ("name", "file", "place"),
    [
        ("inception-v3-clean", "inception-2015-12-05.pt", "checkpoints"),
        ("clip-vit-b-32", "open_clip_model.safetensors", "vit_base_patch32_clip_224.openai"),
        ("dinov2-vit-l-14", "model.safetensors", "facebook/dinov2-large"),
        ("inception-v3", "weights-inception-2015-12-05-6726825d.pth", "checkpoints"),
        ("clip-vit-l-14-336", "open_clip_model.safetensors", "vit_large_patch14_clip_336.openai"),
    ],
)
def test_missing_weights_are_named_with_their_place(
    name: str, file: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip
    import torchmetrics.image.fid
    from transformers import Dinov2Model

    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torchmetrics.image.fid, "NoTrainInceptionV3", offline)
    monkeypatch.setattr(open_clip, "create_model_and_transforms", offline)
    monkeypatch.setattr(Dinov2Model, "from_pretrained", offline)
    with pytest.raises(InputError, match="no network") as error:
        load_standard(name)
    assert f"extractor '{name}'" in str(error.value)
    assert file in str(error.value)
    assert place in str(error.value)
