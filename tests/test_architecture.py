"""The house: one-way imports, rooms of a size one can survey, nothing unpickled, nothing heavy."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("mvdiffusion", "eval", "workflow")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
# Reads released checkpoints with an unpickler that knows nobody's functions: see its tests.
PICKLE_READER = "mvdiffusion/conversion/pickle_reader.py"
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_FOLDER_FILES = 450, 60, 16
MAX_TRACKED_BYTES = 1_500_000
MIN_EXPLAINED = 0.76  # of public functions with two parameters or more, as in torchmetrics


def identity(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def test_imports_go_one_way() -> None:
    """In a process of its own, since the linter switches off all loggers that are there."""
    code = "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=identity)
def test_sizes(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            said = node.body[0] if ast.get_docstring(node, clean=False) else None
            lines = length(node) - (length(said) if said else 0)
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def public(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions, and methods of classes, whose names say that others may call them."""
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.ClassDef | ast.FunctionDef)
        if named and (child.name in ("__init__", "__call__") or not child.name.startswith("_")):
            if isinstance(child, ast.FunctionDef):
                yield child
            else:
                yield from public(child)


def test_most_functions_explain_their_parameters() -> None:
    """By sections of Google style; commands have the help of their options instead."""
    explained = []
    for path in MODULES:
        if "cli" not in identity(path):
            for function in public(ast.parse(path.read_text())):
                names = {each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)}
                if len(names - {"self", "cls"}) >= 2:
                    said = ast.get_docstring(function) or ""
                    explained.append("Args:" in said or "Raises:" in said)
    assert len(explained) > 300
    assert sum(explained) / len(explained) >= MIN_EXPLAINED


@pytest.mark.parametrize("folder", FOLDERS, ids=identity)
def test_a_folder_can_be_surveyed(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.is_file() and path.name != "py.typed"]
    assert len(files) <= MAX_FOLDER_FILES


@pytest.mark.parametrize("path", MODULES, ids=identity)
def test_nothing_is_unpickled(path: Path) -> None:
    text = path.read_text()
    found = re.findall(r"^\s*(?:import|from) (pickle|joblib|dill|shelve)\b", text, re.MULTILINE)
    assert found == (["pickle"] if identity(path) == PICKLE_READER else [])
    for call in calls(path):
        name, options = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
        if name == "torch.load":
            assert options.get("weights_only") == "True", f"line {call.lineno}"
        assert options.get("allow_pickle", "False") == "False", f"line {call.lineno}"
        assert name not in ("pickle.load", "pickle.loads", "pickle.Unpickler"), (
            f"line {call.lineno}"
        )
        if name.endswith(".from_pretrained") and "Tokenizer" not in name:
            assert options.get("use_safetensors") == "True", f"line {call.lineno}"


def test_installed_versions_of_torch_read_weights_safely() -> None:
    """Below 2.10 `weights_only` can be broken: CVE-2025-32434, CVE-2026-24747."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    environment = (ROOT / "workflow/envs/mvdiffusion.yaml").read_text()
    for torch in (*project, *re.findall(r'"(torch>.*?)"', environment)):
        if found := re.fullmatch(r"torch>=(\d+)\.(\d+).*", torch):
            assert tuple(map(int, found.groups())) >= (2, 10), torch
    assert any(name.startswith("torch>=") for name in project)


@pytest.mark.parametrize("path", MODULES, ids=identity)
def test_images_are_opened_in_known_formats_alone(path: Path) -> None:
    """Pillow hands EPS to Ghostscript, whatever the file is named."""
    for call in calls(path):
        if ast.unparse(call.func) == "Image.open" and identity(path).startswith(("eval", "mvdiff")):
            assert "formats" in {keyword.arg for keyword in call.keywords}, f"line {call.lineno}"


def test_tracked_files_are_small() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    if tracked == [""]:
        pytest.skip("not a git checkout")
    sizes = {name: (ROOT / name).stat().st_size for name in tracked if (ROOT / name).is_file()}
    assert len(sizes) > 50
    golden = {name for name in sizes if name.startswith("tests/golden/")}  # fixtures, 16 MB in all
    assert sum(sizes[name] for name in golden) < 17_000_000
    embedded = {name for name in sizes if name.startswith("workflow/resources/dvc-store/")}
    assert sum(sizes[name] for name in embedded) < 37_000_000  # rooms, 11 MB, and the base, 25 MB
    heavy = {name for name, size in sizes.items() if size > MAX_TRACKED_BYTES}
    assert heavy <= golden | embedded
