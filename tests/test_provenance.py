"""What made a result is named as it was then: the commit, the packages, the machine."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import mvdiffusion.records
from mvdiffusion_eval.report.made_with import made_with


def provenance_of_copy(folder: Path) -> dict[str, Any]:
    """Load a copy of the module from another place, and have it say what it is."""
    path = folder / "mvdiffusion/records.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(mvdiffusion.records.__file__, path)
    spec = importlib.util.spec_from_file_location("copied_records", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.provenance()


def git(folder: Path, *words: str) -> str:
    user = ("-c", "user.name=t", "-c", "user.email=t@t")
    command = ["git", "-C", str(folder), *user, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_a_repository_that_holds_the_package(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("of somebody else")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "thesis.txt")
    git(tmp_path, "commit", "--quiet", "--message", "a thesis")
    (tmp_path / "thesis.txt").write_text("edited")
    installed = provenance_of_copy(tmp_path / "venv/lib")
    assert (installed["git_commit"], installed["git_dirty"]) == (None, False)
    provenance_of_copy(tmp_path)
    git(tmp_path, "add", "mvdiffusion/records.py")
    git(tmp_path, "commit", "--quiet", "--message", "a checkout")
    checkout = provenance_of_copy(tmp_path)
    assert checkout["git_commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert checkout["git_dirty"]


def test_the_page_names_what_made_the_scores() -> None:
    base = mvdiffusion.records.provenance()
    old = base | {"packages": {"torch": "2.13.0", "numpy": "1.0", "dvc": None}, "git_commit": "a1"}
    new = old | {"packages": {"torch": "2.14.1", "numpy": "1.0", "dvc": None}, "git_dirty": True}
    told = dict(made_with({}, [old | {"git_dirty": False}, new, new]))
    assert told["packages"] == "torch 2.13.0 or 2.14.1, numpy 1.0"
    assert told["commit"] == "a1; a1 with uncommitted changes"
    assert told["machine"].count(";") == 0
