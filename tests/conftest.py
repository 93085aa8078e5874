"""Shared by all tests: nothing is ever downloaded, and no test leaves threads spinning."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# One thread per worker of pytest-xdist. OpenMP's threads do not survive a fork either: a child
# forked by a test would wait for them forever.
os.environ.setdefault("OMP_NUM_THREADS", "1")
