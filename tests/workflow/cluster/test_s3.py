"""DVC keeps what a run recorded in a bucket; the server of S3 is played."""

import hashlib
import importlib.util
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from workflow_project import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("dvc_s3") is None,
        reason="DVC cannot reach S3 here: pip install -c constraints.txt -e '.[s3]'",
    ),
]


class Bucket(BaseHTTPRequestHandler):
    """What DVC asks of S3: to put, get, find and list objects."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def answer(self, status: int, body: bytes = b"", size: int | None = None) -> None:
        """Send an answer; that to HEAD has a size and no body."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    @property
    def key(self) -> str:
        """Of the object that is asked for."""
        return unquote(urlsplit(self.path).path).removeprefix("/lab").lstrip("/")

    def do_PUT(self) -> None:
        self.objects[self.key] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def do_HEAD(self) -> None:
        found = self.objects.get(self.key)
        self.answer(404 if found is None else 200, size=len(found or b""))

    def do_GET(self) -> None:
        if self.key:
            found = self.objects.get(self.key)
            self.answer(404 if found is None else 200, found or b"")
            return
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        listed = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(content)}</Size>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, content in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        self.answer(200, f"<ListBucketResult>{listed}</ListBucketResult>".encode())

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Address of a server, and the objects of its bucket `lab`."""
    kind = type("OwnBucket", (Bucket,), {"objects": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", kind.objects
        server.shutdown()


def test_tables_go_to_a_bucket_and_come_back(
    project: Project, bucket: tuple[str, dict[str, bytes]]
) -> None:
    address, objects = bucket
    before = project.results()
    keys = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab"}
    project.run("dvc", "commit", "--force", "run")
    project.run("dvc", "remote", "add", "--local", "lab", "s3://lab/mvdiffusion")
    project.run("dvc", "remote", "modify", "--local", "lab", "endpointurl", address)
    project.run("dvc", "push", "--remote", "lab", "run", **keys)
    assert objects
    for key, content in objects.items():
        digest = "".join(key.split("/")[-2:]).removesuffix(".dir")
        assert key.startswith("mvdiffusion/files/md5/")
        assert hashlib.md5(content).hexdigest() == digest
    shutil.rmtree(project.root / ".dvc/cache")
    shutil.rmtree(project.root / "results/tables")
    project.run("dvc", "pull", "--force", "--remote", "lab", "run", **keys)
    assert project.results() == before
