"""Running a script of benchmarks/ as its users do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def run_benchmark(script: str, output: Path, *words: object) -> dict[str, Any]:
    """Run benchmarks/<script>; it must succeed. Returns its report."""
    command = [sys.executable, ROOT / "benchmarks" / script, *map(str, words), "--output", output]
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(output.read_text())


def take_memory() -> None:
    """Have a child take 200 MiB for a moment."""
    take = "import time; taken = bytearray(b'x') * (200 << 20); time.sleep(0.3)"
    subprocess.run([sys.executable, "-c", take], check=True)
