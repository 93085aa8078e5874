"""What an installation names of others' code: packages of one version, and commits."""

from __future__ import annotations

import re

ONE_VERSION = "one version: NAME==VERSION, git+URL@COMMIT or URL#sha256=HASH"
_PINNED = re.compile(
    r"[\w.-]+(\[[\w,.-]+\])?==[\w.+!]+"  # a release
    r"|([\w.-]+ ?@ ?)?git\+\S+@[0-9a-f]{40}(#\S+)?"  # a commit
    r"|([\w.-]+ ?@ ?)?https://\S+#sha256=[0-9a-f]{64}"  # a file
)
_INSTALL = re.compile(r"\b(?:pip[\d.]*|conda|mamba)(?:\s+-\S+)*\s+install\s+([^;&|]*)")
_FROM_GIT = re.compile(r"git\+[^\s'\";&|]+")
_FOLDER = re.compile(r"(\.|[\w.-]*/)[^:]*")


def check_pin(requirement: str) -> str:
    """Refuse a requirement that more than one version meets.

    Args:
        requirement: as pip takes it.

    Returns:
        The requirement.

    Raises:
        ValueError: it leaves the version open.
    """
    if not _PINNED.fullmatch(requirement):
        raise ValueError(ONE_VERSION)
    return requirement


def unpinned_in(command: list[str]) -> list[str]:
    """What a command installs without a version, also within a line for a shell.

    Folders of the repository have its commit. An option's value cannot be told from a package,
    unless it is joined to its option by an equals sign.

    Args:
        command: its words.
    """
    line = " ".join(command).replace(" @ ", "@")
    words = [word.strip("'\"") for found in _INSTALL.findall(line) for word in found.split()]
    packages = [word for word in words if not word.startswith("-") and not _FOLDER.fullmatch(word)]
    return [word for word in packages + _FROM_GIT.findall(line) if not _PINNED.fullmatch(word)]
