"""The release of a base: weights in half precision, and a card that says where they are from."""

import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from tiny_release import ROOMS, release
from tiny_training import BASE_PARTS, VAE_MODEL, places, settings
from transformers import CLIPTextConfig, CLIPTextModel
from typer.testing import CliRunner

import mvdiffusion.release.base
from mvdiffusion.cli import app
from mvdiffusion.models.patch_autoencoder import PatchAutoencoder
from mvdiffusion.outputs import RECORD
from mvdiffusion.pipelines.loading import check_files, load_single_view
from mvdiffusion.records import InputError, folder_sha256, read_json
from mvdiffusion.release.base import LARGEST, Origin
from mvdiffusion.release.model_card import write_card
from mvdiffusion.release.trainings import Training
from mvdiffusion.training.base import _build_unet
from mvdiffusion.training.stage1 import train_inpainting, train_stage1
from mvdiffusion.training.vae import train_decoder

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def released(origin: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("release") / "base"
    words = [w for k, v in origin.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    done = CliRunner().invoke(app, ["release-base", *words, "--output", str(output)])
    assert done.exit_code == 0, done.output
    return output


def test_weights_are_the_trained_ones_in_half_precision(released: Path, base_folder: Path) -> None:
    trained = sorted(base_folder.rglob("*.safetensors"))
    assert len(trained) == 3
    for path in trained:
        half = load_file(released / path.relative_to(base_folder))
        whole = load_file(path)
        assert half.keys() == whole.keys()
        assert all(torch.equal(half[name], whole[name].half()) for name in whole)
    check_files(released)
    hashed = {*read_json(released / "sha256.json")["files"]}
    assert {"README.md", "unet/config.json", "tokenizer/tokenizer.json"} <= hashed
    places = [path for path in released.rglob("*.json") if str(base_folder) in path.read_text()]
    assert places == []
    pipeline = load_single_view(released)
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype} == {torch.float32}


def test_the_card_tells_all_that_made_the_weights(
    released: Path, origin: dict[str, Path], base_folder: Path
) -> None:
    card = (released / "README.md").read_text()
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1])
    assert recipe["rooms"] == ROOMS
    assert recipe["seed"] == 5
    assert recipe["vae"]["model"] == VAE_MODEL
    assert {key: recipe["diffusion"][key] for key in BASE_PARTS} == BASE_PARTS
    assert recipe["diffusion"]["training"]["steps"] == 3
    measured = read_json(origin["vae"] / "training.json")["psnr_db"]
    assert f"| VAE | `psnr_db` | {measured:.4g} |" in card
    for log in ("vae_log", "base_log"):
        (sitting,) = map(json.loads, (origin[log] / "sittings.jsonl").read_text().splitlines())
        assert f"| {sitting['started'][:16]} | 0–3 | 0.00 | {sitting['cpu']}, 1 of " in card
        assert sitting["git_commit"] is None or f"`{sitting['git_commit'][:12]}`" in card
    assert f"torch {version('torch')}" in card
    assert folder_sha256(origin["rooms"], "**/[!.]*") in card
    assert read_json(base_folder / RECORD)["code"] in card
    assert "| f8, 12&#124;16 channels | 27.5 |" in card
    unet = sum(t.numel() for t in load_file(next(base_folder.glob("unet/*.safetensors"))).values())
    assert f"| unet | {unet:,} |" in card
    for name in re.findall(r"!\[.*?\]\((.*?)\)", card):
        with Image.open(released / name) as picture:
            assert picture.width > 100
    assert "license: mit" in card


def test_what_base_yaml_trains_will_fit_the_repository() -> None:
    """Told before the hours of its training, not after; some tokens more than captions need."""
    config = yaml.safe_load((ROOT / "workflow/config/base.yaml").read_text())["base"]
    options, tokens = config["diffusion"], config["diffusion"]["tokenizer"]["model_max_length"]
    with torch.device("meta"):
        vae = PatchAutoencoder(**config["vae"]["model"])
        text = CLIPTextConfig(
            **options["text_encoder"], vocab_size=1000, max_position_embeddings=tokens
        )
        unet = _build_unet(options["unet"], vae, 64, text.hidden_size)
        parameters = sum(part.num_parameters() for part in (vae, CLIPTextModel(text), unet))
    assert 2 * parameters < 0.97 * LARGEST, "half precision, and room for card and tokenizer"


def test_the_card_tells_of_features_of_photographs(origin: dict[str, Path], tmp_path: Path) -> None:
    vae = Training("VAE", origin["vae"], origin["vae_log"])
    base = Training("base", origin["base"], origin["base_log"])
    cards = []
    for loss in (
        {"perceptual_weight": 0},
        {"perceptual_weight": 1},
        {"feature_adversarial_weight": 1},
    ):
        vae.identity["settings"]["loss"] = loss
        made_of = Origin(vae, base, origin["rooms"], origin["trials"])
        write_card(tmp_path / "card.md", made_of, {"vae": 1}, "0" * 64)
        cards.append("ImageNet" in (tmp_path / "card.md").read_text())
    assert cards == [False, True, True]


def test_a_fine_tuned_decoder_takes_the_place_of_the_vaes(
    origin: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    tuned = places(tmp_path, rooms)
    train_decoder(settings(training__steps=2), origin["vae"], tuned)
    decoder = {"decoder": tuned.output, "decoder_log": tuned.log_dir}
    release(origin | decoder, tmp_path / "base")
    name = "vae/diffusion_pytorch_model.safetensors"
    whole = load_file(tuned.output / Path(name).name)
    half = load_file(tmp_path / "base" / name)
    assert all(torch.equal(half[key], whole[key].half()) for key in whole)
    card = (tmp_path / "base/README.md").read_text()
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1])
    assert recipe["decoder"]["training"]["steps"] == 2
    assert re.search(r"\| decoder \| .* \| 0–2 \| ", card)
    words = [w for k, v in origin.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    alone = ["--decoder", str(tuned.output), "--output", str(tmp_path / "alone")]
    done = CliRunner().invoke(app, ["release-base", *words, *alone])
    assert isinstance(done.exception, InputError) or done.exit_code == 2
    assert "give both, or neither" in f"{done.exception}{done.output}"
    other = places(tmp_path / "other", rooms)
    train_decoder(settings(training__steps=1), tuned.output, other)
    with pytest.raises(InputError, match="was trained on another model than"):
        release(
            origin | {"decoder": other.output, "decoder_log": other.log_dir}, tmp_path / "second"
        )


def test_a_fine_tuned_unet_takes_the_place_of_the_bases(
    origin: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    tuned = places(tmp_path, rooms)
    train_stage1("panorama", settings(training__steps=2), origin["base"], tuned)
    unet = {"unet": tuned.output, "unet_log": tuned.log_dir}
    release(origin | unet, tmp_path / "base")
    name = "unet/diffusion_pytorch_model.safetensors"
    whole, half = (load_file(folder / name) for folder in (tuned.output, tmp_path / "base"))
    assert all(torch.equal(half[key], whole[key].half()) for key in whole)
    card = (tmp_path / "base/README.md").read_text()
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1])
    assert recipe["unet"]["training"]["steps"] == 2
    assert re.search(r"\| unet \| .* \| 0–2 \| ", card)
    other = places(tmp_path / "other", rooms)
    train_stage1("panorama", settings(training__steps=1), tuned.output, other)
    with pytest.raises(InputError, match="was trained on another model than"):
        release(origin | {"unet": other.output, "unet_log": other.log_dir}, tmp_path / "second")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_panoramas_are_generated_from_it(released: Path, tmp_path: Path, dtype: str) -> None:
    """In the precision that is asked for, whatever that of the files."""
    options = ["--num-views", "4", "--steps", "2", "--device", "cpu", "--dtype", dtype]
    command = ["generate", "panorama", "--model", str(released), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*command, "--prompt", "a red room", *options])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").rglob("*.png"))) >= 4


@pytest.mark.parametrize("task", ["panorama", "outpaint"])
def test_trainings_start_from_it_in_float32(
    released: Path, rooms: Path, tmp_path: Path, task: str
) -> None:
    """One tiny step moves weights by less than half precision could hold."""
    given = settings(training__steps=1, training__learning_rate=1e-6, training__weight_decay=0.0)
    where = places(tmp_path, rooms)
    if task == "outpaint":
        train_inpainting(given, released, where)
    else:
        train_stage1(task, given, released, where)
    name = "unet/diffusion_pytorch_model.safetensors"
    before, after = load_file(released / name), load_file(where.output / name)
    assert {weights.dtype for weights in after.values()} == {torch.float32}
    moved = after["mid_block.resnets.0.conv1.weight"] - before["mid_block.resnets.0.conv1.weight"]
    assert 0 < moved.abs().max() < 2e-6


def test_a_release_of_the_same_origin_is_kept_and_of_another_refused(
    released: Path, origin: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folder_sha256(released)
    release(origin, released)
    assert "already made" in capsys.readouterr().err
    trials = tmp_path / "trials.csv"
    trials.write_text("recipe,PSNR\n")
    with pytest.raises(InputError, match=r"made with other settings \(trials\)"):
        release(origin | {"trials": trials}, released)
    assert folder_sha256(released) == before
    release(origin | {"trials": trials}, tmp_path / "other")
    assert "tried" not in (tmp_path / "other/README.md").read_text()


def test_mistakes_are_told_and_nothing_is_written(
    origin: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(match: str, **changed: Path) -> None:
        with pytest.raises(InputError, match=match):
            release(origin | changed, tmp_path / "base")
        assert not (tmp_path / "base").exists()

    other = tmp_path / "vae"
    shutil.copytree(origin["vae"], other)
    (other / "training.json").write_text("{}")
    refused("was trained on another model than", vae=other)
    refused(r"its sittings end at step None; expected the log", base_log=tmp_path)
    log = tmp_path / "log"
    shutil.copytree(origin["base_log"], log)
    (line,) = (json.loads(text) for text in (log / "sittings.jsonl").read_text().splitlines())
    begun_elsewhere = [line | {"step": 1}, line | {"from_step": 2}]
    (log / "sittings.jsonl").write_text("\n".join(map(json.dumps, begun_elsewhere)))
    refused(r"log: no sitting tells of steps 1 to 2; expected all", base_log=log)
    rooms = tmp_path / "rooms"
    shutil.copytree(origin["rooms"], rooms)
    (rooms / "train.npy").write_bytes(b"")
    refused("learned from other rooms than", rooms=rooms)
    refused(r"nowhere.*no such file", vae=tmp_path / "nowhere")
    monkeypatch.setattr(mvdiffusion.release.base, "LARGEST", 1000)
    refused(r"base: would hold 0\.\d MB; expected at most 0\.001 MB")
    huge = load_single_view(origin["base"])
    huge.unet.conv_in.weight.data[0, 0, 0, 0] = 1e5
    monkeypatch.setattr(mvdiffusion.release.base, "load_single_view", lambda folder: huge)
    refused(r"unet: 'conv_in\.weight' holds weights beyond half precision's range")
