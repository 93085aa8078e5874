"""The commands of benchmarks/README.md: each script takes the words that the page gives it."""

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PAGE = (BENCHMARKS / "README.md").read_text().replace("\\\n", " ")
COMMANDS = re.findall(r"^python benchmarks/(\w+)\.py (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("script", "words"), COMMANDS)
def test_documented_commands_are_accepted(
    monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    parse = import_module(script).parse_arguments
    assert parse(shlex.split(words))
    with pytest.raises(SystemExit):
        parse([*shlex.split(words), "--none"])


def test_every_script_with_a_command_line_is_on_the_page() -> None:
    scripts = {p.stem for p in BENCHMARKS.glob("*.py") if "__main__" in p.read_text()}
    assert {script for script, _ in COMMANDS} == scripts
