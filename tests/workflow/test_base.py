"""The miniature's Stable Diffusion: trained as an experiment of its own, released, embedded."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_release import origin, release
from tiny_training import base_folder, rooms, vae_folder
from workflow_project import Project

from mvdiffusion.pipelines.loading import load_single_view, record_files
from workflow.scripts import publish_base

__all__ = ["base_folder", "origin", "rooms", "vae_folder"]  # fixtures


@pytest.mark.slow
def test_the_base_is_trained_alone_and_goes_on_after_a_failure(project: Project) -> None:
    failed = project.snakemake("base", check=False, FAIL_AT="train base")
    assert "truncated; copy it again" in failed
    begun = project.commands()
    assert begun[:2] == ["data rooms", "train vae"]
    project.snakemake("base")
    *trained, last = project.commands()
    assert last == "release-base"
    assert {*begun[2:], *trained} == {"train base", "train decoder", "train stage1 panorama"}
    assert "train base" in trained
    assert (project.root / "results/base/release/model_index.json").is_file()
    assert "Nothing to be done" in project.snakemake("base", "run"), "it must not touch the run"
    project.set("base.diffusion.training.steps", 3, config="base")
    project.snakemake("base", "--configfile", "workflow/config/base.yaml")
    assert project.commands() == ["train base", "train stage1 panorama", "release-base"]
    project.append("workflow/config/base_trials.csv", "smaller\n")
    project.snakemake("base")
    assert project.commands() == ["release-base"]


def publish(project: Project) -> str:
    """Embed the release; return the hash that the script tells."""
    printed = project.run("python", "-m", "workflow.scripts.publish_base")
    (md5,) = re.findall(r"base\.dvc: (\w{32}\.dir); write it to base\.embedded_md5", printed)
    assert f"md5: {md5}" in (project.root / "base.dvc").read_text()
    return str(md5)


@pytest.mark.parametrize("damage", ["edited", "missing"])
def test_a_release_that_nobody_could_load_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    made = tmp_path / "results/base/release"
    made.mkdir(parents=True)
    (made / "README.md").write_text("card")
    record_files(made)
    if damage == "edited":
        (made / "README.md").write_text("a better card")
    else:
        (made / "README.md").unlink()
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"README\.md: is not what was released"):
        publish_base.main()
    assert (tmp_path / "base").is_dir()


def stored(project: Project) -> set[Path]:
    return {path for path in (project.root / "workflow/resources").rglob("*") if path.is_file()}


def start_from(project: Project, md5: str) -> None:
    project.set("base", {"pretrained": "miniature", "embedded_md5": md5})


def forget(project: Project) -> None:
    """As in a fresh clone."""
    for folder in ("base", ".dvc/cache"):
        shutil.rmtree(project.root / folder)


@pytest.mark.slow
def test_a_release_is_embedded_fetched_and_loaded(
    project: Project, origin: dict[str, Path], base_folder: Path
) -> None:
    made, rooms_alone = project.root / "results/base/release", stored(project)
    release(origin, made)
    start_from(project, publish(project))
    first = stored(project) - rooms_alone
    assert len(first) == 1 + sum(path.name[0] != "." for path in made.rglob("*.*"))
    assert project.run("git", "status", "--porcelain", "--", "base") == ""  # ignored
    forget(project)
    project.snakemake("base/model_index.json")
    pipeline = load_single_view(project.root / "base")
    trained = load_file(base_folder / "unet/diffusion_pytorch_model.safetensors")
    loaded: dict[str, Any] = pipeline.unet.state_dict()
    assert all(torch.equal(loaded[name], trained[name].half().float()) for name in trained)

    shutil.rmtree(made)
    (origin["trials"].parent / "more.csv").write_text("recipe\nf4\n")
    release(origin | {"trials": origin["trials"].parent / "more.csv"}, made)
    md5 = publish(project)
    second = stored(project) - rooms_alone
    assert len(second) == len(first), "the base before has left the remote"
    assert len(second - first) == 3, "the card, its hash and the list of files"
    assert "'base.embedded_md5' is" in project.snakemake("-n", "run", check=False)
    start_from(project, md5)
    forget(project)
    project.snakemake("base/model_index.json")
    assert "f4" in (project.root / "base/README.md").read_text()


@pytest.mark.slow
def test_all_tasks_start_from_the_embedded_base_and_rerun_if_it_changes(project: Project) -> None:
    made = project.root / "results/base/release"
    made.mkdir(parents=True)
    (made / "model_index.json").write_text("first")
    (made / "sha256.json").write_text('{"files": {}}')
    start_from(project, publish(project))
    forget(project)
    project.commands()
    project.snakemake("run")
    ran = project.commands()
    assert not {"train vae", "train base"} & set(ran)
    assert {"train stage1 panorama", "train inpainting", "train stage1 depth"} <= set(ran)
    before = project.results()
    assert "Nothing to be done" in project.snakemake("run")
    (made / "model_index.json").write_text("second")
    start_from(project, publish(project))
    project.snakemake("run")
    assert set(project.commands()) == {name for name in ran if "extractor" not in name}
    assert project.results() != before
    assert "train_vae" in project.snakemake("-n", "smoke"), "smoke trains its own"
