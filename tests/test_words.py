"""Words: American spelling everywhere, and a documentation whose links and commands exist."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
import typer.main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "benchmarks/README.md", *sorted(ROOT.glob("docs/*.md"))]
PLACES = ("mvdiffusion", "eval", "workflow", "docs", "benchmarks", "tests")
SUFFIXES = {".py", ".md", ".yaml", ".smk", ".toml", ".txt", ".html", ".cff"}
# In two parts, so that this file does not contain them.
BRITISH = re.compile(
    "col" "our|cent" "re|neighb" "our|behavi" "our|lic" "ence|optim" "is(e|ation|ing)"
    "|recogn" "is(e|ation|ing)|normal" r"is(e|ation|ing)|\b\w*met" r"res?\b|\bmen" r"d(s|ed|ing)?\b",
    re.IGNORECASE,
)  # fmt: skip
MAX_README_LINES = 150


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts() -> list[Path]:
    """Everything that people read, but what others wrote and what runs recorded."""
    found = [path for place in PLACES for path in (ROOT / place).rglob("*")]
    found += [ROOT / file for file in ("README.md", "Snakefile", "CITATION.cff", "pyproject.toml")]
    kept_out = ("tests/golden", "workflow/resources", "mvdiffusion/preparation/lists")
    return [
        path
        for path in found
        if (path.suffix in SUFFIXES or path.name == "Snakefile")
        and not name(path).startswith(kept_out)
        and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]


def test_spelling_is_american() -> None:
    found = {
        f"{name(path)}:{number}": line.strip()
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if BRITISH.search(line)
    }
    assert len(texts()) > 200
    assert found == {}


def test_british_words_are_found() -> None:
    words = ["neighbouring", "Colour", "centred", "metres", "optimised", "mends"]
    assert all(BRITISH.search(word) for word in words)
    assert not BRITISH.search("neighboring colors are centered; a parameter, a recommendation")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in headings}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


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
    prefixes = "workflow|mvdiffusion|eval|benchmarks|tests|docs"
    for path in re.findall(rf"`((?:{prefixes})/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists() or path == "workflow/datasets/dvc.lock", path


def commands(page: Path) -> Iterator[list[str]]:
    """The calls of `mvdiffusion` and `mvdiffusion-eval` in code blocks and between backticks."""
    text = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`(mvdiffusion(?:-eval)? [^`]+)`", without_code(text))
    for line in (*lines, *inline):
        if line.startswith(("mvdiffusion ", "mvdiffusion-eval ")):
            yield shlex.split(line, comments=True)


def check(words: list[str]) -> None:
    """Follow a call to its subcommand and ask whether that has the options of the call."""
    module = {"mvdiffusion": "mvdiffusion.cli", "mvdiffusion-eval": "mvdiffusion_eval.cli"}
    command: click.Command = typer.main.get_command(import_module(module[words[0]]).app)
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("--"):
        assert rest[0] in command.commands, f"{words[0]} has no subcommand {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    given = {word for word in rest if word.startswith("--")}
    assert given <= known, f"{' '.join(words)}: no option {sorted(given - known)}"
    # A whole call names all that must be given; `mvdiffusion data import` in a sentence does not.
    if len(given - {"--help"}) > 1:
        needed = {p.opts[0] for p in command.params if p.required and p.param_type_name == "option"}
        assert needed <= given, f"{' '.join(words)}: lacks {sorted(needed - given)}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands(page):
        check(words)


def test_wrong_commands_are_found() -> None:
    good = "mvdiffusion data stitch --views a --output b".split()
    check(good)
    for wrong in (
        ["mvdiffusion", "data", "no"],
        [*good, "--no"],
        [*good[:3], *good[5:], "--height"],
    ):
        with pytest.raises(AssertionError, match="no subcommand|no option|lacks"):
            check(wrong)
