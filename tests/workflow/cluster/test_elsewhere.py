"""Jobs in a container, on Kubernetes, with data in a bucket, seen without any of them."""

import importlib.util
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from slurm_programs import Slurm
from workflow_project import Project

MODEL = "results/models/panorama_stage2/model_index.json"
APPTAINER = f"""#!{sys.executable}
import json, os, sys
with open("apptainer.jsonl", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "--version":
    print("apptainer version 1.3.4")
elif sys.argv[1] == "exec":
    words = sys.argv[sys.argv.index("mvdiffusion.sif") + 1 :]
    os.execvp(words[0], words)
"""


@pytest.fixture
def apptainer(tmp_path: Path) -> Slurm:
    """A stand-in that runs commands outside of any image."""
    folder = tmp_path / "apptainer"
    folder.mkdir()
    (folder / "apptainer").write_text(APPTAINER)
    (folder / "apptainer").chmod(0o755)
    return Slurm(folder)


def test_every_job_runs_in_the_image(project: Project, apptainer: Slurm) -> None:
    before = (project.root / MODEL).read_text()
    (project.root / MODEL).unlink()
    (project.root / "mvdiffusion.sif").touch()
    words = ("--software-deployment-method", "apptainer", "--apptainer-args", "--nv")
    project.snakemake(MODEL, *words, PATH=apptainer.path)
    assert (project.root / MODEL).read_text() == before
    calls = (project.root / "apptainer.jsonl").read_text().splitlines()
    (run,) = [call for call in calls if call.startswith('["exec"')]
    assert '"--nv"' in run
    assert "python -m mvdiffusion.cli train stage2" in run


def test_without_the_image_one_sentence_says_so(project: Project, apptainer: Slurm) -> None:
    (project.root / MODEL).unlink()
    words = ("--software-deployment-method", "apptainer")
    said = project.snakemake(MODEL, *words, check=False, PATH=apptainer.path)
    assert "mvdiffusion.sif" in said
    assert not (project.root / MODEL).exists()


class EmptyBucket(BaseHTTPRequestHandler):
    """A bucket of S3 that is there and holds nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path.strip("/").count("/") == 0 else 404)
        self.end_headers()

    def do_GET(self) -> None:
        body = (
            b"<ListBucketResult><Name>lab</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def bucket() -> Iterator[str]:
    """Address of a server of S3."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyBucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


PLUGINS = ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_s3")


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, PLUGINS)),
    reason="no plugins for Kubernetes and S3: pip install -c constraints.txt -e '.[kubernetes]'",
)
def test_kubernetes_plans_all_jobs_with_results_in_a_bucket(project: Project, bucket: str) -> None:
    """A dry run: nothing is there, so everything is made, and asked for in the bucket."""
    planned = project.snakemake(
        *("--dry-run", "run", "--executor", "kubernetes", "--jobs", "8"),
        *("--default-storage-provider", "s3", "--default-storage-prefix", "s3://lab/mvdiffusion"),
        *("--storage-s3-endpoint-url", bucket),
        SNAKEMAKE_STORAGE_S3_ACCESS_KEY="any", SNAKEMAKE_STORAGE_S3_SECRET_KEY="any",
    )  # fmt: skip
    assert "s3://lab/mvdiffusion/results/models/panorama_stage2/model_index.json" in planned
    assert "train_stage2" in planned
