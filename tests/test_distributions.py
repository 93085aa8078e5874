"""What is published, from the last commit: a wheel that works by itself, an sdist, a version."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
import toy
from installed import ROOT
from packaging.version import Version

pytestmark = pytest.mark.slow
PACKAGES = {"mvdiffusion": "mvdiffusion", "eval": "mvdiffusion_eval"}


def run(*words: object, cwd: Path, check: bool = True) -> str:
    """Run a program outside of the checkout, which nothing on the path names."""
    environment = {**os.environ, "PYTHONPATH": "", "GIT_CONFIG_GLOBAL": os.devnull}
    ran = subprocess.run(
        [*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert not check or ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def cloned(path: Path) -> Path:
    """A clone as that of GitHub's actions: the last commit, and no tags."""
    address = ROOT.as_uri()
    run("git", "clone", "--quiet", "--depth", 1, "--no-tags", address, path, cwd=path.parent)
    return path


def version_of(folder: Path) -> Version:
    return Version(run(sys.executable, "-m", "setuptools_scm", cwd=folder).strip())


def test_the_version_is_that_of_the_tag(tmp_path: Path) -> None:
    clone = cloned(tmp_path / "clone")
    untagged = version_of(clone)
    assert (untagged.base_version, untagged.is_devrelease) == ("0.4.0", True)
    run("git", "tag", "v1.2.0", cwd=clone)
    assert str(version_of(clone)) == "1.2.0"
    shutil.rmtree(clone / ".git")
    assert str(version_of(clone)) == "0.4.0.dev0"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of a clone and the wheel that was built from this sdist."""
    clone = cloned(tmp_path_factory.mktemp("build") / "clone")
    words = ("-m", "build", "--no-isolation", "--outdir", clone.parent / "dist", ".")
    run(sys.executable, *words, cwd=clone)
    return clone.parent / "dist"


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and the packages here, without the installation here."""
    root = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", root, cwd=root)
    (packages,) = root.glob("lib/python3*/site-packages")
    # A line of a .pth file adds a folder, but not what that folder's own .pth files add.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", root / "bin/python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", wheel, cwd=root)
    return root / "bin"


def test_the_wheel_holds_every_file_of_the_packages(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    listed = run("git", "ls-files", *PACKAGES, cwd=ROOT).split()
    assert held == {PACKAGES[name.split("/")[0]] + name[name.index("/") :] for name in listed}


def test_the_sdist_is_the_package_alone(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    assert sdist.stat().st_size < 3_000_000
    with tarfile.open(sdist) as archive:
        parts = [Path(name).parts for name in archive.getnames()]
    top = {inner[1] for inner in parts if len(inner) > 1}
    assert {*PACKAGES, "pyproject.toml", "setup.py", "README.md", "LICENSE"} <= top
    assert not top & {"tests", "workflow", "results", "Snakefile", "dvc.yaml", ".dvc", "docs"}


def test_the_installed_commands_run_outside_of_a_checkout(
    environment: Path, built: Path, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    for words in (
        ("mvdiffusion",),
        ("mvdiffusion-eval",),
        ("python", "-m", "mvdiffusion"),
        ("python", "-m", "mvdiffusion_eval"),
    ):
        command = (environment / words[0], *words[1:])
        assert run(*command, "--version", cwd=tmp_path).strip() == wheel.name.split("-")[1]
        assert "Usage" in run(*command, "-h", cwd=tmp_path)
    print_file = "import mvdiffusion_eval as e; print(e.__file__)"
    home = run(environment / "python", "-c", print_file, cwd=tmp_path)
    assert home.startswith(str(environment.parent))
    assert "paper-pano v" in run(environment / "mvdiffusion-eval", "protocols", cwd=tmp_path)
    listed = run(environment / "mvdiffusion", "external", "list", cwd=tmp_path)
    assert "panfusion" in listed
    toy.write_folder(tmp_path / "mine", "mine", toy.independent_samples(4))
    words = ("score", "--generated", tmp_path / "mine", "--output", tmp_path / "mine.json")
    run(environment / "mvdiffusion-eval", *words, cwd=tmp_path)
    assert (tmp_path / "mine.json").stat().st_size
