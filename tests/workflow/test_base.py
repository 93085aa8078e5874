"""The miniature's Stable Diffusion: trained as an experiment of its own."""

from workflow_project import Project


def test_the_base_is_trained_alone_and_goes_on_after_a_failure(project: Project) -> None:
    failed = project.snakemake("base", check=False, FAIL_AT="train base")
    assert "truncated; copy it again" in failed
    assert sorted(project.commands()) == ["data rooms", "train base", "train vae"]
    project.snakemake("base")
    assert project.commands() == ["train base", "release-base"]
    assert (project.root / "results/base/release/model_index.json").is_file()
    assert "Nothing to be done" in project.snakemake("base", "run"), "it must not touch the run"
    project.set("base.diffusion.training.steps", 3, config="base")
    project.snakemake("base", "--configfile", "workflow/config/base.yaml")
    assert project.commands() == ["train base", "release-base"]
    project.append("workflow/config/base_trials.csv", "smaller\n")
    project.snakemake("base")
    assert project.commands() == ["release-base"]
