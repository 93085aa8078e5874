"""Pages print no measured number that no record holds: all are written there from the records."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs/site"))

import record  # noqa: E402
from sentences import SENTENCES  # noqa: E402

NUMBER = re.compile(
    r"\d+(?:\.\d+)?\s(?:minutes|hours|points|dB|GB|GiB|MB|%|times)\b|\d+\.\d+|\d+ ± \d+"
)
OF_NO_RUN = {  # what is no measurement of this project, and where it is from
    "README.md": {
        "3.11": "the version of Python",
        "4.0": "a bound of a claim, checked below",
        "2.4 GB": "the files of eval/extractors/weights.yaml",
    },
    "docs/verdicts.md": {"0.5": "a margin", "4.0 dB": "a bound"},
    "docs/reproduce.md": {
        "100 dB": "what equal images have",
        "0.5": "a margin",
        "4.0": "a bound",
        "4 dB": "a bound",
        "1.5 MB": "the bound of workflow/scripts/publish_reference.py",
        "0.4 times": "a quotient of two cells of the table above it",
        "2.6 dB": "a difference of two cells of benchmarks/README.md",
    },
}
PARTLY = {  # pages of whose numbers some have no record, and what these are
    "benchmarks/README.md": "differences of the numbers that are held, and settings",
    "docs/artifacts.md": "limits, and one comparison of 1 thread with 4",
    "docs/backbones.md": "versions, and a scale of published configurations",
    "docs/cluster.md": "what jobs ask for, held by tests/workflow/cluster, and peaks of one run",
    "docs/coherence.md": "seconds, and the table of open choices: measured once, not recorded",
    "docs/configure.md": "defaults, which tests/methods holds, and a factor of shared machines",
    "docs/consistency.md": "numbers of matches by size, verdicts in words, and settings",
    "docs/data.md": "units and limits",
    "docs/method.md": "a section of the paper",
    "docs/demo.md": "limits, which are those of mvdiffusion/demo/settings.py",
    "docs/external.md": "requirements as their authors state them",
    "docs/image_quality.md": "measured once on panoramas that are not in the repository",
    "docs/leaderboard.md": "published numbers",
    "docs/panorama_metrics.md": "its table is held by tests/benchmarks; agreements are of tests",
    "docs/released.md": "measured beside the released code, which is not in the repository",
    "docs/score.md": "its tables are held by tests/benchmarks; the rest are settings and limits",
    "docs/stability.md": "bounds of tests",
    "docs/study.md": "limits, and simulated coverages: measured once, not recorded",
    "docs/develop.md": "limits of sizes",
    "docs/faults.md": "its table is held by tests/faults; settings of that run",
    "docs/speed.md": "sentences in words beside a table that is held",
    "docs/generate.md": "sizes, versions and settings",
    "docs/tutorial.md": "versions and sizes",
}
OF_SETTINGS = {  # sections that print settings, the paper's numbers, or estimates that say so
    "docs/reproduce.md": (
        "How to read the tables",
        "How claims are decided",
        "Baselines that make view after view",
        "Baselines that make the panorama as one picture",
        "The size of the paper",
    ),
}


def unrecorded(page: str) -> list[str]:
    """Numbers of a page that stand in no recorded table or sentence, nor in code."""
    text = record.REGION.sub("", (ROOT / page).read_text())
    for template, values in SENTENCES[page]:
        for found in record.pattern(template).finditer(text):
            assert len(found.groups()) == len(values), template
        text = record.pattern(template).sub("", text)
    for section in OF_SETTINGS.get(page, ()):
        text, count = re.subn(rf"^## {section}\n.*?(?=^## )", "", text, flags=re.M | re.S)
        assert count == 1, section
    return [found for found in NUMBER.findall(plain(text)) if found not in OF_NO_RUN[page]]


def plain(text: str) -> str:
    """A page without its code, the targets of its links, and numbers of papers."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)|arXiv \d+\.\d+", "", text)


@pytest.mark.parametrize("page", SENTENCES)
def test_pages_print_what_was_recorded(page: str) -> None:
    """`python docs/site/record.py` has written them; it was run after the last change."""
    assert record.rewritten(page, SENTENCES[page]) == (ROOT / page).read_text()


@pytest.mark.parametrize("page", OF_NO_RUN)
def test_no_number_stands_there_without_a_record(page: str) -> None:
    assert unrecorded(page) == []


def test_every_other_page_with_numbers_says_what_they_are() -> None:
    pages = [name.relative_to(ROOT).as_posix() for name in ROOT.glob("docs/*.md")]
    silent = {page for page in pages if page not in OF_NO_RUN and page not in PARTLY}
    found = {page: NUMBER.findall(plain((ROOT / page).read_text())) for page in silent}
    assert {page: numbers for page, numbers in found.items() if numbers} == {}


def test_a_wrong_number_is_found_and_replaced() -> None:
    said = ("it is {} dB better, and the claim {}", ["1.2", "holds"])
    wrong = "So it\nis 7.5 ± 1 dB worse; it is 7.5 dB\nbetter, and the claim undecided."
    right = "So it\nis 7.5 ± 1 dB worse; it is 1.2 dB\nbetter, and the claim holds."
    assert record.with_numbers(wrong, *said) == (right, 1)
    assert NUMBER.findall("It takes 4\nminutes.") == ["4\nminutes"]
    table = "<!-- record: readme -->\n\n| wrong |\n\n<!-- end of record -->"
    for text in (table, table.replace("\n\n| wrong |\n", "\n")):  # or still empty
        assert "| **MVDiffusion** | 20.3 ± 0.2 |" in record.with_tables(text)
