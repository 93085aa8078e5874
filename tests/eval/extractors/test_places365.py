"""ResNet-50 of Places365: its preprocessing, its layers, and the file that a user vouches for."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import toy
from PIL import Image
from torchvision import transforms

from mvdiffusion.records import InputError
from mvdiffusion_eval.extractors.places365 import load_places365
from mvdiffusion_eval.extractors.pretrained import load_extractor
from mvdiffusion_eval.extractors.weights import MissingWeights, checkpoints

VIEWS = np.concatenate([toy.views_of(seed, seed, 40) for seed in range(2)])[:5]


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A small relative with random weights, saved as CSAIL saves it, where PyTorch keeps files."""
    small = torchvision.models.resnet18
    monkeypatch.setattr(torchvision.models, "resnet50", small)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    made = small(num_classes=365).eval()
    state = {f"module.{key}": value for key, value in made.state_dict().items()}
    checkpoints().mkdir(parents=True)
    torch.save({"epoch": 90, "arch": "resnet50", "state_dict": state}, file())
    return made


def file() -> Path:
    return checkpoints() / "resnet50_places365.pth.tar"


def vouch(digest: str = "") -> None:
    digest = digest or hashlib.sha256(file().read_bytes()).hexdigest()
    file().with_name(f"{file().name}.sha256").write_text(f"{digest}  {file().name}\n")


def test_it_sees_the_middle_of_256_pixels_as_csails_demo(network: torch.nn.Module) -> None:
    vouch()
    demo = transforms.Compose(
        [
            transforms.Resize((256, 256)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    pixels = torch.stack([demo(Image.fromarray(view)) for view in VIEWS])
    with torch.inference_mode():
        logits = network(pixels)
    extractor = load_extractor("places365-resnet50")
    found = extractor.outputs(VIEWS)
    torch.testing.assert_close(found["logits"], logits, rtol=1e-4, atol=1e-4)
    assert found["features"].shape == (5, 512)
    assert len(extractor.identity.weights_sha256) == 64


def test_a_file_of_unknown_hash_is_used_only_if_somebody_vouches_for_it(
    network: torch.nn.Module,
) -> None:
    with pytest.raises(MissingWeights, match=r"no SHA-256 of this file is known.*sha256sum"):
        load_extractor("places365-resnet50")
    vouch("0" * 64)
    with pytest.raises(InputError, match=r"found the SHA-256 [0-9a-f]{64}; expected 0000"):
        load_extractor("places365-resnet50")
    assert load_places365(file()).has_classes  # one's own is taken as it is
    file().unlink()
    with pytest.raises(MissingWeights, match=r"download it from http://places2\.csail\.mit\.edu"):
        load_extractor("places365-resnet50")


class Harmful:
    def __reduce__(self) -> tuple:
        return exec, ("raise RuntimeError('code ran')",)


@pytest.mark.parametrize(
    "content", [{"epoch": 1}, {"state_dict": {"module.fc.weight": torch.zeros(2)}}, [1], None]
)
def test_other_content_is_refused(network: torch.nn.Module, content: object) -> None:
    if content is None:
        file().write_bytes(pickle.dumps({"state_dict": Harmful()}, protocol=2))
    else:
        torch.save(content, file())
    vouch()
    with pytest.raises(InputError, match="could not be read as the ResNet-50 of Places365") as e:
        load_extractor("places365-resnet50")
    assert "code ran" not in str(e.value)
