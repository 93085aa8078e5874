"""The demo's web application: nothing outside its folder is read, and nothing is fetched."""

import json
import os
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_process import start
from fastapi.testclient import TestClient
from PIL import Image

from mvdiffusion.demo import server
from mvdiffusion.demo.studio import Studio

pytest.importorskip("gradio")

VALUES = ["panorama", "a red wall", None, None, "on", 0, 1, 2]
API = "/gradio_api"


@pytest.fixture
def client(studio: Studio) -> Iterator[TestClient]:
    with server.workspace() as folder:
        studio.folder = folder / "results"
        with TestClient(server.make_app(studio, folder)) as client:
            yield client


def ask(client: TestClient, *values: Any, name: str = "generate") -> tuple[str, Any]:
    """Call a function of the page as programs do; give the last event and its data."""
    answer = client.post(f"{API}/call/{name}", json={"data": values})
    assert answer.status_code == 200, answer.text
    events = client.get(f"{API}/call/{name}/{answer.json()['event_id']}").text.split("\n\n")
    last = [event for event in events if event][-1]
    kind, data = re.fullmatch("event: (.*)\ndata: (.*)", last).groups()
    return kind, json.loads(data)


def test_a_request_is_answered(client: TestClient, studio: Studio) -> None:
    kind, data = ask(client, *VALUES)
    assert kind == "complete"
    assert "Done in" in data[0]
    views = re.findall(r"gradio_api/file=([^\\\"]*\.png)", json.dumps(data))
    assert len(views) == 8
    for view in views:
        assert client.get(f"{API}/file={view}").headers["content-type"] == "image/png"
    assert "srcdoc" in json.dumps(data)


def test_bad_input_is_one_sentence(client: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    def change(place: int, value: Any) -> list[Any]:
        return [*VALUES[:place], value, *VALUES[place + 1 :]]

    for values, expected in [
        (change(1, "a\nb"), "There are 2 lines of prompts; expected 1 or 8, one for each view."),
        (change(0, "film"), None),
        (change(6, 1000), None),
        (change(5, -1), "setting 'seed' is -1"),
        (change(5, "x"), None),
        (change(2, {"path": "http://example.org/a.png", "meta": {"_type": "gradio.FileData"}}),
         "An address is no image; upload the file itself."),
        (change(2, {"path": __file__, "meta": {"_type": "gradio.FileData"}}), None),
        (change(2, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}), None),
        (change(2, {"path": "/etc/passwd"}), None),
    ]:  # fmt: skip
        capfd.readouterr()
        kind, data = ask(client, *values)
        assert kind == "error", values
        assert "Traceback" not in str(data)
        assert "root:" not in str(data)
        if expected:
            assert expected in str(data)
            assert "Traceback" not in capfd.readouterr().err


def test_no_file_outside_the_folder_is_read(
    client: TestClient, studio: Studio, tmp_path: Path
) -> None:
    inside = studio.folder / "seen.txt"
    inside.write_text("seen")
    outside = tmp_path / "secret.txt"
    outside.write_text("hidden words")
    (studio.folder / "link.txt").symlink_to(outside)
    (Path.cwd() / "README.md").stat()
    assert client.get(f"{API}/file={inside}").text == "seen"
    for path in [
        outside,
        "/etc/passwd",
        "//etc/passwd",
        "../../../../etc/passwd",
        "README.md",
        Path.cwd() / "README.md",
        f"{studio.folder}/../../../../{outside}",
        f"{studio.folder}/../{'../' * 12}etc/passwd",
        f"{studio.folder}/%2e%2e/%2e%2e/%2e%2e{outside}",
        f"{studio.folder}/link.txt",
        next(iter(studio.models.values())) / "model_index.json",
        studio.folder,
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "https://example.org/",
    ]:
        answer = client.get(f"{API}/file={path}")
        assert answer.status_code in (403, 404), path
        assert "hidden" not in answer.text
        assert "root:" not in answer.text
    for path in ["/static/../../../../etc/passwd", "/assets/%2e%2e/%2e%2e/config.py",
                 f"{API}/proxy=https://example.org/", f"{API}/deep_link", "/monitoring",
                 f"{API}/process_recording", f"{API}/vibe-code", f"{API}/openapi.json",
                 f"{API}/file/{outside}", "/docs", "/svelte/x", "/login_check"]:  # fmt: skip
        assert client.get(path).status_code in (403, 404), path
    for path in ["/login", f"{API}/process_recording", f"{API}/vibe-edit", f"{API}/stream/x"]:
        assert client.post(path, json={}).status_code == 404, path
    assert client.delete("/").status_code == 404


def test_sizes_are_bounded(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.bin"
    Image.new("RGB", (16, 16)).save(small)
    large.write_bytes(os.urandom(studio.limits.image_bytes + 1))

    def upload(path: Path) -> Any:
        return client.post(f"{API}/upload", files={"files": (path.name, path.read_bytes())})

    (kept,) = upload(small).json()
    assert Path(kept).is_relative_to(studio.folder.parent)
    assert upload(large).status_code == 413
    many = [("files", (f"{number}.png", os.urandom(90_000))) for number in range(5)]
    assert client.post(f"{API}/upload", files=many).status_code == 413
    assert client.post(f"{API}/call/generate", content=b" " * 200_000).status_code == 413
    endless = client.post(f"{API}/call/generate", content=(b" " for _ in range(3)))
    assert endless.status_code == 413
    (studio.folder / "full").mkdir()
    with open(studio.folder / "full/file", "wb") as file:
        file.truncate(studio.limits.kept_bytes + 1)  # takes no space on the disk
    assert upload(small).status_code == 507
    kind, _ = ask(client, *VALUES[:2], {"path": kept}, *VALUES[3:])
    assert kind == "complete"


def test_nobody_cancels_for_others(client: TestClient, studio: Studio) -> None:
    """A call without a session is nobody's, and not everybody's."""
    with studio._job("somebody") as job:
        assert client.post(f"{API}/run/cancel", json={"data": []}).status_code == 200
        job.check()
        studio.cancel("somebody")
        assert job.stopped.is_set()


def test_the_page_names_nothing_foreign(client: TestClient) -> None:
    """No script, style or font from elsewhere; what a browser may load is what is here."""
    answer = client.get("/")
    assert "default-src 'self' data: blob:" in answer.headers["content-security-policy"]
    loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]*)\"", answer.text)
    assert loaded
    assert not [address for address in loaded if "//" in address]
    assert "fonts.googleapis" not in client.get("/theme.css").text
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert {item["api_name"] for item in config["dependencies"]} >= {"generate", "cancel"}
    queue = {item["queue"] for item in config["dependencies"] if item["api_name"] == "generate"}
    assert queue != {False}


def test_the_folder_goes_with_the_server() -> None:
    with server.workspace() as folder:
        (folder / "a.png").write_bytes(b"x")
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not folder.parent.exists()
    assert os.environ.get("GRADIO_TEMP_DIR") != str(folder)


def test_the_command_says_what_is_missing(
    run: Any, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = run("demo", "--model", models["panorama"], "--port", port)
        assert code == 2
        assert f"--port {port}: Address already in use; choose another one" in said
    code, said = run("demo", "--model", models["panorama"], "--algorithm-type", "dpmsolver++",
                     "--scheduler", "DDIMScheduler")  # fmt: skip
    assert (code, "as only DPMSolverMultistepScheduler takes one" in said) == (2, True)
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, said = run("demo", "--model", models["panorama"])
    assert code == 2
    assert (
        said
        == "mvdiffusion: the demo needs Gradio; install it by: pip install 'mvdiffusion[demo]'.\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_recipe_of_a_space(
    models: dict[str, Path], tmp_path: Path, ending: signal.Signals
) -> None:
    """The block of docs/demo.md, on a free port; ended, it leaves nothing behind."""
    (recipe,) = re.findall("```python\n(.*?)```", Path("docs/demo.md").read_text(), re.DOTALL)
    assert "port=7860" in recipe
    (tmp_path / "app.py").write_text(recipe.replace("port=7860", "port=0"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/panorama").symlink_to(models["panorama"])
    process, address = start([sys.executable, "app.py"], tmp_path)
    try:
        port = address.rsplit(":", 1)[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert b"gradio_config" in page.read()
        assert list(tmp_path.glob("mvdiffusion-demo-*"))
        said = process.stderr.readline() if process.stderr else ""
        assert "anyone who can reach this address can use it" in said
        alive = urllib.request.urlopen(f"http://127.0.0.1:{port}{API}/heartbeat/visitor")
        assert b"ALIVE" in alive.readline()  # a page is open, which hears from it for ever
    finally:
        process.send_signal(ending)
        begun = time.monotonic()
        left = process.communicate(timeout=60)[1]
    assert time.monotonic() - begun < 20
    assert process.returncode == 0
    assert "Traceback" not in left
    assert not list(tmp_path.glob("mvdiffusion-demo-*"))
