"""The code blocks of README.md and docs/, and which of their commands cannot run in a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    # Beginnings of commands and of Python blocks, as regular expressions, by why no test runs them.
    # Those that are commands of this project are checked for their names and options all the same,
    # those of make for their targets, and the plans of Snakemake are made.
    "installs packages or starts an environment, which the tests have already": (
        r"pip install ",
        r"\. \.venv/bin/activate",
    ),
    "takes minutes to hours, from a fresh environment": (
        r"make (look|run|test|smoke|docs|lint)\b",
    ),
    "takes minutes, and replaces what the repository embeds": (
        r"python -m mvdiffusion\.cli data rooms ",
        r"dvc add data && dvc push",
        r"python -m workflow\.scripts\.publish_base",
    ),
    "needs networks that are downloaded": (
        r"mvdiffusion-eval score .*--protocol (paper-pano|dit360|smgd|met3r)\b",
        r"cd ~/\.cache/torch",
        r"mvdiffusion data caption ",
    ),
    "needs released checkpoints, which are downloaded": (
        r"mvdiffusion fetch-released ",
        r"mvdiffusion convert --checkpoint checkpoints/pano\.ckpt",
    ),
    "serves a page until it is stopped; tests/demo drives it in a browser": (
        r"mvdiffusion demo\b",
        r"[\s\S]*\brun_demo\(",
    ),
    "needs methods of others, which are downloaded and want a GPU": (
        r"mvdiffusion external (install|run|import|check) panfusion (?!their_folder)",
        r"mvdiffusion external install panfusion",
    ),
    "needs a cluster, and the package that reaches it; tests/workflow/cluster has both": (
        r"snakemake --workflow-profile profiles/(slurm|kubernetes)",
    ),
    "needs programs for containers": (r"docker build ", r"apptainer build "),
    "needs a lab's private storage": (r"dvc remote add ", r"dvc push (-r|--remote) lab"),
    "needs a recording of real rooms; tests/benchmarks checks its words": (
        r"python benchmarks/controls\.py ",
    ),
    "needs Open3D, which is no package of the tests": (r"mvdiffusion mesh .*\.ply",),
    "trains a network for FAED at its full size first": (
        r"mvdiffusion-eval train-extractor --kind faed",
        r"mvdiffusion-eval score .*--extractor faed\b",
    ),
}
PLANNED = re.compile(r"^(?:\w+=\w+ )?snakemake ")
"""Experiments: hours on some cores, a GPU, a cluster or licensed data. Their plans are made."""


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        line: of the page where it begins.
        text: without the indentation of the list that it stands in.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"

    def commands(self) -> Iterator[str]:
        """The commands of a shell block, each in one line."""
        for line in re.sub(r"\\\n\s*", "", self.text).splitlines():
            if line.strip() and not line.startswith("#"):
                yield line


def blocks(page: Path) -> list[Block]:
    """All code blocks of a page in order."""
    text = page.read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found[2],
            re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE),
        )
        for found in BLOCK.finditer(text)
    ]


def reason(command: str) -> str | None:
    """Why a command or a Python block is not run; None if it is."""
    for why, beginnings in NOT_RUN.items():
        if any(re.match(beginning, command) for beginning in beginnings):
            return why
    return None
