"""Faults at random moments of a whole run: no result is lost, and the plain command goes on.

`FAULTS_SEED` draws the moments (0 if it is not set), `FAULTS_WORK` is a folder that keeps the
undisturbed run for the next time, and `FAULTS_ROWS` is a file to which each case adds its row, as
JSON (see `table.py`).
"""

import faulthandler
import json
import os
import shutil
from pathlib import Path

import pytest
from fault_cases import CASES, Case, as_json, strike
from fault_project import Reference

SEED = int(os.environ.get("FAULTS_SEED", "0"))


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The undisturbed run."""
    faulthandler.cancel_dump_traceback_later()  # it takes as long as the machine lets it
    kept = os.environ.get("FAULTS_WORK")
    return Reference((Path(kept) if kept else tmp_path_factory.mktemp("faults")) / "reference")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_loses_nothing(case: Case, reference: Reference, tmp_path: Path) -> None:
    faulthandler.cancel_dump_traceback_later()
    print(f"seed {SEED}")
    row = strike(case, reference, tmp_path, SEED)
    print(json.dumps(as_json(row), indent=2))
    if rows := os.environ.get("FAULTS_ROWS"):
        with open(rows, "a") as file:
            file.write(json.dumps(as_json(row)) + "\n")
    assert row.lost == ""
    shutil.rmtree(tmp_path)  # what was lost is kept, to be looked at
