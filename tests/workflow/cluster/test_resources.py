"""What jobs ask for follows from the configuration; profiles hold what is a site's own."""

import re
from typing import Any

import pytest
import yaml
from snakemake.workflow import Workflow
from workflow_project import ROOT, Project, load_workflow

from workflow.lib.config import read_config
from workflow.lib.process import CORES
from workflow.lib.resources import Needs
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks

PROFILES = {
    path.parent.name: yaml.safe_load(path.read_text())
    for path in (ROOT / "profiles").glob("*/profile.yaml")
}
MEASURED = {  # MB at most, of the miniature's jobs on two cores: their benchmark files
    "training": 2591, "sampling": 1246, "scoring": 1904, "extracting": 1254,
}  # fmt: skip


def needs(name: str, cores: int = 8, **changes: Any) -> Needs:
    config = read_config(ROOT / f"workflow/config/{name}.yaml") | changes
    return Needs(Tasks(config, Sources(config)), cores)


@pytest.fixture(scope="module")
def paper() -> Workflow:
    """All rules there are, beside the copies with small configurations."""
    return load_workflow(ROOT / "workflow/config/paper.yaml")


def test_the_miniature_asks_for_little() -> None:
    small = needs("mini")
    for kind, measured in MEASURED.items():
        asked = getattr(small, kind)
        assert "gpu" not in asked
        assert 1.1 * measured < asked["mem_mb"] <= 8000, kind
        assert asked["runtime"] <= 240
    assert needs("smoke").training["mem_mb"] < small.training["mem_mb"]
    assert needs("mini", device="cuda").training["gpu"] == 1


def test_the_paper_asks_for_a_gpu_and_no_more_time_than_clusters_give() -> None:
    large = needs("paper")
    for kind in MEASURED:
        asked = getattr(large, kind)
        assert asked["gpu"] == 1
        assert asked["runtime"] <= 2 * 24 * 60
        assert 16_000 < asked["mem_mb"] <= 64_000
    workers = read_config(ROOT / "workflow/config/paper.yaml")["depth"]["stage1"]["training"]
    assert large.training["mem_mb"] >= 1000 * workers["num_workers"]


def test_without_a_gpu_what_passes_through_the_network_is_in_memory() -> None:
    """A pass of the paper: a panorama of 8 views of 512 x 512, or 32 frames of 192 x 256."""
    more = needs("paper", device="cpu").training["mem_mb"] - needs("paper").training["mem_mb"]
    assert more == pytest.approx(0.016 * 8 * 512 * 512, abs=1000)
    assert "gpu" not in needs("paper", device="cpu").training


def test_several_processes_ask_for_several_gpus() -> None:
    several = {"training": 4, "generation": 2, "scoring": 3}
    one, more = needs("paper"), needs("paper", processes=several)
    assert [more.training["gpu"], more.sampling["gpu"], more.scoring["gpu"]] == [4, 2, 3]
    assert more.extracting["gpu"] == 1
    assert more.training["mem_mb"] == 4 * one.training["mem_mb"]


def test_the_miniature_runs_in_pairs_and_large_models_one_by_one() -> None:
    assert (needs("mini").shared_cores, needs("mini").training_threads) == (4, 4)
    assert needs("mini", tasks=["panorama"]).training_threads == 8
    assert needs("paper").shared_cores == 8
    assert needs("mini", cores=1).shared_cores == 1


def test_the_documentation_says_what_is_asked_for() -> None:
    """Its table of kinds of jobs: memory, time and GPUs of the miniature and of the paper."""
    table = (ROOT / "docs/cluster.md").read_text()
    rows = {"training": "training", "generation of a split": "sampling", "scores": "scoring",
            "captions": "captioning", "tables, figures, pages": "reporting"}  # fmt: skip
    for row, kind in rows.items():
        (line,) = re.findall(rf"^\| {row} \|.*$", table, re.MULTILINE)
        *_, small, large = [cell.strip() for cell in line.strip("|").split("|")]
        for name, cell in (("mini", small), ("paper", large)):
            asked = getattr(needs(name), kind)
            memory = asked["mem_mb"]
            memory = memory if isinstance(memory, int) else memory(None, threads=8)
            hours = asked["runtime"] // 60
            time = f"{hours} hours" if hours < 24 else f"{hours // 24} day" + "s" * (hours > 24)
            gpu = ", 1 GPU" if "gpu" in asked else ""
            assert cell in ("–", "the same", f"{memory // 1000} GB, {time}{gpu}"), (row, name)


USES_A_GPU = re.compile(
    r"python -m mvdiffusion(\.cli (train|generate split|data caption|external)"
    r"|_eval (score|train-extractor)) "
)


def test_every_rule_says_what_it_needs(paper: Workflow) -> None:
    """Those with a device also a GPU; copies (`smoke_`, `base_`) as little as their sizes need."""
    sent = {
        rule.name: rule
        for rule in paper.rules
        if "python -m" in (rule.shellcmd or "") and rule.name not in paper._localrules
    }
    assert {"train_stage2", "smoke_train_stage2", "base_train_vae", "split_scenes"} <= set(sent)
    for name, rule in sent.items():
        asked = rule.resources
        assert {"mem_mb", "runtime"} <= set(asked), name
        large = not name.startswith(("smoke_", "base_"))
        uses = bool(USES_A_GPU.search(rule.shellcmd)) and large
        assert ("gpu" in asked) == uses or "caption" in name or "external" in name, name


def test_profiles_say_only_what_is_a_sites_own() -> None:
    assert set(PROFILES) == {"default", "kubernetes", "slurm"}
    for profile in PROFILES.values():
        assert profile["rerun-incomplete"]
        assert profile["nolock"]
        assert not {"set-resources", "set-threads"} & set(profile)
    assert PROFILES["default"]["resources"] == {"gpu": 1}, "a GPU of a machine has one job"
    for name in ("kubernetes", "slurm"):
        assert PROFILES[name]["max-threads"] == PROFILES[name]["cores"]
        assert PROFILES[name]["show-failed-logs"]


def test_commented_keys_of_the_profile_for_slurm_are_accepted(paper: Workflow) -> None:
    """What a lab fills in is there to uncomment, and is YAML."""
    text = (ROOT / "profiles/slurm/profile.yaml").read_text()
    commented = re.sub(r"^# (?=default-res|  |slurm-|set-res)", "", text, flags=re.MULTILINE)
    values = yaml.safe_load(commented)
    assert values["default-resources"] == {"slurm_account": "lab", "slurm_partition": "gpu"}
    assert values["slurm-requeue"] is True
    assert values["slurm-array-jobs"].split(",") == ["generate", "score"]
    assert set(values["set-resources"]) <= {rule.name for rule in paper.rules}


@pytest.mark.long
def test_a_clusters_jobs_have_the_threads_that_they_asked_for(
    project: Project,
) -> None:
    """Inside a job, Snakemake reads the rules again with other cores."""
    model = "results/models/panorama_stage2/model_index.json"
    words = ("--dry-run", "--force", model, "--cores", "8")
    assert "threads: 4" in project.run("snakemake", *words)
    inside = ("--mode", "remote", "--target-jobs", "train_stage2:task=panorama")
    asked = project.run("snakemake", *inside, *words[:2], "--cores", "6", **{CORES: "8"})
    assert "threads: 4" in asked
