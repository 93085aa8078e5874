"""Scoring whole folders through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from mvdiffusion.records import InputError
from mvdiffusion_eval.cli import main
from mvdiffusion_eval.extractors.base import load_trained
from mvdiffusion_eval.extractors.inception import load_inception
from mvdiffusion_eval.extractors.networks import best_device, compute_on
from mvdiffusion_eval.extractors.pretrained import STANDARD_EXTRACTORS
from mvdiffusion_eval.metrics.base import METRICS, register


def test_a_score_says_what_made_it(scores: Path, extractors: list[Path]) -> None:
    content = json.loads((scores / "mvdiffusion.json").read_text())
    assert content["settings_sha256"] == "a" * 64
    assert (content["images"]["num_samples"], content["images"]["num_views"]) == (8, 8)
    assert len(content["images"]["sha256"]) == 64
    assert content["reference"]["method"] == "real"
    record = json.loads((extractors[0] / "extractor.json").read_text())
    extractor = f"miniature-classifier ({record['weights_sha256'][:8]})"
    fid = content["metrics"]["fid"]
    assert (fid["extractor"], fid["protocol"]) == (extractor, "paper-pano@miniature-classifier")
    assert content["extractors"][extractor]["validation"]["num_images"] == 24
    psnr = content["metrics"]["cross_view_psnr"]
    assert (psnr["protocol"], psnr["version"]) == ("paper-consistency-pano@32", 1)
    assert content["provenance"]["packages"]["torch"]


def test_networks_compute_where_they_are_told(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mvdiffusion_eval.extractors.networks._chosen", [])
    with monkeypatch.context() as gpu:
        gpu.setattr("torch.cuda.is_available", lambda: True)
        assert best_device().type == "cuda"  # without a choice
        compute_on("cpu")
        assert best_device().type == "cpu"
        compute_on("auto")
        assert best_device().type == "cuda"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = ["score", "--generated", str(world / "real"), "--output", str(tmp_path / "s.json")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--device", "cuda"])
    assert end.value.code == 2
    assert "'device' is 'cuda'; expected 'auto' or 'cpu'" in capsys.readouterr().err


def test_the_breakdown_adds_up(scores: Path) -> None:
    content = json.loads((scores / "autoregressive_latent.json").read_text())
    metrics = {name: entry["value"] for name, entry in content["metrics"].items()}
    pairs = [row["psnr_db"] for row in content["pairs"]]
    assert [row["pair"] for row in content["pairs"]] == [f"{i}-{(i + 1) % 8}" for i in range(8)]
    assert metrics["cross_view_psnr"] == pytest.approx(np.mean(pairs))
    assert metrics["cross_view_psnr_non_closing"] == pytest.approx(np.mean(pairs[:7]))
    assert metrics["cross_view_psnr_closing"] == pytest.approx(pairs[7])
    assert metrics["cross_view_psnr_worst"] <= min(pairs)
    real = json.loads((scores / "real.json").read_text())["metrics"]["cross_view_psnr"]["value"]
    assert metrics["cross_view_psnr_ratio"] == pytest.approx(metrics["cross_view_psnr"] / real)
    per_sample = content["metrics"]["cross_view_psnr"]["values"]
    assert content["metrics"]["cross_view_psnr"]["se"] == pytest.approx(
        np.std(per_sample, ddof=1) / len(per_sample) ** 0.5
    )


def test_methods_come_out_in_the_order_they_were_made_to(scores: Path) -> None:
    def of(method: str, metric: str) -> float:
        return json.loads((scores / f"{method}.json").read_text())["metrics"][metric]["value"]

    consistency = [of(m, "cross_view_psnr") for m in ("real", "vae_reconstruction", "mvdiffusion")]
    assert consistency == sorted(consistency, reverse=True)
    assert of("independent", "cross_view_psnr") < of("autoregressive_latent", "cross_view_psnr")
    assert of("independent", "cross_view_psnr_closing") == pytest.approx(
        of("autoregressive_latent", "cross_view_psnr_closing"), abs=2
    )
    assert of("mvdiffusion", "other_scene_psnr") == pytest.approx(
        of("real", "other_scene_psnr"), abs=0.5
    )
    assert of("vae_reconstruction", "fid") < of("independent", "fid")


def test_real_views_have_no_fid_against_themselves(scores: Path) -> None:
    metrics = json.loads((scores / "real.json").read_text())["metrics"]
    assert "fid" not in metrics
    assert metrics["cross_view_psnr_ratio"]["value"] == 1


def test_scoring_twice_gives_the_same_bytes(
    world: Path, extractors: list[Path], scores: Path, tmp_path: Path
) -> None:
    toy.score(world / "vae_reconstruction", tmp_path / "again.json", world / "real", extractors)
    assert (tmp_path / "again.json").read_bytes() == (
        scores / "vae_reconstruction.json"
    ).read_bytes()


def test_features_do_not_depend_on_the_company(extractors: list[Path]) -> None:
    views = toy.views_of(7, 1)
    classify, compare = (load_trained(folder) for folder in extractors)
    together = toy.features_of(classify, views)
    alone = torch.cat([toy.features_of(classify, view[None]) for view in views])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    prompts = [f"A kitchen, side {i}." for i in range(8)]
    together, texts = toy.features_of(compare, views), compare.outputs_of_texts(prompts)
    alone = torch.cat([toy.features_of(compare, view[None]) for view in views])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)
    single = torch.cat([compare.outputs_of_texts([prompt]) for prompt in prompts])
    torch.testing.assert_close(texts, single, rtol=1e-3, atol=1e-3)


def test_a_users_folder_needs_neither_manifest_nor_prompts(tmp_path: Path) -> None:
    folder = toy.write_folder(tmp_path / "holiday", "x", toy.real_samples(2), manifest=False)
    for prompts in folder.glob("*/prompt.txt"):
        prompts.unlink()
    content = toy.score(folder, tmp_path / "score.json")
    assert content["method"] == "holiday"
    assert content["metrics"]["cross_view_psnr"]["value"] > 40
    consistency = {"paper-consistency-pano", "consistency-images", "equirect"}
    assert set(content["protocols"]) == consistency | {"controls"}


def test_one_sample_has_no_standard_error(tmp_path: Path) -> None:
    folder = toy.write_folder(tmp_path / "one", "x", toy.real_samples(1), manifest=False)
    content = toy.score(folder, tmp_path / "score.json")
    assert content["metrics"]["cross_view_psnr"]["se"] is None
    assert "other_scene_psnr" not in content["metrics"]


def fails_with(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_input_errors_are_one_message_and_leave_nothing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {f"room{i:03d}": toy.views_of(i, 0, 16) for i in range(2)}
    generated = toy.write_folder(tmp_path / "small", "small", small)
    output = tmp_path / "score.json"
    arguments = ["score", "--generated", str(generated), "--output", str(output)]
    message = fails_with(capsys, *arguments, "--reference", str(world / "real"))
    assert message.startswith("mvdiffusion-eval: ")
    assert "height is 16" in message
    assert "Traceback" not in message
    assert not output.exists()
    message = fails_with(capsys, *arguments, "--settings", '{"consistency_resolutio": 3}')
    assert "did you mean 'consistency_resolution'" in message
    message = fails_with(capsys, *arguments, "--settings", '{"protocols": ["given-view"]}')
    assert "none of ['given-view'] is for the task 'panorama'" in message
    message = fails_with(capsys, *arguments, "--settings", '{"protocols": ["paper_pano"]}')
    assert "did you mean 'paper-pano'" in message
    assert list(tmp_path.iterdir()) == [generated]


def test_samples_without_real_views_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = toy.write_folder(tmp_path / "stray", "stray", {"elsewhere": toy.views_of(0, 0)})
    arguments = ["score", "--generated", str(stray), "--reference", str(world / "real")]
    message = fails_with(capsys, *arguments, "--output", str(tmp_path / "s.json"))
    assert "['elsewhere']" in message


def test_changed_weights_are_refused(extractors: list[Path], tmp_path: Path) -> None:
    for file in extractors[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=r"not contain the weights named in extractor\.json"):
        load_trained(tmp_path)


def test_pretrained_extractors_exist_and_say_when_they_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import open_clip

    known = open_clip.list_pretrained()
    assert ("ViT-L-14-quickgelu", "openai") in known
    assert ("ViT-B-16-quickgelu", "openai") in known
    assert {"inception-v3", "clip-vit-l-14", "clip-vit-b-16"} <= set(STANDARD_EXTRACTORS)

    def offline(*arguments: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("mvdiffusion_eval.extractors.weights.fetch_known", offline)
    with pytest.raises(InputError, match="'inception-v3': its pretrained weights"):
        load_inception()


def test_names_of_metrics_are_taken_once() -> None:
    with pytest.raises(ValueError, match="'seams' twice"):
        register(METRICS["seams"])
