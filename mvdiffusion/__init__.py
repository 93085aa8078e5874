"""Reference reproduction of MVDiffusion (arXiv 2307.01097)."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mvdiffusion")
    """Of the installation, so of the git tag before it (see pyproject.toml)."""
except PackageNotFoundError:  # a folder of source code on the path
    __version__ = "0+unknown"
