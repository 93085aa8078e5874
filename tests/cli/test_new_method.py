"""A method is one file and one entry point: everything else learns of it from there."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_methods import installed
from noise_data import write_rooms
from PIL import Image
from workflow_project import ROOT, load_experiment

from mvdiffusion_eval.cli import main as eval_command

pytestmark = pytest.mark.long

Run = Callable[..., tuple[int, str]]
FILE = """
import torch
from mvdiffusion.methods import Method
from mvdiffusion.settings import Share, settings


@settings
class Levels:
    left: Share = 0.25
    right: Share = 0.75


METHOD = Method("gray", "Gray images", ("panorama",), options=Levels)

PAIR = Method("pair", "Pair of models", ("panorama",), others=("inpainting",))


def panorama(batch):
    if batch.models:
        assert batch.models["inpainting"].unet.config["unet_config"]["in_channels"] == 9
        assert batch.pipeline.unet.config["unet_config"]["in_channels"] == 4
    levels = batch.options or Levels()
    ramp = torch.linspace(levels.left, levels.right, batch.size["width"])
    return ramp.expand(*batch.noise.shape[:2], 3, *batch.size.values())
"""
DATA: dict[str, Any] = {"image_size": 32, "num_views": 4, "fov_deg": 100.0}


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """An installed package that holds the method."""
    with installed(tmp_path / "site", "gray", FILE, {"gray": "METHOD", "pair": "PAIR"}) as folder:
        yield folder


def score(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        eval_command(list(map(str, arguments)))
    assert not ended.value.code


def test_the_command_line_offers_it(package: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{package}:{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"COLUMNS": "2000"}  # all names in one line
    words = [sys.executable, "-m", "mvdiffusion.cli", "generate", "split", "--help"]
    ran = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert "|gray|pair]" in ran.stdout


def test_it_can_be_configured_and_has_its_step(package: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "gray.yaml"
    overlay.write_text("panorama: {methods: [vae_reconstruction, mvdiffusion, gray]}")
    experiment = load_experiment(overlay)
    assert "panorama/gray" in experiment.tasks.scored
    assert "panorama_gray" in experiment.recipes.steps
    overlay.write_text(overlay.read_text().replace("gray]", "gray], options: {gray: {left: 0.5}}"))
    steps = [each.recipes.steps for each in (experiment, load_experiment(overlay))]
    told = [json.loads(each["panorama_gray"].settings)["options"] for each in steps]
    assert told == [{"left": 0.25, "right": 0.75}, {"left": 0.5, "right": 0.75}]
    plugin = package / "gray.py"
    plugin.write_text(plugin.read_text() + "# edited\n")
    edited = load_experiment(overlay).recipes.steps["panorama_gray"]
    assert edited.digest != steps[1]["panorama_gray"].digest
    changed = {step for step in steps[0] if steps[0][step].digest != steps[1][step].digest}
    assert "panorama_gray" in changed
    assert not changed & {"panorama_mvdiffusion", "panorama_stage2", "score_panorama_mvdiffusion"}


@pytest.mark.slow
def test_one_line_of_configuration_plans_its_images_and_all_that_is_made_of_them(
    package: Path, tmp_path: Path
) -> None:
    overlay = tmp_path / "gray.yaml"
    overlay.write_text("results_dir: results/gray\npanorama: {methods: [pair]}\ntasks: [panorama]")
    environment = {**os.environ, "PYTHONPATH": f"{package}:{os.environ.get('PYTHONPATH', '')}"}
    words = ["snakemake", "-n", "-p", "--cores", "1", "run", "--configfile", str(overlay)]
    plan = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert "--other inpainting=results/gray/models/outpaint_base" in plan
    assert "outpaint_stage2" not in plan
    for word in ("--scores results/gray/scores", "--generated panorama"):
        assert f"{word}/pair" in plan or f"{word}/panorama/pair.json" in plan, word


def test_its_images_are_generated_scored_and_shown(
    package: Path, run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    write_rooms(tmp_path / "rooms", "test", ["a", "b", "c", "d"], 0)
    settings = json.dumps({"data": DATA, "num_inference_steps": 1, "device": "cpu"})
    words = ("--data", tmp_path / "rooms", "--settings-sha256", "0" * 64, "--split", "test",
             "--settings")  # fmt: skip
    code, said = run("data", "export", *words, json.dumps({"data": DATA}), "--output",
                     tmp_path / "real")  # fmt: skip
    assert code == 0, said
    words = ("generate", "split", "--model", models["panorama"], *words, settings)
    for method in ("gray", "independent"):
        code, said = run(*words, "--method", method, "--output", tmp_path / method)
        assert code == 0, said
    row = np.asarray(Image.open(tmp_path / "gray/a/0.png"))[0]
    assert (row.min(1) == row.max(1)).all()
    assert (row[0, 0], row[-1, 0]) == (64, 191)
    scores = []
    for method in ("independent", "real", "gray"):
        scores.append(tmp_path / f"{method}.json")
        score("score", "--generated", tmp_path / method, "--reference", tmp_path / "real",
              "--protocol", "paper-consistency-pano", "--output", scores[-1])  # fmt: skip
    score("tables", *scores, "--output-dir", tmp_path / "tables", "--metrics", tmp_path / "m.json")
    with (tmp_path / "tables/panorama_main.csv").open() as file:
        rows = [row[0] for row in csv.reader(file)]
    assert rows[1:] == ["real", "independent", "gray"]
    assert "Gray images" in (tmp_path / "tables/panorama_main.md").read_text()
    shown_of = [word for method in ("real", "gray", "independent")
                for word in ("--generated", f"panorama/{method}={tmp_path / method}")]  # fmt: skip
    scored = [word for file in scores for word in ("--scores", file)]
    score("figures", *shown_of, *scored, "--output-dir", tmp_path / "figures")
    with (tmp_path / "figures/overview_panorama.csv").open() as file:
        assert "gray" in {row["method"] for row in csv.DictReader(file)}
    (tmp_path / "c.yaml").write_text("name: gray")
    score("report", "--tables", tmp_path / "tables", "--figures", tmp_path / "figures", *scored,
          *shown_of, "--metrics", tmp_path / "m.json", "--config", tmp_path / "c.yaml",
          "--output", tmp_path / "report.html")  # fmt: skip
    assert "Gray images" in (tmp_path / "report.html").read_text()


def test_its_options_are_settings_and_recorded(
    package: Path, run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    write_rooms(tmp_path / "rooms", "test", ["a", "b"], 0)

    def generate(method: str, **options: object) -> tuple[int, str]:
        settings = {"data": DATA, "num_inference_steps": 1, "device": "cpu", "options": options}
        return run("generate", "split", "--method", method, "--model", models["panorama"], "--data",
                   tmp_path / "rooms", "--settings", json.dumps(settings), "--output",
                   tmp_path / "out")  # fmt: skip

    for method, options, sentence in (
        ("gray", {"letf": 0.5}, "unknown setting 'options.letf'; did you mean 'left'?"),
        ("gray", {"left": 2}, "setting 'options.left' is 2; expected a number, at least 0"),
        ("independent", {"left": 0.5}, "setting 'options': the method independent has none"),
    ):
        code, said = generate(method, **options)
        assert (code, sentence in said) == (2, True), said
    assert not (tmp_path / "out").exists()
    code, said = generate("gray", left=0.5)
    assert code == 0, said
    row = np.asarray(Image.open(tmp_path / "out/a/0.png"))[0]
    assert (row[0, 0], row[-1, 0]) == (128, 191)
    recorded = json.loads((tmp_path / "out/manifest.json").read_text())["settings"]
    assert recorded["options"] == {"left": 0.5, "right": 0.75}
    code, said = generate("gray")  # images of other options are not these
    assert (code, "--overwrite" in said) == (2, True)


def test_a_further_model_is_an_option(
    package: Path, run: Run, models: dict[str, Path], tmp_path: Path
) -> None:
    write_rooms(tmp_path / "rooms", "test", ["a", "b"], 0)
    settings = json.dumps({"data": DATA, "num_inference_steps": 1, "device": "cpu"})
    words = ("generate", "split", "--method", "pair", "--model", models["panorama"], "--data",
             tmp_path / "rooms", "--settings", settings, "--output", tmp_path / "out")  # fmt: skip
    code, said = run(*words)
    assert (code, "--method pair: needs --other inpainting=FOLDER as well" in said) == (2, True)
    code, said = run(*words, "--other", f"painting={models['outpaint']}")
    assert code == 2
    assert "--other painting=" in said
    assert not (tmp_path / "out").exists()
    code, said = run(*words, "--other", f"inpainting={models['outpaint']}")
    assert code == 0, said
    assert (tmp_path / "out/manifest.json").exists()
    # Images of another model are not these.
    code, said = run(*words, "--other", f"inpainting={models['panorama']}")
    assert code == 2
    assert "--overwrite" in said


def test_a_folder_is_a_method(run: Run, models: dict[str, Path], tmp_path: Path) -> None:
    """The file that the documentation prints: what it reads comes out pixel for pixel."""
    text = (ROOT / "docs/extend.md").read_text()
    printed = text.partition("### A folder as a method")[2].partition("```python\n")[2]
    code = printed.partition("```")[0]
    write_rooms(tmp_path / "rooms", "test", ["a", "b"], 0)
    words = ("--data", tmp_path / "rooms", "--split", "test", "--settings")
    exported = ("data", "export", *words, json.dumps({"data": DATA}), "--output", tmp_path / "real")
    assert run(*exported)[0] == 0
    options = {"folder": str(tmp_path / "real")}
    settings = {"data": DATA, "num_inference_steps": 1, "device": "cpu", "options": options}
    with installed(tmp_path / "site", "folder_method", code, {"mine": "METHOD"}):
        chosen = ("--model", models["panorama"], "--method", "mine", "--output", tmp_path / "mine")
        made = run("generate", "split", *chosen, *words, json.dumps(settings))
        assert made[0] == 0, made[1]
    for name in ("a", "b"):
        for view in range(DATA["num_views"]):
            real, mine = (
                np.asarray(Image.open(tmp_path / f"{of}/{name}/{view}.png"))
                for of in ("real", "mine")
            )
            assert (real == mine).all()
    recorded = json.loads((tmp_path / "mine/manifest.json").read_text())
    assert recorded["settings"]["options"] == {**options, "version": "1"}
