"""Each stage end to end, on tiny models: what it writes, what it changes, that it resumes."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from tiny_training import BASE_PARTS, VAE_MODEL, places, settings
from torch import nn
from transformers import CLIPTokenizer

from mvdiffusion.models.patch_autoencoder import PatchAutoencoder
from mvdiffusion.pipelines.loading import check_files
from mvdiffusion.pipelines.panorama import MVDiffusionPanoramaPipeline
from mvdiffusion.records import InputError, model_sha256
from mvdiffusion.training.base import build_tokenizer, train_base
from mvdiffusion.training.stage1 import train_stage1
from mvdiffusion.training.stage2 import frozen_sha256, train_stage2
from mvdiffusion.training.vae import build_vae, psnr_db, reconstruct, train_decoder, train_vae

pytestmark = pytest.mark.long

CAA = "correspondence_"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model folder, by file and name."""
    return {
        f"{path.relative_to(folder)}:{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_vae_scaling_factor_makes_unit_latents_and_psnr_is_recorded(rooms, vae_folder):
    from mvdiffusion.data.matterport3d import Matterport3DPanoramas

    vae = PatchAutoencoder.from_pretrained(vae_folder)
    panoramas = Matterport3DPanoramas(rooms, "train", image_size=16, num_views=4)
    views = torch.cat([panoramas.load(i, yaw).views for i in range(6) for yaw in (0, 100, 250)])
    with torch.no_grad():
        latents = vae.encode(views).latent_dist.mean * vae.config.scaling_factor
    assert latents.std().item() == pytest.approx(1, abs=0.1)
    held_out = Matterport3DPanoramas(rooms, "validation", image_size=16, num_views=4)
    views = torch.cat([held_out.load(index).views for index in range(2)])
    with torch.no_grad():
        decoded = vae(views).sample.clamp(-1, 1)
    errors = ((decoded - views) / 2).square().mean(dim=(1, 2, 3)).numpy()
    record = json.loads((vae_folder / "training.json").read_text())
    assert record["psnr_db"] == pytest.approx(float(np.mean(-10 * np.log10(errors))), abs=0.01)
    assert record["num_validation_views"] == 8
    pair = [x.numpy() for x in (decoded, views)]
    energy = [sum((np.diff(x, axis=axis) ** 2).mean() for axis in (2, 3)) for x in pair]
    assert record["gradient_energy_ratio"] == pytest.approx(energy[0] / energy[1], rel=1e-4)


def test_vae_overfits_one_batch():
    torch.manual_seed(0)
    vae = build_vae(VAE_MODEL, 16, torch.rand(4, 3, 16, 16))
    views = nn.functional.interpolate(torch.rand(4, 3, 3, 3) * 2 - 1, size=16, mode="bilinear")
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3)
    before = psnr_db(reconstruct(vae, views), views).mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        (reconstruct(vae, views) - views).abs().mean().backward()
        optimizer.step()
    assert psnr_db(reconstruct(vae, views), views).mean().item() > before + 5


def test_the_decoder_is_fine_tuned_on_latents_that_stay(rooms, vae_folder, tmp_path):
    where = places(tmp_path, rooms)
    refined = {"pixel_channels": 4, "pixel_layers": 1}
    train_decoder(settings(training__learning_rate=1e-2) | refined, vae_folder, where)
    old, new = weights(vae_folder), weights(where.output)
    moved = changed(old, {name: new[name] for name in old})
    assert {name.split(":")[1].split(".")[0] for name in moved} == {"decoder", "decoder_linear"}
    assert {name.split(":")[1].split(".")[0] for name in new.keys() - old.keys()} == {"pixels"}
    before, after = (PatchAutoencoder.load_config(path) for path in (vae_folder, where.output))
    added = refined | {"_name_or_path": ""}
    assert before | added == after | added
    record = json.loads((where.output / "training.json").read_text())
    assert record["scaling_factor"] == before["scaling_factor"]
    odd = settings() | {"pixel_channels": 3}
    with pytest.raises(InputError, match="'pixel_channels' is 3; expected a multiple of"):
        train_decoder(odd, vae_folder, places(tmp_path / "odd", rooms))
    with pytest.raises(InputError, match=r"nowhere: no config\.json"):
        train_decoder(settings(), tmp_path / "nowhere", places(tmp_path / "other", rooms))


def test_wrong_model_arguments_are_named(rooms, vae_folder, tmp_path):
    with pytest.raises(InputError, match="latent_chanels"):
        build_vae({"latent_chanels": 4}, 16, torch.zeros(1, 3, 16, 16))
    parts = BASE_PARTS | {"unet": BASE_PARTS["unet"] | {"layers_per_blok": 1}}
    with pytest.raises(InputError, match="layers_per_blok"):
        train_base(settings(**parts), vae_folder, places(tmp_path, rooms))
    assert not (tmp_path / "output").exists()


def test_tokenizer_encodes_and_decodes_any_caption(base_folder):
    tokenizer = CLIPTokenizer.from_pretrained(base_folder / "tokenizer")
    for text in ("a red room, no. 3", "quick brown foxes jump; 42 zebras?", ""):
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert ids[-1] == tokenizer.eos_token_id
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        assert decoded.replace(" ", "") == text.replace(" ", "")
    assert len(tokenizer("a red room").input_ids) < len(tokenizer("q xyw vjkq").input_ids)
    assert tokenizer.model_max_length == 16


def test_tokenizer_has_no_unknown_bytes():
    tokenizer = build_tokenizer(["a red room"], 16)
    for text in ("é", "部屋", "naïve café", "\u00ff"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.eos_token_id not in ids


def test_tokenizer_is_the_same_after_loading_and_for_any_order(tmp_path):
    captions = ["a red room with a wide window", "a library, two doors"]
    built = build_tokenizer(captions, 16)
    built.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    other = build_tokenizer(reversed(captions), 16)
    for text in (*captions, "", "an unseen wooden word"):
        ids = built(text, padding="max_length", truncation=True).input_ids
        assert ids == loaded(text, padding="max_length", truncation=True).input_ids
        assert ids == other(text, padding="max_length", truncation=True).input_ids
        assert ids[0] == built.bos_token_id == 0
        assert ids[-1] == built.eos_token_id == 1


def test_stable_diffusion_pipeline_loads_the_base(base_folder):
    pipeline = StableDiffusionPipeline.from_pretrained(base_folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red room", num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (16, 16, 3)
    assert image.std() > 0


def test_base_trains_text_encoder_and_unet_and_copies_the_vae(base_folder, vae_folder):
    assert changed(weights(vae_folder), weights(base_folder / "vae")) == set()
    config = json.loads((base_folder / "vae" / "config.json").read_text())
    record = json.loads((vae_folder / "training.json").read_text())
    assert config["scaling_factor"] == record["scaling_factor"]


def test_stage_one_changes_the_unet_only(rooms, base_folder, tmp_path):
    train_stage1("panorama", settings(), base_folder, places(tmp_path, rooms))
    names = changed(weights(base_folder), weights(tmp_path / "output"))
    assert names
    assert all(name.startswith("unet/") for name in names)
    assert len(names) > 0.9 * sum(name.startswith("unet/") for name in weights(base_folder))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".output.json"]


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_stage_two_changes_attention_between_views_only(rooms, base_folder, tmp_path, variant):
    run = settings(variant=variant, training__steps=2, training__mixed_precision="bf16")
    train_stage2("panorama", run, base_folder, places(tmp_path, rooms))
    before, after = weights(base_folder), weights(tmp_path / "output")
    kept = {name for name in after if f":{CAA}" not in name}
    assert len(kept) == len(before)
    for name in before:
        file, tensor = name.split(":")
        inside = name if not file.startswith("unet/") else f"{file}:unet.{tensor}"
        assert torch.equal(after[inside], before[name]), name
    trained = {name: value for name, value in after.items() if f":{CAA}" in name}
    outputs = [value for name, value in trained.items() if "out" in name.split(".")[-2]]
    assert any(value.abs().max() > 0 for value in outputs)  # they start at zero
    card = (tmp_path / "output/README.md").read_text()
    count = run["training"]["batch_size"]
    assert f"2 steps of {count} samples of {run['data']['num_views']} views" in card
    assert model_sha256(base_folder) in card
    assert str(tmp_path) not in card
    check_files(tmp_path / "output")
    pipeline = MVDiffusionPanoramaPipeline.from_pretrained(tmp_path / "output")
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red room"] * 4
    images = pipeline(prompts, num_views=4, num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 4, 16, 16, 3)


def test_a_changed_frozen_weight_is_noticed():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False)
    module[0].bias.requires_grad_(True)
    before = frozen_sha256(module)
    module[0].bias.data += 1
    assert frozen_sha256(module) == before
    module[1].running_mean += 1
    assert frozen_sha256(module) != before


def test_a_missing_base_is_named(rooms, tmp_path):
    with pytest.raises(InputError, match=r"model_index\.json"):
        train_stage1("panorama", settings(), tmp_path / "nowhere", places(tmp_path, rooms))


def test_a_missing_vae_is_named(rooms, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no config\.json"):
        train_base(settings(**BASE_PARTS), tmp_path / "nowhere", places(tmp_path, rooms))


@pytest.mark.parametrize("has_hashes", [True, False])
def test_a_damaged_vae_is_named(rooms, vae_folder, tmp_path, has_hashes):
    folder = tmp_path / "vae"
    shutil.copytree(vae_folder, folder)
    if not has_hashes:
        (folder / "sha256.json").unlink()
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(InputError, match="has changed since" if has_hashes else "no trained VAE"):
        train_base(settings(**BASE_PARTS), folder, places(tmp_path, rooms))


def test_a_missing_split_is_named(rooms, tmp_path):
    with pytest.raises(InputError, match=r"train\.npy"):
        train_vae(settings(model=VAE_MODEL), places(tmp_path, tmp_path, validation=rooms))


STAGE_TWO = """
import json, sys, torch
from pathlib import Path
from mvdiffusion.training.runs import Places
from mvdiffusion.training.stage2 import train_stage2
torch.set_num_threads(1)
run, base, places = json.loads(sys.argv[1])
places = Places(**{name: Path(path) for name, path in places.items() if name != "overwrite"})
train_stage2("panorama", run, Path(base), places)
"""


def test_killed_stage_two_resumes_to_the_same_bits(rooms, base_folder, tmp_path):
    """Kill the process in the middle; the resumed run must equal one that never stopped."""
    run = settings(
        training__steps=14,
        training__checkpoint_every=3,
        training__log_every=1,
        training__mixed_precision="bf16",
        training__num_workers=1,
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_stage2("panorama", run, base_folder, places(whole, rooms))
    arguments = [run, str(base_folder), {k: str(v) for k, v in vars(places(killed, rooms)).items()}]
    kill_after(killed / "log/metrics.jsonl", 7, [STAGE_TWO, json.dumps(arguments)])
    assert not (killed / "output").exists()
    assert list((killed / "checkpoints").glob("step-*.pt"))
    train_stage2("panorama", run, base_folder, places(killed, rooms))
    assert changed(weights(whole / "output"), weights(killed / "output")) == set()
    assert losses(killed) == losses(whole)
    assert len(losses(whole)) == 14


def losses(run: Path) -> list[float]:
    lines = (run / "log/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def kill_after(log: Path, lines: int, arguments: list[str]) -> None:
    """Start Python on a script and kill -9 it once its log has so many lines."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", *arguments], env=environment, stderr=subprocess.PIPE
    )
    for _ in itertools.count():
        assert process.poll() is None, process.stderr.read().decode()
        if log.exists() and len(log.read_text().splitlines()) >= lines:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
