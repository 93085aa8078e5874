"""`make reference` copies complete, current results of mini and nothing else."""

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from workflow_project import ROOT, Project

from mvdiffusion_eval.tables.results import headline_of
from workflow.lib.seal import broken, complaint
from workflow.scripts.publish_reference import LARGEST_PAGE

pytestmark = pytest.mark.long

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
    assert (reference / "report.html").exists()
    assert "report" in project.commands()
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


def test_the_recorded_page_is_small_whole_and_of_the_recorded_tables() -> None:
    """It lies beside its figures, which it links to, and beside nothing else."""
    page = ROOT / "results/reference/mini/report.html"
    assets = [*page.with_name("report_assets").iterdir()]
    assert sum(path.stat().st_size for path in (page, *assets)) <= LARGEST_PAGE
    text = page.read_text()
    files = set(re.findall(r'<img [^>]*src="((?!data:)[^"]+)"', text))
    assert {"figures/contact_sheet_panorama.jpg", "figures/overview_depth.svg"} < files
    assert all((page.parent / file).is_file() for file in files)
    assert {asset.name for asset in assets} == set(re.findall(r"report_assets/([\w.-]+)", text))
    tables = json.loads((page.parent / "tables/tables.json").read_text())["tables"]
    for row in tables["panorama_main"]["rows"]:
        cells = [cell.partition(" ± ") for cell in row[1:]]
        shown = [
            rf"(<b>)?{v}(</b>)?{f' <small>± {se}</small>' if se else ''}" for v, _, se in cells
        ]
        line = "".join(f"<td>{cell}</td>" for cell in shown)
        assert re.search(f'<th scope="row">{re.escape(row[0])}</th>{line}', text), row[0]


@pytest.mark.parametrize(
    "run", sorted((ROOT / "results/reference").iterdir()), ids=lambda run: run.name
)
def test_no_recorded_number_was_changed_afterwards(run: Path) -> None:
    """Tables and figures have the bytes that were sealed, and `numbers.json` has their numbers."""
    seals = [*run.glob("*/recipe-*.json")]
    assert seals
    assert [path for file in seals for path in broken(file)] == []
    numbers = json.loads((run / "tables/numbers.json").read_text())
    assert json.loads((run / "metrics.json").read_text()) == headline_of(numbers)
    compared = 0
    for kind in ("main", "consistency", "distances"):  # those of controls are of fewer samples
        for table in run.glob(f"tables/*_{kind}.csv"):
            methods = numbers[table.stem.removesuffix(f"_{kind}")]
            with table.open() as file:
                for row in csv.DictReader(file):
                    own = methods[row["method"]]
                    shown = {key: float(row[key]) for key in own.keys() & row.keys() if row[key]}
                    assert shown == {key: own[key] for key in shown}, (table.name, row["method"])
                    compared += len(shown)
    assert compared > 100


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
