"""`make reference` copies complete, current results of mini and nothing else."""

import json

import pytest
from PIL import Image
from workflow_project import Project

from workflow.lib.seal import complaint

PUBLISH = ("python", "-m", "workflow.scripts.publish_reference")


def test_reference_is_a_copy_with_provenance(project: Project) -> None:
    log = project.root / "results/training/depth_stage2/log"
    log.mkdir(parents=True, exist_ok=True)
    sittings = [{"seconds": 1000.0}, {"seconds": 200.0}, {"seconds": 5.0}]
    (log / "sittings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in sittings))
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
    assert complaint(reference.glob("*/recipe-*.json")) == ""
    assert len([*reference.glob("*/recipe-*.json")]) == 2
    assert not [*reference.rglob(".*")]
    provenance = json.loads((reference / "provenance.json").read_text())
    steps = {"train_base", "train_depth_stage2", "generate_panorama_mvdiffusion", "walks_train"}
    assert steps <= set(provenance["seconds"])
    # A training that was stopped twice took what its sittings took, not the last one alone.
    assert 1200 < provenance["seconds"]["train_depth_stage2"] < 1300
    assert set(provenance["images_settings_sha256"]) == {"panorama", "outpaint", "depth"}
    assert "Nothing to be done" in project.snakemake("run")


def test_reference_is_refused_when_results_are_not_those_of_mini(project: Project) -> None:
    project.set("outpaint.generation.guidance_scale", 5.0)
    assert "finish `make run` first" in project.run(*PUBLISH, check=False)
    assert not (project.root / "results/reference").exists()


def test_reference_of_the_same_file_name_is_kept(project: Project) -> None:
    kept = project.root / "results/reference/mini/provenance.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"config": "workflow/config/mini.yaml"}')
    (project.root / "mini.yaml").write_text("name: mine\nresults_dir: results/mine\n")
    said = [project.run(*PUBLISH, name, check=False) for name in ("mini.yaml", "none.yaml")]
    said += [project.run(*PUBLISH, str(project.root / "mini.yaml"), check=False)]
    assert "holds results of workflow/config/mini.yaml; rename mini.yaml" in said[0]
    assert "none.yaml" in said[1]
    assert "expected a file of this repository" in said[2]
    assert not [text for text in said if "Traceback" in text]
    assert kept.exists()


@pytest.mark.slow
def test_reference_of_another_configuration_has_its_name(project: Project) -> None:
    """Whoever publishes another run names its configuration, whose results lie elsewhere."""
    other = project.root / "workflow/config/other.yaml"
    other.write_text("name: another run\nresults_dir: results/other\ntasks: [depth]\n")
    refused = project.run(*PUBLISH, "workflow/config/other.yaml", check=False)
    assert "finish `snakemake run --configfile workflow/config/other.yaml` first" in refused
    project.snakemake("run", "--configfile", "workflow/config/other.yaml")
    project.run(*PUBLISH, "workflow/config/other.yaml")
    reference = project.root / "results/reference/other"
    assert (reference / "tables/depth_main.md").exists()
    assert not (reference / "tables/panorama_main.md").exists()
    provenance = json.loads((reference / "provenance.json").read_text())
    assert provenance["config"] == "workflow/config/other.yaml"
    assert "generate_depth_mvdiffusion" in provenance["seconds"]
