"""Pages with files beside them, which are written and replaced together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mvdiffusion.outputs import check_file, made_before, remade_output
from mvdiffusion.records import atomic_output


@dataclass(frozen=True)
class Assets:
    """The files of a page.

    Attributes:
        folder: where they are written.
        address: of the folder, from the page: quoted, as names may hold # or ?.
    """

    folder: Path
    address: str

    def add(self, kind: str, suffix: str, content: bytes) -> str:
        """Write a file and return its address from the page.

        The name holds a hash of the content, so that a page never shows a file of another run.

        Args:
            kind: what it is, with which its name begins.
            suffix: of its name, as ".js".
            content: its bytes.
        """
        name = f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
        (self.folder / name).write_bytes(content)
        return f"{self.address}/{name}"


def assets_folder(page: Path) -> Path:
    """Name the folder of a page's files, beside the page."""
    return page.with_name(f"{page.stem}_assets")


def check_page(page: Path) -> None:
    """Find out before any work whether a page and its files can be written.

    Raises:
        InputError: the name does not end in .html, nothing can be written there, or the folder of
            its files holds others.
    """
    check_file(page, ".html")
    made_before(assets_folder(page))


@contextmanager
def page_with_assets(page: Path) -> Iterator[tuple[Path, Assets]]:
    """Yield a page to write, and its files; both appear if the block succeeds, or neither.

    Files of the page before are removed.

    Args:
        page: the HTML file.

    Raises:
        InputError: the folder holds other files, or the operating system refused.
    """
    folder = assets_folder(page)
    # The page is renamed last, as without it nobody looks at its files.
    with atomic_output(page) as temporary, remade_output(folder) as made:
        yield temporary, Assets(made, quote(folder.name))
