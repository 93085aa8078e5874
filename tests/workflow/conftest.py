"""Copies of the small project: one that was run, one for each test, a fresh clone."""

import shutil
from pathlib import Path

import pytest
from workflow_project import Project, write_project


@pytest.fixture(scope="session")
def made_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed project whose `run` has ended once."""
    project = write_project(tmp_path_factory.mktemp("made"))
    for command in (
        ("git", "init", "--quiet", "--initial-branch", "main"),
        ("dvc", "add", "--quiet", "data"),
        ("dvc", "push", "--quiet"),
        ("git", "add", "--all"),
        ("git", "commit", "--quiet", "--message", "all"),
    ):
        project.run(*command)
    project.snakemake("run")
    return project


@pytest.fixture
def project(made_project: Project, tmp_path: Path) -> Project:
    """A copy of the made project for one test, with results, state and times of files."""
    shutil.copytree(made_project.root, tmp_path / "project", symlinks=True)
    copy = Project(tmp_path / "project")
    copy.commands()
    return copy


@pytest.fixture
def clone(made_project: Project, tmp_path: Path) -> Project:
    """A fresh clone: what is committed, and nothing else."""
    made_project.run("git", "clone", "--quiet", str(made_project.root), str(tmp_path / "clone"))
    return Project(tmp_path / "clone")
