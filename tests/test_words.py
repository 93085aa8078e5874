"""Words: American spelling everywhere, and documentation whose links, files and commands exist."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / folder / "README.md" for folder in (".", "benchmarks", "config")),
    *(ROOT / file for file in ("CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
FOLDERS = ("mvdiffusion", "eval", "workflow", "config", "profiles", "docs", "benchmarks", "tests")
FILES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Dockerfile",
    "Snakefile",
    "Makefile",
    "CITATION.cff",
    "pyproject.toml",
    "setup.py",
)
SUFFIXES = {".py", ".md", ".yaml", ".smk", ".toml", ".txt", ".html", ".j2", ".cff"}
OF_OTHERS = ("tests/golden", "workflow/resources", "mvdiffusion/preparation/lists")
# "grey" stays: captions of the rendered rooms contain it. This file itself is not searched.
BRITISH = re.compile(
    r"(?:col|neighb|behavi|fav|flav|hon|lab)our|(?:recogn|normal|optim|initial|regular|discret"
    r"|visual|general|minim|maxim|summar|organ|parallel|random|quant|serial|synchron|standard"
    r"|penal|character|emphas|raster|stabil|vector)is(?:e|ing|ation)|labell(?:ed|ing)"
    r"|modell(?:ed|ing)|artefact|analys(?:e|ed|ing)\b|licence|defence|cent(?:re|ring)|metre"
    r"|\bmend(?:s|ed|ing)?\b"
)
MACHINE_PATH = re.compile(r"(?<![\w.}/:-])/(?:home|root|work|users|mnt)/")
MAX_README_LINES, MAX_README_WORDS = 150, 1300


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts() -> Iterator[Path]:
    """Everything that people read, except what others wrote."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    for path in [*found, *(ROOT / file for file in FILES)]:
        readable = path.suffix in SUFFIXES or name(path) in FILES
        if readable and path != Path(__file__).resolve() and not name(path).startswith(OF_OTHERS):
            yield path


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in texts():
        text = path.read_text(encoding="utf-8").lower()
        for match in pattern.finditer(text):
            found.append(f"{name(path)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}")
    return found


def test_spelling_is_american() -> None:
    assert lines_with(BRITISH) == []


def test_no_text_names_a_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATH) == []


def test_the_patterns_find_what_they_look_for() -> None:
    british = "neighbouring colour centred metres optimised unrecognised mends licence labelled"
    assert all(BRITISH.search(word) for word in british.split())
    assert not BRITISH.search("neighboring colors are centered; parameters, a recommendation")
    assert MACHINE_PATH.search("see /home/someone/data")
    assert not MACHINE_PATH.search("data/home/work and https://host/work and {tmp_path}/work")
    searched = set(map(name, texts()))
    assert {
        "Snakefile",
        "docs/score.md",
        "eval/cli/scoring.py",
        "workflow/rules/common.smk",
    } <= searched


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= MAX_README_LINES
    assert len(text.split()) <= MAX_README_WORDS


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_files_exist(page: Path) -> None:
    for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists() or path == "workflow/datasets/dvc.lock", path


def commands(page: Path) -> Iterator[list[str]]:
    """The calls of `mvdiffusion` and `mvdiffusion-eval` in code blocks and between backticks."""
    text = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(mvdiffusion(?:-eval)? [^`]+)`", without_code(text))
    for line in lines:
        if line.startswith(("mvdiffusion ", "mvdiffusion-eval ")):
            yield shlex.split(line, comments=True)


@cache
def command_line(name: str) -> Any:
    module = {"mvdiffusion": "mvdiffusion.cli", "mvdiffusion-eval": "mvdiffusion_eval.cli"}[name]
    return typer.main.get_command(import_module(module).app)


def check(words: list[str]) -> None:
    """Follow a call to its subcommand; its options must exist and the required ones be given."""
    command, rest = command_line(words[0]), words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("--"):
        assert rest[0] in command.commands, f"{words[0]} has no subcommand {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    given = {word for word in rest if word.startswith("--")}
    assert given <= known, f"{' '.join(words)}: no option {sorted(given - known)}"
    # A whole call gives all required options; `mvdiffusion data import` in a sentence does not.
    if len(given - {"--help"}) > 1:
        needed = {p.opts[0] for p in command.params if p.required and p.param_type_name == "option"}
        assert needed <= given, f"{' '.join(words)}: lacks {sorted(needed - given)}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands(page):
        check(words)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("mvdiffusion data none", "no subcommand none"),
        ("mvdiffusion data stitch --views a --output b --none", r"no option \['--none'\]"),
        ("mvdiffusion data stitch --output b --height 8", r"lacks \['--views'\]"),
    ],
)
def test_wrong_commands_are_found(wrong: str, message: str) -> None:
    check(["mvdiffusion", "data", "stitch", "--views", "a", "--output", "b"])
    with pytest.raises(AssertionError, match=message):
        check(wrong.split())


def test_the_map_of_the_code_shows_the_layers_of_imports() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [layer for contract in linter["contracts"] for layer in contract.get("layers", ())]
    text = (ROOT / "docs/develop.md").read_text()
    rows = re.findall(r"^\| (`[^|]+) \|", text[: text.index("## Tests")], re.MULTILINE)
    shown = [re.findall(r"`(\w+)(?:/|\.py)`", row) for row in rows]
    assert shown == [re.findall(r"\w+", layer) for layer in layers]
