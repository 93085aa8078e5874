"""Captions by a tiny BLIP-2 of random weights, against transformers called image by image."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from noise_data import write_rooms, write_scene
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_blip2 import write_blip2
from torch import Tensor
from transformers import AutoProcessor, Blip2ForConditionalGeneration
from typer.testing import CliRunner

from mvdiffusion.cli import app
from mvdiffusion.data.matterport3d import Matterport3DPanoramas
from mvdiffusion.data.scannet import ScanNetScene
from mvdiffusion.preparation import captions
from mvdiffusion.preparation.captions import CaptionSettings, caption_split
from mvdiffusion.records import InputError

DEGREES = range(0, 360, 45)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return write_blip2(tmp_path_factory.mktemp("blip2") / "tiny")


@pytest.fixture
def rooms(tmp_path) -> Path:
    """Two rooms without captions."""
    root = tmp_path / "prepared"
    write_rooms(root, "train", ["a", "b"], seed=1)
    for folder in root.glob("*/blip3"):
        shutil.rmtree(folder)
    return root


@pytest.fixture
def walks(tmp_path) -> Path:
    """Two scenes without captions."""
    root = tmp_path / "prepared"
    for seed in range(2):
        write_scene(root / "test" / f"s{seed}", keys=[0, 2, 5], frames=6, seed=seed)
        shutil.rmtree(root / "test" / f"s{seed}" / "prompt")
    return root


def settings(model: Path | str, **options) -> CaptionSettings:
    values = {"dtype": "float32", "num_beams": 2, "max_new_tokens": 6, "image_size": 16}
    return CaptionSettings(str(model), **{**values, "device": "cpu", "batch_size": 5, **options})


def text_of(root: Path, name: str, degrees: int) -> str:
    return (root / name / "blip3" / f"{name}_{degrees}.txt").read_text()


def all_texts(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(root.glob("*/blip3/*.txt"))}


def as_png(image: Tensor) -> Image.Image:
    """What a viewer of the exported image sees."""
    file = io.BytesIO()
    pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "PNG")
    return Image.open(file).convert("RGB")


def direct_captions(folder: Path, images: list[Tensor]) -> list[str]:
    """Caption images [3, H, W] one at a time, as transformers' documentation shows."""
    processor = AutoProcessor.from_pretrained(folder)
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    options = {"max_new_tokens": 6, "min_new_tokens": 1, "num_beams": 2, "do_sample": False}
    texts = []
    for image in images:
        inputs = processor(images=as_png(image), return_tensors="pt")
        tokens = model.generate(**inputs, **options)
        texts.append(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
    return texts


def command(task: str, data: Path, split: str, values: dict, *options: str) -> str:
    arguments = ["--task", task, "--data", str(data), "--split", split, *options]
    found = CliRunner().invoke(
        app, ["data", "caption", *arguments, "--settings", json.dumps(values)]
    )
    if found.exception:
        raise found.exception
    return found.output


def test_panoramas_get_the_captions_that_transformers_gives(rooms, model):
    values = {"model": str(model), "dtype": "float32", "num_beams": 2, "max_new_tokens": 6}
    values |= {"image_size": 16, "device": "cpu", "batch_size": 5}
    output = command("panorama", rooms, "train", values, "--workers", "1")
    assert "16 captions made, 0 of 16 left" in output
    panoramas = Matterport3DPanoramas(rooms, "train", image_size=16, prompt_prefix="")
    for index, name in enumerate("ab"):
        sample = panoramas.load(index)
        expected = direct_captions(model, list(sample.views))
        assert len(set(expected)) > 4  # they say something of the images
        assert sample.prompts == expected
        assert [text_of(rooms, name, d) for d in DEGREES] == [f"{text}\n" for text in expected]


@pytest.mark.parametrize(("frames", "expected"), [("valid", [*range(6)]), ("key", [0, 2, 5])])
def test_frames_get_the_captions_that_transformers_gives(walks, model, frames, expected):
    counts = caption_split("depth", walks, "test", settings(model, frames=frames))
    assert counts == {"made": 2 * len(expected), "left": 0, "all": 2 * len(expected)}
    for name in ("s0", "s1"):
        folder = walks / "test" / name
        assert sorted(int(path.stem) for path in (folder / "prompt").iterdir()) == expected
        sample = ScanNetScene(folder, 12, 16, prompt_prefix="").load(expected)
        assert sample.prompts == direct_captions(model, list(sample.views))


def test_record_says_what_was_made_and_how(rooms, model):
    caption_split("panorama", rooms, "train", settings(model))
    record = json.loads((rooms / "captions_train.json").read_text())
    lines = sorted(
        f"{path.relative_to(rooms).as_posix()}\0{path.read_text()}"
        for path in rooms.glob("*/blip3/*.txt")
    )
    assert record["sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert (record["format"], record["split"], record["count"]) == (1, "train", 16)
    assert record["model"]["name"] == "tiny"
    assert len(record["model"]["sha256"]) == 64
    assert record["settings"] == {
        "dtype": "float32", "num_beams": 2, "max_new_tokens": 6, "image_size": 16,
        "prompt": "", "frames": "valid",
    }  # fmt: skip
    beside = json.loads((rooms.parent / "prepared_captions_train_provenance.json").read_text())
    assert beside["settings"] == record["settings"]
    assert beside["model"] == record["model"]
    assert "torch" in beside["provenance"]["packages"]


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3, "prompt": "a photo of"}])
def test_batches_and_workers_change_nothing(rooms, model, tmp_path, options):
    records = []
    for number, (batch_size, workers) in enumerate([(1, 0), (7, 2), (32, 0)]):
        copy = tmp_path / str(number) / "prepared"
        shutil.copytree(rooms, copy)
        values = settings(model, batch_size=batch_size, **options)
        caption_split("panorama", copy, "train", values, workers=workers)
        records.append(((copy / "captions_train.json").read_bytes(), all_texts(copy)))
    assert records[0] == records[1] == records[2]


def test_caption_goes_on_from_the_prompt_and_leaves_it_out(rooms, model):
    caption_split("panorama", rooms, "train", settings(model, prompt="a photo of"))
    processor = AutoProcessor.from_pretrained(model)
    blip2 = Blip2ForConditionalGeneration.from_pretrained(model).eval()
    panoramas = Matterport3DPanoramas(rooms, "train", image_size=16)
    for view, degrees in zip(panoramas.load(1).views, DEGREES, strict=True):
        image = processor(images=as_png(view), return_tensors="pt")["pixel_values"]
        # Three places of the image, the beginning of a text, and the words, by hand.
        words = processor.tokenizer.convert_tokens_to_ids(
            ["<image>"] * 3 + ["</s>", "a", "photo", "of"]
        )
        with torch.no_grad():
            tokens = blip2.generate(
                image, torch.tensor([words]), max_new_tokens=6, num_beams=2, min_new_tokens=1
            )[0]
        expected = processor.tokenizer.decode(tokens[len(words) :], skip_special_tokens=True)
        assert text_of(rooms, "b", degrees) == f"{expected}\n"


def test_killed_run_goes_on_where_it_was(rooms, model, monkeypatch):
    counted: list[int] = []
    call = captions.Captioner.__call__

    def die_at_third(self, pixels):
        if len(counted) == 2:
            raise KeyboardInterrupt
        counted.append(len(pixels))
        return call(self, pixels)

    monkeypatch.setattr(captions.Captioner, "__call__", die_at_third)
    with pytest.raises(KeyboardInterrupt):
        caption_split("panorama", rooms, "train", settings(model))
    assert not (rooms / "captions_train.json").exists()
    first = all_texts(rooms)
    assert len(first) == 10
    counted.clear()
    monkeypatch.setattr(captions.Captioner, "__call__", call)
    counts = caption_split("panorama", rooms, "train", settings(model, batch_size=4))
    assert counts == {"made": 6, "left": 0, "all": 16}
    assert first.items() <= all_texts(rooms).items()
    assert not [path for path in rooms.rglob("*") if path.name.endswith(".tmp")]

    resumed = (rooms / "captions_train.json").read_bytes()
    for folder in rooms.glob("*/blip3"):
        shutil.rmtree(folder)
    caption_split("panorama", rooms, "train", settings(model))
    assert (rooms / "captions_train.json").read_bytes() == resumed


def test_limit_stops_early_and_leaves_no_record(rooms, model):
    found = [
        caption_split("panorama", rooms, "train", settings(model), limit) for limit in (3, 9, 0)
    ]
    assert [counts["made"] for counts in found] == [3, 9, 0]
    assert [counts["left"] for counts in found] == [13, 4, 4]
    assert len(all_texts(rooms)) == 12
    assert not (rooms / "captions_train.json").exists()
    caption_split("panorama", rooms, "train", settings(model), 4)
    assert (rooms / "captions_train.json").exists()


def test_captions_that_are_there_are_kept(rooms, model):
    authors = rooms / "a" / "blip3" / "a_90.txt"
    authors.parent.mkdir()
    authors.write_text("by the authors\nsecond line")
    (authors.parent / "a_45.txt").write_text("")  # not finished
    counts = caption_split("panorama", rooms, "train", settings(model))
    assert counts["made"] == 15
    assert authors.read_text() == "by the authors\nsecond line"
    assert text_of(rooms, "a", 45).strip()


def test_model_is_not_read_when_nothing_is_missing(tmp_path):
    write_rooms(tmp_path / "prepared", "train", ["a"], seed=1)
    counts = caption_split("panorama", tmp_path / "prepared", "train", settings("/nowhere"))
    assert counts == {"made": 0, "left": 0, "all": 8}
    record = json.loads((tmp_path / "prepared" / "captions_train.json").read_text())
    assert (record["model"], record["settings"], record["count"]) == (None, None, 8)


def test_record_survives_a_run_that_makes_nothing(rooms, model):
    caption_split("panorama", rooms, "train", settings(model))
    record = (rooms / "captions_train.json").read_bytes()
    (rooms / "captions_train.json").unlink()
    caption_split("panorama", rooms, "train", settings("/nowhere", prompt="other"))
    assert (rooms / "captions_train.json").read_bytes() == record


def test_captions_of_two_kinds_are_not_mixed(rooms, model, tmp_path):
    caption_split("panorama", rooms, "train", settings(model), limit=3)
    with pytest.raises(InputError, match=r"begun with settings num_beams = 2, not 3; continue"):
        caption_split("panorama", rooms, "train", settings(model, num_beams=3))
    other = write_blip2(tmp_path / "tiny", seed=4)
    with pytest.raises(InputError, match=r"begun with model sha256 = '[0-9a-f]+', not '"):
        caption_split("panorama", rooms, "train", settings(other))
    assert len(all_texts(rooms)) == 3


def test_silence_is_no_caption(rooms, tmp_path):
    silent = write_blip2(tmp_path / "silent", seed=9)
    with pytest.raises(
        InputError, match=r"\.txt: the model returned an empty caption for .* \(\d+ such images\)"
    ):
        caption_split("panorama", rooms, "train", settings(silent, image_size=16))
    assert 0 < len(all_texts(rooms)) < 16
    assert all(text.strip() for text in all_texts(rooms).values())
    assert not (rooms / "captions_train.json").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_image_is_named_in_one_line(rooms, model, workers):
    face = rooms / "b" / "matterport_skybox_images" / "b_skybox2_sami.jpg"
    face.write_bytes(face.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"b_skybox2_sami\.jpg: not a readable image") as caught:
        caption_split("panorama", rooms, "train", settings(model), workers=workers)
    assert "\n" not in str(caught.value)


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("language_projection.bias")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def with_pickle_only(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def of_another_type(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "opt"}))


def without_image_token(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_token_index": None}))


def cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


SPOILED = [
    (without_a_weight, r"lacks 1 weights, such as language_projection\.bias"),
    (with_pickle_only, "could not be read"),
    (of_another_type, "is of type 'opt'; expected a BLIP-2"),
    (without_image_token, "no tokens for the image"),
    (cut_off, "could not be read"),
    (lambda folder: (folder / "config.json").unlink(), "could not be read"),
    (shutil.rmtree, "could not be read"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_models_that_cannot_be_used_are_refused(rooms, model, tmp_path, spoil, message):
    folder = shutil.copytree(model, tmp_path / "copy")
    spoil(folder)
    with pytest.raises(InputError, match=rf"model: '{folder}' .*{message}|{message}") as caught:
        caption_split("panorama", rooms, "train", settings(folder))
    assert "\n" not in str(caught.value)
    assert all_texts(rooms) == {}


def test_model_that_cannot_be_fetched_says_how_to_get_it(rooms):
    message = "'Salesforce/blip2-opt-2.7b' could not be read .*`hf download ID`"
    with pytest.raises(InputError, match=message):
        caption_split("panorama", rooms, "train", CaptionSettings(device="cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_cuda_is_said(rooms, model):
    with pytest.raises(InputError, match=r"'device' is 'cuda'; expected .* PyTorch finds no GPU"):
        caption_split("panorama", rooms, "train", settings(model, device="cuda"))


def test_settings_out_of_range_are_named():
    with pytest.raises(
        InputError, match="setting 'num_beams' is 0; expected a whole number, at least 1"
    ):
        CaptionSettings(num_beams=0)
