"""Reference reproduction of MVDiffusion (arXiv 2307.01097)."""

__version__ = "0.3.0"
