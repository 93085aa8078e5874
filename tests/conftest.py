"""Shared by all tests: nothing is ever downloaded, and no test leaves threads spinning."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chromium import WEBGL, launcher

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# One thread per worker of pytest-xdist. OpenMP's threads do not survive a fork either: a child
# forked by a test would wait for them forever.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Start a browser with further arguments."""
    with launcher() as start:
        yield start


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Iterator[Any]:
    """A browser that draws WebGL, without a GPU."""
    opened = launch(*WEBGL)
    yield opened
    opened.close()
