"""Downloads from a server of our own that breaks off, lies, or gives web pages."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mvdiffusion.cli import main
from mvdiffusion.external import download as module
from mvdiffusion.external.download import download
from mvdiffusion.external.released import FILES, released_checkpoints
from mvdiffusion.methods import specification
from mvdiffusion.records import InputError

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 40_000  # 10 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"\n<!-- file host -->\n<!DOCTYPE html><html><title>Too many downloads</title></html>"


class Handler(BaseHTTPRequestHandler):
    """Serves /pano.ckpt as the server's `ways` say."""

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer, whole or from the byte that is asked for."""
        ways: SimpleNamespace = self.server.ways  # type: ignore[attr-defined]
        asked = self.headers.get("Range")
        ways.asked.append((asked, self.headers.get("If-Range")))
        if self.path == "/link":
            self.send_response(302)
            self.send_header("Location", "/pano.ckpt")
            self.end_headers()
            return
        if self.path != "/pano.ckpt":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and ways.ranges else 0
        if self.headers.get("If-Range") not in (None, ways.tag):
            start = 0
        if start >= len(ways.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(ways.content)}")
            self.end_headers()
            return
        body = ways.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", ways.kind)
        self.send_header("ETag", ways.tag)
        self.send_header("Content-Length", str(len(body)))
        if start:
            end = f"{len(ways.content) - 1}/{len(ways.content)}"
            self.send_header("Content-Range", f"bytes {start}-{end}")
        self.end_headers()
        self.wfile.write(body[: ways.breaks.pop(0)] if ways.breaks else body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server on loopback; `ways` decides how it behaves, `ways.asked` tells what it was asked."""
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.ways = SimpleNamespace(  # type: ignore[attr-defined]
        content=CONTENT, kind="application/binary", tag='"one"', breaks=[], ranges=True, asked=[]
    )
    Thread(target=made.serve_forever, daemon=True).start()
    yield SimpleNamespace(
        ways=made.ways,  # type: ignore[attr-defined]
        url=f"http://127.0.0.1:{made.server_port}",
    )
    made.shutdown()
    made.server_close()


def left(part: Path) -> list[str]:
    return sorted(path.name for path in part.parent.iterdir())


def test_a_file_through_a_redirect(server: Any, tmp_path: Path) -> None:
    part = tmp_path / "new/pano.ckpt.part"
    download(f"{server.url}/link", part)
    assert part.read_bytes() == CONTENT
    assert left(part) == ["pano.ckpt.part"]


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_at_half_it_goes_on_by_itself(
    server: Any, tmp_path: Path, ranges: bool
) -> None:
    server.ways.breaks, server.ways.ranges = [len(CONTENT) // 2], ranges
    download(f"{server.url}/pano.ckpt", part := tmp_path / "pano.ckpt.part")
    assert part.read_bytes() == CONTENT
    half = f"bytes={len(CONTENT) // 2}-"
    assert server.ways.asked == [(None, None), (half, '"one"')]  # asked for the rest alone


def test_truncated_again_and_again_it_keeps_what_arrived(server: Any, tmp_path: Path) -> None:
    server.ways.breaks, part = [1000] * 4, tmp_path / "pano.ckpt.part"
    with pytest.raises(InputError, match=r"ended after 4,000 of 10,240,004 bytes; .* run the same"):
        download(f"{server.url}/pano.ckpt", part)
    assert part.read_bytes() == CONTENT[:4000]
    download(f"{server.url}/pano.ckpt", part)  # as a later call, or one after a kill
    assert part.read_bytes() == CONTENT
    assert server.ways.asked[-1][0] == "bytes=4000-"
    assert left(part) == ["pano.ckpt.part"]


def test_two_versions_are_never_joined(server: Any, tmp_path: Path) -> None:
    server.ways.breaks, part = [1000] * 4, tmp_path / "pano.ckpt.part"
    with pytest.raises(InputError):
        download(f"{server.url}/pano.ckpt", part)
    server.ways.tag, server.ways.content = '"two"', CONTENT[::-1]
    download(f"{server.url}/pano.ckpt", part)
    assert part.read_bytes() == CONTENT[::-1]


def test_what_is_whole_is_not_fetched_again(server: Any, tmp_path: Path) -> None:
    (part := tmp_path / "pano.ckpt.part").write_bytes(CONTENT)
    download(f"{server.url}/pano.ckpt", part)
    assert part.read_bytes() == CONTENT
    part.write_bytes(CONTENT + b"more")  # longer than the file: not a part of it
    download(f"{server.url}/pano.ckpt", part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_no_file(server: Any, tmp_path: Path, kind: str) -> None:
    server.ways.kind, server.ways.content = kind, PAGE
    with pytest.raises(InputError, match="gives a web page in place of the file") as caught:
        download(f"{server.url}/pano.ckpt", part := tmp_path / "pano.ckpt.part")
    assert "\n" not in str(caught.value)
    assert not part.exists()


def test_missing_unreachable_and_no_address(server: Any, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    with pytest.raises(InputError, match="/nothing: answers 404 Not Found; check the address"):
        download(f"{server.url}/nothing", part)
    with pytest.raises(InputError, match="cannot be reached"):
        download("http://127.0.0.1:1/pano.ckpt", part)
    with pytest.raises(InputError, match="is no address of a file; expected http, https or file"):
        download("ftp://127.0.0.1/pano.ckpt", part)
    assert left(part) == []


def test_too_little_space_is_said_before(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=9_000_000))
    with pytest.raises(InputError, match=r"has 0\.0 GB of free space, and 0\.0 GB of"):
        download(f"{server.url}/pano.ckpt", part := tmp_path / "pano.ckpt.part")
    assert not part.exists()


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `mvdiffusion fetch-released`."""

    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["mvdiffusion", "fetch-released", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    return run


def test_fetched_recorded_and_compared_later(
    server: Any, fetch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("panorama", "--output", tmp_path, "--from", f"{server.url}/")
    assert fetch(*words) == 0
    assert f"no public record of its SHA-256 is known; found {SHA256}" in capsys.readouterr().out
    record = json.loads((tmp_path / "pano.ckpt.json").read_text())
    assert record == {
        "bytes": len(CONTENT), "sha256": SHA256, "url": f"{server.url}/pano.ckpt"
    }  # fmt: skip
    asked = len(server.ways.asked)
    assert fetch(*words) == 0
    assert len(server.ways.asked) == asked  # nothing is fetched again
    (tmp_path / "pano.ckpt").write_bytes(b"PK damaged")
    assert fetch(*words) == 2
    assert f"but {SHA256} stands in pano.ckpt.json; delete pano.ckpt" in capsys.readouterr().err


def test_a_wrong_hash_gets_no_place(
    server: Any, fetch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("panorama", "--output", tmp_path, "--from", server.url)
    assert fetch(*words, "--sha256", f"panorama={'0' * 64}") == 2
    error = capsys.readouterr().err
    assert f"its SHA-256 is {SHA256}, but {'0' * 64} is expected" in error
    assert not (tmp_path / "pano.ckpt").exists()
    assert not (tmp_path / "pano.ckpt.json").exists()
    assert fetch(*words, "--sha256", f"panorama={SHA256.upper()}") == 0
    assert (tmp_path / "pano.ckpt").read_bytes() == CONTENT


def test_a_folder_as_mirror_and_a_file_put_there_by_hand(
    fetch: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mirror := tmp_path / "mirror").mkdir()
    for name in ("pano.ckpt", "depth_gen.ckpt"):
        (mirror / name).write_bytes(CONTENT)
    output = tmp_path / "checkpoints"
    assert fetch("panorama", "depth", "--output", output, "--from", mirror) == 0
    assert (output / "depth_gen.ckpt").read_bytes() == CONTENT
    assert fetch("outpaint", "--output", output, "--from", mirror) == 2
    assert f"{mirror / 'pano_outpaint.ckpt'}: no such file; --from needs a folder that has" in (
        capsys.readouterr().err
    )
    assert fetch("panorama", "--output", mirror) == 0  # without a network: it is there
    assert json.loads((mirror / "pano.ckpt.json").read_text())["sha256"] == SHA256
    (mirror / "pano_outpaint.ckpt").write_bytes(PAGE)  # what a browser saved
    assert fetch("outpaint", "--output", mirror) == 2
    assert "is a web page, not a checkpoint" in capsys.readouterr().err
    (mirror / "pano_outpaint.ckpt").write_bytes(b"")
    assert fetch("outpaint", "--output", mirror) == 2
    assert "is empty, not a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["panoramas"], "'panoramas': is no released checkpoint; did you mean 'panorama'?"),
        (["panorama", "--sha256", "panorama=abc"], "expected NAME=HASH with 64 hex digits"),
        (["panorama", "--sha256", f"depth={SHA256}"], "--sha256 depth: is not fetched; name it"),
    ],
)
def test_wrong_words_are_refused_in_one_sentence(
    fetch: Any, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(*words, "--output", tmp_path / "c") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "c").exists()


def test_addresses_have_one_home() -> None:
    """Those of the external method's file, which has no use for the fourth, and of the page."""
    file = Path(specification.__file__).with_name("external") / "mvdiffusion-released.yaml"
    given = {
        Path(one["path"]).name: one["url"]
        for one in yaml.safe_load(file.read_text())["checkpoints"]
        if "url" in one
    }
    known = {one.file: one.url for one in released_checkpoints().values()}
    assert set(known) == set(FILES.values())
    assert given == {name: url for name, url in known.items() if name != "depth_single_view.ckpt"}
    assert all(url.endswith("&dl=1") for url in known.values())  # 0 is a web page
    page = Path(__file__).parents[2] / "docs/generate.md"
    assert all(url in page.read_text() for url in known.values())
