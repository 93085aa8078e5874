"""`make reference` copies complete, current results of mini and nothing else."""

import json

from PIL import Image
from workflow_project import Project

PUBLISH = ("python", "-m", "workflow.scripts.publish_reference")


def test_reference_is_a_copy_with_provenance(project: Project) -> None:
    project.run(*PUBLISH)
    reference = project.root / "results/reference/mini"
    metrics = (project.root / "results/metrics.json").read_text()
    assert (reference / "metrics.json").read_text() == metrics
    assert (reference / "tables/depth_main.md").exists()
    figures = {path.name for path in (reference / "figures").iterdir()}
    assert {"contact_sheet_panorama.jpg", "overview_panorama.svg"} <= figures
    assert not [name for name in figures if name.endswith(".png")]
    with Image.open(reference / "figures/contact_sheet_panorama.jpg") as sheet:
        assert (sheet.format, sheet.size) == ("JPEG", (1, 1))
    provenance = json.loads((reference / "provenance.json").read_text())
    steps = {"train_base", "train_depth_stage2", "generate_panorama_mvdiffusion", "walks_train"}
    assert steps <= set(provenance["seconds"])
    assert set(provenance["images_settings_sha256"]) == {"panorama", "outpaint", "depth"}
    assert "Nothing to be done" in project.snakemake("run")


def test_reference_is_refused_when_results_are_not_those_of_mini(project: Project) -> None:
    project.set("outpaint.generation.guidance_scale", 5.0)
    assert "finish `make run` first" in project.run(*PUBLISH, check=False)
    assert not (project.root / "results/reference").exists()
