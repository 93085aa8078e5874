"""Scoring and generating with no more packages than their extras install."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import toy
from installed import ROOT, absent_with

from workflow.scripts.pin_environment import declared

RUN_WITHOUT = """
import re, runpy, sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        there = name.partition(".")[0] not in absent
        return self.finder.find_spec(name, path, target) if there else None

    def find_distributions(self, context):
        for found in getattr(self.finder, "find_distributions", lambda context: [])(context):
            if re.sub("[-_.]+", "-", found.name).lower() not in absent:
                yield found

absent = set(sys.argv[1].split(","))
sys.meta_path[:] = map(Without, sys.meta_path)
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
NOT_FOR_SCORING = {"dvc", "snakemake", "tensorboard", "gradio", "mkdocs"}


def run_without(absent: set[str], *words: object) -> subprocess.CompletedProcess[str]:
    """Run a module as a program where some packages are not installed."""
    command = [sys.executable, "-c", RUN_WITHOUT, ",".join(sorted(absent)), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@cache
def not_installed_with(*extras: str) -> set[str]:
    return absent_with(declared(*extras)) - {"mvdiffusion", "mvdiffusion_eval"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folders")
    toy.write_folder(root / "real", "real", toy.real_samples(4))
    toy.write_folder(root / "mine", "mine", toy.independent_samples(4))
    return root


def score(absent: set[str], folders: Path, output: Path) -> subprocess.CompletedProcess[str]:
    words = ("--generated", folders / "mine", "--reference", folders / "real", "--output", output)
    settings = ("--settings", toy.SCORE_SETTINGS)
    return run_without(absent, "mvdiffusion_eval", "score", *words, *settings)


@pytest.mark.long
def test_consistency_of_views_is_scored_by_the_package_alone(folders: Path, tmp_path: Path) -> None:
    absent = not_installed_with()
    assert absent >= NOT_FOR_SCORING | {"grimp", "pandas"}
    ran = score(absent, folders, tmp_path / "mine.json")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "mine.json").stat().st_size


@pytest.mark.slow
def test_tables_need_the_extra_eval_and_say_so(folders: Path, tmp_path: Path) -> None:
    toy.score(folders / "mine", tmp_path / "mine.json", folders / "real")
    absent = not_installed_with()
    words = ("leaderboard", tmp_path / "mine.json", "--output", tmp_path / "page.html")
    ran = run_without(absent, "mvdiffusion_eval", *words)
    assert ran.returncode == 2
    assert re.fullmatch(
        r"mvdiffusion-eval: the package \w+ is missing; install it with "
        r"`pip install 'mvdiffusion\[eval\]'`\.\n",
        ran.stderr,
    )
    absent = not_installed_with("eval")
    assert absent >= NOT_FOR_SCORING
    ran = run_without(absent, "mvdiffusion_eval", *words)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "page.html").stat().st_size


@pytest.mark.slow
def test_all_offline_extractors_need_eval_and_offline(folders: Path, tmp_path: Path) -> None:
    words = ("compare", folders / "mine", folders / "real", "--reference", folders / "real")
    absent = not_installed_with("eval", "offline")
    assert absent >= NOT_FOR_SCORING
    settings = ("--settings", toy.SCORE_SETTINGS)
    ran = run_without(
        absent, "mvdiffusion_eval", *words, *settings, "--output", tmp_path / "compared"
    )
    assert ran.returncode == 0, ran.stderr
    assert "efficientnet_fid" in (tmp_path / "compared" / "tables" / "comparison.md").read_text()


@pytest.mark.slow
def test_generating_needs_no_extra(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red wall\n")
    words = ("--model", models["panorama"], "--prompts", tmp_path / "prompts.txt")
    how = ("--steps", 1, "--device", "cpu", "--num-views", 4, "--output", tmp_path / "room")
    absent = not_installed_with()
    assert absent >= NOT_FOR_SCORING | {"pandas", "matplotlib", "grimp", "torchmetrics"}
    ran = run_without(absent, "mvdiffusion", "generate", "panorama", *words, *how)
    assert ran.returncode == 0, ran.stderr
    assert list((tmp_path / "room").rglob("panorama.png"))
