"""A score whose features several processes compute: it is that of one, to the byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mvdiffusion_eval
from mvdiffusion.records import canonical_json
from mvdiffusion_eval.cli import main

pytestmark = pytest.mark.long


def test_parts_leave_the_features_of_which_the_score_is_made(
    world: Path, extractors: list[Path], tmp_path: Path
) -> None:
    """Eight rooms in three parts, and in nine, of which one has none."""
    given = {"reference": world / "real", "extractors": extractors}
    views = world / "mvdiffusion"
    whole = canonical_json(mvdiffusion_eval.score(views, **given, cache=tmp_path / "1"))
    for count in (3, 9):
        cache = tmp_path / str(count)
        for rank in range(count):
            assert mvdiffusion_eval.score(views, **given, cache=cache, part=(rank, count)) == {}
        features = sorted(cache.rglob("images/*.safetensors"))
        assert len(features) >= count  # of both folders and both extractors
        again = mvdiffusion_eval.score(views, **given, cache=cache)
        assert canonical_json(again) == whole
        assert sorted(cache.rglob("images/*.safetensors")) == features  # none was left to do


def test_processes_need_a_cache_to_share(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", "--generated", str(world / "real"), "--output", str(tmp_path / "score.json")]
    with pytest.raises(SystemExit):
        main([*words, "--processes", "2"])
    assert "--processes 2: needs --cache FOLDER" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_write_the_score_file_of_one(
    world: Path, extractors: list[Path], tmp_path: Path
) -> None:
    words = ["score", "--generated", str(world / "mvdiffusion"), "--reference", str(world / "real")]
    words += [word for each in extractors for word in ("--extractor", str(each))]
    paths = os.pathsep.join(filter(None, sys.path))
    for count in ("1", "2"):
        files = ["--output", str(tmp_path / f"{count}.json"), "--cache", str(tmp_path / count)]
        subprocess.run(
            [sys.executable, "-m", "mvdiffusion_eval", *words, *files, "--processes", count],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}, check=True,
        )  # fmt: skip
    one, two = ((tmp_path / f"{count}.json").read_bytes() for count in ("1", "2"))
    assert one == two
    assert json.loads(one)["extractors"]
