"""Methods of a package that somebody else has installed."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from mvdiffusion.methods import registry
from mvdiffusion_eval.folders import methods as shown


@contextmanager
def installed(folder: Path, name: str, text: str, entries: Mapping[str, str]) -> Iterator[Path]:
    """Install a package of one module for a while; return the folder that it is in.

    Args:
        folder: a new one.
        name: of the package and its module.
        text: of the module.
        entries: what of the module each method is, by the method's name.
    """
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / f"{name}.py").write_text(text)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{method} = {name}:{place}" for method, place in entries.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(folder)
        forget()
        yield folder
    forget()
    sys.modules.pop(name, None)


def forget() -> None:
    """Let the lists of methods be made again."""
    for known in (registry.methods, shown.methods):
        known.cache_clear()
