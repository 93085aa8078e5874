"""Every code block of README.md and docs/ works as it is printed."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from documented import NOT_RUN, PAGES, PLANNED, ROOT, Block, blocks, reason
from readers import Reader, write_answers

from workflow.lib.config import MINI, read_config

LANGUAGES = {"sh", "python", "yaml", "toml", "text"}
ALL = [block for page in PAGES for block in blocks(page)]
COMMANDS = [command for block in ALL if block.language == "sh" for command in block.commands()]
PROGRAMS = [block.text for block in ALL if block.language == "python"]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_blocks_say_what_they_are() -> None:
    assert {block.place for block in ALL if block.language not in LANGUAGES} == set()
    fences = sum(len(re.findall(r"^ *```", page.read_text(), re.MULTILINE)) for page in PAGES)
    assert fences == 2 * len(ALL)


def test_what_is_not_run_is_no_longer_than_needed() -> None:
    """Each line of the list stands for commands of the pages, and the list for a small part."""
    for why, beginnings in NOT_RUN.items():
        for beginning in beginnings:
            assert any(re.match(beginning, text) for text in [*COMMANDS, *PROGRAMS]), (
                why,
                beginning,
            )
    assert sum(reason(command) is None for command in COMMANDS) > len(COMMANDS) / 2


@pytest.mark.parametrize("command", [each for each in COMMANDS if each.startswith("make ")])
def test_targets_of_make_exist(command: str) -> None:
    target = command.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_extras_that_are_installed_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = [each for command in COMMANDS for each in re.findall(r"-e '\.\[([\w,]+)\]'", command)]
    assert named
    assert {extra for several in named for extra in several.split(",")} <= set(extras)


@pytest.mark.parametrize(
    "block", [block for block in ALL if block.language == "yaml"], ids=lambda block: block.place
)
def test_configurations_are_right(block, tmp_path: Path) -> None:
    """Each changes mini.yaml, as a file of one's own does."""
    file = tmp_path / "mine.yaml"
    file.write_text(block.text)
    assert isinstance(yaml.safe_load(block.text), dict)
    assert read_config(file) != read_config(MINI)


@pytest.mark.parametrize(
    "block", [block for block in ALL if block.language == "toml"], ids=lambda block: block.place
)
def test_declarations_can_be_read(block) -> None:
    assert tomllib.loads(block.text)["project"]["entry-points"]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_blocks_run_in_the_order_of_the_page(page: Path, reader: Reader) -> None:
    """Blocks of the shell and of Python; configurations are stored under the name they state."""
    for block in blocks(page):
        store(block, reader.folder)
        runs = block.language == "python" and not reason(block.text)
        script = block.text if runs else ""
        if block.language == "sh":
            if "answers/anna.json" in block.text:
                write_answers(reader.folder)
            kept = [c for c in block.commands() if not reason(c) and not PLANNED.match(c)]
            script = "\n".join(kept)
        if script:
            ran = reader.run(script, block.language)
            assert ran.returncode == 0, f"{block.place}\n{script}\n{ran.stdout[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_experiments_can_be_planned(page: Path, planner: Reader) -> None:
    """By a reader who has stored the configurations of all pages."""
    for block in ALL:
        store(block, planner.folder)
    for block in blocks(page):
        for command in block.commands() if block.language == "sh" else ():
            if PLANNED.match(command) and not reason(command):
                ran = planner.run(command.replace("snakemake", "snakemake --dry-run", 1))
                assert ran.returncode == 0, f"{block.place}\n{command}\n{ran.stdout[-3000:]}"


def store(block: Block, folder: Path) -> None:
    """Store a configuration under the name that its first line states."""
    if named := re.match(r"# ([\w./]+\.yaml)\n", block.text):
        (folder / named[1]).write_text(block.text)


@pytest.mark.slow
def test_a_block_that_does_not_work_is_found(reader: Reader) -> None:
    assert reader.run("mvdiffusion-eval score --generated none --output a.json").returncode == 2
    assert os.environ.get("HF_HUB_OFFLINE") == "1"
