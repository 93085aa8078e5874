"""Quality of single images and CLIP-I, from folders to verdicts."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from tiny_rater import WORDS, write_rater

import mvdiffusion_eval
from mvdiffusion.records import InputError
from mvdiffusion_eval.extractors.base import Identity, QualityExtractor, SimilarityExtractor
from mvdiffusion_eval.extractors.pretrained import load_extractor
from mvdiffusion_eval.extractors.quality import LEVELS, PROMPT, level_score, padded
from mvdiffusion_eval.extractors.store import FeatureStore
from mvdiffusion_eval.folders.opening import open_folder
from mvdiffusion_eval.functional.natural_scenes.brisque import Regression, brisque
from mvdiffusion_eval.functional.natural_scenes.niqe import Pristine, niqe
from mvdiffusion_eval.metrics.base import Inputs, Step
from mvdiffusion_eval.protocols.protocol import metrics
from mvdiffusion_eval.settings import ScoreSettings

SIZE = 192


@cache
def smooth(kind: int) -> np.ndarray:
    return toy.views_of(kind, kind, SIZE)[:2]


def rooms(count: int, sigma: float = 4, views: int = 2, seed: int = 1) -> dict[str, np.ndarray]:
    """Panoramas of few views with grain, which smooth ones lack."""
    whole = {f"room{i:03d}": smooth(i % 3)[:views] for i in range(count)}
    return toy.noisy(whole, sigma, seed)


def score(folder: Path, *protocols: str, **more: object) -> dict:
    settings = ScoreSettings(consistency_resolution=32)
    return mvdiffusion_eval.score(folder, protocols=list(protocols), settings=settings, **more)


def test_values_are_means_over_the_views_of_each_sample(tmp_path: Path) -> None:
    made = rooms(2)
    found = score(toy.write_folder(tmp_path / "x", "x", made), "image-quality")["metrics"]
    pristine, regression = Pristine.released(), Regression.released()
    expected = {
        "niqe": [np.mean([niqe(view, pristine) for view in own]) for own in made.values()],
        "brisque": [np.mean([brisque(view, regression) for view in own]) for own in made.values()],
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name]["values"] == pytest.approx(values, rel=1e-12)
        assert found[name]["value"] == pytest.approx(np.mean(values))
        assert found[name]["higher_is_better"] is False
        assert found[name]["protocol"] == "image-quality"


def test_a_constant_view_leaves_its_sample_out_and_never_wins(tmp_path: Path) -> None:
    good, spoiled = (
        rooms(10, 60, views=1),
        rooms(10, 2, views=1),
    )  # without the black views, clearly better
    for name in list(spoiled)[:2]:
        spoiled[name][:] = 0
    folders = {"good": good, "black": spoiled}
    files = []
    for name, samples in folders.items():
        found = score(toy.write_folder(tmp_path / name, name, samples), "image-quality")
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(found))
    niqe_of = json.loads(files[1].read_text())["metrics"]["niqe"]
    assert niqe_of["left_out"] == 2
    assert niqe_of["values"][:2] == [None] * 2
    assert None not in niqe_of["values"][2:]
    toy.run("compare", *map(str, files), "--output", str(tmp_path / "o"))
    with open(tmp_path / "o/tables/differences.csv") as file:
        verdicts = {row["metric"]: row["verdict"] for row in csv.DictReader(file)}
    assert verdicts["niqe"] == "incomplete"
    text = (tmp_path / "o/tables/differences.md").read_text()
    assert "black is incomplete in" in text
    assert "niqe (in 2 of 10 samples)" in text


def test_folders_without_content_or_size_are_refused(tmp_path: Path) -> None:
    flat = {name: np.full_like(views, 7) for name, views in rooms(2).items()}
    with pytest.raises(InputError, match="too little content for 'brisque'"):
        score(toy.write_folder(tmp_path / "flat", "flat", flat), "image-quality")
    small = toy.write_folder(tmp_path / "small", "small", toy.real_samples(2))
    with pytest.raises(InputError, match="images of at least 192 × 192 pixels"):
        score(small, "image-quality")


def test_every_image_is_scored_once_and_by_itself(tmp_path: Path) -> None:
    """No batch is filled up with repetitions, and a second run finds the scores."""
    folder = open_folder(toy.write_folder(tmp_path / "x", "x", rooms(3)))
    seen = []

    def score_one(image: np.ndarray) -> list[float]:
        seen.append(image.shape)
        return [float(image[0, 0, 0]), float(image.mean())]

    one = QualityExtractor(
        Identity("q", "0" * 64), {"kind": "quality"}, score_one, scores=("a", "b")
    )
    for _ in range(2):
        found = FeatureStore(tmp_path / "cache").features(folder, one)
    assert seen == [(SIZE, SIZE, 3)] * 6
    expected = [[v[0, 0, 0], v.mean()] for i in folder.sample_ids for v in folder.views(i)]
    assert found.rows(np.arange(6)).numpy() == pytest.approx(np.array(expected, float))


@pytest.mark.slow
def test_hunyuanworld_cuts_six_views(tmp_path: Path) -> None:
    for number in range(2):
        panorama = toy.panorama(number, number).permute(1, 2, 0).numpy()
        Image.fromarray((255 * panorama).astype(np.uint8)).save(tmp_path / f"{number}.png")
    found = score(tmp_path, "hunyuanworld", view_size=32)
    used = found["protocols"]["hunyuanworld"]["metrics"]["hunyuanworld_niqe"]
    assert used["size"] == [960, 960]
    assert used["images"]["directions"] == "cube_6"
    assert set(found["metrics"]) == {"hunyuanworld_brisque", "hunyuanworld_niqe"}


def colors() -> SimilarityExtractor:
    """A CLIP whose embedding of an image is its mean color."""

    def means(images: torch.Tensor) -> torch.Tensor:
        return images.double().mean((2, 3))

    return SimilarityExtractor(Identity("clip", "0" * 64), {"kind": "clip"}, means, lambda t: t)


@pytest.mark.parametrize("has_reference", [True, False])
def test_clip_i_compares_generated_views_with_the_given_one(
    has_reference: bool, tmp_path: Path
) -> None:
    made, real = toy.outpainted_samples(3, toy.independent_samples(3)), toy.real_samples(3)
    for views in made.values():
        views[0] = views[0] // 2 + 60  # what the autoencoder leaves of the given view
    folders = {"made": made, "real": real}
    opened = {}
    for name, samples in folders.items():
        root = toy.write_folder(tmp_path / name, name, samples, given_views=(0,))
        opened[name] = open_folder(root)
    reference = opened["real"] if has_reference else None
    inputs = Inputs(opened["made"], reference, (colors(),), ScoreSettings())
    step = Step("clip_i", "clip_i", "clip-i", 1, {"of": "views"}, (), "clip")
    found = metrics()["clip_i"].run(inputs, step).measurements["clip_i"]
    expected = []
    for name, views in made.items():
        given = (real if has_reference else made)[name][0].mean((0, 1))
        means = views[1:].mean((1, 2))
        norms = np.linalg.norm(means, axis=1) * np.linalg.norm(given)
        expected.append(100 * (means @ given / norms).mean())
    assert found.values == pytest.approx(expected, rel=1e-9)
    assert found.protocol == ("clip-i" if has_reference else "clip-i@generated-view") + "@clip"


def test_clip_i_needs_a_given_view(tmp_path: Path) -> None:
    root = toy.write_folder(tmp_path / "x", "x", toy.real_samples(2))
    inputs = Inputs(open_folder(root), None, (), ScoreSettings())
    assert "a given view" in metrics()["clip_i"].lacks(inputs)


def test_levels_are_weighted_by_their_probabilities() -> None:
    certain = torch.full((5, 5), -1e4)
    certain.fill_diagonal_(0)
    assert level_score(certain).tolist() == pytest.approx([5, 4, 3, 2, 1])
    chances = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1])
    assert level_score(chances.log()).item() == pytest.approx(2.5 + 0.8 + 0.3 + 0.2 + 0.1)


def test_images_are_padded_to_squares_in_the_middle() -> None:
    square = padded(np.full((2, 6, 3), 9, np.uint8))
    assert square.shape == (6, 6, 3)
    assert (square[2:4] == 9).all()
    assert (square[[0, 1, 4, 5]] == (122, 116, 104)).all()


def test_a_model_of_transformers_rates_as_q_align_does(tmp_path: Path) -> None:
    """Through the command's own path, against the model called by hand."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    rater = write_rater(tmp_path / "rater")
    made = rooms(2, views=1)
    found = score(toy.write_folder(tmp_path / "x", "x", made), "q-align", extractors=[str(rater)])[
        "metrics"
    ]
    network = LlavaForConditionalGeneration.from_pretrained(rater).eval()
    processor = AutoProcessor.from_pretrained(rater)
    words = [processor.tokenizer.convert_tokens_to_ids(word) for word in LEVELS]
    for task in ("quality", "aesthetics"):
        expected = []
        for (view,) in made.values():
            text = PROMPT.format(task=task, image="<image>")
            inputs = processor(images=view, text=text, return_tensors="pt")
            with torch.inference_mode():
                logits = network(**inputs).logits[0, -1, words].double()
            expected.append((logits.softmax(-1) @ torch.tensor([5.0, 4, 3, 2, 1]).double()).item())
        one = found[f"q_align_{task}"]
        assert one["values"] == pytest.approx(expected, abs=1e-6)
        assert (one["unit"], one["protocol"]) == ("1-5", "q-align@rater")
        assert one["higher_is_better"] is True
    assert found["q_align_quality"]["values"] != found["q_align_aesthetics"]["values"]


def test_a_rater_knows_the_five_words(tmp_path: Path) -> None:
    folder = write_rater(tmp_path / "rater", tuple(word for word in WORDS if word != "poor"))
    with pytest.raises(InputError, match="does not tell the words excellent, good, fair, poor"):
        load_extractor(folder)


def test_models_with_code_of_their_own_are_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "model.py").write_text(f"open({str(ran)!r}, 'w')\nclass A: pass\n")
    config = {"model_type": "mplug_owl2", "auto_map": {"AutoConfig": "model.A"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="no code of a model's own is run"):
        load_extractor(tmp_path)
    assert not ran.exists()
