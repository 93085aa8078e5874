"""DVC starts and records runs; a second one does nothing; a fresh clone needs no preparation."""

from workflow_project import Project


def test_repro_on_a_fresh_clone_and_again(made_project: Project, clone: Project) -> None:
    clone.run("dvc", "repro")
    assert clone.results() == made_project.results()
    clone.commands()
    again = clone.run("dvc", "repro")
    assert "Stage 'run' didn't change, skipping" in again
    assert clone.commands() == []
    assert "result" in clone.run("dvc", "metrics", "show")


def test_repro_after_a_recorded_run_does_nothing(project: Project) -> None:
    project.run("dvc", "commit", "--force", "run")
    assert "Stage 'run' didn't change, skipping" in project.run("dvc", "repro")
    project.set("evaluation.claims.quality_margin", 0.1)
    assert "Running stage 'run'" in project.run("dvc", "repro")
    assert sorted(project.commands()) == ["figures", "report", "tables"]


def test_smoke_has_a_stage_of_its_own(project: Project) -> None:
    project.run("dvc", "repro", "workflow/smoke/dvc.yaml")
    assert project.results("results/smoke")["metrics.json"]
    project.commands()
    again = project.run("dvc", "repro", "workflow/smoke/dvc.yaml")
    assert "Stage 'workflow/smoke/dvc.yaml:smoke' didn't change, skipping" in again
    assert project.commands() == []
    assert "Nothing to be done" in project.snakemake("run"), "smoke must not touch the run"
