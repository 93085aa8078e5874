"""Shared by all tests: nothing is ever downloaded, and no test leaves threads spinning."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
