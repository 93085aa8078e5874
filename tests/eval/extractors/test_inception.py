"""Inception-v3: its resizes against torch-fidelity's and written-out formulas, its layers too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3 as theirs
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from mvdiffusion_eval.extractors.inception import (
    RESIZES,
    antialiased_bilinear,
    load_inception,
    tf1_bilinear,
)
from mvdiffusion_eval.extractors.weights import known_weights

SIZES = [(512, 512), (64, 32), (300, 299), (299, 299), (100, 700), (192, 256)]


def noise(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height + width)
    return torch.randint(256, (2, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tf1_bilinear_is_torch_fidelitys(height: int, width: int) -> None:
    images = noise(height, width)
    expected = interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    assert torch.equal(tf1_bilinear(images, 299), expected)


@pytest.mark.parametrize(("height", "width"), [(37, 50), (9, 5)])
def test_tf1_bilinear_is_its_formula(height: int, width: int) -> None:
    image = noise(height, width)[0, 0].double().numpy()
    expected = np.empty((20, 20))
    for i in range(20):
        for j in range(20):
            y, x = i * height / 20, j * width / 20
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            dy, dx = y - top, x - left
            above = (1 - dx) * image[top, left] + dx * image[top, right]
            below = (1 - dx) * image[bottom, left] + dx * image[bottom, right]
            expected[i, j] = (1 - dy) * above + dy * below
    found = tf1_bilinear(noise(height, width)[:1], 20)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_antialiased_resize_is_pillows() -> None:
    image = noise(512, 400)[0, 0]
    expected = np.asarray(
        Image.fromarray(image.float().numpy()).resize((299, 299), Image.Resampling.BILINEAR)
    )
    found = antialiased_bilinear(image[None, None], 299)[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> theirs.FeatureExtractorInceptionV3:
    """Torch-fidelity's network with random weights, which the loader then gets."""
    torch.manual_seed(0)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *a, **k: {})
    kind = theirs.FeatureExtractorInceptionV3
    with monkeypatch.context() as patch:
        patch.setattr(kind, "load_state_dict", lambda self, state: None)
        made = kind("inception-v3-compat", ["2048", "logits_unbiased"])
    state = made.state_dict()
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *a, **k: state)
    monkeypatch.setattr("mvdiffusion_eval.extractors.weights.fetch_known", lambda name: None)
    return made


def test_features_and_logits_are_torch_fidelitys(
    network: theirs.FeatureExtractorInceptionV3,
) -> None:
    """On images that must be resized, whatever torchmetrics is installed; and not antialiased."""
    images = noise(330, 420)
    extractor, other = (load_inception(name) for name in RESIZES)
    with torch.no_grad():
        found, expected = extractor.extract(images), network(images)
        softer = other.extract(images)
    for ours, reference, changed in zip(found, expected, softer, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(changed, reference, rtol=1e-3)
    assert found[0].shape == (2, 2048)
    assert found[1].shape == (2, 1008)
    assert (extractor.description["resize"], other.description["resize"]) == (
        "tf1-bilinear",
        "antialiased-bilinear",
    )
    assert extractor.identity.weights_sha256 == other.identity.weights_sha256
    assert set(extractor.description["packages"]) == {"torch-fidelity"}


def test_both_resizes_use_one_file() -> None:
    one, other = (known_weights()[name] for name in RESIZES)
    assert one == other


def test_no_number_depends_on_the_installed_torchmetrics() -> None:
    """Its Inception changed its resize in a minor version; only LPIPS is still built by it."""
    import mvdiffusion_eval

    root = Path(str(mvdiffusion_eval.__file__)).parent
    using = {p.name for p in root.rglob("*.py") if "from torchmetrics" in p.read_text()}
    assert using == {"lpips.py"}
