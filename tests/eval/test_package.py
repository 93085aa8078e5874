"""The suite as others import and run it: public names, doctests, folders that hold an `eval.py`."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mvdiffusion
import mvdiffusion_eval

ROOT = Path(__file__).parents[2]


def modules(package: object) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


@pytest.mark.long
def test_every_example_in_a_docstring_is_true() -> None:
    count = 0
    for name in (*modules(mvdiffusion_eval), *modules(mvdiffusion)):
        result = doctest.testmod(importlib.import_module(name))
        assert not result.failed, name
        count += result.attempted
    assert count >= 20  # they were found at all


def test_public_names_are_there_and_nothing_heavy_is_loaded_for_them() -> None:
    code = "import sys, mvdiffusion_eval; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in mvdiffusion_eval.__all__:
        assert getattr(mvdiffusion_eval, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        mvdiffusion_eval.scores  # noqa: B018


def test_what_is_used_of_clean_fid_works_with_every_scipy() -> None:
    """Its distance does not, and only tests compare with that one."""
    used = "import cleanfid.resize, cleanfid.inception_torchscript"
    code = f"import sys; sys.modules['scipy'] = None; {used}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_file_that_is_no_code_is_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package, folder in (("mvdiffusion", "mvdiffusion"), ("mvdiffusion_eval", "eval")):
        words = ["git", "-C", str(ROOT / folder), "ls-files"]
        listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        packaged = {
            path.relative_to(ROOT / folder).as_posix()
            for pattern in settings["package-data"][package]
            for path in (ROOT / folder).glob(pattern)
        }
        assert packaged
        assert {name for name in listed if not name.endswith(".py")} <= packaged


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A research folder with an evaluation script and package of its own."""
    (tmp_path / "eval.py").write_text("raise SystemExit('the script of the folder ran')")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "__init__.py").touch()
    (tmp_path / "eval" / "psnr_mine.py").write_text("def mine():\n    return 'my metric'\n")
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.long
def test_a_users_eval_and_ours_do_not_hide_one_another(users_folder: Path) -> None:
    ours = run(users_folder, "-c", "import mvdiffusion_eval as e; e.score; print(eval('1 + 1'))")
    assert (ours.returncode, ours.stdout) == (0, "2\n"), ours.stderr
    (users_folder / "eval.py").unlink()
    theirs = run(users_folder, "-c", "from eval.psnr_mine import mine; print(mine())")
    assert (theirs.returncode, theirs.stdout) == (0, "my metric\n"), theirs.stderr


@pytest.mark.long
def test_the_checkouts_folder_runs_and_is_loaded_once() -> None:
    """`python -m eval` must know a plug-in's `mvdiffusion_eval.Metric` as its own."""
    code = """
import runpy, sys
sys.argv = ["eval", "protocols"]
try:
    runpy.run_module("eval", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
assert [name for name in sys.modules if name.startswith("eval.") and "__main__" not in name] == []
import mvdiffusion_eval
from mvdiffusion_eval.protocols.protocol import metrics
assert all(isinstance(metric, mvdiffusion_eval.Metric) for metric in metrics().values())
"""
    result = run(ROOT, "-c", code)
    assert result.returncode == 0, result.stderr
    assert "paper-pano v2" in result.stdout
    for package in ("eval", "mvdiffusion_eval"):
        result = run(ROOT, "-m", package, "--help")
        assert result.returncode == 0, result.stderr
        assert "train-extractor" in result.stdout


def test_help_comes_without_torch() -> None:
    code = """
import sys
from mvdiffusion_eval.cli import main
try:
    main(["--help"])
except SystemExit:
    assert "torch" not in sys.modules
"""
    result = run(ROOT, "-c", code)
    assert result.returncode == 0, result.stderr
