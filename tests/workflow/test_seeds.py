"""Training seeds: what is made again under each, and that the first seed's results stay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from workflow_project import Experiment, Project, load_experiment, plan

from workflow.lib.config import read_config

pytestmark = pytest.mark.long

SEEDS = [0, 1, 7]


def configuration(folder: Path, seeds: Sequence[int]) -> Path:
    path = folder / f"seeds{len(seeds)}.yaml"
    changes = {"seeds": seeds, "tasks": ["panorama", "depth"]}
    path.write_text(yaml.safe_dump(changes))
    return path


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Experiment]:
    """The same experiment with one training seed and with three."""
    folder = tmp_path_factory.mktemp("seeds")
    return {n: load_experiment(configuration(folder, SEEDS[:n])) for n in (1, 3)}


def test_nothing_of_the_first_seed_is_made_again(experiments: dict[int, Experiment]) -> None:
    one, three = (experiments[n].recipes.steps for n in (1, 3))
    assert {step for step in one if one[step].path != three[step].path} == {"tables", "report"}
    added = [
        *("panorama_stage2", "depth_stage2"),
        *("panorama_mvdiffusion", "panorama_wrong_correspondence", "depth_mvdiffusion"),
        *("score_panorama_mvdiffusion", "score_panorama_wrong_correspondence"),
        "score_depth_mvdiffusion",
    ]
    assert set(three) - set(one) == {f"{step}_seed{seed}" for step in added for seed in SEEDS[1:]}
    hashes = [experiments[n].tasks.images_sha256("panorama") for n in (1, 3)]
    assert hashes[0] == hashes[1]  # or scores of several seeds could not share a table


def test_trainings_differ_in_the_seed_alone_and_sampling_in_nothing(
    experiments: dict[int, Experiment],
) -> None:
    steps = experiments[3].recipes.steps
    first = json.loads(steps["panorama_stage2"].settings)
    for seed in SEEDS[1:]:
        told = json.loads(steps[f"panorama_stage2_seed{seed}"].settings)
        assert told == first | {"seed": seed}
        sampled = steps[f"panorama_mvdiffusion_seed{seed}"]
        assert sampled.settings == steps["panorama_mvdiffusion"].settings
        assert sampled.digest != steps["panorama_mvdiffusion"].digest  # of another model
        assert json.loads(sampled.settings)["seed"] == SEEDS[0]


def test_the_plan_scores_every_seed_and_tables_read_them(tmp_path: Path) -> None:
    planned = [job for job in plan(configuration(tmp_path, SEEDS)).jobs if job.output]
    jobs = {str(job.output[0]): job for job in planned}
    images = jobs["results/images/panorama/mvdiffusion_seed7/manifest.json"]
    assert images.rule.name == "generate_seed"
    assert images.wildcards.method == "mvdiffusion"
    assert list(images.input.models) == ["results/models/panorama_stage2_seed7/model_index.json"]
    training = jobs["results/models/panorama_stage2_seed7/model_index.json"]
    assert training.input.base == "results/models/panorama_stage1/model_index.json"
    assert "results/training/panorama_stage2_seed7/checkpoints" in training.shellcmd
    assert "--method mvdiffusion --model" in " ".join(images.shellcmd.split())
    (tables,) = (job for job in jobs.values() if job.rule.name == "make_tables")
    for name in ("mvdiffusion", "wrong_correspondence"):
        for seed, suffix in ((0, ""), (1, "_seed1"), (7, "_seed7")):
            word = f"{seed}=results/scores/panorama/{name}{suffix}.json"
            assert f"--seed-score {word}" in tables.shellcmd
    made = {str(path) for path in tables.output}
    assert {f"results/tables/{t}_seeds.md" for t in ("panorama", "depth")} < made
    figures = next(job for job in jobs.values() if job.rule.name == "draw_figures")
    assert not any("_seed" in str(path) for path in figures.input)  # one folder per method
    timed = experiment_times(jobs["results/report.html"].shellcmd)
    assert {"train_panorama_stage2_seed1", "generate_depth_mvdiffusion_seed7"} < timed


def experiment_times(command: str) -> set[str]:
    return {word.partition("=")[0] for word in command.split("--benchmark ")[1:]}


def test_seeds_that_are_added_make_what_is_new_and_nothing_else(project: Project) -> None:
    """A finished run keeps its models, images and scores; a second call has nothing to do."""
    project.commands()
    before = {path: path.read_bytes() for path in (project.root / "results/scores").rglob("*.json")}
    project.set("seeds", [0, 1])
    project.snakemake("run")
    ran = project.commands()
    config = read_config(project.root / "workflow/config/mini.yaml")
    runs = [
        f"{task} {method}"
        for task in config["tasks"]
        for method in ("mvdiffusion", "wrong_correspondence")
        if method in config[task]["methods"]
    ]
    added = [f"train stage2 {task}" for task in dict.fromkeys(run.split()[0] for run in runs)]
    added += [f"generate split {run}" for run in runs] + ["score"] * len(runs)
    assert sorted(ran) == sorted([*added, "tables", "report"])
    assert all(path.read_bytes() == content for path, content in before.items())
    score = project.root / "results/scores/panorama/mvdiffusion_seed1.json"
    assert "seed=1" in score.read_text()  # of the training; sampling has that of all others
    assert "Nothing to be done" in project.snakemake("run")
