"""A stand-in for a method of others, in a git repository, and the command line as a function."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from noise_data import write_rooms

from mvdiffusion.cli import main

METHOD = """
import json, os, pathlib, struct, sys, time, zlib

def png(path, width, height, pixel):
    row = lambda y: b"\\0" + b"".join(bytes(pixel(x, y)) for x in range(width))
    rows = b"".join(map(row, range(height)))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(body)) + name + body
                    + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks)
    path.write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + data)

requests = json.load(open(sys.argv[1]))
output, pause, broken = pathlib.Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
(output / "pid").write_text(str(os.getpid()))
weights = int(pathlib.Path("weights/gain.txt").read_text())
for sample in requests["samples"]:
    print("making", sample["id"], sample["prompt"], flush=True)
    if sample["id"] == broken:
        raise RuntimeError(f"no {broken} today")
    folder = output / sample["id"]
    folder.mkdir(exist_ok=True)
    blue = sample["seed"] % 256
    png(folder / "pano.png", 64, 32, lambda x, y: (weights * x, 8 * y, blue))
    time.sleep(pause)
"""

SPECIFICATION = """
name: stand-in
title: Stand-in
paper: none
checked: by this test
repository: {{url: {repository}, commit: {commit}, license: MIT}}
environment: {{backend: venv}}
checkpoints:
  - {{path: weights/gain.txt, url: "{weights}", sha256: {{gain.txt: {sha256}}}}}
tasks:
  panorama:
    command: [python, method.py, "{{requests}}", "{{output}}", "{pause}", "{broken}"]
    prompt_prefix: "A panorama. "
    output: {{layout: equirectangular, files: "{{sample}}/pano.png"}}
results:
  - {{task: panorama, metric: cross_view_psnr, value: {value}, protocol: paper-consistency-pano,
     tolerance: 1.0, source: this test}}
  - {{task: panorama, metric: fid, value: 1.5, source: nowhere}}
"""
GAIN = "3\n"
GAIN_SHA256 = "1121cfccd5913f0a63fec40a6ffd44ea64f9dc135c66634ba001d10bcf4302a2"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose second commit, which nobody asks for, breaks the method."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "method.py").write_text(METHOD)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    (tmp_path / "commit").write_text(git(folder, "rev-parse", "HEAD"))
    (folder / "method.py").write_text("raise SystemExit('the wrong commit')\n")
    git(folder, "commit", "--quiet", "-am", "two")
    (tmp_path / "gain.txt").write_text(GAIN)
    return folder


@pytest.fixture
def write_specification(tmp_path: Path, repository: Path) -> Callable[..., Path]:
    """Write the stand-in's specification, with changes."""

    def write(**changes: object) -> Path:
        values = {"repository": repository, "commit": (tmp_path / "commit").read_text(),
                  "weights": (tmp_path / "gain.txt").as_uri(), "sha256": GAIN_SHA256,
                  "pause": 0, "broken": "none", "value": 0.0}  # fmt: skip
        path = tmp_path / "stand-in.yaml"
        path.write_text(SPECIFICATION.format(**values | changes))
        return path

    return write


@pytest.fixture
def track() -> Callable[[Path, str, str], None]:
    """Have a specification's repository track a file, at a commit that the specification names."""

    def track(specification: Path, name: str, content: str) -> None:
        values = yaml.safe_load(specification.read_text())
        folder = Path(values["repository"]["url"])
        git(folder, "checkout", "--quiet", values["repository"]["commit"])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", "weights")
        values["repository"]["commit"] = git(folder, "rev-parse", "HEAD")
        specification.write_text(yaml.safe_dump(values))

    return track


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Three panoramas with captions."""
    write_rooms(tmp_path / "rooms", "test", ["a", "b", "c"], 0)
    return tmp_path / "rooms"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run `mvdiffusion external …` in this process; give its exit code and all that it said."""
    from mvdiffusion.methods.specification import find_specification

    def run(*arguments: object) -> tuple[int, str]:
        find_specification.cache_clear()  # the tests write their file again
        monkeypatch.setattr(sys, "argv", ["mvdiffusion", "external", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run
