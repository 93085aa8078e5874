"""The harness of faults itself: it damages what it says, and sees what is wrong."""

import json
import random

import pytest
from fault_cases import CASES, helps, sentences
from fault_damage import WAYS, harm
from table import ROOT, write_page


@pytest.mark.parametrize("way", WAYS)
def test_damage_changes_the_bytes_and_not_the_time(tmp_path, way):
    file = tmp_path / "file"
    for seed in range(20):
        file.write_bytes(content := random.Random(seed).randbytes(10_000))
        before = file.stat().st_mtime_ns
        harm(file, way, random.Random(seed))
        assert file.read_bytes() != content
        assert file.stat().st_mtime_ns == before


def test_what_a_user_is_told_is_found_among_what_snakemake_prints():
    said = (
        "Select jobs to execute...\n"
        "mvdiffusion: results/faults/models/m/unet: is missing; make or copy the model again.\n"
        "RuleException:\nCalledProcessError in file evaluate.smk\n"
        "WorkflowError:\nAt least one job did not complete successfully.\n"
        "WorkflowError in file Snakefile, line 32:\nresults/.lock: another Snakemake is at work\n"
    )
    model, lock = sentences(said)
    assert model.startswith("mvdiffusion: results/faults/models/m/unet: is missing")
    assert lock == "results/.lock: another Snakemake is at work"
    assert helps(said, "models/m")
    assert not helps(said, "models/other")
    assert not helps(said, "")


def test_cases_are_many_and_have_names_of_their_own():
    assert len({case.name for case in CASES}) == len(CASES) >= 20


def test_the_page_shows_what_was_measured(tmp_path):
    rows = json.loads((ROOT / "benchmarks/results/faults.json").read_text())
    page = ROOT / "docs/faults.md"
    copy = tmp_path / "faults.md"
    copy.write_text(page.read_text())
    write_page(copy, rows)
    assert copy.read_text() == page.read_text(), "run `python tests/faults/table.py --select none`"
    assert not [row for row in rows if row["lost"]]
    assert {row["case"] for row in rows} <= {case.name for case in CASES}
    # Those that were not run are listed below the table.
    assert not [case.name for case in CASES if case.name not in page.read_text()]
    assert len(rows) >= 20
