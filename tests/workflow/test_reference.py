"""`make reference` copies complete, current results of mini and nothing else."""

import json

from workflow_project import Project

PUBLISH = ("python", "-m", "workflow.scripts.publish_reference")


def test_reference_is_a_copy_with_provenance(project: Project) -> None:
    project.run(*PUBLISH)
    reference = project.root / "results/reference/mini"
    metrics = (project.root / "results/metrics.json").read_text()
    assert (reference / "metrics.json").read_text() == metrics
    assert (reference / "tables/depth_main.md").exists()
    assert (reference / "figures/contact_sheet_panorama.png").exists()
    provenance = json.loads((reference / "provenance.json").read_text())
    steps = {"train_base", "train_depth_stage2", "generate_panorama_mvdiffusion", "walks_train"}
    assert steps <= set(provenance["seconds"])
    assert set(provenance["images_settings_sha256"]) == {"panorama", "outpaint", "depth"}
    assert "Nothing to be done" in project.snakemake("run")


def test_reference_is_refused_when_results_are_not_those_of_mini(project: Project) -> None:
    project.set("outpaint.generation.guidance_scale", 5.0)
    assert "finish `make run` first" in project.run(*PUBLISH, check=False)
    assert not (project.root / "results/reference").exists()
