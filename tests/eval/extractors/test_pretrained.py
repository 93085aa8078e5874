"""Pretrained networks, through small ones of the same classes and the same code."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from torchvision import transforms

from mvdiffusion import efficientnet_lite
from mvdiffusion.records import InputError
from mvdiffusion_eval.extractors.base import extractor_sha256
from mvdiffusion_eval.extractors.lpips import NETWORKS, load_lpips
from mvdiffusion_eval.extractors.pretrained import (
    STANDARD_EXTRACTORS,
    clean_resize,
    load_clean_inception,
    load_dinov2,
    load_extractor,
    load_open_clip,
    load_open_clip_features,
)
from mvdiffusion_eval.extractors.style import EFFICIENTNET_STYLE, VGG_STYLE
from mvdiffusion_eval.extractors.weights import Weights, checkpoints, known_weights

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
    as_dgm_eval = transforms.Compose(
        [
            transforms.Resize((28, 28), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    pixels = torch.stack([as_dgm_eval(Image.fromarray(view)) for view in VIEWS])
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
    import huggingface_hub

    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(InputError, match="no network") as error:
        load_extractor(name)
    assert f"extractor '{name}'" in str(error.value)
    assert file in str(error.value)
    assert place in str(error.value)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_every_pretrained_file_has_a_hash() -> None:
    """The table's files are the ones that the libraries load, by their own names and addresses."""
    import open_clip
    import torchvision
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    packaged = {efficientnet_lite.NAME, EFFICIENTNET_STYLE}  # an optional package
    own = {"brisque", "niqe"}  # files of this one
    # Nobody knows the hash of the weights of Places365.
    downloaded = set(STANDARD_EXTRACTORS) - packaged - own - {"places365-resnet50"}
    assert known_weights()["places365-resnet50"].sha256 == ""
    for name in (*downloaded, *(f"lpips-{network}" for network in NETWORKS)):
        known = known_weights()[name]
        assert known is not None, name
        assert re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", known.sha256), name
        assert bool(known.url) != bool(known.repository), name
        assert known.url.endswith(known.file) or not known.url, name
        if digits := re.search(r"-([0-9a-f]{8,})\.pth$", known.file):  # PyTorch's convention
            assert known.sha256.startswith(digits[1]), name
    inception = known_weights()["inception-v3"]
    assert inception is not None
    assert inception.url == URL_INCEPTION_V3
    for name, model in (("clip-vit-b-32", "ViT-B-32"), ("clip-vit-l-14-336", "ViT-L-14-336")):
        theirs = open_clip.get_pretrained_cfg(f"{model}-quickgelu", "openai")["hf_hub"].strip("/")
        assert known_weights()[name].repository == theirs
    for network, weights in (("alex", "AlexNet"), ("vgg", "VGG16"), ("squeeze", "SqueezeNet1_1")):
        url = getattr(torchvision.models, f"{weights}_Weights").DEFAULT.url
        assert known_weights()[f"lpips-{network}"].url == url
    assert known_weights()[VGG_STYLE].url == torchvision.models.VGG19_Weights.DEFAULT.url


@pytest.mark.parametrize("digits", [64, 8])
def test_a_file_is_the_one_it_is_taken_for(tmp_path: Path, digits: int) -> None:
    known = Weights("w.pth", sha256(b"right")[:digits], "", url="https://nowhere/w.pth", bytes=5)
    file = tmp_path / "w.pth"
    file.write_bytes(b"right")
    known.check(file)
    file.write_bytes(b"wrong!")
    with pytest.raises(InputError, match=r"w\.pth: found 6 bytes with .* delete it and") as error:
        known.check(file)
    message = str(error.value)
    assert sha256(b"wrong!") in message
    assert known.sha256 in message
    assert "of 5 bytes" in message
    assert ("first digits" in message) == (digits == 8)


def test_a_fetched_file_is_checked_and_a_wrong_one_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through PyTorch's own download, from a file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    remote = tmp_path / "w.pth"
    remote.write_bytes(b"right")
    known = Weights("w.pth", sha256(b"right"), "", url=remote.as_uri())
    path = known.fetch()
    assert path.read_bytes() == b"right"
    remote.unlink()
    assert known.fetch() == path  # there already
    path.unlink()
    remote.write_bytes(b"cut")
    with pytest.raises(RuntimeError, match="invalid hash value"):
        known.fetch()
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    "name", ["inception-v3", "inception-v3-clean", "lpips-alex", "lpips-vgg", "lpips-squeeze"]
)
def test_changed_weights_of_pytorch_hub_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    known = known_weights()[name]
    assert known is not None
    checkpoints().mkdir(parents=True)
    (checkpoints() / known.file).write_bytes(b"something else")
    with pytest.raises(InputError, match="found 14 bytes with the SHA-256") as error:
        load_lpips(name.removeprefix("lpips-")) if "lpips" in name else load_extractor(name)
    assert str(checkpoints() / known.file) in str(error.value)
    assert known.sha256 in str(error.value)
    assert "delete it" in str(error.value)


@pytest.mark.parametrize("name", ["clip-vit-b-32", "clip-vit-l-14", "dinov2-vit-l-14"])
def test_changed_weights_of_hugging_face_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the hub's own cache, laid out as the hub lays it out."""
    import huggingface_hub

    known = known_weights()[name]
    assert known is not None
    root = tmp_path / f"models--{known.repository.replace('/', '--')}"
    file = root / "snapshots" / ("0" * 40) / known.file
    for path, content in ((file, "something else"), (root / "refs" / "main", "0" * 40)):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    download = huggingface_hub.hf_hub_download
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda *a: download(*a, cache_dir=tmp_path, local_files_only=True),
    )
    with pytest.raises(InputError, match="found 14 bytes with the SHA-256") as error:
        load_extractor(name)
    assert str(file) in str(error.value)
    assert known.sha256 in str(error.value)


def test_weights_of_ones_own_are_taken_as_they_are(
    small_clip: tuple[str, Path, torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr("mvdiffusion_eval.extractors.weights.fetch_known", refuse)
    model, weights, _ = small_clip
    found = load_open_clip("clip-vit-b-32", model, str(weights))
    assert len(found.identity.weights_sha256) == 64
