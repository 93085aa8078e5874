"""Rules are wiring: short, logged, and in the form that Snakemake's own tools ask for."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
import yaml
from jinja2 import Template
from workflow_project import ROOT, Project, load_workflow, plan

from workflow.lib.config import read_config

EVERY_RULE = ("--configfile", "workflow/config/paper.yaml")
SMK = [ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))]


def rules(path: Path) -> dict[str, list[str]]:
    """Lines of each rule by its name: the indented ones below it."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text().splitlines():
        if match := re.match(r" *(?:use )?rule (?:\w+ as )?(\w+)(?: with)?:$", line):
            lines = found[match[1]] = [line]
        elif line.startswith("    ") and lines:
            lines.append(line)
        elif line:
            lines = []
    return found


@pytest.mark.parametrize("path", SMK, ids=lambda path: path.name)
def test_rules_are_short_and_logged(path: Path) -> None:
    for name, lines in rules(path).items():
        text = "\n".join(lines)
        assert len(lines) <= 22, f"{name} has {len(lines)} lines"  # of them, two are resources
        assert "shell:" not in text or "log:" in text, f"{name} runs without a log"
        assert "run:" not in [line.strip() for line in lines], f"{name} holds code"


UNTIMED = {
    "write_report": "shows the times of the others",
    **dict.fromkeys(["fetch_base", "fetch_house", "fetch_scene"], "waits for the network"),
    **dict.fromkeys(
        [
            *("extract_house_labels", "extract_scene_labels", "prepare_house", "prepare_scene"),
            *("split_houses", "split_scenes"),
        ],
        "makes one of many parts of a data set, which experiments share",
    ),
}
"""Rules that run a command of the project and leave no time to the page, and why."""


def test_every_rule_that_runs_a_command_of_ours_leaves_its_time_to_the_page() -> None:
    """Paper's rules are all there are; `smoke_` and `base_` begin the names of their copies."""
    commands = re.compile(r"python -m (mvdiffusion\.cli|mvdiffusion_eval) ")
    workflow = load_workflow(ROOT / EVERY_RULE[1])
    own = [rule for rule in workflow.rules if not rule.name.startswith(("smoke_", "base_"))]
    ours = {rule.name: rule for rule in own if commands.search(rule.shellcmd or "")}
    assert {"export_real", "export_extractor_rooms", "make_tables", "draw_figures"} < set(ours)
    assert {name for name, rule in ours.items() if not rule.benchmark} == set(UNTIMED)
    shown = f"{workflow.globals['config']['results_dir']}/benchmarks/"
    of_datasets = {"caption_views", "caption_frames"}
    for name in set(ours) - set(UNTIMED) - of_datasets:
        assert str(ours[name].benchmark).startswith(shown), name


BASE = yaml.safe_load((ROOT / "workflow/config/base.yaml").read_text())["base"]


@pytest.mark.parametrize(
    "changes", [{}, {"base": BASE, "panorama": {"methods": ["mvdiffusion", "external/panfusion"]}}]
)
def test_the_page_gets_the_times_of_the_steps_of_this_run_and_no_others(
    changes: dict, tmp_path: Path
) -> None:
    """The plan of Snakemake has them; only the release of a base is a target of its own."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(changes))
    dag = plan(tmp_path / "config.yaml")
    planned = {str(job.benchmark) for job in dag.jobs if job.benchmark}
    (page,) = [job for job in dag.jobs if job.rule.name == "write_report"]
    words = list(page.params.options)
    told = [after for word, after in itertools.pairwise(words) if word == "--benchmark"]
    files = dict(pair.split("=") for pair in told)
    folder = "results/benchmarks/"
    assert len(files) == len(told)
    assert {f"{folder}{name}.tsv" for name in files} == {*files.values()}
    release = [f"{folder}{name}.tsv" for name in ("train_decoder", "train_unet", "release_base")]
    assert {*files.values()} == planned | (set(release) if changes else set())


def test_files_of_rules_hold_no_functions() -> None:
    for path in SMK:
        assert not re.search(r"^\s*(def|class) ", path.read_text(), re.MULTILINE), path
    assert len(rules(ROOT / "workflow/rules/datasets.smk")) == 10
    assert len((ROOT / "workflow/rules/common.smk").read_text().splitlines()) <= 20


def test_planning_loads_no_networks() -> None:
    """Every start of Snakemake waits for what the workflow imports of the project."""
    pattern = re.compile(r"^\s*(?:from|import) (mvdiffusion[\w.]*|eval[\w.]*)", re.MULTILINE)
    texts = [path.read_text() for path in [*SMK, *(ROOT / "workflow").rglob("*.py")]]
    modules = {name for text in texts for name in pattern.findall(text)}
    assert "mvdiffusion.code_closure" in modules
    methods = "mvdiffusion.methods.registry.methods()"  # reads every declaration
    loaded = "{'torch', 'numpy'} & set(sys.modules)"
    program = f"import sys, {', '.join(modules)}; {methods}; print({loaded})"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert printed.stdout == "set()\n", printed.stderr


@pytest.mark.long
def test_lint_and_format(project: Project) -> None:
    assert "good condition" in project.run("snakemake", "--lint", *EVERY_RULE)
    project.run("snakefmt", "--check", "--config", str(ROOT / "pyproject.toml"), "workflow")


@pytest.mark.long
def test_the_workflow_catalog_finds_the_workflow_its_software_and_its_configuration(
    made_project: Project,
) -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"]
    described = (ROOT / "config/README.md").read_text()
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert [key for key in schema["required"] if f"`{key}`" not in described] == []
    planned = made_project.snakemake(
        "--snakefile", "workflow/Snakefile", usage["mandatory-flags"]["flags"]
    )
    assert "Nothing to be done" in planned


@pytest.mark.long
def test_the_report_of_snakemake_holds_tables_figures_and_pages(
    made_project: Project, tmp_path: Path
) -> None:
    """By category and task, with captions; asked for without a number of cores."""
    made_project.run("snakemake", "run", "--report", str(tmp_path / "report.zip"))
    archive = ZipFile(tmp_path / "report.zip")
    held = {Path(name).name for name in archive.namelist()}
    assert {"claims.md", "overview_depth.png", "report.html", "leaderboard.html"} <= held
    (page,) = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/report.html", name)]
    text = archive.read(page).decode()
    start = text.rindex("var results = ") + len("var results = ")
    results, _ = json.JSONDecoder().raw_decode(text[start:])
    named = {path: one["labels"] for path, one in results.items()}
    assert named["results/tables/panorama_main.csv"] == {"table": "main", "format": "csv"}
    assert named["results/figures/overview_depth.png"] == {"figure": "overview", "format": "png"}
    assert named["results/report.html"] == {"page": "report", "format": "html"}
    assert all("experiment <em>mini</em>" in one["caption"] for one in results.values())
    start = text.rindex("var categories = ") + len("var categories = ")
    categories, _ = json.JSONDecoder().raw_decode(text[start:])
    assert set(categories) == {"Tables", "Figures", "Pages"}
    assert set(categories["Tables"]) == {"panorama", "outpaint", "depth", "all tasks"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("workflow/report/*.rst")), ids=lambda p: p.name)
def test_what_the_report_says_begins_with_the_banner(path: Path) -> None:
    for name in ("smoke", "mini"):
        config = read_config(ROOT / f"workflow/config/{name}.yaml")
        text = Template(path.read_text()).render(snakemake=SimpleNamespace(config=config))
        banner = config.get("banner")
        assert text.startswith(f"**{banner}**\n\n" if banner else ("A ", "The "))
        assert f"experiment *{name}*" in text
        assert bool(banner) == (name == "smoke")
