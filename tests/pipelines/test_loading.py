"""Damaged model folders are refused in one sentence, never used."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from released_checkpoints import write_base
from safetensors.torch import load_file

from mvdiffusion.generation.settings import GenerationSettings
from mvdiffusion.generation.split import load_pipeline
from mvdiffusion.pipelines import MVDiffusionPanoramaPipeline
from mvdiffusion.pipelines.loading import HASHES, check_files, record_files
from mvdiffusion.records import InputError, folder_sha256
from mvdiffusion.training.diffusion import load_parts

SETTINGS = GenerationSettings(num_inference_steps=1)
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def recorded(model: Path, tmp_path: Path) -> Path:
    """The panorama model as training leaves it: with the hashes of its files."""
    shutil.copytree(model, tmp_path / "model")
    record_files(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of single views, which others may not change."""
    return write_base(tmp_path_factory.mktemp("single"))


def bit(data: bytearray, rng: random.Random) -> bytes:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def noise(data: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    data[start : start + 16] = rng.randbytes(16)
    return bytes(data)


def zero_page(data: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(data)) // 4096 * 4096
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    return bytes(data)


DAMAGES: list[Callable[[bytearray, random.Random], bytes]] = [
    bit,
    bit,
    noise,
    zero_page,
    lambda data, rng: bytes(data[: rng.randrange(len(data))]),
    lambda data, rng: b"",
    lambda data, rng: bytes(data) + rng.randbytes(8),
]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    pipeline = load_pipeline("panorama", folder, SETTINGS)
    modules = {name: getattr(pipeline, name) for name in ("unet", "vae", "text_encoder")}
    return {f"{n}.{k}": v for n, module in modules.items() for k, v in module.state_dict().items()}


def test_300_damages_are_refused_or_harmless(recorded: Path) -> None:
    """One file at a time: refused, or all that is loaded is what was written."""
    rng = random.Random(0)
    files = sorted(path for path in recorded.rglob("*") if path.is_file())
    whole, sentences = weights(recorded), []
    for _ in range(300):
        path = rng.choice(files)
        original = path.read_bytes()
        path.write_bytes(rng.choice(DAMAGES)(bytearray(original), rng))
        try:
            found = weights(recorded)
        except InputError as error:
            sentences.append(str(error))
        else:
            assert path.name == HASHES or path.read_bytes() == original, path
            assert all(torch.equal(found[key], value) for key, value in whole.items())
        path.write_bytes(original)
    assert len(sentences) > 270
    assert all(str(recorded) in text and "\n" not in text for text in sentences)


def test_a_missing_file_and_an_empty_record_are_refused(recorded: Path) -> None:
    for content in ("{}", "[]", '{"files": {}}', '{"files": 1}', ""):
        (recorded / HASHES).write_text(content)
        with pytest.raises(InputError, match=HASHES):
            check_files(recorded)
    record_files(recorded)
    (recorded / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"safetensors: is missing .*; make or copy the model"):
        load_pipeline("panorama", recorded, SETTINGS)


def test_files_that_the_user_adds_are_nothing(recorded: Path) -> None:
    (recorded / "notes.txt").write_text("mine")
    check_files(recorded)


DAMAGED: list[tuple[str, Callable[[Path], Any]]] = [
    (WEIGHTS, lambda path: path.write_bytes(b"")),
    (WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:-100])),
    (WEIGHTS, lambda path: path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])),
    (WEIGHTS, lambda path: path.unlink()),
    ("unet/config.json", lambda path: path.write_text('{"_class_name": "MultiViewUNet"}')),
    ("unet/config.json", lambda path: path.write_text("MultiViewUNet")),
    ("unet/config.json", lambda path: path.unlink()),
    ("vae/config.json", lambda path: path.write_text("{")),
    ("vae/config.json", lambda path: path.write_text('{"block_out_channels": 3}')),
    ("text_encoder/config.json", lambda path: path.write_text("{}")),
    ("text_encoder/model.safetensors", lambda path: path.write_bytes(b"{}")),
    ("scheduler/scheduler_config.json", lambda path: path.write_text("null")),
    ("tokenizer/tokenizer.json", lambda path: path.write_text("{}")),
    ("model_index.json", lambda path: path.write_text("[]")),
    ("model_index.json", lambda path: path.write_bytes(b"\xff\xfe")),
    ("model_index.json", lambda path: path.write_text('{"unet": "x"}')),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
@pytest.mark.parametrize(
    ("made", "load"),
    [("model", lambda folder: load_pipeline("panorama", folder, SETTINGS)), ("single", load_parts)],
    ids=["generation", "training"],
)
def test_a_folder_from_elsewhere_that_cannot_be_read_is_one_sentence(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    made: str,
    load: Callable[[Path], Any],
    name: str,
    damage: Callable[[Path], Any],
) -> None:
    shutil.copytree(request.getfixturevalue(made), tmp_path / "model")
    damage(tmp_path / "model" / name)
    with pytest.raises(InputError) as caught:
        load(tmp_path / "model")
    assert str(caught.value).startswith(str(tmp_path / "model"))
    assert "\n" not in str(caught.value)


def test_training_does_not_start_from_half_an_sdxl(single: Path, tmp_path: Path) -> None:
    """Its second text encoder would be left out, and the UNet fail in the middle of a step."""
    folder = tmp_path / "model"
    shutil.copytree(single, folder)
    shutil.copytree(folder / "text_encoder", folder / "text_encoder_2")
    content = json.loads((folder / "model_index.json").read_text())
    content["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
    (folder / "model_index.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"SDXL or its UNet alone \(2; addition"):
        load_parts(folder)


def test_pickled_weights_are_refused_with_the_way_out(model: Path, tmp_path: Path) -> None:
    """diffusers reads them where there are no others, with a warning."""
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    torch.save(load_file(folder / WEIGHTS), folder / "unet/diffusion_pytorch_model.bin")
    load_pipeline("panorama", folder, SETTINGS)  # beside safetensors they are not read
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"unet: has pickled weights \(.bin\).* Get the model in"):
        load_pipeline("panorama", folder, SETTINGS)
    with pytest.raises(InputError, match="pickled weights"):
        MVDiffusionPanoramaPipeline.from_pretrained(folder)


def test_a_model_of_single_views_is_named_with_what_loads_it(
    single: Path,
) -> None:
    with pytest.raises(InputError, match=r"MVDiffusionPanoramaPipeline\.from_single_view"):
        MVDiffusionPanoramaPipeline.from_pretrained(single)


def test_what_is_saved_does_not_tell_whether_there_was_a_network(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes of models, which are in every manifest, are the same online and offline."""
    saved = []
    for offline in (False, True):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        load_parts(single).save_pretrained(tmp_path / str(offline))
        saved.append(folder_sha256(tmp_path / str(offline)))
    assert saved[0] == saved[1]
